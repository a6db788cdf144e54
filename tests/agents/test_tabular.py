"""Q-learning and SARSA in a table, against arithmetic, slow loops and planning."""

import inspect
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from probe_env import MODES, STATES, Walk

from robolearn.agents.dqn import DQN
from robolearn.agents.tabular import (
    SARSA,
    QLearning,
    learn_targets,
    state_sizes,
    states,
)
from robolearn.agents.value_iteration import policy_value, value_iteration
from robolearn.errors import RobolearnError
from robolearn.spaces import flatten_batch
from robolearn_envs.toy.finite import FiniteMDP

GAME, RECOMMENDER = "robolearn/RingWalk-v0", "robolearn/Recommender-v0"

every_agent = pytest.mark.parametrize("agent_class", [QLearning, SARSA])
every_mode = pytest.mark.parametrize("mode", MODES, ids=[mode.name for mode in MODES])


class Ring(VectorEnv):
    """One environment: action a leads from state s to s + 1 + a (mod 3) and pays s + 2 a.

    Episodes begin in state 0; the next ones, where every step ``ends`` one, in state 2.
    """

    metadata = {"autoreset_mode": AutoresetMode.DISABLED}  # noqa: RUF012 - as Gymnasium has it
    num_envs = 1
    single_observation_space = spaces.Discrete(3)
    single_action_space = spaces.Discrete(2)
    observation_space = batch_space(single_observation_space, 1)
    action_space = batch_space(single_action_space, 1)

    def __init__(self, ends=None):
        self.ends, self.seen = ends, []

    def reset(self, *, seed=None, options=None):
        self.state = 2 if options else 0
        return np.array([self.state]), {}

    def step(self, actions):
        action = int(actions[0])
        self.seen.append((self.state, action))
        reward, self.state = self.state + 2.0 * action, (self.state + 1 + action) % 3
        flags = (np.array([self.ends == end]) for end in ("terminated", "truncated"))
        return np.array([self.state]), np.array([reward]), *flags, {}


class Counted(Walk):
    """The walk, whose states are told as numbers."""

    def __init__(self, mode, **options):
        super().__init__(mode, **options)
        self.single_observation_space = spaces.Discrete(STATES)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)

    def _observe(self):
        return self._elapsed % STATES


class Played(VectorEnv):
    """Plays a finite process fast; episodes begin in any state and are cut after any step.

    What an action earns is its expected reward, which does not change any value.
    """

    metadata = {"autoreset_mode": AutoresetMode.DISABLED}  # noqa: RUF012

    def __init__(self, mdp, num_envs=256):
        self.num_envs, self.reward = num_envs, mdp.reward
        self.edges = mdp.continues.cumsum(axis=2)
        self.single_observation_space = spaces.Discrete(mdp.reward.shape[0])
        self.single_action_space = spaces.Discrete(mdp.reward.shape[1])
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.state = np.zeros(num_envs, dtype=np.int64)

    def reset(self, *, seed=None, options=None):
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        mask = options["reset_mask"] if options else np.ones(self.num_envs, dtype=bool)
        self.state[mask] = self.rng.integers(len(self.reward), size=int(mask.sum()))
        return self.state.copy(), {}

    def step(self, actions):
        reward, edges = self.reward[self.state, actions], self.edges[self.state, actions]
        following = (edges < self.rng.random((self.num_envs, 1))).sum(axis=1)
        terminated = following == len(self.reward)  # the row sums to less than was drawn
        self.state = np.where(terminated, self.state, following)
        truncated = self.rng.random(self.num_envs) < 0.05
        return self.state.copy(), reward, terminated, truncated, {}


def build(agent_class, env, *, seed=0, kwargs=None, **options):
    return agent_class(env, agent_class.Config(**options), seed=seed, **(kwargs or {}))


def trained(agent_class, env, steps, **options):
    agent = build(agent_class, env, **options).learn(steps)
    agent.close()
    return agent


def table(agent):
    return agent.table.q.numpy()


# One update.


