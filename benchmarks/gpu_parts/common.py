"""What the parts share: where they run, how large, and how time is taken."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from robolearn.collect.cuda_graph import CudaGraph
from robolearn.environments import HELD_OUT, EnvConfig
from robolearn_envs import NAMESPACE
from robolearn_envs.tasks.base import ActionKind
from robolearn_envs.torch_vector import TorchVectorEnv

Rows = Iterator[dict[str, Any]]
"""Findings as they come: ``what`` was looked at, ``figure`` found, and maybe ``goal``, ``note``."""


@dataclass(frozen=True)
class Setting:
    """How a part is run."""

    device: torch.device
    quick: bool
    """Tiny sizes, to see that everything runs; the figures mean nothing."""

    def size(self, usual: int, small: int) -> int:
        """Return a size, or a small one for a quick look."""
        return small if self.quick else usual

    @property
    def cuda(self) -> bool:
        """Whether there are graphs to capture."""
        return self.device.type == "cuda"

    def wait(self) -> None:
        """Wait until all that was launched is done."""
        if self.cuda:
            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], Any], *, repeats: int = 5) -> float:
        """Return the median time of some calls, each waited for."""
        taken = []
        for _ in range(repeats):
            self.wait()
            began = time.perf_counter()
            work()
            self.wait()
            taken.append(time.perf_counter() - began)
        return float(np.median(taken))


def found(what: str, figure: Any, goal: str = "", **more: Any) -> dict[str, Any]:
    """Return a finding."""
    return {"what": what, "figure": figure, "goal": goal, **more}


def rate(steps: float) -> str:
    """Return steps per second in words."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if steps >= size:
            return f"{steps / size:.3g}{letter} steps/s"
    return f"{steps:.3g} steps/s"


def batch(
    task: str,
    num_envs: int,
    setting: Setting,
    *,
    compile_step: bool = False,
    action: ActionKind | None = None,
    **options: Any,
) -> TorchVectorEnv:
    """Return environments of ours on the device, reset."""
    envs = TorchVectorEnv(
        f"{NAMESPACE}/{task}",
        num_envs,
        device=setting.device,
        compile_step=compile_step,
        action=action,
        autoreset_mode="SameStep",
        **options,
    )
    envs.reset(seed=0)
    return envs


class Judge:
    """Looks at the greedy policy: an episode of each of many environments on the agent's device.

    The same that ``evaluate`` measures, in static buffers, so that a look is one graph many times.
    """

    def __init__(self, agent: Any, env: EnvConfig, episodes: int) -> None:
        """Make the environments.

        Args:
            agent: A policy without a memory.
            env: Where it is judged.
            episodes: How many environments.
        """
        self._agent, self._envs = agent, env.make_on_device(episodes, agent.device)
        raw, _ = self._envs.reset(seed=HELD_OUT)
        self._obs = raw.reshape(episodes, -1).clone()
        self._total = torch.zeros(episodes, device=agent.device)
        self._playing = torch.ones(episodes, dtype=torch.bool, device=agent.device)
        self._success = torch.zeros_like(self._playing)
        self._step = CudaGraph(self._advance, capture=agent.device.type == "cuda")

    @torch.no_grad()
    def _advance(self) -> None:
        net = self._agent.net
        output = net.policy(net.encoder(self._obs))
        moved: Any = self._envs.step_fn(net.head.executed(net.head.mode(output)))
        done = moved.terminated | moved.truncated
        self._total += moved.reward * self._playing
        self._success |= done & self._playing & moved.metrics["success"]
        self._playing &= ~done
        self._obs.copy_(moved.obs.reshape(self._obs.shape))

    def look(self) -> tuple[float, float]:
        """Return mean return and success."""
        raw, _ = self._envs.reset(seed=HELD_OUT)
        self._obs.copy_(raw.reshape(self._obs.shape))
        self._total.zero_()
        self._playing.fill_(True)
        self._success.fill_(False)
        for _ in range(self._envs.task.max_episode_steps):
            self._step()
        return self._total.mean().item(), self._success.float().mean().item()
