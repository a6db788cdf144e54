"""Advantages and returns are the papers' double sums, cut where an episode ends."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robolearn.agents.ppo import gae
from robolearn.agents.pqn import lambda_returns


def slow_gae(reward, value, next_value, terminated, done, gamma, lam):
    """Sum (gamma * lam)^k delta[t + k] over the rest of step t's episode, one term at a time."""
    steps, envs = reward.shape
    advantage = np.zeros((steps, envs))
    for env in range(envs):
        for t in range(steps):
            weight = 1.0
            for k in range(t, steps):
                future = 0.0 if terminated[k, env] else gamma * next_value[k, env]
                advantage[t, env] += weight * (reward[k, env] + future - value[k, env])
                if done[k, env]:
                    break
                weight *= gamma * lam
    return advantage


@st.composite
def rollouts(draw):
    shape = (draw(st.integers(1, 9)), draw(st.integers(1, 3)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    chance = draw(st.sampled_from([0.0, 0.2, 0.6]))
    terminated, truncated = rng.random((2, *shape)) < chance
    reward, value, next_value = rng.normal(scale=3.0, size=(3, *shape))
    return reward, value, next_value, terminated, terminated | truncated


# Exact in float32, in which products with a mask are taken: so 1e-6 can be asked for.
gammas = st.sampled_from([0.0, 0.5, 0.96875, 1.0])
lams = st.sampled_from([0.0, 0.25, 0.875, 1.0])


@settings(deadline=None)
@given(rollouts(), gammas, lams)
def test_gae_is_the_double_sum(rollout, gamma, lam):
    tensors = [torch.from_numpy(array) for array in rollout]
    advantage = gae(*tensors, gamma=gamma, lam=lam)
    expected = slow_gae(*rollout, gamma, lam)
    np.testing.assert_allclose(advantage.numpy(), expected, rtol=1e-6, atol=1e-6)


def test_gae_by_hand():
    # One environment, gamma 0.5, lambda 0.5, so steps are carried with 0.25.
    #   step  reward  V   V(reached)  ends       delta
    #   0     1       2   4           no         1 + 0.5 * 4 - 2    = 1
    #   1     3       4   8           truncated  3 + 0.5 * 8 - 4    = 3   (the limit is no death)
    #   2     5       6   10          no         5 + 0.5 * 10 - 6   = 4
    #   3     7       10  99          dies       7 - 10             = -3  (whatever it reached)
    # Backwards: A3 = -3; A2 = 4 + 0.25 * -3 = 3.25; A1 = 3, since A2 is of another episode;
    # A0 = 1 + 0.25 * 3 = 1.75.
    reward = torch.tensor([[1.0], [3.0], [5.0], [7.0]])
    value = torch.tensor([[2.0], [4.0], [6.0], [10.0]])
    next_value = torch.tensor([[4.0], [8.0], [10.0], [99.0]])
    terminated = torch.tensor([[False], [False], [False], [True]])
    done = torch.tensor([[False], [True], [False], [True]])
    advantage = gae(reward, value, next_value, terminated, done, gamma=0.5, lam=0.5)
    assert advantage.squeeze(1).tolist() == [1.75, 3.0, 3.25, -3.0]


def test_gae_leaves_its_arguments_alone():
    arrays = [torch.ones(3, 2), torch.ones(3, 2), torch.ones(3, 2)]
    flags = [torch.zeros(3, 2, dtype=torch.bool), torch.zeros(3, 2, dtype=torch.bool)]
    gae(*arrays, *flags, gamma=0.9, lam=0.9)
    assert all(bool((array == 1).all()) for array in arrays)
    assert not any(bool(flag.any()) for flag in flags)


def slow_lambda_return(reward, next_value, terminated, done, t, gamma, lam):
    """Average the n-step returns of step t of one environment, n by n (Sutton & Barto, 12.3).

    The n-step return has weight (1 - lam) lam^(n-1), the longest all that is left.
    """
    total, left, earned = 0.0, 1.0, 0.0
    for k in range(t, len(reward)):
        n = k - t + 1
        earned += gamma ** (n - 1) * reward[k]
        reached = 0.0 if terminated[k] else gamma**n * next_value[k]
        if done[k] or k == len(reward) - 1:
            return total + left * (earned + reached)
        total += left * (1 - lam) * (earned + reached)
        left *= lam


def slow_reward_to_go(reward, next_value, terminated, done, t, gamma):
    """Add up what step t of one environment and those after it earn, to where it is cut."""
    total = 0.0
    for k in range(t, len(reward)):
        total += gamma ** (k - t) * reward[k]
        if terminated[k]:
            return total
        if done[k]:
            break
    return total + gamma ** (k - t + 1) * next_value[k]


def each(oracle, rollout, *args):
    steps, envs = rollout[0].shape
    columns = [[array[:, env] for array in rollout] for env in range(envs)]
    return [[oracle(*column, t, *args) for column in columns] for t in range(steps)]


@settings(deadline=None)
@given(rollouts(), st.sampled_from([0.0, 0.5, 0.97, 1.0]), st.sampled_from([0.0, 0.3, 0.9, 1.0]))
def test_lambda_returns_are_averages_of_n_step_returns(rollout, gamma, lam):
    reward, _, *rest = rollout
    tensors = [torch.from_numpy(array) for array in (reward, *rest)]
    found = lambda_returns(*tensors, gamma=gamma, lam=lam)
    expected = each(slow_lambda_return, (reward, *rest), gamma, lam)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6, atol=1e-6)


@settings(deadline=None)
@given(rollouts(), st.sampled_from([0.0, 0.5, 0.97, 1.0]))
def test_lambda_returns_of_lambda_1_are_rewards_to_go(rollout, gamma):
    reward, _, *rest = rollout
    tensors = [torch.from_numpy(array) for array in (reward, *rest)]
    found = lambda_returns(*tensors, gamma=gamma, lam=1.0)
    expected = each(slow_reward_to_go, (reward, *rest), gamma)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6, atol=1e-6)


