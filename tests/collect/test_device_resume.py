"""Learning on a device that was put away goes on as if it had not been."""

import json
from dataclasses import replace

import pytest
import torch
from on_host import SEED, described
from test_device_equality import everything

from robolearn.agents.a2c import A2C, A2CConfig
from robolearn.agents.dqn import DQN, DQNConfig, rainbow
from robolearn.agents.ppo import PPO, PPOConfig
from robolearn.agents.pqn import PQN, PQNConfig
from robolearn.agents.saving import load_learning, save_learning
from robolearn.session import TrainConfig
from robolearn.train import resume, train

BALANCE, SWING_UP = "CartPoleBalance-v0", "CartPoleSwingUp-v0"
SMALL = {"num_envs": 4, "hidden_sizes": (8,)}
ROLLOUT = {**SMALL, "n_steps": 16}
BATCHES = {**ROLLOUT, "batch_size": 32, "n_epochs": 2}
REPLAY = {
    **SMALL,
    "learning_starts": 64,
    "batch_size": 16,
    "buffer_size": 160,
    "gradient_steps": 4,
    "target_update_interval": 24,
    "double_q": True,
}

CASES = {
    "ppo": (
        PPO,
        BALANCE,
        PPOConfig(**BATCHES, lr_schedule="adaptive", desired_kl=1e-3),
        {"domain_randomization": 0.2},
    ),
    "ppo with a memory": (PPO, SWING_UP, PPOConfig(**BATCHES, gru_hidden_size=8), {}),
    "a2c": (A2C, SWING_UP, A2CConfig(**ROLLOUT), {}),
    "pqn": (PQN, BALANCE, PQNConfig(**BATCHES), {}),
    "dqn prioritised": (DQN, BALANCE, DQNConfig(**REPLAY, prioritized_replay=True), {}),
    "rainbow": (DQN, BALANCE, rainbow(**REPLAY), {}),
}


@pytest.mark.slow
@pytest.mark.usefixtures("short_episodes")
@pytest.mark.parametrize(("kind", "task", "config", "options"), CASES.values(), ids=CASES)
def test_what_was_put_away_in_the_middle_goes_on_bitwise(kind, task, config, options, tmp_path):
    agent = kind(described(task, **options), config, seed=SEED)
    ours, steps = [], 400
    for report in agent.iterate(steps):
        if report.steps == steps // 2 // 64 * 64:
            save_learning(agent, tmp_path / "half", {"of": "a test"})
            ours.clear()
            continue
        ours.append(report.metrics)
    again, session, exact = load_learning(kind, tmp_path / "half", "auto")
    assert exact
    assert session == {"of": "a test"}
    assert again.envs.config == agent.envs.config
    assert again.steps == 192
    assert again.until == steps
    theirs = [report.metrics for report in again.continue_learning()]
    assert theirs == ours
    assert sum(told.get("rollout/num_episodes", 0) for told in ours) > 0
    expected, got = everything(agent), everything(again)
    assert got.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(got[name], tensor), name


@pytest.mark.usefixtures("short_episodes")
def test_what_was_put_away_is_not_what_it_became(tmp_path):
    agent = PPO(described(BALANCE), PPOConfig(**BATCHES), seed=SEED)
    reports = agent.iterate(256)
    next(reports)
    before = {name: tensor.clone() for name, tensor in everything(agent).items()}
    save_learning(agent, tmp_path / "half", {})
    for _ in reports:
        pass
    again, _, _ = load_learning(PPO, tmp_path / "half", "cpu")
    for name, tensor in everything(again).items():
        assert torch.equal(tensor, before[name]), name


class CudaStream:
    """A random stream whose state is as long as one of CUDA."""

    def get_state(self):
        return torch.zeros(16, dtype=torch.uint8)


@pytest.mark.usefixtures("short_episodes")
def test_what_was_put_away_on_cuda_is_taken_up_on_the_cpu_with_other_random_numbers(tmp_path):
    agent = PPO(described(BALANCE), PPOConfig(**BATCHES), seed=SEED).learn(64)
    parts = agent.parts()
    streams = {name: CudaStream() for name in parts.generators}
    agent.parts = lambda: replace(parts, generators=streams)
    save_learning(agent, tmp_path / "half", {})
    agent.save(tmp_path / "agent")
    again, _, exact = load_learning(PPO, tmp_path / "half", "cpu")
    assert not exact
    assert torch.equal(again.collector.obs, agent.collector.obs)
    loaded = PPO.load(tmp_path / "agent", device="cpu")
    seen = agent.collector.obs.numpy()
    for one in (again, loaded):
        expected, _ = agent.predict(seen, deterministic=True)
        assert (one.predict(seen, deterministic=True)[0] == expected).all()
    again.learn(64)


def test_learning_goes_on_compiled_as_it_was(tmp_path):
    run = tmp_path / "run"
    config = {"agent": "ppo", "env": described(BALANCE), "steps": 64, "run": run}
    train(TrainConfig(**config, hyper=BATCHES, device="cpu", compile="off"))
    (run / "eval.json").unlink()  # as if it had been stopped before
    resume(run)
    told = json.loads((run / "meta.json").read_text())
    assert told["computed"][0]["how"] == "eager, as asked for"
    assert told["resumed"][0]["how"] == "eager, as asked for"
