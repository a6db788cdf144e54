"""An agent read back is the agent that was written, and nothing else is read."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from probe_env import Walk
from small_agents import SMALL, every_agent

from robolearn.agents import agent_class
from robolearn.agents.deep_q import DeepQAgent
from robolearn.agents.dqn import DQN, RAINBOW
from robolearn.agents.load import load_agent
from robolearn.agents.ppo import PPO
from robolearn.environments import EnvConfig
from robolearn.errors import RobolearnError
from robolearn.runs.checkpoint import read_checkpoint, write_checkpoint

BALANCE = EnvConfig(
    id="robolearn/CartPoleBalance-v0", engine="analytic", kwargs={"domain_randomization": 0.1}
)
OBS = np.random.default_rng(0).uniform(-0.2, 0.2, (50, 4)).astype(np.float32)

TRAINED = {
    **SMALL,
    "ppo with a memory": replace(SMALL["ppo"], gru_hidden_size=8),
    "ppo with a target": replace(SMALL["ppo"], lr_schedule="adaptive", desired_kl=1e-3),
    "dqn with everything": replace(SMALL["dqn"], **RAINBOW),
    "dqn with quantiles": replace(SMALL["dqn"], value_distribution="qr", dueling=True),
}


@pytest.fixture(scope="module", params=TRAINED)
def agent(request):
    """A trained agent, which the tests leave as it is."""
    name = request.param.split()[0]
    made = agent_class(name)(BALANCE, TRAINED[request.param], seed=5).learn(256)
    made.close()
    return made


@pytest.fixture
def folder(agent, tmp_path):
    agent.save(tmp_path / "agent")
    return tmp_path / "agent"


def tamper(folder, **changes):
    """Change the state and make the manifest agree, as an attacker or another version might."""
    state, tensors = read_checkpoint(folder)
    write_checkpoint(folder, {**state, **changes}, tensors)


def flattened(tree, prefix=""):
    for key, value in sorted(tree.items(), key=str):
        if isinstance(value, dict):
            yield from flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def assert_same_parts(one, other):
    ours, theirs = one.parts(), other.parts()
    for name, module in ours.modules.items():
        for key, tensor in module.state_dict().items():
            assert torch.equal(tensor, theirs.modules[name].state_dict()[key]), (name, key)
    for name, generator in ours.generators.items():
        assert torch.equal(generator.get_state(), theirs.generators[name].get_state()), name
    moments, restored = ours.optimizer.moments, theirs.optimizer.moments
    assert moments["step"] > 0
    assert all(torch.equal(moments[key], restored[key]) for key in moments)


@pytest.mark.slow
def test_everything_that_learning_changed_is_read_back(agent, folder):
    again = type(agent).load(folder)
    assert_same_parts(agent, again)
    assert again.steps == agent.steps >= 256
    assert again.config == agent.config
    assert again.seed == 5
    assert again.envs.config == BALANCE


def test_the_read_agent_acts_alike(agent, folder):
    # Two copies, since drawing moves the generator of the one that draws.
    one, other = type(agent).load(folder), type(agent).load(folder)
    expected = agent.predict(OBS, deterministic=True)[0]
    np.testing.assert_array_equal(one.predict(OBS, deterministic=True)[0], expected)
    np.testing.assert_array_equal(one.predict(OBS)[0], other.predict(OBS)[0])
    critic = "q_values" if isinstance(agent, DeepQAgent) else "value"
    np.testing.assert_array_equal(getattr(one, critic)(OBS), getattr(agent, critic)(OBS))


def test_drawn_actions_go_on_where_they_stopped(agent, tmp_path):
    agent.predict(OBS)
    agent.save(tmp_path / "agent")
    again = type(agent).load(tmp_path / "agent")
    np.testing.assert_array_equal(again.predict(OBS)[0], agent.predict(OBS)[0])


@pytest.mark.slow
def test_the_read_agent_learns_on_from_the_same_optimizer(agent, folder):
    # Two read copies learn alike, and another one than one whose optimizer was lost.
    learned = []
    for lost in (False, False, True):
        again = type(agent).load(folder)
        if lost:
            again.parts().optimizer.load_state_dict({})
        again.learn(128)
        again.close()
        parameters = next(iter(again.parts().modules.values())).parameters()
        learned.append(torch.cat([p.detach().flatten() for p in parameters]))
    assert torch.equal(learned[0], learned[1])
    assert not torch.equal(learned[0], learned[2])


@every_agent
def test_an_agent_that_never_learned_can_be_saved(name, tmp_path):
    fresh = agent_class(name)(BALANCE, SMALL[name])
    fresh.save(tmp_path / "agent")
    again = agent_class(name).load(tmp_path / "agent")
    assert again.steps == 0
    np.testing.assert_array_equal(
        again.predict(OBS, deterministic=True)[0], fresh.predict(OBS, deterministic=True)[0]
    )


def test_nothing_is_pickled(folder):
    assert {path.suffix for path in folder.iterdir()} == {".json", ".safetensors"}
    for path in folder.iterdir():
        content = path.read_bytes()
        if path.suffix == ".json":
            json.loads(content)
        else:
            json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])


def test_an_agent_replaces_an_older_one(agent, folder):
    agent.save(folder)
    assert type(agent).load(folder).steps == agent.steps


def test_load_agent_finds_the_algorithm(agent, folder):
    assert type(load_agent(folder)) is type(agent)


@pytest.mark.parametrize("file", ["state.json", "manifest.json", "optimizer.safetensors"])
def test_one_flipped_byte_is_refused(agent, folder, file):
    content = bytearray((folder / file).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / file).write_bytes(content)
    with pytest.raises(RobolearnError):
        type(agent).load(folder)
    with pytest.raises(RobolearnError):
        load_agent(folder)


@pytest.mark.parametrize("file", ["state.json", "manifest.json", "random.safetensors"])
def test_a_missing_file_is_refused(agent, folder, file):
    (folder / file).unlink()
    with pytest.raises(RobolearnError):
        type(agent).load(folder)
    with pytest.raises(RobolearnError):
        load_agent(folder)


def test_another_algorithms_agent_is_refused(agent, folder):
    other = DQN if isinstance(agent, PPO) else PPO
    with pytest.raises(RobolearnError, match=f"holds a '{agent.name}' agent, not '{other.name}'"):
        other.load(folder)


def test_an_unknown_algorithm_is_refused(folder):
    tamper(folder, agent="pp0")
    with pytest.raises(RobolearnError, match=r"Unknown agent 'pp0'\. Did you mean 'ppo'"):
        load_agent(folder)


def test_an_unknown_hyper_parameter_is_refused(agent, folder):
    tamper(folder, config={**read_checkpoint(folder)[0]["config"], "gama": 0.9})
    with pytest.raises(RobolearnError, match=r"'gama'\. Did you mean 'gamma'"):
        type(agent).load(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    "key", ["agent", "config", "env", "observation_space", "action_space", "counters", "seed"]
)
def test_a_state_that_lacks_something_is_refused(agent, folder, key):
    state, tensors = read_checkpoint(folder)
    write_checkpoint(folder, {k: v for k, v in state.items() if k != key}, tensors)
    with pytest.raises(RobolearnError):
        type(agent).load(folder)


def test_an_environment_with_an_unknown_key_is_refused(agent, folder):
    tamper(folder, env={"id": "CartPole-v1", "engin": "mujoco"})
    with pytest.raises(RobolearnError, match="engin"):
        type(agent).load(folder)


def test_tensors_that_do_not_fit_the_config_are_refused(agent, folder):
    wider = {**read_checkpoint(folder)[0]["config"], "hidden_sizes": [17]}
    tamper(folder, config=wider)
    with pytest.raises(RobolearnError, match="does not fit its config"):
        type(agent).load(folder)


@pytest.mark.parametrize("group", ["random", "optimizer"])
def test_missing_tensors_are_refused(agent, folder, group):
    state, tensors = read_checkpoint(folder)
    del tensors[group]
    write_checkpoint(folder, state, tensors)
    with pytest.raises(RobolearnError, match="does not fit its config"):
        type(agent).load(folder)


@every_agent
def test_an_agent_of_ready_made_environments_acts_but_learns_only_in_given_ones(name, tmp_path):
    def walk():
        return Walk(AutoresetMode.SAME_STEP)

    first = agent_class(name)(walk(), SMALL[name]).learn(64)
    first.save(tmp_path / "agent")
    again = agent_class(name).load(tmp_path / "agent")
    assert again.envs.observation_space == spaces.Box(0.0, 1.0, (3,))
    again.predict(np.zeros(3, np.float32))
    with pytest.raises(RobolearnError, match="give it to load"):
        again.learn(4)
    more = agent_class(name).load(tmp_path / "agent", env=walk()).learn(64)
    assert more.steps >= first.steps + 64


@every_agent
def test_environments_that_do_not_fit_are_refused_when_loading(name, tmp_path):
    agent_class(name)(BALANCE, SMALL[name]).save(tmp_path / "agent")
    with pytest.raises(RobolearnError):
        agent_class(name).load(tmp_path / "agent", env=Walk(AutoresetMode.SAME_STEP))


@every_agent
def test_a_config_of_other_spaces_and_options_survives(name, tmp_path):
    config = replace(SMALL[name], gamma=0.5, hidden_sizes=(3, 4, 5))
    agent_class(name)(EnvConfig(id="Blackjack-v1"), config, seed=9).save(tmp_path / "agent")
    again = agent_class(name).load(tmp_path / "agent")
    assert again.config == config
    assert isinstance(again.envs.observation_space, spaces.Tuple)
    assert again.envs.config == EnvConfig(id="Blackjack-v1")
