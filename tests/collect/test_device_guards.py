"""What is not finite on a device is not learned from, and is told once a round."""

import pytest
import torch
from on_host import SEED, described

from robolearn.agents.a2c import A2C, A2CConfig
from robolearn.agents.dqn import DQN, DQNConfig
from robolearn.agents.ppo import PPO, PPOConfig
from robolearn.agents.pqn import PQN, PQNConfig
from robolearn.environments import EnvConfig
from robolearn.errors import DivergedError

SMALL = {"num_envs": 4, "hidden_sizes": (8,)}
ROLLOUT = {**SMALL, "n_steps": 8}
BATCHES = {**ROLLOUT, "batch_size": 32, "n_epochs": 2}  # all steps of a rollout in each minibatch
REPLAY = {**SMALL, "learning_starts": 32, "batch_size": 32, "train_freq": 8, "gradient_steps": 4}
AGENTS = {
    "ppo": (PPO, PPOConfig(**BATCHES)),
    "ppo with a memory": (PPO, PPOConfig(**BATCHES, gru_hidden_size=8)),
    "a2c": (A2C, A2CConfig(**ROLLOUT)),
    "pqn": (PQN, PQNConfig(**BATCHES)),
    "dqn": (DQN, DQNConfig(**REPLAY)),
    "dqn prioritised": (DQN, DQNConfig(**REPLAY, prioritized_replay=True)),
}
every_agent = pytest.mark.parametrize(("kind", "config"), AGENTS.values(), ids=AGENTS)


def learned(agent):
    """Return copies of all parameters, of Adam's moments and of its number of steps."""
    nets = {name: net for name, net in agent.parts().modules.items() if name != "target"}
    tensors = [parameter for net in nets.values() for parameter in net.parameters()]
    moments = agent.parts().optimizer.moments.values()
    return [tensor.detach().clone() for tensor in (*tensors, *moments)]


def assert_equal(ours, theirs):
    assert all(torch.equal(*tensors) for tensors in zip(ours, theirs, strict=True))


def begun(kind, config, env=None):
    """Return an agent that has learned for two rounds, and its further reports."""
    agent = kind(env or described("CartPoleBalance-v0"), config, seed=SEED)
    reports = agent.iterate(4 * 32)
    next(reports), next(reports)
    return agent, reports


@every_agent
def test_a_round_in_which_something_is_forbidden_changes_nothing_and_says_so(kind, config):
    agent, reports = begun(kind, config)
    before = learned(agent)
    agent.optimizer.forbid(torch.tensor(True))
    with pytest.raises(DivergedError, match="A return is not finite; no update was made"):
        next(reports)
    assert_equal(learned(agent), before)


@every_agent
def test_what_a_round_may_learn_from_is_learned(kind, config):
    agent, reports = begun(kind, config)
    before = learned(agent)
    agent.optimizer.forbid(torch.tensor(False))
    next(reports)
    assert not torch.equal(learned(agent)[0], before[0])


def spoil(agent, number):
    """Let the first environment's rewards be ``number`` from now on."""
    envs = agent.collector.envs
    transition = envs.step_fn

    def spoiled(action):
        moved = transition(action)
        return moved._replace(reward=torch.cat([torch.full((1,), number), moved.reward[1:]]))

    envs.step_fn = spoiled


@pytest.mark.parametrize("number", [torch.nan, torch.inf, -torch.inf])
@every_agent
def test_rewards_that_are_not_finite_are_not_learned_from(kind, config, number):
    agent, reports = begun(kind, config)
    before = learned(agent)
    spoil(agent, number)
    with pytest.raises(DivergedError, match=r"(return|loss|gradient).* not finite|is -?(nan|inf)"):
        next(reports)
    if kind is DQN:  # some of whose minibatches have none of them
        assert all(tensor.isfinite().all() for tensor in learned(agent))
    else:
        assert_equal(learned(agent), before)


def moments(agent):
    """Return copies of all that the normalizers of observations and values have learned."""
    (net,) = agent.parts().modules.values()
    return [buffer.clone() for buffer in net.buffers()]


@pytest.mark.parametrize("kind", ["ppo", "ppo with a memory", "a2c", "pqn"])
@pytest.mark.parametrize("number", [None, torch.nan], ids=["forbidden", "nan"])
def test_normalizers_do_not_learn_from_what_is_refused(kind, number):
    agent, reports = begun(*AGENTS[kind])
    before = moments(agent)
    if number is None:
        agent.optimizer.forbid(torch.tensor(True))
    else:
        spoil(agent, number)
    with pytest.raises(DivergedError):
        next(reports)
    assert_equal(moments(agent), before)


def test_normalizers_do_not_learn_from_a_simulation_that_broke_down():
    agent, reports = with_nan("raise")
    before = moments(agent)
    with pytest.raises(DivergedError, match="diverged"):
        next(reports)
    assert_equal(moments(agent), before)


class NanAfter:
    """A policy head whose actions are NaN in a few steps of the first environment."""

    def __init__(self, executed):
        self.executed, self.calls = executed, 0

    def __call__(self, action):
        self.calls += 1
        told = self.executed(action).clone()
        if self.calls == 5:
            told[0] = torch.nan
        return told


def with_nan(on_divergence):
    env = EnvConfig(id="robolearn/CartPoleSwingUp-v0", engine="torch", on_divergence=on_divergence)
    agent, reports = begun(PPO, PPOConfig(**BATCHES), env)
    agent.net.head.executed = NanAfter(agent.net.head.executed)
    return agent, reports


def test_a_simulation_that_breaks_down_stops_learning_where_it_is_asked_to():
    agent, reports = with_nan("raise")
    before = learned(agent)
    with pytest.raises(DivergedError, match="1 environments diverged"):
        next(reports)
    assert_equal(learned(agent), before)
    next(agent.continue_learning())  # who goes on all the same is not told of it again
    assert not torch.equal(learned(agent)[0], before[0])


def test_a_simulation_that_breaks_down_begins_anew_where_it_is_asked_to():
    agent, reports = with_nan("truncate")
    assert [report.steps for report in reports] == [3 * 32, 4 * 32]
    assert all(tensor.isfinite().all() for tensor in learned(agent))
    assert agent.collector.num_dropped == 1
