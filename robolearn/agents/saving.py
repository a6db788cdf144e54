"""Writing agents into folders and reading them back, whatever their algorithm."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from robolearn.agents import agent_name
from robolearn.collect.device_collector import AnyCollector
from robolearn.config import from_dict, to_dict
from robolearn.environments import Env, TrainingEnvs
from robolearn.errors import DivergedError, RobolearnError
from robolearn.files import fitting, require_shape, shown
from robolearn.networks.encoders import EncoderFactory
from robolearn.networks.flat_adam import FlatAdam
from robolearn.runs.checkpoint import read_checkpoint, write_checkpoint
from robolearn.spaces import flat_size

_KEYS = {"config", "seed", "counters", "env", "observation_space", "action_space"}
_LEARNING = "learning"
PASSING = {"rollout", "choice"}
"""Keepers of what only goes with the very episodes that were under way."""
_STREAMS = {torch.Generator().get_state().numel(), 16}
"""Bytes of a random stream's state: on the CPU, and on CUDA."""
_SLACK = 1_000_000  # numbers nobody minds

State: TypeAlias = dict[str, Any]
"""What JSON can hold."""
Tensors: TypeAlias = dict[str, dict[str, Tensor]]
"""By file and name."""


class Keeper(Protocol):
    """What an agent remembers of steps, without which it acts as it does but learns otherwise."""

    def state(self) -> dict[str, Tensor]:
        """Return all of it, by name; not copied."""
        ...

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go back to what ``state`` returned."""
        ...


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What of an agent changes while it learns."""

    modules: Mapping[str, nn.Module]
    optimizer: FlatAdam | None
    """None where nothing descends a gradient."""
    generators: Mapping[str, torch.Generator]
    counters: tuple[str, ...]
    """Names of its attributes that count something."""
    keepers: Mapping[str, Keeper] = field(default_factory=dict)


class Saveable(Protocol):
    """An agent that can be written and built anew from its config."""

    config: Any
    encoder: EncoderFactory | None
    seed: int
    began: int
    until: int
    envs: TrainingEnvs

    @property
    def collector(self) -> AnyCollector:
        """Of the training environments."""
        ...

    def parts(self) -> Parts:
        """Return what of the agent changes while it learns."""
        ...


A = TypeVar("A", bound=Saveable)


def save_agent(agent: Saveable, folder: str | Path) -> None:
    """Write an agent's config, environments, networks, optimizer, random streams and counters.

    Args:
        agent: The agent.
        folder: Where to; an agent already there is replaced.

    Raises:
        DivergedError: It has a number that is not finite; nothing was written.
    """
    write_checkpoint(Path(folder), *_described(agent))


def save_learning(agent: Saveable, folder: Path, session: State) -> None:
    """Write an agent in the middle of its learning, with all it takes to go on exactly there.

    Args:
        agent: Has learned already, if only for no steps.
        folder: Where to.
        session: Of whoever lets it learn.

    Raises:
        DivergedError: It has a number that is not finite; nothing was written.
    """
    state, tensors = _described(agent)
    learning: State = {"began": agent.began, "until": agent.until, "session": session}
    taken = agent.collector.snapshot()
    if taken is not None:
        learning["collector"], arrays = taken
        tensors["collector"] = {name: torch.from_numpy(array) for name, array in arrays.items()}
    for name, keeper in agent.parts().keepers.items():
        tensors[name] = keeper.state()
    write_checkpoint(folder, {**state, _LEARNING: learning}, tensors)


def _described(agent: Saveable) -> tuple[State, Tensors]:
    parts = agent.parts()
    state = {
        "agent": agent_name(type(agent)),
        "config": to_dict(agent.config),
        "seed": agent.seed,
        "counters": {name: getattr(agent, name) for name in parts.counters},
        "encoder": agent.encoder and _name_of(agent.encoder),
        **agent.envs.to_json(),
    }
    tensors = {name: dict(module.state_dict()) for name, module in parts.modules.items()}
    if parts.optimizer is not None:
        tensors["optimizer"] = {f"0.{k}": t for k, t in parts.optimizer.moments.items()}
    for name, group in tensors.items():
        for key, tensor in group.items():
            if not tensor.isfinite().all():
                raise DivergedError(
                    f"{key} of the agent's {name} is not finite: it was not saved, and what was "
                    "saved before is as it was."
                )
    tensors["random"] = {name: rng.get_state() for name, rng in parts.generators.items()}
    return state, tensors


def load_saved(
    cls: type[A],
    folder: str | Path,
    env: Env | None,
    encoder: EncoderFactory | None,
    device: str,
) -> A:
    """Read what ``save_agent`` or ``save_learning`` wrote, as far as it takes to act.

    Args:
        cls: The agent's class; built from environments, config, seed and device.
        folder: Where from.
        env: Environments to learn in, instead of the ones it was trained in.
        encoder: Makes an encoder of the user's; None for ours.
        device: 'auto', 'cpu' or 'cuda'.

    Raises:
        RobolearnError: No agent there, a damaged one, or one of another algorithm.
    """
    state, tensors = _read(Path(folder), agent_name(cls))
    how: dict[str, Any] = {} if encoder is None else {"encoder": encoder}
    agent, _ = _built(cls, Path(folder), state, tensors, env, device, **how)
    return agent