@every_agent
@pytest.mark.parametrize(
    ("ends", "expected"), [(None, 6.65), ("truncated", 6.65), ("terminated", 3.5)]
)
def test_one_update_is_worked_out_by_hand(agent_class, ends, expected):
    envs = Ring(ends)
    options = {"gamma": 0.9, "learning_rate": 0.5, "step_size_exponent": 0.0}
    agent = build(
        agent_class, envs, exploration_initial_eps=0.0, exploration_final_eps=0.0, **options
    )
    before = np.array([[0.0, 5.0], [1.0, 2.0], [7.0, 3.0]])
    table(agent)[:] = before
    agent.learn(1)
    # From 0 the best action, 1, leads to 2 and pays 2. The best there is worth 7:
    # 5 + 0.5 (2 + 0.9 * 7 - 5) = 6.65. Death is worth nothing: 5 + 0.5 (2 - 5) = 3.5.
    assert table(agent)[0, 1] == pytest.approx(expected)
    before[0, 1] = expected
    np.testing.assert_allclose(table(agent), before)
    assert agent.table.visits.tolist() == [[0, 1], [0, 0], [0, 0]]


@every_agent
def test_at_a_time_limit_the_state_reached_counts_and_not_that_of_the_reset(agent_class):
    envs = Ring("truncated")
    options = {"gamma": 0.9, "learning_rate": 0.5, "step_size_exponent": 0.0}
    agent = build(
        agent_class, envs, exploration_initial_eps=0.0, exploration_final_eps=0.0, **options
    )
    table(agent)[:] = [[5.0, 0.0], [1.0, 2.0], [7.0, 3.0]]
    agent.learn(2)
    # From 0 action 0 leads to 1, worth 2, and pays 0: 5 + 0.5 (0 + 0.9 * 2 - 5) = 3.4. Then from
    # the reset, 2, action 0 is best (in 1 it was 1), leads to 0, worth 3.4, and pays 2:
    # 7 + 0.5 (2 + 0.9 * 3.4 - 7) = 6.03.
    np.testing.assert_allclose(table(agent), [[3.4, 0.0], [1.0, 2.0], [6.03, 3.0]])
    assert envs.seen == [(0, 0), (2, 0)]


def test_sarsa_learns_from_the_actions_that_it_takes_next():
    # Retold by a loop over what the environment saw; its last action is needed for the one before.
    steps, gamma = 40, 0.9
    envs = Ring()
    agent = build(SARSA, envs, gamma=gamma, learning_rate=0.5, exploration_final_eps=1.0)
    agent.learn(steps - 1)
    learned = table(agent).copy()
    agent.learn(1)
    q, visits = np.zeros((3, 2)), np.zeros((3, 2))
    for (s, a), (s_next, a_next) in zip(envs.seen[:-1], envs.seen[1:], strict=True):
        visits[s, a] += 1
        target = s + 2.0 * a + gamma * q[s_next, a_next]
        q[s, a] += 0.5 / visits[s, a] ** 0.5 * (target - q[s, a])
    np.testing.assert_allclose(learned, q, rtol=1e-6)
    assert (visits > 3).all()


def test_q_learning_learns_of_the_best_action_whichever_it_takes():
    envs = Ring()
    agent = build(QLearning, envs, gamma=0.9, learning_rate=0.5, exploration_final_eps=1.0).learn(
        40
    )
    q, visits = np.zeros((3, 2)), np.zeros((3, 2))
    for s, a in envs.seen:
        visits[s, a] += 1
        target = s + 2.0 * a + 0.9 * q[(s + 1 + a) % 3].max()
        q[s, a] += 0.5 / visits[s, a] ** 0.5 * (target - q[s, a])
    np.testing.assert_allclose(table(agent), q, rtol=1e-6)
    assert agent.table.visits.tolist() == visits.tolist()


# Several environments in the same state.


def moved(entry, target, *, rate, power):
    q, visits = np.array([10.0, 0.0, 4.0]), np.array([0, 1, 3])
    learn_targets(q, visits, np.array(entry, np.int64), np.array(target), rate=rate, power=power)
    return q.tolist(), visits.tolist()


def test_with_rate_and_power_1_an_entry_is_the_mean_of_all_its_targets():
    # Entry 0 had none: (1 + 2 + 6) / 3 = 3. Entry 2 had three with mean 4: (3 * 4 + 10 + 8) / 5.
    q, visits = moved([0, 2, 0, 2, 0], [1.0, 10.0, 2.0, 8.0, 6.0], rate=1.0, power=1.0)
    assert q == pytest.approx([3.0, 0.0, 6.0])
    assert visits == [3, 1, 5]


