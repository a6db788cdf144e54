"""Whether CUDA graphs are captured, and why not."""

from dataclasses import replace

import pytest
import torch
from on_host import described

from robolearn.agents import base
from robolearn.agents.a2c import A2C, A2CConfig
from robolearn.agents.dqfd import DQfD, DQfDConfig
from robolearn.agents.dqn import DQN, DQNConfig
from robolearn.agents.ppo import PPO, PPOConfig
from robolearn.agents.pqn import PQN, PQNConfig
from robolearn.collect.cuda_graph import CudaGraph, resolve_cuda_graphs
from robolearn.errors import RobolearnError

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
SMALL = {"num_envs": 2, "hidden_sizes": (4,)}
PPO_CONFIG = PPOConfig(**SMALL, n_steps=4, batch_size=8)
HOST = "the environments are not on the device"
HERE = described("CartPoleBalance-v0")
THERE = replace(HERE, engine="analytic")


def test_what_is_not_captured_is_called():
    calls = []

    def function(*arguments):
        calls.append(arguments)
        return len(calls)

    graphed = CudaGraph(function, capture=False)
    assert [graphed(3), graphed(3), graphed(4, 5), graphed(3), graphed(3), graphed()] == [
        *range(1, 7)
    ]
    assert calls == [(3,), (3,), (4, 5), (3,), (3,), ()]


@pytest.mark.parametrize(
    ("asked", "device", "blocker", "expected"),
    [
        ("auto", CUDA, None, (True, "captured as CUDA graphs")),
        ("graph", CUDA, None, (True, "captured as CUDA graphs")),
        ("off", CUDA, None, (False, "eager, as asked for")),
        ("off", CUDA, "it rains", (False, "eager, as asked for")),
        ("off", CPU, None, (False, "eager, as asked for")),
        ("auto", CUDA, "it rains", (False, "eager: it rains")),
        ("auto", CPU, None, (False, "eager: CUDA graphs need device cuda, this is cpu")),
        ("auto", CPU, "it rains", (False, "eager: CUDA graphs need device cuda, this is cpu")),
    ],
)
def test_graphs_are_captured_where_they_can_be(asked, device, blocker, expected):
    assert resolve_cuda_graphs(asked, device, blocker) == expected


@pytest.mark.parametrize(
    ("device", "blocker", "why"),
    [(CUDA, "it rains", "it rains"), (CPU, None, "CUDA graphs need device cuda, this is cpu")],
)
def test_graphs_that_cannot_be_had_are_refused(device, blocker, why):
    with pytest.raises(RobolearnError, match=f"Nothing can be captured: {why}.*--compile auto"):
        resolve_cuda_graphs("graph", device, blocker)


def test_an_unknown_word_is_refused():
    for device in (CPU, CUDA):
        with pytest.raises(RobolearnError, match=r"compile 'grpah'\. Did you mean 'graph'"):
            resolve_cuda_graphs("grpah", device, None)
    with pytest.raises(RobolearnError, match=r"compile 'of'\. Did you mean 'off'"):
        PPO(HERE, PPO_CONFIG, compile="of")


CASES = {
    "ppo": (PPO, HERE, PPO_CONFIG, None),
    "ppo near a clone": (
        PPO,
        HERE,
        replace(PPO_CONFIG, bc_kl_coef=0.1),
        "bc_kl_coef change what is computed as learning goes on",
    ),
    "ppo warming up": (
        PPO,
        HERE,
        replace(PPO_CONFIG, critic_warmup_fraction=0.1),
        "critic_warmup_fraction change what is computed as learning goes on",
    ),
    "ppo both": (
        PPO,
        HERE,
        replace(PPO_CONFIG, bc_kl_coef=0.1, critic_warmup_fraction=0.1),
        "bc_kl_coef and critic_warmup_fraction change what is computed as learning goes on",
    ),
    "ppo host": (PPO, THERE, PPO_CONFIG, HOST),
    "a2c": (A2C, HERE, A2CConfig(**SMALL), None),
    "a2c host": (A2C, THERE, A2CConfig(**SMALL), HOST),
    "pqn": (PQN, HERE, PQNConfig(**SMALL, batch_size=64), None),
    "pqn host": (PQN, THERE, PQNConfig(**SMALL, batch_size=64), HOST),
    "dqn": (DQN, HERE, DQNConfig(**SMALL), None),
    "dqn host": (DQN, THERE, DQNConfig(**SMALL), None),  # gradient steps can be
    "dqn shown": (
        DQfD,
        HERE,
        DQfDConfig(**SMALL, num_demo_transitions=10),
        "demonstrations are replayed",
    ),
}
each_case = pytest.mark.parametrize(("kind", "env", "config", "why"), CASES.values(), ids=CASES)


@each_case
def test_an_agent_says_how_it_would_compute_on_a_gpu(kind, env, config, why, monkeypatch):
    def on_cuda(asked, device, blocker):
        return resolve_cuda_graphs(asked, CUDA, blocker)

    monkeypatch.setattr(base, "resolve_cuda_graphs", on_cuda)
    monkeypatch.setattr(torch.cuda, "Stream", object)  # on which nothing is called
    agent = kind(env, config)
    assert agent.how == ("captured as CUDA graphs" if why is None else f"eager: {why}")
    graphed = agent._run_batches if kind in (DQN, DQfD) else agent._run_iteration
    assert isinstance(graphed, CudaGraph) == (why is None)
    if kind is DQN:
        assert isinstance(agent._run_collect, CudaGraph) == (why is None and env is HERE)
    assert kind(env, config, compile="off").how == "eager, as asked for"
    if why is not None:
        with pytest.raises(RobolearnError, match=f"Nothing can be captured: {why}"):
            kind(env, config, compile="graph")


@each_case
def test_an_agent_on_the_cpu_is_eager(kind, env, config, why):
    agent = kind(env, config)
    assert agent.how == "eager: CUDA graphs need device cuda, this is cpu"
    graphed = agent._run_batches if kind in (DQN, DQfD) else agent._run_iteration
    assert not isinstance(graphed, CudaGraph)
