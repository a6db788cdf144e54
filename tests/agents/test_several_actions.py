"""Policy gradients with several discrete actions at once."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete
from small_agents import POLICIES, build

from robolearn import PPO, PPOConfig, load
from robolearn.agents import AGENTS, agent_class
from robolearn.errors import RobolearnError

SPACES = {
    "MultiDiscrete": MultiDiscrete([2, 3, 4]),
    "MultiDiscrete from other starts": MultiDiscrete([3, 2], start=[5, -1]),
    "MultiDiscrete of two axes": MultiDiscrete([[2, 3], [3, 2]]),
    "MultiBinary": MultiBinary(4),
    "MultiBinary of two axes": MultiBinary([2, 3]),
}
several = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)


class Imitate(gym.Env):
    """Pays for each action that is as the observation asks; best is 1 a step, 8 an episode."""

    observation_space = Box(0.0, 1.0, (3,), np.float32)

    def __init__(self, space):
        self.action_space = space
        self._first = getattr(space, "start", 0)

    def _observe(self):
        self._asked = int(self.np_random.integers(3))
        return np.eye(3, dtype=np.float32)[self._asked]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._steps = 0
        return self._observe(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        counts = getattr(self.action_space, "nvec", 2)
        reward = float(np.mean(action - self._first == self._asked % counts))
        self._steps += 1
        return self._observe(), reward, False, self._steps == 8, {}


@several
def test_ppo_finds_the_best_of_several_actions(space, tmp_path):
    config = PPOConfig(num_envs=8, n_steps=32, batch_size=64, hidden_sizes=(16,), gamma=0.0)
    agent = PPO(lambda: Imitate(space), config, seed=0).learn(8_000)
    counts, first = getattr(space, "nvec", np.full(space.shape, 2)), getattr(space, "start", 0)
    for asked, obs in enumerate(np.eye(3, dtype=np.float32)):
        action, _ = agent.predict(obs, deterministic=True)
        np.testing.assert_array_equal(action, asked % counts + first)
        assert space.contains(action)
    agent.save(tmp_path / "agent")
    again = load(tmp_path / "agent")
    assert again.envs.action_space == space
    many = np.random.default_rng(0).uniform(0, 1, (20, 3)).astype(np.float32)
    np.testing.assert_array_equal(again.predict(many)[0], agent.predict(many)[0])
    assert again.predict(many)[0].shape == (20, *space.shape)
    agent.close()


@pytest.mark.parametrize("name", POLICIES)
def test_all_policy_gradients_learn_and_all_drawn_actions_lie_in_the_space(name):
    space = SPACES["MultiDiscrete from other starts"]
    agent = build(name, lambda: Imitate(space)).learn(256)  # the environment asserts it
    assert agent.steps >= 256
    agent.close()


def test_a_memory_goes_with_several_actions():
    build("ppo", lambda: Imitate(SPACES["MultiBinary"]), gru_hidden_size=8).learn(128).close()


@pytest.mark.parametrize("name", [name for name in AGENTS if name not in POLICIES])
@pytest.mark.parametrize("space", [MultiDiscrete([2, 3]), MultiBinary(2)], ids=str)
def test_value_based_agents_refuse_several_actions(name, space):
    with pytest.raises(RobolearnError, match=r"needs Discrete actions, got Multi.* Use PPO\."):
        agent_class(name)(lambda: Imitate(space))


def test_other_actions_are_refused():
    space = gym.spaces.Tuple([Discrete(2), Discrete(2)])
    with pytest.raises(RobolearnError, match=r"PPO serves Discrete, MultiDiscrete, MultiBinary"):
        PPO(lambda: Imitate(space))