def test_at_a_constant_rate_two_visits_at_once_go_as_far_as_two_in_a_row():
    # Twice half of the way to the mean, 4: 10 -> 7 -> 5.5.
    q, visits = moved([0, 0], [2.0, 6.0], rate=0.5, power=0.0)
    assert q == pytest.approx([5.5, 0.0, 4.0])
    assert visits == [2, 1, 3]


def test_the_rate_falls_with_the_power_of_the_visits():
    # The fourth visit: 0.8 / sqrt(4) = 0.4 of the way from 4 to 10.
    assert moved([2], [10.0], rate=0.8, power=0.5)[0] == pytest.approx([10.0, 0.0, 6.4])


def test_the_order_of_environments_does_not_matter():
    entry, target = [0, 1, 0, 2, 0, 2], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    one = moved(entry, target, rate=0.7, power=0.6)
    other = moved(entry[::-1], target[::-1], rate=0.7, power=0.6)
    assert one[0] == pytest.approx(other[0], rel=1e-14)
    assert one[1] == other[1]


def test_no_visit_changes_nothing():
    assert moved([], [], rate=1.0, power=0.0) == ([10.0, 0.0, 4.0], [0, 1, 3])


# Time limits and resets.


@pytest.mark.slow
@every_mode
@every_agent
def test_an_endless_walk_cut_by_a_time_limit_has_the_values_of_the_endless_one(agent_class, mode):
    # Rewards 1, 0, 3 on leaving states 0, 1, 2 for ever: V(0) = 1 + g V(1), V(1) = g V(2) and
    # V(2) = 3 + g V(0), so V(0) = (1 + 3 g^2) / (1 - g^3). A step that only resets comes from
    # state 2 and pays nothing: counted as one it would spoil V(2).
    envs = Counted(mode, rewards=(1.0, 0.0, 3.0))
    rate = {"learning_rate": 0.5, "step_size_exponent": 0.0}
    agent = trained(agent_class, envs, 4000, gamma=0.8, **rate)
    v0 = (1 + 3 * 0.8**2) / (1 - 0.8**3)
    v2 = 3 + 0.8 * v0
    expected = np.array([v0, 0.8 * v2, v2])
    np.testing.assert_allclose(table(agent), np.stack([expected, expected], axis=1), rtol=1e-3)


@pytest.mark.slow
@every_mode
@every_agent
def test_death_is_worth_nothing(agent_class, mode):
    # Reward 1 on leaving state 1; the walk 0 1 2 0 1 and then death: half of the steps from 1 are
    # the last. V(1) = 1 + g V(2) / 2, V(2) = g V(0) and V(0) = g V(1), so V(1) = 1 / (1 - g^3 / 2).
    envs = Counted(mode, num_envs=20, rewards=(0.0, 1.0, 0.0), terminates=True)
    agent = trained(agent_class, envs, 10_000, gamma=0.8)
    v1 = 1 / (1 - 0.8**3 / 2)
    expected = np.array([0.8 * v1, v1, 0.8**2 * v1])
    np.testing.assert_allclose(table(agent), np.stack([expected, expected], axis=1), rtol=0.05)


# Learning.


def toy_text(env_id):
    return FiniteMDP.from_toy_text(gym.make(env_id).unwrapped.P)


def soft_q(mdp, gamma, epsilon):
    """Q of the epsilon-greedy policy that is greedy by its own Q, by policy iteration."""
    count, actions = mdp.reward.shape
    q = np.zeros((count, actions))
    while True:
        policy = np.full((count, actions), epsilon / actions)
        policy[np.arange(count), q.argmax(axis=1)] += 1 - epsilon
        before, q = q, mdp.reward + gamma * mdp.continues @ policy_value(mdp, policy, gamma)
        if np.allclose(q, before, rtol=0, atol=1e-12):
            return q


class Problem(NamedTuple):
    """A process, where to learn it, and how."""

    mdp: FiniteMDP
    env: Any
    kwargs: dict[str, int]
    num_envs: int
    steps: int
    power: float


