"""What is no image is normalised in its place, and what cannot be negative by its logarithm."""

import math

import numpy as np
import pytest
import torch
from gymnasium import spaces

from robolearn.nn.perception import Perception

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


def perception(space=RANGES, *, logarithm=False, normalise=True, seed=0):
    return Perception(
        space, features=6, logarithm=logarithm, normalise=normalise, generator=rng(seed)
    ).requires_grad_(False)


def everything(*leading):
    return torch.ones(leading, dtype=torch.bool)


def test_images_come_first_then_the_rest_in_its_order():
    made = perception()
    assert made.width == 6 + 2 + 3 + 1
    obs = torch.zeros(1, 262)
    obs[0, [0, 1, 2, 3, 4, 261]] = torch.arange(1.0, 7.0)
    obs[0, 5:261] = 100.0
    found = made(obs)
    assert found.shape == (1, 12)
    assert found[0, 6:].tolist() == [1, 2, 3, 4, 5, 6]
    assert torch.equal(found[:, :6], made.images[0](obs))


def test_a_vector_alone_is_normalised_and_that_is_all():
    # Data 1 and 5, 0 and 2: means 3 and 1, deviations 2 and 1. So (7, 4) becomes (2, 3).
    made = perception(VECTOR)
    assert made.width == 2
    assert not list(made.parameters())
    made.learn_moments(torch.tensor([[1.0, 0.0], [5.0, 2.0]]), everything(2))
    assert made(torch.tensor([[7.0, 4.0]])).tolist() == [[2.0, 3.0]]
    assert made(torch.tensor([7.0, 4.0])).tolist() == [2.0, 3.0]


@pytest.mark.parametrize("space", [RANGES, VECTOR], ids=["with-image", "vector"])
def test_only_valid_observations_count_in_the_moments_and_images_do_not(space):
    made = perception(space)
    width, count = spaces.flatdim(space), int(made.rest.numel())
    obs = torch.randn(4, 3, width, generator=rng(1))
    valid = torch.rand(4, 3, generator=rng(2)) < 0.6
    made.learn_moments(obs, valid)
    rest = np.delete(obs[valid].numpy(), np.s_[5:261], axis=1) if width > 5 else obs[valid].numpy()
    assert rest.shape == (int(valid.sum()), count)
    np.testing.assert_allclose(made.observations.mean, rest.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(made.observations.variance, rest.var(axis=0), rtol=1e-5)


@pytest.mark.parametrize("space", [RANGES, VECTOR], ids=["with-image", "vector"])
def test_nothing_is_normalised_nor_clipped_that_is_not_to_be(space):
    made = perception(space, normalise=False)
    obs = 1000 * torch.randn(5, spaces.flatdim(space), generator=rng(1))
    made.learn_moments(obs, everything(5))
    assert torch.equal(made(obs)[:, -made.rest.numel() :], obs[:, made.rest])


def test_logarithms_are_taken_of_what_cannot_be_negative_and_has_a_bound():
    # log(part of the largest + 0.02): the ranges alone. The speed has no bound.
    made = perception(logarithm=True)
    obs = torch.full((1, 262), 0.5)
    obs[0, 2:5] = torch.tensor([0.0, 2.5, 5.0])
    logs = [math.log(part + 0.02) for part in (0.0, 0.5, 1.0)]
    assert made(obs)[0, 6:].tolist() == pytest.approx([0.5, 0.5, *logs, 0.5])
    # And the moments are of the logarithms: one datum is its own mean.
    made.learn_moments(obs, everything(1))
    assert made.observations.mean.tolist() == pytest.approx([0.5, 0.5, *logs, 0.5])


@pytest.mark.parametrize("space", [RANGES, VECTOR], ids=["with-image", "vector"])
def test_what_can_be_prepared_once_is_the_first_half_of_seeing(space):
    made = perception(space, logarithm=True)
    obs = torch.rand(4, 3, spaces.flatdim(space), generator=rng(1))
    made.learn_moments(obs, everything(4, 3))
    prepared = made.prepare(obs)
    assert prepared.shape == obs.shape
    assert torch.equal(made.features(prepared), made(obs))
    by_rows = torch.stack([made(row) for row in obs])
    torch.testing.assert_close(made(obs), by_rows)


def test_the_generator_alone_decides_what_is_seen():
    obs = torch.rand(2, 262, generator=rng(1))
    assert torch.equal(perception(seed=3)(obs), perception(seed=3)(obs))
    assert not torch.equal(perception(seed=3)(obs), perception(seed=4)(obs))


def test_moments_and_weights_are_saved():
    made, again = perception(), perception(seed=1)
    made.learn_moments(torch.rand(9, 262, generator=rng(1)), everything(9))
    again.load_state_dict(made.state_dict())
    obs = torch.rand(2, 262, generator=rng(2))
    assert torch.equal(made(obs), again(obs))
