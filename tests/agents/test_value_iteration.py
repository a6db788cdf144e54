"""Planning in tables, against arithmetic and against slow loops."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from robolearn.agents.value_iteration import horizon, policy_value, value_iteration
from robolearn_envs.toy.finite import FiniteMDP
from robolearn_envs.toy.recommender import Recommender
from robolearn_envs.toy.ring_walk import RingWalk


def chain(stay=0.0):
    """Two states. In 0, action 0 pays 1 and ends; action 1 pays 0 and leads to 1, but stays in 0
    with probability ``stay``. In 1, action 0 pays 3 and ends, action 1 pays -1 and goes to 0."""
    reward = np.array([[1.0, 0.0], [3.0, -1.0]])
    continues = np.zeros((2, 2, 2))
    continues[0, 1] = [stay, 1 - stay]
    continues[1, 1] = [1.0, 0.0]
    return FiniteMDP(reward=reward, continues=continues)


def drifting():
    """Every policy's episodes end: each step goes on with probability 1/2 or 3/4."""
    reward = np.array([[1.0, 2.0], [0.0, 4.0]])
    continues = np.array([[[0.5, 0.25], [0.25, 0.25]], [[0.5, 0.25], [0.25, 0.25]]])
    return FiniteMDP(reward=reward, continues=continues)


@pytest.mark.parametrize(
    ("gamma", "expected"),
    [
        (0.5, [[1.0, 1.5], [3.0, -0.25]]),  # 0.5 * 3 = 1.5 > 1; -1 + 0.5 * 1.5 = -0.25
        (0.25, [[1.0, 0.75], [3.0, -0.75]]),  # 0.25 * 3 = 0.75 < 1; -1 + 0.25 * 1 = -0.75
        (0.0, [[1.0, 0.0], [3.0, -1.0]]),
    ],
)
def test_a_chain_of_two_states_is_worked_out_by_hand(gamma, expected):
    np.testing.assert_allclose(value_iteration(chain(), gamma), expected, atol=1e-10)


def test_where_waiting_is_left_to_chance_it_costs():
    # V(0) = 0.8 (0.5 V(0) + 0.5 * 3), so V(0) = 1.2 / 0.6 = 2; -1 + 0.8 * 2 = 0.6.
    q = value_iteration(chain(stay=0.5), 0.8)
    np.testing.assert_allclose(q, [[1.0, 2.0], [3.0, 0.6]], atol=1e-10)


def test_without_a_discount_episodes_that_must_end_have_values():
    # V(1) = 4 + V(0) / 4 + V(1) / 4 and V(0) = 1 + V(0) / 2 + V(1) / 4 by action 0:
    # V(0) = 2 + V(1) / 2, so V(1) = 4.5 + 3 V(1) / 8 = 7.2 and V(0) = 5.6.
    # The others: 2 + 12.8 / 4 = 5.2 in state 0, and 5.6 / 2 + 7.2 / 4 = 4.6 in state 1.
    q = value_iteration(drifting(), 1.0)
    np.testing.assert_allclose(q, [[5.6, 5.2], [4.6, 7.2]], atol=1e-10)


def test_the_ring_of_five_is_played_with_foresight():
    mdp = RingWalk(states=5).mdp()
    q = value_iteration(mdp, 0.5)
    # The best round is 0 -> 1 -> 4 -> 2 -> 0 with 0, 1, 1 and 1: V(0) = 7/8 + V(0) / 16 = 14/15,
    # V(2) = 1 + 7/15 = 22/15, V(4) = 1 + 11/15 = 26/15, V(1) = 1 + 13/15 = 28/15; from 3 to 4
    # that is as good. In 1 and 4 both actions pay 1, but the other one (to 2, to 0) is worse.
    np.testing.assert_allclose(q.max(axis=1) * 15, [14, 28, 22, 28, 26], atol=1e-8)
    assert q[1].argmax() == 1
    assert q[4].argmax() == 1
    np.testing.assert_allclose([q[1, 0], q[4, 0]], [26 / 15, 22 / 15], atol=1e-10)


def slow_q(outcomes, gamma, sweeps):
    """Optimal action values by Gauss-Seidel loops over a toy-text table."""
    values = {s: 0.0 for s in outcomes}

    def backup(possible):
        return sum(p * (r + gamma * values[n] * (not end)) for p, n, r, end in possible)

    for _ in range(sweeps):
        for s in outcomes:
            values[s] = max(backup(possible) for possible in outcomes[s].values())
    return np.array([[backup(outcomes[s][a]) for a in outcomes[s]] for s in outcomes])


def toy_text(env_id, **kwargs):
    """Return the table of an environment."""
    env: Any = gym.make(env_id, **kwargs).unwrapped
    return env.P


