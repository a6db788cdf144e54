"""The losses, on batches small enough to work out by hand."""

import math

import pytest
import torch
from torch import nn

from robolearn.agents.dqn import td_loss
from robolearn.agents.ppo import Minibatch, clipped_policy_loss
from robolearn.data.replay import Batch


class Table(nn.Module):
    """Constant action values."""

    def __init__(self, *values):
        super().__init__()
        self.values = nn.Parameter(torch.tensor(values))

    def forward(self, obs):
        return self.values.expand(len(obs), -1)


def transitions(*, action, reward, discount, weight=None):
    count = len(action)
    ones = [1.0] * count
    return Batch(
        torch.zeros(count, 1),
        torch.tensor(action),
        torch.tensor(reward),
        torch.zeros(count, 1),
        torch.tensor(discount),
        torch.tensor(weight or ones),
    )


@pytest.mark.parametrize(
    ("double", "discount", "expected"), [(True, 0.9, 4.1), (False, 0.9, 8.6), (True, 0.0, 0.5)]
)
def test_td_loss_by_hand(double, discount, expected):
    online, target = Table(1.0, 3.0), Table(9.0, 4.0)
    batch = transitions(action=[0], reward=[2.0], discount=[discount])
    # Online picks action 1, which the target values at 4: goal 2 + 0.9 * 4 = 5.6, and Huber of
    # 5.6 - 1 = 4.6 is 4.1. By the target alone action 0 is best: 2 + 0.9 * 9 = 10.1, Huber 8.6.
    # Terminated (discount 0) the goal is 2, and Huber of 1 is 0.5.
    assert td_loss(online, target, batch, double=double).item() == pytest.approx(expected)


def test_td_loss_averages_over_the_valid_transitions():
    online, target = Table(1.0, 3.0), Table(0.0, 0.0)
    batch = transitions(
        action=[0, 1, 0], reward=[4.0, 3.5, 100.0], discount=[0.9] * 3, weight=[1.0, 1.0, 0.0]
    )
    # Errors 3 and 0.5 cost 2.5 and 0.125, averaged over two; the third was only a reset.
    assert td_loss(online, target, batch, double=True).item() == pytest.approx(1.3125)


def test_td_loss_of_resets_alone_is_zero():
    batch = transitions(action=[0], reward=[100.0], discount=[0.9], weight=[0.0])
    assert td_loss(Table(1.0), Table(1.0), batch, double=True).item() == 0.0


@pytest.mark.parametrize("double", [True, False])
def test_td_gradients_reach_the_action_taken_by_the_online_network_only(double):
    online, target = Table(1.0, 3.0), Table(9.0, 4.0)
    batch = transitions(action=[0], reward=[2.0], discount=[0.9])
    td_loss(online, target, batch, double=double).backward()
    # The goal is more than 1 above Q, where Huber falls with slope 1; action 1 only chose.
    assert online.values.grad.tolist() == [-1.0, 0.0]
    assert target.values.grad is None


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected", "slope"),
    [
        (1.1, 2.0, -2.2, -2.2),  # inside: -ratio * advantage
        (1.5, 2.0, -2.4, 0.0),  # good and already likelier: held at 1.2
        (0.5, 2.0, -1.0, -1.0),  # good and gone rarer: not held
        (0.5, -2.0, 1.6, 0.0),  # bad and already rarer: held at 0.8
        (1.5, -2.0, 3.0, 3.0),  # bad and gone likelier: not held
    ],
)
def test_clipped_policy_loss_by_hand(ratio, advantage, expected, slope):
    old = -1.3
    log_prob = torch.tensor([old + math.log(ratio)], requires_grad=True)
    loss = clipped_policy_loss(log_prob, steps([old], [advantage]), clip=0.2)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    # d(ratio * A) / d(log_prob) = ratio * A, where it is not held.
    loss.backward()
    assert log_prob.grad.item() == pytest.approx(slope, rel=1e-5)


def test_clipped_policy_loss_averages():
    # Ratios 1 and 1 with advantages 1 and -4: -(1 - 4) / 2.
    batch = steps([-1.0, -2.0], [1.0, -4.0])
    loss = clipped_policy_loss(torch.tensor([-1.0, -2.0]), batch, clip=0.2)
    assert loss.item() == pytest.approx(1.5)


def steps(log_prob, advantage):
    unused = torch.zeros(len(log_prob))
    return Minibatch(unused, torch.tensor(log_prob), torch.tensor(advantage), unused)
