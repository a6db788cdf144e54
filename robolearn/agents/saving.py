"""Writing agents into folders and reading them back, whatever their algorithm."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import torch
from gymnasium.vector import VectorEnv
from torch import Tensor, nn

from robolearn.config import from_dict, to_dict
from robolearn.environments import TrainingEnvs
from robolearn.errors import RobolearnError
from robolearn.runs.checkpoint import read_checkpoint, write_checkpoint

_KEYS = {"config", "seed", "counters", "env", "observation_space", "action_space"}


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What of an agent changes while it learns."""

    modules: Mapping[str, nn.Module]
    optimizer: torch.optim.Optimizer | None
    """None where nothing descends a gradient."""
    generators: Mapping[str, torch.Generator]
    counters: tuple[str, ...]
    """Names of its attributes that count something."""


class Saveable(Protocol):
    """An agent that can be written and built anew from its config."""

    name: ClassVar[str]
    config: Any
    seed: int
    envs: TrainingEnvs

    def parts(self) -> Parts:
        """Return what of the agent changes while it learns."""
        ...


A = TypeVar("A", bound=Saveable)


def save_agent(agent: Saveable, folder: str | Path) -> None:
    """Write an agent's config, environments, networks, optimiser, random streams and counters.

    Args:
        agent: The agent.
        folder: Where to; an agent already there is replaced.
    """
    parts = agent.parts()
    state = {
        "agent": agent.name,
        "config": to_dict(agent.config),
        "seed": agent.seed,
        "counters": {name: getattr(agent, name) for name in parts.counters},
        **agent.envs.to_json(),
    }
    tensors = {name: dict(module.state_dict()) for name, module in parts.modules.items()}
    if parts.optimizer is not None:
        moments = parts.optimizer.state_dict()["state"].items()
        tensors["optimizer"] = {f"{i}.{k}": t for i, group in moments for k, t in group.items()}
    tensors["random"] = {name: rng.get_state() for name, rng in parts.generators.items()}
    write_checkpoint(Path(folder), state, tensors)


def load_saved(cls: type[A], folder: str | Path, env: VectorEnv | None, device: str) -> A:
    """Read what ``save_agent`` wrote.

    Args:
        cls: The agent's class; built from environments, config, seed and device.
        folder: Where from.
        env: Environments to learn in, instead of the ones it was trained in.
        device: 'auto', 'cpu' or 'cuda'.

    Raises:
        RobolearnError: No agent there, a damaged one, or one of another algorithm.
    """
    state, tensors = _read(Path(folder), cls.name)
    build: Any = cls
    config = from_dict(build.Config, state["config"])
    envs = TrainingEnvs.from_json(state) if env is None else env
    agent: A = build(envs, config, seed=state["seed"], device=device)
    parts = agent.parts()
    _restore(parts, tensors)
    for name in parts.counters:
        setattr(agent, name, state["counters"][name])
    return agent


def _read(folder: Path, name: str) -> tuple[dict[str, Any], Mapping[str, Mapping[str, Tensor]]]:
    state, tensors = read_checkpoint(folder)
    if state.get("agent") != name:
        raise RobolearnError(f"{folder} holds a '{state.get('agent')}' agent, not '{name}'.")
    missing = sorted(_KEYS - state.keys())
    if missing:
        raise RobolearnError(f"{folder} does not say the agent's {', '.join(missing)}.")
    return state, tensors


def _restore(parts: Parts, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Put read tensors back into an agent's parts."""
    try:
        for name, module in parts.modules.items():
            module.load_state_dict(tensors[name])
        for name, rng in parts.generators.items():
            rng.set_state(tensors["random"][name])
        if parts.optimizer is not None:
            _restore_moments(parts.optimizer, tensors["optimizer"])
    except (KeyError, ValueError, RuntimeError) as error:
        raise RobolearnError(f"The checkpoint does not fit its config: {error}.") from error


def _restore_moments(optimizer: torch.optim.Optimizer, moments: Mapping[str, Tensor]) -> None:
    """Put what an optimiser remembers of its gradients back into it."""
    whole = optimizer.state_dict()
    whole["state"] = {}
    for key, tensor in moments.items():
        index, field = key.split(".")
        whole["state"].setdefault(int(index), {})[field] = tensor
    optimizer.load_state_dict(whole)
