"""What the parts share: where they run, how large, and how time is taken."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from robolearn.environments import HELD_OUT, EnvConfig
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
    fuse: bool = False,
    action: ActionKind | None = None,
    **options: Any,
) -> TorchVectorEnv:
    """Return environments on the device, reset."""
    envs = TorchVectorEnv(
        task,
        num_envs,
        device=setting.device,
        fuse=fuse,
        action=action,
        autoreset_mode="SameStep",
        **options,
    )
    envs.reset(seed=0)
    return envs


@torch.no_grad()
def greedy(agent: Any, env: EnvConfig, episodes: int) -> tuple[float, float]:
    """Return mean return and success of the greedy policy: an episode of each of many environments.

    The same that ``evaluate`` measures, in environments on the agent's device.
    """
    envs = env.make_on_device(episodes, agent.device)
    raw, _ = envs.reset(seed=HELD_OUT)
    total, playing = torch.zeros(episodes, device=agent.device), torch.ones_like(envs.limit).bool()
    success = torch.zeros_like(playing)
    for _ in range(envs.task.max_steps):
        obs = raw.reshape(episodes, -1)
        start = torch.zeros_like(playing)
        latent = agent.net.perceive(obs, agent.net.perception(obs), start)
        action = agent.net.head.executed(agent.net.head.mode(agent.net.policy(latent)))
        moved = envs.transition(action)
        total += moved.reward * playing
        done = moved.terminated | moved.truncated
        success |= done & playing & moved.outcome["success"]
        playing &= ~done
        raw = moved.obs
    return total.mean().item(), success.float().mean().item()
