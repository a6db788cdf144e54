"""The networks of policy gradients."""

import gymnasium as gym
import pytest
import torch

from robolearn.networks.actor_critic import ActorCritic, CategoricalDistribution
from robolearn.networks.encoders import ObservationEncoder


@pytest.fixture
def net():
    weights = torch.Generator().manual_seed(0)
    space = gym.spaces.Box(-1.0, 1.0, (3,))
    encoder = ObservationEncoder(
        space, features=8, log_scale_obs=False, normalize=True, generator=weights
    )
    return ActorCritic(
        encoder,
        CategoricalDistribution(2),
        hidden=(8,),
        activation="tanh",
        memory=0,
        generator=weights,
    )


def test_a_rare_return_is_a_target_of_its_full_size(net):
    # One return in 1000 is 1, the others 0: mean p = 0.001 and variance p (1 - p), so that 1 lies
    # (1 - p) / sqrt(p (1 - p)) = sqrt(999) = 31.6 deviations away.
    net.values.update(torch.tensor([1.0] + [0.0] * 999)[:, None])
    target = net.values(torch.tensor([1.0]))
    assert target.item() == pytest.approx(999**0.5, rel=1e-5)
    assert net.values.denormalize(target).item() == pytest.approx(1.0)
