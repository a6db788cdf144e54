"""The losses, on batches small enough to work out by hand."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from robolearn.agents.deep_q import gather_actions
from robolearn.agents.dqn import td_loss, td_target
from robolearn.agents.on_policy import explained_variance
from robolearn.agents.ppo import (
    PPOBatch,
    adapt_learning_rate,
    clipped_surrogate_loss,
    update_metrics,
    value_loss,
)
from robolearn.agents.pqn import PQNBatch, q_loss
from robolearn.buffers.replay_buffer import ReplayBatch
from robolearn.networks.actor_critic import CategoricalDistribution
from robolearn.networks.q_network import CategoricalReturn, Expectation

MEAN = Expectation()


class Table(nn.Module):
    """Constant action values."""

    def __init__(self, *values):
        super().__init__()
        self.values = nn.Parameter(torch.tensor(values))

    def forward(self, obs):
        return self.values[:, None].expand(len(obs), -1, -1)


def transitions(*, action, reward, discount, weight=None):
    count = len(action)
    ones = [1.0] * count
    return ReplayBatch(
        torch.zeros(count, 1),
        torch.tensor(action),
        torch.tensor(reward),
        torch.zeros(count, 1),
        torch.tensor(discount),
        torch.tensor(weight or ones),
    )


def loss_of(online, target, batch, *, double):
    """Put the parts of a gradient step together as DQN does."""
    with torch.no_grad():
        next_output = target(batch.next_obs)
        chooser = MEAN.mean(online(batch.next_obs) if double else next_output)
        goal = td_target(MEAN, batch, next_output, chooser)
    return td_loss(
        MEAN,
        gather_actions(online(batch.obs), batch.action),
        goal,
        batch.weight,
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
    assert loss_of(online, target, batch, double=double).item() == pytest.approx(expected)


def test_td_loss_averages_over_the_valid_transitions():
    online, target = Table(1.0, 3.0), Table(0.0, 0.0)
    batch = transitions(
        action=[0, 1, 0], reward=[4.0, 3.5, 100.0], discount=[0.9] * 3, weight=[1.0, 1.0, 0.0]
    )
    # Errors 3 and 0.5 cost 2.5 and 0.125, averaged over two; the third was only a reset.
    assert loss_of(online, target, batch, double=True).item() == pytest.approx(1.3125)


def test_td_loss_of_resets_alone_is_zero():
    batch = transitions(action=[0], reward=[100.0], discount=[0.9], weight=[0.0])
    assert loss_of(Table(1.0), Table(1.0), batch, double=True).item() == 0.0


def test_td_loss_weighs_transitions_by_importance():
    # Errors 3 and 0.5 cost 2.5 and 0.125: (0.5 * 2.5 + 1 * 0.125) / 2; the third does not count.
    batch = transitions(
        action=[0, 1, 0], reward=[4.0, 3.5, 9.0], discount=[0.9] * 3, weight=[0.5, 1.0, 0.0]
    )
    loss = loss_of(Table(1.0, 3.0), Table(0.0, 0.0), batch, double=True)
    assert loss.item() == pytest.approx(0.6875)


def test_td_targets_of_a_distribution_are_those_of_the_action_its_chooser_likes_best():
    # Atoms 0, 1, 2. Action 0 is surely worth 2 and action 1 surely 0, but the chooser likes 1:
    # 1 + 0.5 * 0 is the middle atom. By the network's own means it is 1 + 0.5 * 2, the last one.
    kind = CategoricalReturn(3, 0.0, 2.0)
    output = torch.tensor([[[-50.0, -50.0, 50.0], [50.0, -50.0, -50.0]]])
    batch = transitions(action=[0], reward=[1.0], discount=[0.5])
    chosen = td_target(kind, batch, output, torch.tensor([[3.0, 4.0]]))
    assert chosen.tolist() == [pytest.approx([0.0, 1.0, 0.0])]
    own = td_target(kind, batch, output, kind.mean(output))
    assert own.tolist() == [pytest.approx([0.0, 0.0, 1.0])]


def test_gather_actions_picks_one_action_of_each_row_with_all_its_numbers():
    output = torch.arange(24.0).view(2, 2, 3, 2)  # rows (2, 2), 3 actions, width 2
    action = torch.tensor([[2, 0], [1, 1]])
    # Row r begins at 6 r, action a at 2 a further on: 0 + 4, 6 + 0, 12 + 2, 18 + 2.
    assert gather_actions(output, action).tolist() == [[[4, 5], [6, 7]], [[14, 15], [20, 21]]]


def test_q_loss_is_half_the_mean_squared_error_of_the_actions_gather_actions():
    # Errors 2 - 5 = -3 and 30 - 29 = 1: (9 + 1) / 2 / 2.
    q = torch.tensor([[1.0, 2.0], [30.0, 40.0]], requires_grad=True)
    batch = PQNBatch(torch.zeros(2, 1), torch.tensor([1, 0]), torch.tensor([5.0, 29.0]))
    loss = q_loss(q, batch)
    assert loss.item() == 2.5
    # Each slope is the error over the number of steps; the other actions have none.
    loss.backward()
    assert q.grad.tolist() == [[0.0, -1.5], [0.5, 0.0]]


@pytest.mark.parametrize("double", [True, False])
def test_td_gradients_reach_the_action_gather_actions_by_the_online_network_only(double):
    online, target = Table(1.0, 3.0), Table(9.0, 4.0)
    batch = transitions(action=[0], reward=[2.0], discount=[0.9])
    loss_of(online, target, batch, double=double).backward()
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
    loss = clipped_surrogate_loss(log_prob, steps([old], [advantage]), clip_range=0.2)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    # d(ratio * A) / d(log_prob) = ratio * A, where it is not held.
    loss.backward()
    assert log_prob.grad.item() == pytest.approx(slope, rel=1e-5)


def test_clipped_policy_loss_averages():
    # Ratios 1 and 1 with advantages 1 and -4: -(1 - 4) / 2.
    batch = steps([-1.0, -2.0], [1.0, -4.0])
    loss = clipped_surrogate_loss(torch.tensor([-1.0, -2.0]), batch, clip_range=0.2)
    assert loss.item() == pytest.approx(1.5)


def steps(log_prob, advantage):
    unused = torch.zeros(len(log_prob))
    return PPOBatch(
        unused,
        unused,
        torch.tensor(advantage),
        unused,
        unused,
        torch.tensor(log_prob),
        unused[:, None],
    )


@pytest.mark.parametrize(
    ("clip", "value", "expected", "slope"),
    [
        # The value was 1 and should have been 3. Without a clip (3 - v)^2.
        (None, 2.0, 1.0, -2.0),
        (None, 0.0, 9.0, -6.0),
        (0.5, 1.25, 3.0625, -3.5),  # moved by no more than the clip: as without
        (0.5, 2.0, 2.25, 0.0),  # moved further and nearer: held at 1.5, (3 - 1.5)^2
        (0.5, 0.0, 9.0, -6.0),  # moved away: the end of the range, 0.5, would be better, so not
        (0.5, 5.0, 4.0, 4.0),  # beyond the target and worse than 1.5 would be: (5 - 3)^2
    ],
)
def test_value_loss_by_hand(clip, value, expected, slope):
    told = torch.tensor([value], requires_grad=True)
    loss = value_loss(told, valued([1.0], [3.0]), clip)
    assert loss.item() == expected
    loss.backward()
    assert told.grad.item() == slope


@pytest.mark.parametrize("clip", [None, 10.0])
def test_value_loss_is_the_mean_squared_error(clip):
    # Errors 2 and -1: (4 + 1) / 2.
    assert value_loss(torch.tensor([1.0, 2.0]), valued([0.0, 0.0], [3.0, 1.0]), clip) == 2.5


def valued(value, target):
    unused = torch.zeros(len(value))
    value, target = torch.tensor(value), torch.tensor(target)
    return PPOBatch(unused, unused, unused, value, target, unused, unused[:, None])


def test_the_approximate_kl_by_hand():
    # Both actions had probability 1/2 and now have 3/4 and 1/4: ratios 1.5 and 0.5 give
    # 0.5 - log 1.5 = 0.0945 and -0.5 + log 2 = 0.1931 (ratio - 1 - log ratio).
    net = SimpleNamespace(policy=nn.Identity(), head=CategoricalDistribution(2))
    logits = torch.tensor([[3.0, 1.0], [3.0, 1.0]]).log()
    batch = steps([math.log(0.5)] * 2, [0.0, 0.0])._replace(action=torch.tensor([0, 1]))
    losses = torch.zeros(1, 3)
    metrics = update_metrics(net, logits, batch, losses, 0.45)
    assert metrics["train/approx_kl"].item() == pytest.approx((math.log(2) - math.log(1.5)) / 2)
    assert metrics["train/clip_fraction"] == 1.0  # both ratios are 0.5 away from 1
    assert update_metrics(net, logits, batch, losses, 0.55)["train/clip_fraction"] == 0.0


@pytest.mark.parametrize(
    ("predicted", "expected"),
    [
        ([1.0, 3.0], 1.0),
        ([5.0, 7.0], 1.0),  # an offset is not seen
        ([2.0, 2.0], 0.0),
        ([3.0, 1.0], -3.0),  # errors -2 and 2: 1 - 4 / 1
    ],
)
def test_explained_variance_by_hand(predicted, expected):
    # Returns 1 and 3 have variance 1.
    found = explained_variance(torch.tensor(predicted), torch.tensor([1.0, 3.0])).item()
    assert found == pytest.approx(expected)


def test_constant_returns_have_no_variance_to_explain():
    assert explained_variance(torch.tensor([1.0, 2.0]), torch.ones(2)) == 0.0


@pytest.mark.parametrize(
    ("rate", "kl", "expected"),
    [
        (3e-3, 0.0201, 2e-3),  # more than twice 0.01: 3 / 1.5
        (3e-3, 0.02, 3e-3),  # twice, half and all between: as it was
        (3e-3, 0.01, 3e-3),
        (3e-3, 0.005, 3e-3),
        (3e-3, 0.0049, 4.5e-3),  # less than half: 3 * 1.5
        (3e-3, 0.0, 3e-3),  # nothing was measured, as in rsl_rl
        (8e-3, 0.001, 1e-2),  # 12e-3 is too much
        (1.2e-5, 1.0, 1e-5),  # 0.8e-5 is too little
        (5e-6, 1.0, 5e-6),  # below the range already: not raised where it is to be lowered
        (3e-2, 0.001, 3e-2),  # above it already: not lowered where it is to be raised
    ],
)
def test_the_learning_rate_is_adapted_by_hand(rate, kl, expected):
    assert adapt_learning_rate(rate, kl, target=0.01) == pytest.approx(expected)
