"""What all agents have in common: the seam to training, and the helpers around a network."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from robolearn.collect import Episode
from robolearn.errors import RobolearnError
from robolearn.runs.checkpoint import read_checkpoint, write_checkpoint
from robolearn.spaces import ActionSpace, flatten_any, to_env_action


class Progress(NamedTuple):
    """What an agent reports after each update."""

    steps: int
    """Environment steps made so far."""
    metrics: dict[str, float]
    """Figures of the update, by name."""
    episodes: list[Episode]
    """Episodes finished since the last report."""


class Predictor(Protocol):
    """Anything that acts: ours and SB3's agents."""

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, Any]:
        """Return actions for one observation or a batch, and the recurrent state."""
        ...


class Agent(Predictor, Protocol):
    """A learning agent."""

    @property
    def steps(self) -> int:
        """Environment steps learned from so far."""
        ...

    def iterate(self, steps: int) -> Iterator[Progress]:
        """Learn from ``steps`` more environment steps, reporting after each update."""
        ...

    def learn(self, steps: int) -> Self:
        """Learn from ``steps`` more environment steps."""
        ...

    def save(self, folder: Any) -> None:
        """Write the agent into a new folder."""
        ...

    def close(self) -> None:
        """Close the training environments."""
        ...


def predict_with(
    act: Callable[[Tensor], Tensor],
    observation_space: gym.Space,
    action_space: ActionSpace,
    device: torch.device,
    observation: Any,
) -> np.ndarray:
    """Return environment actions for one observation or a batch of them.

    Args:
        act: From flat observations, shape (N, D), to actions of the policy, shape (N, ...).
        observation_space: Of a single observation.
        action_space: Of a single action.
        device: Where ``act`` computes.
        observation: One observation of the space, or N of them stacked.
    """
    flat, single = flatten_any(observation_space, observation)
    with torch.inference_mode():
        action = act(torch.from_numpy(flat).to(device)).cpu().numpy()
    actions = to_env_action(action_space, action)
    return actions[0] if single else actions


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What of an agent changes while it learns."""

    modules: Mapping[str, nn.Module]
    optimizer: torch.optim.Optimizer
    generators: Mapping[str, torch.Generator]


_STATE_KEYS = {"config", "seed", "steps", "env", "observation_space", "action_space"}


def write_agent(folder: str | Path, state: Mapping[str, Any], parts: Parts) -> None:
    """Write an agent.

    Args:
        folder: Where to; an agent already there is replaced.
        state: What identifies it, as JSON.
        parts: Its networks, optimiser and random streams.
    """
    tensors = {name: dict(module.state_dict()) for name, module in parts.modules.items()}
    moments = parts.optimizer.state_dict()["state"]
    tensors["optimizer"] = {f"{i}.{k}": t for i, group in moments.items() for k, t in group.items()}
    tensors["random"] = {name: rng.get_state() for name, rng in parts.generators.items()}
    write_checkpoint(Path(folder), state, tensors)


def read_agent(folder: str | Path, name: str) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """Read what ``write_agent`` wrote.

    Raises:
        RobolearnError: No agent there, a damaged one, or one of another algorithm.
    """
    state, tensors = read_checkpoint(Path(folder))
    if state.get("agent") != name:
        raise RobolearnError(f"{folder} holds a '{state.get('agent')}' agent, not '{name}'.")
    missing = sorted(_STATE_KEYS - state.keys())
    if missing:
        raise RobolearnError(f"{folder} does not say the agent's {', '.join(missing)}.")
    return state, tensors


def restore(parts: Parts, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Put read tensors back into an agent's parts.

    Raises:
        RobolearnError: The tensors do not fit the networks.
    """
    try:
        for name, module in parts.modules.items():
            module.load_state_dict(tensors[name])
        for name, rng in parts.generators.items():
            rng.set_state(tensors["random"][name])
        whole = parts.optimizer.state_dict()
        whole["state"] = {}
        for key, tensor in tensors["optimizer"].items():
            index, field = key.split(".")
            whole["state"].setdefault(int(index), {})[field] = tensor
        parts.optimizer.load_state_dict(whole)
    except (KeyError, ValueError, RuntimeError) as error:
        raise RobolearnError(f"The checkpoint does not fit its config: {error}.") from error
