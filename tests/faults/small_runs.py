"""Small trainings to stop, kill and resume, and what is left of them."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import torch

from robolearn.agents.defaults import DQN_SHARED
from robolearn.agents.dqn import RAINBOW
from robolearn.collect.collector import Collector
from robolearn.environments import EnvConfig
from robolearn.runs.checkpoint import read_checkpoint
from robolearn.train import TrainConfig

BALANCE, SWINGUP = "robolearn/CartPoleBalance-v0", "robolearn/CartPoleSwingUp-v0"
REPLAY = {"buffer_size": 600, "learning_starts": 200, "hidden_sizes": (16,), "num_envs": 4}
FEW = {"num_envs": 4, "n_steps": 32, "batch_size": 64, "hidden_sizes": (16,)}
SHORT = {"num_envs": 4, "n_steps": 8, "hidden_sizes": (16,)}

EPISODES = {"eval_episodes": 2, "test_episodes": 2}

RUNS = {
    "ppo mujoco": (
        "ppo",
        EnvConfig(id=SWINGUP, engine="mujoco", kwargs={"domain_randomization": 0.2}),
        FEW,
    ),
    "ppo analytic": ("ppo", EnvConfig(id=BALANCE, engine="analytic"), FEW),
    "dqn mujoco": (
        "dqn",
        EnvConfig(id=BALANCE, engine="mujoco"),
        {**DQN_SHARED, **REPLAY, "prioritized_replay": True},
    ),
    "rainbow analytic": (
        "dqn",
        EnvConfig(id=BALANCE, engine="analytic"),
        {**REPLAY, **RAINBOW, "n_atoms": 11},
    ),
    "a2c mujoco": ("a2c", EnvConfig(id=SWINGUP, engine="mujoco"), SHORT),
    "a2c analytic": ("a2c", EnvConfig(id=BALANCE, engine="analytic"), SHORT),
    "a2c bullet": ("a2c", EnvConfig(id=BALANCE, engine="bullet"), SHORT),
    "ppo workers bullet": ("ppo", EnvConfig(id=BALANCE, engine="bullet", num_workers=2), FEW),
    "ppo memory moving obstacles": (
        "ppo",
        EnvConfig(id="robolearn/NavLidar-v0", kwargs={"level": 3, "curriculum": True}),
        {**FEW, "memory": 8},
    ),
    "pqn foreign": (
        "pqn",
        EnvConfig(id="Acrobot-v1"),
        {"num_envs": 4, "batch_size": 64, "hidden_sizes": (16,)},
    ),
    "reinforce foreign": (
        "reinforce",
        EnvConfig(id="InvertedPendulum-v5"),
        {"num_envs": 4, "n_steps": 100, "hidden_sizes": (16,)},
    ),
    "sarsa foreign workers": (
        "sarsa",
        EnvConfig(id="FrozenLake-v1", num_workers=2),
        {"num_envs": 4},
    ),
}


def config(name, run, steps=1500, **changes):
    agent, env, hyper = RUNS[name]
    return TrainConfig(
        agent=agent, env=env, hyper=hyper, steps=steps, run=run, seed=3, **{**EPISODES, **changes}
    )


@contextmanager
def signal_at(step, number=signal.SIGTERM):
    """Send this process a signal just before the training's environments make this step."""
    real, made = Collector.step, 0

    def counted(collector, actions):
        nonlocal made
        made += collector.num_envs == 4  # those of evaluations are fewer
        if made == step:
            made += 1
            os.kill(os.getpid(), number)
        return real(collector, actions)

    Collector.step = counted
    try:
        yield
    finally:
        Collector.step = real


def command(*arguments, **options):
    """Start the command line in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "robolearn", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def finished(process, seconds=120):
    """Return exit code, output and complaints."""
    output, complaints = process.communicate(timeout=seconds)
    return process.returncode, output, complaints


def newest(run):
    return max(Path(run, "checkpoints").glob("[0-9]*"), key=lambda path: int(path.name))


def tensors(run):
    """Return all tensors of the newest checkpoint, by file and key."""
    files = read_checkpoint(newest(run))[1]
    return {(file, key): t for file, group in files.items() for key, t in group.items()}


def metrics(run):
    """Return the lines of the log without times."""
    lines = (Path(run) / "metrics.jsonl").read_text().splitlines()
    told = [json.loads(line) for line in lines]
    return [{k: v for k, v in line.items() if k != "time/fps"} for line in told]


def assert_same(run, other):
    ours, theirs = tensors(run), tensors(other)
    assert ours.keys() == theirs.keys()
    different = [key for key, t in ours.items() if not torch.equal(t, theirs[key])]
    assert different == []
    assert metrics(run) == metrics(other)
