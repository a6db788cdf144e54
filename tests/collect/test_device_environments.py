"""An environment on a device: who may learn there, and its twin on the host."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from on_host import SEED, described

from robolearn.agents import agent_class
from robolearn.agents.defaults import default_total_steps
from robolearn.agents.ppo import PPO, PPOConfig
from robolearn.environments import EnvConfig
from robolearn.errors import RobolearnError
from robolearn.evaluation import evaluate
from robolearn_envs.torch_vector import TorchVectorEnv
from robolearn_envs.vector import RoboVectorEnv

BALANCE, SWING_UP, LIDAR = "CartPoleBalance-v0", "CartPoleSwingUp-v0", "NavLidar-v0"
SMALL = PPOConfig(num_envs=4, n_steps=16, batch_size=32, hidden_sizes=(8,))

# Refusals.


@pytest.mark.parametrize("name", ["reinforce", "q-learning", "sarsa"])
def test_who_cannot_learn_on_a_device_says_where_it_can(name):
    kind = agent_class(name)
    with pytest.raises(RobolearnError) as caught:
        kind(described(BALANCE))
    told = str(caught.value)
    assert told == (
        f"{kind.__name__} learns from environments on the host, got engine='torch'. Use "
        "engine='analytic', or PPO."
    )


def test_workers_on_a_device_are_refused():
    agent = PPO(replace(described(BALANCE), num_workers=2), SMALL)
    with pytest.raises(
        RobolearnError, match=r"steps batches by itself, got num_workers=2\. Leave n"
    ):
        agent.learn(64)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_is_refused_where_there_is_none():
    with pytest.raises(RobolearnError, match=r"'cuda'.*Use --device cpu") as caught:
        PPO(described(BALANCE), SMALL, device="cuda")
    assert "\n" not in str(caught.value)


def test_graphs_are_refused_on_the_cpu():
    with pytest.raises(RobolearnError, match=r"^Nothing can be captured: .*this is cpu.*auto\.$"):
        PPO(described(BALANCE), SMALL, device="cpu", compile="graph")


def test_an_environment_of_others_is_refused():
    with pytest.raises(RobolearnError, match="no engines to choose from, got engine='torch'"):
        EnvConfig(id="CartPole-v1", engine="torch")


# The twin on the host.


def test_on_the_host_its_twin_is_made():
    config = described(BALANCE, action="continuous")
    single, batch = config.make(), config.make_vec(3)
    twin = EnvConfig(id=config.id, engine="analytic", kwargs=config.kwargs)
    assert config.on_host() == twin
    assert config.on_device
    assert not twin.on_device
    assert config.arguments() == twin.arguments()
    base = batch.unwrapped
    assert isinstance(base, RoboVectorEnv)
    there = config.make_on_device(3, "cpu")
    assert isinstance(there, TorchVectorEnv)
    assert there.single_action_space == base.single_action_space == single.action_space
    assert there.single_observation_space == base.single_observation_space
    # Same episodes, in float64 there: what is shown begins alike and moves alike for a step.
    ours, theirs = twin.make_vec(3), batch
    for envs in (ours, theirs):
        envs.reset(seed=SEED)
    push = np.full((3, 1), 0.5, np.float32)
    np.testing.assert_array_equal(ours.step(push)[0], theirs.step(push)[0])
    there.reset(seed=SEED)
    moved, _, _, _, _ = there.step(torch.from_numpy(push))
    again = twin.make_vec(3)
    again.reset(seed=SEED)
    np.testing.assert_allclose(moved.numpy(), again.step(push)[0], rtol=0, atol=1e-6)
    for envs in (single, batch, ours, again):
        envs.close()


def test_held_out_it_stays_on_its_device_and_is_evaluated_on_the_host():
    config = described(LIDAR, level=1, curriculum=True)
    held_out = config.held_out("test")
    assert held_out.engine == "torch"
    assert held_out.kwargs == {"level": 1, "split": "test"}
    assert described(BALANCE).held_out("test") == described(BALANCE)
    envs = held_out.make_vec(2)
    assert isinstance(envs.unwrapped, RoboVectorEnv)
    envs.close()


class Leaning:
    """Pushes where the pole leans."""

    def predict(self, observation, state=None, episode_start=None, deterministic=True):
        assert isinstance(observation, np.ndarray)
        return (observation @ [0.1, 0.3, 2.0, 0.7] > 0).astype(np.int64), state


def test_it_is_evaluated_as_its_twin_is():
    config = described(BALANCE)
    one, other = (
        evaluate(Leaning(), each, episodes=4, seed=1) for each in (config, config.on_host())
    )
    np.testing.assert_array_equal(one.returns, other.returns)
    assert one.returns.tolist() == [500.0] * 4


def test_an_agent_of_a_device_acts_and_is_evaluated_on_the_host():
    agent = PPO(described(SWING_UP), SMALL, seed=SEED).learn(128)
    twin = PPO(described(SWING_UP).on_host(), SMALL, seed=SEED)
    twin.net.load_state_dict(agent.net.state_dict())
    envs = described(SWING_UP).make_vec(3)
    batch, _ = envs.reset(seed=SEED)
    single = batch[0]
    for observation in (batch, single):
        ours, _ = agent.predict(observation, deterministic=True)
        theirs, _ = twin.predict(observation, deterministic=True)
        assert isinstance(ours, np.ndarray)
        assert ours.shape == ((3, 1) if observation is batch else (1,))
        np.testing.assert_array_equal(ours, theirs)
    one, other = (evaluate(each, agent.envs.config, episodes=2, seed=1) for each in (agent, twin))
    np.testing.assert_array_equal(one.returns, other.returns)
    envs.close()
    agent.close()


@pytest.mark.slow
def test_a_pole_is_balanced_by_who_learned_where_it_is_simulated():
    config = described(BALANCE)
    agent = PPO(config, seed=0)
    agent.learn(default_total_steps("ppo", config.id))
    agent.close()
    assert evaluate(agent, config, episodes=50).mean >= 475