@pytest.mark.parametrize("slippery", [True, False])
@pytest.mark.parametrize("gamma", [0.5, 0.95])
def test_frozen_lake_has_the_values_of_slow_loops(slippery, gamma):
    outcomes = toy_text("FrozenLake-v1", is_slippery=slippery)
    q = value_iteration(FiniteMDP.from_toy_text(outcomes), gamma)
    expected = slow_q(outcomes, gamma, sweeps=700)  # 0.95^700 < 1e-15
    assert expected.max() > 0.3
    np.testing.assert_allclose(q, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("tolerance", [1e-1, 1e-3, 1e-6])
@pytest.mark.parametrize("gamma", [0.5, 0.9, 0.99])
def test_values_are_within_the_tolerance(tolerance, gamma):
    mdp = RingWalk().mdp()
    exact = value_iteration(mdp, gamma, tolerance=1e-12)
    error = np.abs(value_iteration(mdp, gamma, tolerance) - exact).max()
    assert error <= tolerance + 1e-12
    assert error > tolerance / 1000  # and no more work than that takes


def test_a_tolerance_beyond_double_precision_ends_all_the_same():
    q = value_iteration(drifting(), 1.0, tolerance=1e-300)
    np.testing.assert_allclose(q, [[5.6, 5.2], [4.6, 7.2]], rtol=1e-14)


def test_backups_that_go_round_in_rounding_errors_end():
    # Three states in a ring that pay -1, 1 and 0: their last digits would change for ever.
    ring = FiniteMDP(
        reward=np.array([[-1.0], [1.0], [0.0]]), continues=np.eye(3)[[1, 2, 0]][:, None]
    )
    q = value_iteration(ring, 0.99, tolerance=1e-300)
    # A round of three steps: V(0) = -1 + 0.99 + 0.99^3 V(0), V(2) = 0.99 V(0), and so on.
    first = -0.01 / (1 - 0.99**3)
    expected = [first, 1 + 0.99**2 * first, 0.99 * first]
    np.testing.assert_allclose(q[:, 0], expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("mdp", "gamma"),
    [
        (chain(stay=0.3), 0.9),
        (drifting(), 1.0),
        (Recommender().mdp(), 0.95),
        (FiniteMDP.from_toy_text(toy_text("FrozenLake-v1")), 0.99),
    ],
    ids=["chain", "drifting", "recommender", "frozen lake"],
)
def test_the_greedy_policy_is_worth_the_largest_action_values(mdp, gamma):
    q = value_iteration(mdp, gamma, tolerance=1e-12)
    greedy = np.eye(q.shape[1])[q.argmax(axis=1)]
    np.testing.assert_allclose(policy_value(mdp, greedy, gamma), q.max(axis=1), atol=1e-11)


def test_a_policy_that_tosses_coins_is_worked_out_by_hand():
    # V(0) = (1 + 0.5 V(1)) / 2 with 1 and 0 paid, V(1) = (3 - 1 + 0.5 V(0)) / 2 = 1 + V(0) / 4:
    # V(0) = 0.5 + 0.25 (1 + V(0) / 4) = 0.75 / (15 / 16) = 0.8, V(1) = 1.2.
    values = policy_value(chain(), np.full((2, 2), 0.5), gamma=0.5)
    np.testing.assert_allclose(values, [0.8, 1.2], rtol=1e-12)


def test_a_policy_that_ends_needs_no_discount_where_others_do_not_end():
    # Action 1 in 0 and action 0 in 1: 0 + 3 = 3 in state 0.
    policy = np.array([[0.0, 1.0], [1.0, 0.0]])
    np.testing.assert_allclose(policy_value(chain(), policy, gamma=1.0), [3.0, 3.0])
    with pytest.raises(ValueError, match="state 0 where it can go on for ever"):
        policy_value(chain(), np.array([[0.0, 1.0], [0.0, 1.0]]), gamma=1.0)


def test_the_horizon_bounds_the_steps_to_come():
    forever = FiniteMDP(reward=np.zeros((1, 1)), continues=np.ones((1, 1, 1)))
    assert horizon(forever, 0.9) == (pytest.approx(10.0), 7)  # 1 / (1 - 0.9); 0.9^7 = 0.478
    often = FiniteMDP(reward=np.zeros((1, 1)), continues=np.full((1, 1, 1), 0.75))
    assert horizon(often, 1.0) == (pytest.approx(4.0), 3)  # 1 / (1 - 0.75); 0.75^3 = 0.422
    assert horizon(often, 0.8) == (pytest.approx(2.5), 2)  # 1 / (1 - 0.6); 0.6^2 = 0.36
    assert horizon(often, 0.0) == (pytest.approx(1.0), 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: value_iteration(chain(), 1.5), r"gamma must lie in \[0, 1\], got 1\.5"),
        (lambda: value_iteration(chain(), float("nan")), "gamma must lie .* got nan"),
        (lambda: value_iteration(chain(), 1.0), "state 0 where it can go on for ever"),
        (lambda: value_iteration(chain(), 0.5, 0.0), r"tolerance must be positive, got 0\.0"),
        (lambda: policy_value(chain(), np.ones((2, 1)), 0.5), r"shape \(2, 2\), got \(2, 1\)"),
        (lambda: policy_value(chain(), np.ones((2, 2)), 0.5), "rows sum to 1"),
        (lambda: policy_value(chain(), np.array([[2.0, -1.0]] * 2), 0.5), "rows sum to 1"),
        (lambda: policy_value(chain(), np.full((2, 2), 0.5), -0.1), r"gamma .* got -0\.1"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