def problem(name):
    if name == "game":
        return Problem(gym.make(GAME).unwrapped.mdp(), GAME, {}, 64, 40_000, 0.6)
    if name == "recommender":
        few = {"users": 3, "items": 4}
        mdp = gym.make(RECOMMENDER, **few).unwrapped.mdp()
        return Problem(mdp, RECOMMENDER, few, 128, 80_000, 0.7)
    lake = toy_text("FrozenLake-v1")  # whoever begins at its start seldom sees all of it
    return Problem(lake, Played(lake), {}, 256, 300_000, 0.9)


def learned(agent_class, task, epsilon):
    agent = trained(
        agent_class,
        task.env,
        task.steps,
        kwargs=task.kwargs,
        num_envs=task.num_envs,
        gamma=0.8,
        step_size_exponent=task.power,
        exploration_initial_eps=epsilon,
        exploration_final_eps=epsilon,
    )
    return table(agent)


every_problem = pytest.mark.parametrize("name", ["game", "recommender", "lake"])


@pytest.mark.slow
@every_problem
def test_q_learning_finds_the_values_of_the_best_policy_acting_at_random(name):
    task = problem(name)
    optimal = value_iteration(task.mdp, 0.8)
    q = learned(QLearning, task, 1.0)
    np.testing.assert_allclose(q, optimal, rtol=0, atol=0.02 * optimal.max())


@pytest.mark.slow
@every_problem
def test_sarsa_finds_the_values_of_its_own_exploring_policy(name):
    task = problem(name)
    own = soft_q(task.mdp, 0.8, 0.3)
    # It is told apart from the best policy, whose values are up to 5 % higher.
    assert (value_iteration(task.mdp, 0.8) - own).max() > 0.04 * own.max()
    np.testing.assert_allclose(learned(SARSA, task, 0.3), own, rtol=0, atol=0.02 * own.max())


@pytest.mark.slow
def test_where_nothing_slips_a_rate_of_1_is_exact():
    # Gymnasium's own lake, not slippery: each target is the truth once the next state's is.
    options = {"kwargs": {"is_slippery": False}, "gamma": 0.9, "step_size_exponent": 0.0}
    agent = trained(QLearning, "FrozenLake-v1", 30_000, exploration_final_eps=1.0, **options)
    lake = gym.make("FrozenLake-v1", is_slippery=False).unwrapped.P
    np.testing.assert_allclose(
        table(agent), value_iteration(FiniteMDP.from_toy_text(lake), 0.9), atol=1e-6
    )


@every_agent
def test_without_a_report_s_remainder_as_many_steps_are_made_as_asked_for(agent_class):
    # 4 environments: 101 steps are 26 rows, 104 steps; reports after rows 16 and 26.
    agent = build(agent_class, GAME, num_envs=4)
    assert [report.steps for report in agent.iterate(101)] == [64, 104]
    agent.close()


@every_agent
def test_epsilon_falls_while_it_learns(agent_class):
    # 4 environments, 512 steps: 8 reports, of which the first begins after 0/8 of the steps; the
    # fall from 1 to 0.2 takes 4 of them.
    agent = build(agent_class, GAME, num_envs=4, exploration_final_eps=0.2)
    epsilon = [report.metrics["rollout/exploration_rate"] for report in agent.iterate(512)]
    agent.close()
    assert epsilon == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2, 0.2, 0.2, 0.2])


@every_agent
def test_the_same_seed_learns_the_same_table_and_another_seed_another(agent_class):
    one, same, other = (
        trained(agent_class, GAME, 500, seed=seed, num_envs=4) for seed in (3, 3, 4)
    )
    assert (table(one) == table(same)).all()
    assert (one.table.visits == same.table.visits).all()
    assert (one.table.visits != other.table.visits).any()


@every_agent
def test_predicting_does_not_change_what_is_learned_next(agent_class):
    quiet, asked = (build(agent_class, GAME, num_envs=4) for _ in range(2))
    asked.predict(np.arange(11))
    assert (table(quiet.learn(300)) == table(asked.learn(300))).all()
    quiet.close()
    asked.close()


# Acting, saving, spaces.


@every_agent
def test_predict_has_the_signature_of_the_other_agents(agent_class):
    assert inspect.signature(agent_class.predict) == inspect.signature(DQN.predict)


