"""An agent takes an id, an environment object, a factory or a vector environment."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import RecordEpisodeStatistics, TransformReward
from small_agents import SMALL, TABULAR, every_agent

from robolearn import DQN, PPO, load
from robolearn.agents import AGENTS, agent_class
from robolearn.errors import RobolearnError


def pole():
    return gym.make("CartPole-v1")


def small(name, env, **options):
    return agent_class(name)(env, SMALL[name], **options)


@pytest.mark.parametrize("name", [name for name in AGENTS if name not in TABULAR])
def test_an_agent_learns_in_one_environment_object_and_is_loaded_without_it(name, tmp_path):
    agent = agent_class(name)(pole())
    assert agent.config.num_envs == 1
    agent.learn(70)
    assert agent.steps >= 70
    agent.close()
    agent.save(tmp_path / "agent")
    obs = np.full(4, 0.01, np.float32)
    again = load(tmp_path / "agent")
    expected, _ = agent.predict(obs, deterministic=True)
    np.testing.assert_array_equal(again.predict(obs, deterministic=True)[0], expected)
    with pytest.raises(RobolearnError, match=r"environment object.*give it to load"):
        again.learn(70)
    more = load(tmp_path / "agent", env=pole()).learn(70)
    assert more.steps >= agent.steps + 70


def test_wrapped_environments_are_taken_as_they_are():
    env = RecordEpisodeStatistics(TransformReward(gym.make("Acrobot-v1"), lambda r: -float(r)))
    agent = PPO(env).learn(64)
    assert agent.envs.observation_space == env.observation_space
    assert agent.envs.action_space == gym.spaces.Discrete(3)


@every_agent
def test_a_factory_is_called_for_each_environment(name):
    made = []

    def factory():
        made.append(pole())
        return made[-1]

    agent = small(name, factory, num_envs=3 if name == "dqn" else None)
    assert len(made) == 1  # for the spaces
    agent.learn(64)
    assert len(made) == 1 + agent.config.num_envs
    agent.close()


def test_a_class_is_a_factory():
    class TwoActions(gym.Env):
        observation_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
        action_space = gym.spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            return np.zeros(2, np.float32), {}

        def step(self, action):
            return np.zeros(2, np.float32), 1.0, True, False, {}

    assert PPO(TwoActions, SMALL["ppo"]).learn(64).steps == 64


def test_a_factory_gives_the_same_training_as_the_id():
    # The same environments, seeded alike and cut at the same time limit.
    trained = [small("ppo", env).learn(640) for env in ("CartPole-v1", pole)]
    obs = np.random.default_rng(0).uniform(-1, 1, (100, 4)).astype(np.float32)
    np.testing.assert_array_equal(trained[0].value(obs), trained[1].value(obs))


def test_a_loaded_agent_learns_on_in_a_factorys_environments(tmp_path):
    small("ppo", pole).learn(64).save(tmp_path / "agent")
    agent = load(tmp_path / "agent", env=pole).learn(64)
    assert (agent.steps, agent.config.num_envs) == (128, 4)


@pytest.mark.parametrize("cls", [PPO, DQN])
def test_a_number_of_environments_that_contradicts_is_refused(cls):
    with pytest.raises(RobolearnError, match=r"num_envs must be 1, .*got 4.*function"):
        cls(pole(), num_envs=4)
    three = gym.make_vec("CartPole-v1", num_envs=3, vectorization_mode="sync")
    with pytest.raises(RobolearnError, match=r"num_envs must be 3, .*got 4"):
        cls(three, num_envs=4)
    assert cls(pole(), num_envs=1).config.num_envs == 1


def test_what_is_no_environment_is_refused():
    env = pole()
    with pytest.raises(RobolearnError, match=r"must be a Gymnasium id, .*got 42\."):
        PPO(42)  # pyright: ignore[reportArgumentType]
    with pytest.raises(RobolearnError, match=r"must return a gymnasium\.Env, got int"):
        PPO(lambda: 42)  # pyright: ignore[reportArgumentType]
    with pytest.raises(RobolearnError, match="same environment twice"):
        PPO(lambda: env, num_envs=2).learn(1)
    with pytest.raises(RobolearnError, match="engine can only be given with an environment's id"):
        PPO(env, engine="mujoco")


def test_other_spaces_are_refused_when_loading(tmp_path):
    PPO(pole()).save(tmp_path / "agent")
    with pytest.raises(RobolearnError, match="does not fit what it is given to learn in"):
        load(tmp_path / "agent", env=gym.make("Acrobot-v1"))