def load_learning(
    cls: type[A], folder: Path, device: str, compile: str = "auto"
) -> tuple[A, State, bool]:
    """Read what ``save_learning`` wrote.

    Args:
        cls: The agent's class.
        folder: Where from.
        device: 'auto', 'cpu' or 'cuda'.
        compile: See :class:`~robolearn.agents.base.BaseAgent`.

    Returns:
        The agent, the session, and whether it goes on exactly there: not where its environments
        cannot be put back and begin new episodes, nor on another kind of device, whose random
        numbers are others.

    Raises:
        RobolearnError: No learning there to go on with, a damaged one, or one of another algorithm.
    """
    state, tensors = _read(folder, agent_name(cls))
    if _LEARNING not in state:
        raise RobolearnError(
            f"{folder} holds an agent, but no learning to go on with. Use it with robolearn eval, "
            "or robolearn record."
        )
    agent, same_streams = _built(cls, folder, state, tensors, None, device, compile=compile)
    exact = False
    with fitting(folder):
        learning = state[_LEARNING]
        agent.began, agent.until = int(learning["began"]), int(learning["until"])
        if "collector" in learning:
            width = flat_size(agent.envs.observation_space)
            require_shape("obs", tensors["collector"]["obs"], (agent.config.num_envs, width))
            arrays = {name: tensor.numpy() for name, tensor in tensors["collector"].items()}
            exact = agent.collector.resume(learning["collector"], arrays)
        for name, keeper in agent.parts().keepers.items():
            if exact or name not in PASSING:
                keeper.restore(tensors[name])
        return agent, dict(learning["session"]), exact and same_streams


def _built(
    cls: type[A],
    folder: Path,
    state: State,
    tensors: Tensors,
    env: Env | None,
    device: str,
    **how: Any,
) -> tuple[A, bool]:
    """Return the agent, and whether its random streams go on where they were."""
    build: Any = cls
    with fitting(folder):
        config = from_dict(build.Config, state["config"])
        described = TrainingEnvs.from_json(state)
        _require_contained(folder, config, described, tensors)
        envs = described if env is None else TrainingEnvs.of(env, None, {})
        described.require_same_spaces(envs, "what it is given to learn in")
        agent: A = build(envs, config, seed=state["seed"], device=device, **how)
        _require_encoder(folder, state.get("encoder"), agent.encoder)
        parts = agent.parts()
        same_streams = _restore(parts, tensors)
        for name in parts.counters:
            setattr(agent, name, type(getattr(agent, name))(state["counters"][name]))
    return agent, same_streams


def _name_of(encoder: EncoderFactory) -> str:
    return getattr(encoder, "__qualname__", type(encoder).__qualname__)


def _require_encoder(folder: Path, saved: Any, given: EncoderFactory | None) -> None:
    """Refuse an agent without the encoder it was saved with, or with one where it had none."""
    if saved is not None and given is None:
        raise RobolearnError(
            f"The agent in {folder} has an encoder of yours, made by {shown(saved)}, which is not "
            "saved. Give it what makes it: load(folder, encoder=...)."
        )
    if saved is None and given is not None:
        raise RobolearnError(
            f"The agent in {folder} has no encoder of yours, got {_name_of(given)}. Leave it out."
        )


def _read(folder: Path, name: str) -> tuple[State, Tensors]:
    state, tensors = read_checkpoint(folder)
    if state.get("agent") != name:
        raise RobolearnError(f"{folder} holds a {state.get('agent')!r} agent, not {name!r}.")
    missing = sorted(_KEYS - state.keys())
    if missing:
        raise RobolearnError(f"{folder} does not say the agent's {', '.join(missing)}.")
    return state, tensors


def _require_contained(folder: Path, config: Any, envs: TrainingEnvs, tensors: Tensors) -> None:
    """Make sure, before any is made, that networks are about as large as the files hold them.

    Raises:
        RobolearnError: The config declares larger ones.
    """
    held = sum(tensor.numel() for group in tensors.values() for tensor in group.values())
    sizes = to_dict(config)
    seen, hidden = flat_size(envs.observation_space), sizes.get("hidden_sizes", [])
    features, memory = sizes.get("cnn_features_dim", 0), sizes.get("gru_hidden_size", 0)
    first = min(seen, features) if features else seen
    layers = [first, *hidden]
    declared = sum(a * b for a, b in itertools.pairwise(layers)) + memory * (memory + first)
    widths = {"c51": "n_atoms", "qr": "n_quantiles"}
    atoms = sizes.get(widths.get(sizes.get("value_distribution", ""), ""), 1)
    declared += layers[-1] * flat_size(envs.action_space) * atoms
    if sizes.get("adapter", "none") in ("lora", "bottleneck"):
        declared += sizes["adapter_rank"] * (sum(hidden) + 1)
    if declared > held + _SLACK:
        raise RobolearnError(
            f"{folder} declares networks of at least {declared:,} numbers, but holds only "
            f"{held:,}. It is damaged, or not to be trusted."
        )


def _restore(parts: Parts, tensors: Tensors) -> bool:
    """Put read tensors back into an agent's parts.

    Returns:
        Whether random streams go on where they were; on another kind of device they begin anew.
    """
    for name, module in parts.modules.items():
        module.load_state_dict(tensors[name])
    same = True
    for name, rng in parts.generators.items():
        state = tensors["random"][name]
        if state.numel() in _STREAMS - {rng.get_state().numel()}:
            same = False
        else:
            rng.set_state(state)
    if parts.optimizer is not None:
        moments = tensors["optimizer"].items()
        parts.optimizer.load_state_dict({key.removeprefix("0."): t for key, t in moments})
    return same
