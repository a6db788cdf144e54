"""Images are found in flat observations and looked at; nothing else is."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from robolearn.networks.actor_critic import ActorCritic, CategoricalDistribution
from robolearn.networks.encoders import ImageEncoder, ObservationEncoder, find_images

DEPTH = spaces.Box(0.0, 1.0, (16, 20), np.float32)
CAMERA = spaces.Box(0, 255, (3, 18, 17), np.uint8)
GOAL = spaces.Box(-1.0, 1.0, (5,), np.float32)
MIXED = spaces.Dict({"goal": GOAL, "depth": DEPTH, "zoom": spaces.Discrete(3), "camera": CAMERA})


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def network(space=MIXED, features=6, memory=0):
    generator = rng()
    return ActorCritic(
        ObservationEncoder(
            space, features=features, log_scale_obs=False, normalize=True, generator=generator
        ),
        CategoricalDistribution(2),
        hidden=(8,),
        activation="tanh",
        memory=memory,
        generator=generator,
    )


def features(net, obs):
    with torch.no_grad():
        return net.encoder(obs)


@pytest.mark.parametrize(
    ("box", "is_image"),
    [
        (DEPTH, True),
        (CAMERA, True),
        (spaces.Box(0, 255, (16, 16, 3), np.uint8), True),
        (spaces.Box(0.0, 1.0, (15, 64)), False),
        (spaces.Box(0.0, 1.0, (3, 64, 15)), False),
        (spaces.Box(0.0, 1.0, (256,)), False),
        (spaces.Box(0.0, 1.0, (16, 16, 16, 16)), False),
        (spaces.Box(0.0, np.inf, (16, 16)), False),
    ],
    ids=["depth", "channels-first", "channels-last", "low", "narrow", "vector", "4-d", "unbounded"],
)
def test_images_are_boxes_with_bounds_and_two_sides_of_16_at_least(box, is_image):
    assert bool(find_images(box)) is is_image


def test_images_are_found_where_gymnasium_puts_them():
    observation = MIXED.sample()
    flat = spaces.flatten(MIXED, observation)
    found = find_images(MIXED)
    assert [image.box for image in found] == [CAMERA, DEPTH]  # Gymnasium sorts the keys
    for image, key in zip(found, ("camera", "depth"), strict=True):
        np.testing.assert_array_equal(flat[image.columns], observation[key].reshape(-1))


def test_images_inside_tuples_inside_dictionaries_are_found():
    space = spaces.Dict({"b": spaces.Tuple([spaces.Discrete(4), DEPTH]), "a": GOAL})
    assert [image.columns for image in find_images(space)] == [slice(9, 9 + 320)]


def test_each_part_reaches_its_own_features():
    # Camera (918 pixels), depth (320), goal (5), zoom (3): 6 features of each image, then the rest.
    net = network()
    obs = torch.rand(1, 918 + 320 + 8, generator=rng(1))
    before = features(net, obs)[0]
    assert before.shape == (20,)
    for columns, expected in [
        (range(0, 918), range(0, 6)),
        (range(918, 1238), range(6, 12)),
        *(([1238 + k], [12 + k]) for k in range(8)),
    ]:
        changed = obs.clone()
        changed[0, list(columns)] += 1.0
        moved = (features(net, changed)[0] != before).nonzero().squeeze(1).tolist()
        assert moved
        assert set(moved) <= set(expected)


def test_images_are_scaled_from_their_bounds_and_the_rest_by_its_moments():
    net, seen = network(), []
    net.encoder.images[0].cnn = torch.nn.Sequential(Spy(seen))
    net.encoder.images[1].cnn = torch.nn.Sequential(Spy(seen))
    camera = torch.tensor([0.0, 51.0, 255.0]).repeat(306)
    obs = torch.cat([camera, torch.full((320,), 0.25), torch.tensor([3.0] * 8)])[None]
    rest = torch.zeros(2, 1246)
    rest[0, 1238:], rest[1, 1238:] = 1.0, 5.0  # mean 3, deviation 2
    net.encoder.update_normalization(rest)
    out = net.encoder(obs)[0, -8:]
    torch.testing.assert_close(seen[0].flatten(), torch.tensor([0.0, 0.2, 1.0]).repeat(306))
    torch.testing.assert_close(seen[1], torch.full((1, 1, 16, 20), 0.25))
    assert out.tolist() == [0.0] * 8


class Spy(torch.nn.Module):
    """Notes what a network is shown and answers nothing."""

    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def forward(self, pictures):
        self.seen.append(pictures)
        return torch.zeros(len(pictures), 6)


def test_bounds_may_differ_from_pixel_to_pixel_and_a_pixel_without_a_range_is_nothing():
    low = np.zeros((16, 16), np.float32)
    high = np.full((16, 16), 2.0, np.float32)
    low[0, 0], high[0, 0], high[0, 1] = -2.0, 6.0, 0.0
    [image] = find_images(spaces.Box(low, high))
    encoder, seen = ImageEncoder(image, 6, rng()), []
    encoder.cnn = torch.nn.Sequential(Spy(seen))
    flat = torch.ones(1, 256)
    flat[0, 1] = 0.0
    encoder(flat)
    # (1 - -2) / 8, 0, then (1 - 0) / 2.
    assert seen[0][0, 0, 0, :3].tolist() == [0.375, 0.0, 0.5]


@pytest.mark.parametrize("shape", [(3, 18, 17), (18, 17, 3), (18, 17)])
def test_channels_rows_and_columns_stay_what_they_are(shape):
    [image] = find_images(spaces.Box(0.0, 1.0, shape))
    encoder, seen = ImageEncoder(image, 6, rng()), []
    encoder.cnn = torch.nn.Sequential(Spy(seen))
    picture = torch.rand(2, *shape, generator=rng(1))
    encoder(picture.flatten(1))
    expected = {3: picture, 18: picture.movedim(-1, 1) if len(shape) == 3 else picture[:, None]}
    torch.testing.assert_close(seen[0], expected[shape[0]])


def test_features_of_a_rollout_are_those_of_its_rows():
    net = network()
    obs = torch.rand(4, 3, 1246, generator=rng(1))
    whole = features(net, obs)
    assert whole.shape == (4, 3, 20)
    rows = torch.stack([features(net, row) for row in obs])
    torch.testing.assert_close(whole, rows)
    assert features(net, obs[0, :0]).shape == (0, 20)


def test_policy_and_critic_share_one_look_at_an_image():
    net = network()
    obs = torch.rand(2, 1246, generator=rng(1))
    latent = net.encode(obs, torch.zeros(2, 20), torch.zeros(2, dtype=torch.bool))
    for output in (net.policy(latent).sum(), net.value(latent).sum()):
        net.zero_grad()
        output.backward(retain_graph=True)
        assert all(bool(p.grad.any()) for p in net.encoder.images.parameters() if p.dim() > 1)


def test_only_weights_and_moments_are_saved():
    kinds = {"images", "memory", "policy", "critic", "observations", "values"}
    assert saved_by(network(memory=4)) == kinds
    assert not [key for key in network().state_dict() if "scale" in key or "offset" in key]


def test_vectors_alone_keep_policy_and_critic_apart():
    net = network(GOAL)
    obs = torch.rand(2, 5, generator=rng(1))
    latent = net.encode(obs, torch.zeros(2, 5), torch.zeros(2, dtype=torch.bool))
    assert torch.equal(latent, net.encoder.observations(obs))
    net.value(latent).sum().backward()
    assert all(p.grad is None for p in net.policy.parameters())
    assert saved_by(net) == {"policy", "critic", "observations", "values"}


def saved_by(net):
    """Return which parts of a network are saved, those of its encoder by their own names."""
    return {key.removeprefix("encoder.").split(".")[0] for key in net.state_dict()}
