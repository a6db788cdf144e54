"""An evaluation counts what it says it counts: no more short episodes than long ones."""

import gymnasium as gym
import numpy as np
import pytest

import robolearn
from robolearn import PPO, PPOConfig, evaluate
from robolearn.environments import EnvConfig
from robolearn.errors import RobolearnError

BALANCE = "robolearn/CartPoleBalance-v0"


class Fixed:
    """Always the same action, given as SB3 gives it."""

    def __init__(self, action):
        self.action, self.calls = action, []

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        count = len(observation)
        self.calls.append((state, np.array(episode_start), deterministic))
        return np.full(count, self.action), 0 if state is None else state + 1


class ShortOrLong(gym.Env):
    """Half the episodes take 1 step, half 99; each step earns 1, so the mean return is 50."""

    observation_space = gym.spaces.Box(0.0, 1.0, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = 1 if self.np_random.random() < 0.5 else 99
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.left -= 1
        return np.zeros(1, np.float32), 1.0, self.left == 0, False, {}


@pytest.fixture
def short_or_long():
    gym.register("tests/ShortOrLong-v0", ShortOrLong)
    yield "tests/ShortOrLong-v0"
    gym.registry.pop("tests/ShortOrLong-v0")


@pytest.mark.slow
def test_long_episodes_count_as_often_as_short_ones(short_or_long):
    # 20 evaluations of 30 episodes of 1 or 99: mean 50, standard error 49 / sqrt(600) = 2.
    # The first 30 to finish in 25 environments would be some 25 short and 5 long: mean 17.
    means = [evaluate(Fixed(0), short_or_long, episodes=30, seed=seed).mean for seed in range(20)]
    assert abs(np.mean(means) - 50) < 3 * 2


def test_of_few_episodes_none_is_lost_for_being_long(short_or_long):
    # 25 episodes are one for each environment. Those first to finish would all be short.
    result = evaluate(Fixed(0), short_or_long, episodes=25, seed=3)
    envs = [ShortOrLong() for _ in range(25)]
    lengths = []
    for i, env in enumerate(envs):
        env.reset(seed=1_000_000_000 + 3000 + i)
        lengths.append(env.left)
    assert result.lengths.tolist() == lengths
    assert {1, 99} == set(lengths)


@pytest.mark.parametrize("episodes", [1, 7, 25, 26, 60])
def test_exactly_the_episodes_asked_for_are_counted(episodes):
    result = evaluate(Fixed(0), BALANCE, engine="analytic", episodes=episodes)
    assert result.returns.shape == result.lengths.shape == (episodes,)
    assert result.successes.shape == (episodes,)
    assert result.summary()["episodes"] == episodes


def test_no_episodes_are_refused():
    with pytest.raises(RobolearnError, match="at least 1, got 0"):
        evaluate(Fixed(0), BALANCE, episodes=0)


def test_the_same_seed_gives_the_same_numbers_and_another_others():
    def returns(seed):
        return evaluate(Fixed(0), "CartPole-v1", episodes=30, seed=seed).returns.tolist()

    assert returns(4) == returns(4)
    assert returns(4) != returns(5)


def test_returns_are_those_of_single_environments_played_by_hand():
    result = evaluate(Fixed(1), "CartPole-v1", episodes=3, seed=2)
    for i in range(3):
        env = gym.make("CartPole-v1")
        env.reset(seed=1_000_000_000 + 2000 + i)
        total, over = 0.0, False
        while not over:
            _, reward, terminated, truncated, _ = env.step(1)
            total, over = total + reward, terminated or truncated
        env.close()
        assert result.returns[i] == total
        assert result.lengths[i] == total


def test_the_policy_is_told_state_and_starts_of_episodes():
    policy = Fixed(0)
    evaluate(policy, "CartPole-v1", episodes=2, deterministic=False)
    states, starts, deterministic = zip(*policy.calls, strict=True)
    assert states == (None, *range(len(states) - 1))
    assert starts[0].tolist() == [True, True]
    assert not starts[1].any()
    assert any(row.any() for row in starts[2:])
    assert set(deterministic) == {False}


def test_our_agents_are_evaluated_greedily():
    agent = PPO(BALANCE, PPOConfig(hidden_sizes=(8,)), engine="analytic")
    one, other = (evaluate(agent, BALANCE, engine="analytic", episodes=10) for _ in range(2))
    assert one.returns.tolist() == other.returns.tolist()
    drawn = evaluate(agent, BALANCE, engine="analytic", episodes=10, deterministic=False)
    assert drawn.returns.tolist() != one.returns.tolist()


def test_success_is_none_where_the_environment_does_not_say():
    result = evaluate(Fixed(0), "CartPole-v1", episodes=2)
    assert result.successes is None
    assert result.summary()["success_rate"] is None
    assert "success" not in str(result)


def test_the_summary_by_hand():
    result = robolearn.Evaluation(
        returns=np.array([1.0, 3.0]),
        lengths=np.array([4, 8]),
        successes=np.array([True, False]),
        details={"spl": np.array([0.8, 0.0]), "path_length": np.array([3.0, 5.0])},
    )
    assert result.summary() == {
        "episodes": 2,
        "mean_return": 2.0,
        "std_return": 1.0,
        "min_return": 1.0,
        "max_return": 3.0,
        "mean_length": 6.0,
        "success_rate": 0.5,
        "mean_spl": 0.4,
        "mean_path_length": 4.0,
    }
    assert str(result) == "return 2.0 ± 1.0, success 50%, SPL 0.40 (2 episodes)"


def test_what_a_task_tells_of_its_episodes_is_kept_for_each():
    class Still:
        def predict(self, observation, state=None, episode_start=None, deterministic=False):
            return np.zeros((len(observation), 2), np.float32), state

    result = evaluate(
        Still(), "robolearn/NavLidar-v0", engine="analytic", level=0, split="val", episodes=3
    )
    # Who stands still reaches nothing in the 300 steps there are, and drives nowhere.
    assert result.success_rate == 0.0
    assert result.lengths.tolist() == [300, 300, 300]
    assert result.details["path_length"] == pytest.approx(np.zeros(3))
    assert (result.details["geodesic_distance"] >= 1.6).all()
    assert "success" not in result.details


def test_environment_arguments_reach_the_environment():
    with pytest.raises(RobolearnError, match="'continuous' or 'discrete', got 'sideways'"):
        evaluate(Fixed(0), BALANCE, engine="analytic", action="sideways")
    config = EnvConfig(id=BALANCE, engine="analytic")
    assert len(evaluate(Fixed(0), config, episodes=1).returns) == 1


def test_the_public_function_is_no_module_whatever_was_imported_first():
    import robolearn.session
    from robolearn import evaluate as public

    assert callable(public)
    assert callable(robolearn.evaluate)
    assert callable(robolearn.session.evaluate)
