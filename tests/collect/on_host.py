"""Environments on a device, shown to the host as ordinary ones of NumPy arrays."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv

from robolearn.agents.base import BaseAgent
from robolearn.collect.collector import Collector
from robolearn.environments import SEED_SPACING, EnvConfig
from robolearn_envs.torch_vector import TorchVectorEnv

SEED = 3


def arrays(tree: Any) -> Any:
    """Return copies of tensors, or of dicts of them, as arrays."""
    if isinstance(tree, dict):
        return {name: arrays(part) for name, part in tree.items()}
    return tree.numpy().copy()


@dataclass
class Ends:
    """How often episodes ended, by the way they did."""

    terminated: int = 0
    truncated: int = 0
    cut: int = 0


@dataclass(eq=False)
class OnHost(VectorEnv):
    """A NumPy view of a :class:`TorchVectorEnv` on the CPU, as Gymnasium has vector environments.

    To agents and collectors these are environments they know nothing of: not one line of what
    learns on devices is asked.
    """

    envs: TorchVectorEnv
    ends: Ends = field(default_factory=Ends)

    def __post_init__(self):
        self.num_envs, self.metadata = self.envs.num_envs, self.envs.metadata
        for name in ("observation_space", "action_space"):
            setattr(self, name, getattr(self.envs, name))
            setattr(self, f"single_{name}", getattr(self.envs, f"single_{name}"))

    def reset(self, *, seed=None, options=None):
        if options:
            self.ends.cut += int(options["reset_mask"].sum())
        observation, _ = self.envs.reset(seed=seed, options=options)
        return arrays(observation), {}

    def step(self, actions):
        observation, reward, *ended, info = self.envs.step(torch.from_numpy(actions))
        terminated, truncated = map(arrays, ended)
        self.ends.terminated += int(terminated.sum())
        self.ends.truncated += int((truncated & ~terminated).sum())
        told = arrays(info) if (terminated | truncated).any() else {}  # as hosts leave it out
        return arrays(observation), arrays(reward).astype(np.float64), terminated, truncated, told


def on_device(task, num_envs, **options):
    return TorchVectorEnv(
        f"robolearn/{task}", num_envs, autoreset_mode=AutoresetMode.SAME_STEP, **options
    )


def collector_on_host(task, num_envs, seed, **options):
    """Return what collects from a NumPy view as an agent's collector does from environments."""
    view = OnHost(on_device(task, num_envs, **options))
    return Collector(view, seed, stagger=view.envs.task.max_episode_steps)


def described(task, **options):
    return EnvConfig(id=f"robolearn/{task}", engine="torch", kwargs=options)


def twins(
    kind: type[BaseAgent], task: str, config: Any, **options: Any
) -> tuple[BaseAgent, BaseAgent, Ends]:
    """Return an agent on the host, one on the device, and how the former's episodes end.

    Their environments are the same ones, from the same seeds, whose first episodes are cut at the
    same steps.
    """
    device = kind(described(task, **options), config, seed=SEED)
    collector = collector_on_host(task, config.num_envs, SEED * SEED_SPACING, **options)
    host = kind(collector.envs, config, seed=SEED)
    host.envs._collector = collector
    return host, device, collector.envs.ends
