"""What is no image is normalized in its place, and what cannot be negative by its logarithm."""

import math

import numpy as np
import pytest
import torch
from gymnasium import spaces

from robolearn.networks.encoders import ObservationEncoder

RANGES = spaces.Dict(
    {
        "a": spaces.Box(-1.0, 1.0, (2,)),
        "lidar": spaces.Box(0.0, 5.0, (3,)),
        "picture": spaces.Box(0, 255, (16, 16), np.uint8),
        "speed": spaces.Box(0.0, np.inf, (1,)),
    }
)
VECTOR = spaces.Box(np.array([-1.0, 0.0]), np.array([1.0, 4.0]), dtype=np.float64)
# In a flat observation: a 0..1, lidar 2..4, picture 5..260, speed 261.


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def encoder(space=RANGES, *, log_scale_obs=False, normalize=True, seed=0):
    return ObservationEncoder(
        space, features=6, log_scale_obs=log_scale_obs, normalize=normalize, generator=rng(seed)
    ).requires_grad_(False)


def everything(*leading):
    return torch.ones(leading, dtype=torch.bool)


def test_images_come_first_then_the_rest_in_its_order():
    made = encoder()
    assert made.width == 6 + 2 + 3 + 1
    obs = torch.zeros(1, 262)
    obs[0, [0, 1, 2, 3, 4, 261]] = torch.arange(1.0, 7.0)
    obs[0, 5:261] = 100.0
    found = made(obs)
    assert found.shape == (1, 12)
    assert found[0, 6:].tolist() == [1, 2, 3, 4, 5, 6]
    assert torch.equal(found[:, :6], made.images[0](obs))


def test_a_vector_alone_is_normalized_and_that_is_all():
    # Data 1 and 5, 0 and 2: means 3 and 1, deviations 2 and 1. So (7, 4) becomes (2, 3).
    made = encoder(VECTOR)
    assert made.width == 2
    assert not list(made.parameters())
    made.update_normalization(torch.tensor([[1.0, 0.0], [5.0, 2.0]]))
    assert made(torch.tensor([[7.0, 4.0]])).tolist() == [[2.0, 3.0]]
    assert made(torch.tensor([7.0, 4.0])).tolist() == [2.0, 3.0]


@pytest.mark.parametrize("space", [RANGES, VECTOR], ids=["with-image", "vector"])
def test_only_valid_observations_count_in_the_moments_and_images_do_not(space):
    made = encoder(space)
    width, count = spaces.flatdim(space), int(made.rest.numel())
    obs = torch.randn(4, 3, width, generator=rng(1))
    valid = torch.rand(4, 3, generator=rng(2)) < 0.6
    made.update_normalization(obs[valid])
    rest = np.delete(obs[valid].numpy(), np.s_[5:261], axis=1) if width > 5 else obs[valid].numpy()
    assert rest.shape == (int(valid.sum()), count)
    np.testing.assert_allclose(made.observations.mean, rest.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(made.observations.variance, rest.var(axis=0), rtol=1e-5)


@pytest.mark.parametrize("space", [RANGES, VECTOR], ids=["with-image", "vector"])
def test_nothing_is_normalized_nor_clipped_that_is_not_to_be(space):
    made = encoder(space, normalize=False)
    obs = 1000 * torch.randn(5, spaces.flatdim(space), generator=rng(1))
    made.update_normalization(obs)
    assert torch.equal(made(obs)[:, -made.rest.numel() :], obs[:, made.rest])


def test_logarithms_are_taken_of_what_cannot_be_negative_and_has_a_bound():
    # log(part of the largest + 0.02): the ranges alone. The speed has no bound.
    made = encoder(log_scale_obs=True)
    obs = torch.full((1, 262), 0.5)
    obs[0, 2:5] = torch.tensor([0.0, 2.5, 5.0])
    logs = [math.log(part + 0.02) for part in (0.0, 0.5, 1.0)]
    assert made(obs)[0, 6:].tolist() == pytest.approx([0.5, 0.5, *logs, 0.5])
    # And the moments are of the logarithms: one datum is its own mean.
    made.update_normalization(obs)
    assert made.observations.mean.tolist() == pytest.approx([0.5, 0.5, *logs, 0.5])


@pytest.mark.parametrize("space", [RANGES, VECTOR], ids=["with-image", "vector"])
def test_rows_are_encoded_alike_alone_and_together(space):
    made = encoder(space, log_scale_obs=True)
    obs = torch.rand(4, 3, spaces.flatdim(space), generator=rng(1))
    made.update_normalization(obs)
    by_rows = torch.stack([made(row) for row in obs])
    torch.testing.assert_close(made(obs), by_rows)


def test_the_generator_alone_decides_what_is_seen():
    obs = torch.rand(2, 262, generator=rng(1))
    assert torch.equal(encoder(seed=3)(obs), encoder(seed=3)(obs))
    assert not torch.equal(encoder(seed=3)(obs), encoder(seed=4)(obs))


def test_moments_and_weights_are_saved():
    made, again = encoder(), encoder(seed=1)
    made.update_normalization(torch.rand(9, 262, generator=rng(1)))
    again.load_state_dict(made.state_dict())
    obs = torch.rand(2, 262, generator=rng(2))
    assert torch.equal(made(obs), again(obs))
