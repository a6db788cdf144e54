"""A saved agent acts from its folder alone: no environment, no simulator, one thread."""

import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
import torch
from small_agents import SMALL, build, every_agent

from robolearn import PPO, load
from robolearn.errors import RobolearnError

OBS = np.zeros(4, np.float32)


@pytest.fixture
def own_id():
    """An environment that is registered in this process only for a while."""
    name = "OwnPole-v0"
    gym.register(name, "gymnasium.envs.classic_control:CartPoleEnv", max_episode_steps=50)
    yield name
    gym.registry.pop(name, None)


@every_agent
def test_an_agent_acts_where_its_environment_is_not_registered(name, own_id, tmp_path):
    agent = build(name, own_id)
    agent.save(tmp_path / "agent")
    del gym.registry[own_id]
    again = load(tmp_path / "agent")
    expected, _ = agent.predict(OBS, deterministic=True)
    np.testing.assert_array_equal(again.predict(OBS, deterministic=True)[0], expected)
    again.save(tmp_path / "copy")  # the environment's description goes along
    assert again.envs.to_json() == load(tmp_path / "copy").envs.to_json()


def test_learning_where_the_environment_is_not_registered_says_what_to_do(own_id, tmp_path):
    build("ppo", own_id).save(tmp_path / "agent")
    del gym.registry[own_id]
    with pytest.raises(RobolearnError, match=r"'OwnPole-v0', which is not registered.*env="):
        load(tmp_path / "agent").learn(64)
    envs = gym.make_vec("CartPole-v1", num_envs=4, vectorization_mode="sync")
    assert load(tmp_path / "agent", env=envs).learn(64).steps == 64


def test_an_agent_of_a_registered_environment_learns_on(own_id, tmp_path):
    build("ppo", own_id).save(tmp_path / "agent")
    assert load(tmp_path / "agent").learn(64).steps == 64


def test_loading_and_acting_imports_no_simulator(tmp_path):
    PPO("robolearn/CartPoleSwingUp-v0", SMALL["ppo"], engine="mujoco").save(tmp_path / "agent")
    code = f"""
import sys
import numpy as np
from robolearn import load
load({str(tmp_path / "agent")!r}).predict(np.zeros(5, np.float32))
heavy = {{"mujoco", "pybullet", "stable_baselines3", "scipy"}} & sys.modules.keys()
sys.exit(f"imported {{sorted(heavy)}}" if heavy else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@every_agent
def test_acting_takes_one_thread_and_gives_the_others_back(name):
    agent, seen = build(name), []
    network = next(iter(agent.parts().modules.values()))
    layer = next(m for m in network.modules() if isinstance(m, torch.nn.Linear))
    layer.register_forward_pre_hook(lambda *_: seen.append(torch.get_num_threads()))
    norm = network.encoder.observations
    norm.register_forward_pre_hook(lambda *_: seen.append(torch.get_num_threads()))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        agent.predict(OBS)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {1}