def test_lambda_returns_by_hand():
    # One environment, gamma 0.5, lambda 0.25.
    #   step  reward  V(reached)  ends       backwards
    #   4     6       16          no (last)  6 + 0.5 * 16                       = 14
    #   3     7       99          dies       7                                  = 7
    #   2     5       8           no         5 + 0.5 * (0.75 * 8 + 0.25 * 7)    = 8.875
    #   1     3       8           truncated  3 + 0.5 * 8                        = 7
    #   0     1       4           no         1 + 0.5 * (0.75 * 4 + 0.25 * 7)    = 3.375
    reward = torch.tensor([[1.0], [3.0], [5.0], [7.0], [6.0]])
    next_value = torch.tensor([[4.0], [8.0], [8.0], [99.0], [16.0]])
    terminated = torch.tensor([[False], [False], [False], [True], [False]])
    done = torch.tensor([[False], [True], [False], [True], [False]])
    found = lambda_returns(reward, next_value, terminated, done, gamma=0.5, lam=0.25)
    assert found.squeeze(1).tolist() == [3.375, 7.0, 8.875, 7.0, 14.0]


def test_lambda_returns_leave_their_arguments_alone():
    arrays = [torch.ones(3, 2), torch.ones(3, 2)]
    flags = [torch.zeros(3, 2, dtype=torch.bool), torch.zeros(3, 2, dtype=torch.bool)]
    lambda_returns(*arrays, *flags, gamma=0.9, lam=0.9)
    assert all(bool((array == 1).all()) for array in arrays)
    assert not any(bool(flag.any()) for flag in flags)


# Steps that are left out, such as those in which a simulation broke down.

LOST = {
    # Rewards of 1 and values of 100 everywhere with gamma 0.99: 1 + 0.99 * 100 = 100, so that all
    # deltas are 0. The third step is lost: without a reward, and as if it had ended an episode.
    "reward": torch.tensor([[1.0], [1.0], [0.0], [1.0]]),
    "next_value": torch.full((4, 1), 100.0),
    "terminated": torch.zeros(4, 1, dtype=torch.bool),
    "done": torch.tensor([[False], [False], [True], [False]]),
    "valid": torch.tensor([[True], [True], [False], [True]]),
}


def test_a_step_left_out_changes_no_advantage_before_it():
    value = torch.full((4, 1), 100.0)
    advantage = gae(value=value, **LOST, gamma=0.99, lam=0.95)
    torch.testing.assert_close(advantage[LOST["valid"]], torch.zeros(3), rtol=0, atol=1e-4)


def test_a_step_left_out_changes_no_lambda_return_before_it():
    returns = lambda_returns(**LOST, gamma=0.99, lam=0.65)
    torch.testing.assert_close(returns[LOST["valid"]], torch.full((3,), 100.0))


def test_the_step_before_one_left_out_is_bootstrapped_as_at_a_time_limit():
    # gamma 0.5, lambda 0.5. The second step is lost, so the first has A = 2 + 0.5 * 4 - 1 = 3 and
    # the return 2 + 0.5 * 4 = 4, whatever the rest is.
    steps = {
        "reward": torch.tensor([[2.0], [0.0], [7.0]]),
        "next_value": torch.tensor([[4.0], [4.0], [9.0]]),
        "terminated": torch.zeros(3, 1, dtype=torch.bool),
        "done": torch.tensor([[False], [True], [False]]),
        "valid": torch.tensor([[True], [False], [True]]),
    }
    value = torch.tensor([[1.0], [4.0], [5.0]])
    assert gae(value=value, **steps, gamma=0.5, lam=0.5)[0].item() == 3.0
    assert lambda_returns(**steps, gamma=0.5, lam=0.5)[0].item() == 4.0