@every_agent
def test_predict_takes_the_best_action_or_explores_at_the_last_rate(agent_class):
    agent = build(agent_class, GAME, exploration_final_eps=0.4)
    table(agent)[3] = [1.0, 2.0]
    best, state = agent.predict(3, "kept", deterministic=True)
    assert (int(best), np.ndim(best), state) == (1, 0, "kept")
    assert agent.predict(np.array([3, 2]), deterministic=True)[0].tolist() == [1, 0]
    # epsilon 0.4, two actions: the other one in 20 % of 20,000 draws; 4 deviations of 57.
    drawn = agent.predict(np.full(20_000, 3))[0]
    assert abs(int((drawn == 0).sum()) - 4000) < 4 * 57
    np.testing.assert_array_equal(agent.q_values(np.array([3, 0])), [[1.0, 2.0], [0.0, 0.0]])


@every_agent
def test_an_agent_read_back_is_the_one_written_and_learns_on(agent_class, tmp_path):
    agent = trained(agent_class, GAME, 512, num_envs=4, gamma=0.5, seed=5)
    agent.save(tmp_path / "agent")
    files = {path.name for path in (tmp_path / "agent").iterdir()}
    names = ("state.json", "manifest.json", "table.safetensors", "random.safetensors")
    assert files == set(names)
    again, twin = (agent_class.load(tmp_path / "agent") for _ in range(2))
    assert (again.steps, again.config, again.seed) == (512, agent.config, 5)
    assert (table(again) == table(agent)).all()
    assert (again.table.visits == agent.table.visits).all()
    places = np.arange(11)
    assert (again.predict(places)[0] == agent.predict(places)[0]).all()
    twin.predict(places)
    assert (table(again.learn(64)) == table(twin.learn(64))).all()
    assert again.steps == 576
    again.close()
    twin.close()


@every_agent
def test_observations_that_are_no_numbers_of_a_few_are_refused_in_a_line(agent_class):
    refused = rf"^{agent_class.__name__} keeps a table, .* Discrete .*got Box\(.*Use DQN or PPO\.$"
    with pytest.raises(RobolearnError, match=refused):
        agent_class("CartPole-v1")


def test_a_table_too_large_to_learn_is_refused_in_a_line():
    envs = Ring()
    envs.single_observation_space = spaces.MultiDiscrete([1000, 1000, 1000])
    with pytest.raises(RobolearnError, match=r"1,000,000,000 states and 2 actions"):
        QLearning(envs)


@pytest.mark.parametrize(
    ("space", "sizes"),
    [
        (spaces.Discrete(4, start=2), (4,)),
        (spaces.MultiDiscrete([[2, 3], [4, 5]]), (2, 3, 4, 5)),
        (spaces.Tuple([spaces.Discrete(2), spaces.MultiDiscrete([3, 2])]), (2, 3, 2)),
        (spaces.Dict({"a": spaces.Discrete(3), "b": spaces.Discrete(2)}), (3, 2)),
        (spaces.Tuple([spaces.Discrete(2), spaces.Box(0, 1)]), None),
        (spaces.MultiBinary(3), None),
    ],
    ids=lambda given: type(given).__name__,
)
def test_the_sizes_of_a_table_are_those_of_the_space(space, sizes):
    assert state_sizes(space) == sizes


def test_every_observation_of_a_tuple_has_a_row_of_its_own():
    space = spaces.Tuple([spaces.Discrete(2, start=5), spaces.Discrete(3)])
    every = [(a, b) for a in (5, 6) for b in range(3)]
    flat = np.stack([flatten_batch(space, one, None) for one in every])
    assert states(flat, (2, 3)).tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.slow
@every_agent
def test_blackjack_is_learned_in_a_table_of_its_tuples(agent_class):
    agent = trained(agent_class, "Blackjack-v1", 2000)
    assert table(agent).shape == (32 * 11 * 2, 2)
    seen = np.flatnonzero(agent.table.visits.sum(dim=1).numpy())
    # Nobody's turn comes with more than 21, nor with less than 4, against no card, of 32 x 11 x 2.
    hand, dealer, _ = np.unravel_index(seen, (32, 11, 2))
    assert (hand >= 4).all()
    assert (hand <= 21).all()
    assert (dealer >= 1).all()
    assert agent.predict((21, 5, 0), deterministic=True)[0] == 0  # sticks at 21
