"""What is captured at a function's fourth call computes at later ones what eager calls compute.

A CUDA graph launches the operations of the call it captured on the same storage, whatever Python
would do by then. So does ``Recorded`` on the CPU.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from on_host import SEED, described
from test_device_equality import everything
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from robolearn.agents.a2c import A2C, A2CConfig
from robolearn.agents.dqn import DQN, DQNConfig, rainbow
from robolearn.agents.ppo import PPO, PPOConfig
from robolearn.agents.pqn import PQN, PQNConfig
from robolearn.collect.cuda_graph import NUM_WARMUP


class Recording(TorchDispatchMode):
    """Notes all operations, with their tensors, whose storage so is used for nothing else."""

    def __init__(self):
        super().__init__()
        self.operations = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.operations.append((func, args, kwargs or {}, result))
        return result

    @torch.no_grad()
    def replay(self):
        """Carry out the same operations on the same storage."""
        for func, args, kwargs, result in self.operations:
            for old, new in zip(
                tree_leaves(result), tree_leaves(func(*args, **kwargs)), strict=True
            ):
                if isinstance(old, Tensor) and place(old) != place(new):  # else in place, or a view
                    old.copy_(new)


def place(tensor):
    return tensor.untyped_storage().data_ptr()


class Recorded:
    """Does on the CPU what :class:`~robolearn.collect.cuda_graph.CudaGraph` does on CUDA."""

    capture = True

    def __init__(self, function: Callable):
        self._function, self._calls, self._recordings = function, {}, {}
        self.replayed = 0

    def __call__(self, *arguments):
        if arguments in self._recordings:
            recording, result = self._recordings[arguments]
            recording.replay()
            self.replayed += 1
            return result
        self._calls[arguments] = self._calls.get(arguments, 0) + 1
        if self._calls[arguments] <= NUM_WARMUP:
            return self._function(*arguments)
        with Recording() as recording:
            result = self._function(*arguments)
        self._recordings[arguments] = recording, result
        return result


def test_a_recording_keeps_what_python_decided():
    # As a graph does: the flag is looked at in the fourth call and never again.
    x, doubled = torch.tensor(1.0), False

    def function():
        return x * 2 if doubled else x + 0

    recorded = Recorded(function)
    for k in range(1, 5):
        x.fill_(k)
        assert recorded() == k
    doubled = True
    x.fill_(7.0)
    assert (function(), recorded()) == (14.0, 7.0)


SMALL = {"num_envs": 4, "hidden_sizes": (8,)}
ROLLOUT = {**SMALL, "n_steps": 4}
BATCHES = {**ROLLOUT, "batch_size": 8, "n_epochs": 1}
REPLAY = {
    **SMALL,
    "learning_starts": 32,
    "batch_size": 8,
    "buffer_size": 64,
    "gradient_steps": 4,
    "target_update_interval": 24,
    "double_q": True,
}
BALANCE, SWING_UP = "CartPoleBalance-v0", "CartPoleSwingUp-v0"
CASES = {
    "ppo": (PPO, BALANCE, PPOConfig(**BATCHES)),
    "ppo continuous": (PPO, SWING_UP, PPOConfig(**BATCHES)),
    "a2c": (A2C, BALANCE, A2CConfig(**ROLLOUT)),
    "pqn": (PQN, BALANCE, PQNConfig(**BATCHES)),
    "dqn": (DQN, BALANCE, DQNConfig(**REPLAY)),
    "dqn prioritised": (DQN, BALANCE, DQNConfig(**REPLAY, prioritized_replay=True)),
    "rainbow": (DQN, BALANCE, rainbow(**REPLAY, n_atoms=11)),
}
ROUNDS = 44


@pytest.mark.usefixtures("short_episodes")
@pytest.mark.parametrize(
    ("kind", "task", "config"),
    [
        pytest.param(*case, id=name, marks=[] if name == "dqn" else pytest.mark.slow)
        for name, case in CASES.items()
    ],
)
def test_what_is_recorded_at_the_fourth_call_equals_eager_at_the_fortieth(kind, task, config):
    eager, recorded = (kind(described(task), config, seed=SEED) for _ in range(2))
    captured = ["_run_batches", "_run_collect"] if kind is DQN else ["_run_iteration"]
    for name in captured:
        function = getattr(recorded, name)
        setattr(recorded, name, Recorded(getattr(function, "_function", function)))
    steps = ROUNDS * 16
    reports = [list(agent.iterate(steps)) for agent in (eager, recorded)]
    assert len(reports[0]) == ROUNDS
    for ours, theirs in zip(*reports, strict=True):
        assert ours.metrics == theirs.metrics
    expected, got = everything(eager), everything(recorded)
    assert got.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(got[name], tensor), name
    assert all(getattr(recorded, name).replayed >= 30 for name in captured)
    for agent in (eager, recorded):
        agent.close()
