"""Writing agents into folders and reading them back, whatever their algorithm."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from robolearn.agents import agent_name
from robolearn.agents.protocols import Agent
from robolearn.config import from_dict, to_dict
from robolearn.environments import Env, TrainingEnvs
from robolearn.errors import DivergedError, RobolearnError
from robolearn.files import fitting, require_shape, run_of, shown
from robolearn.networks.encoders import EncoderFactory
from robolearn.networks.flat_adam import FlatAdam
from robolearn.runs.checkpoint import read_checkpoint, write_checkpoint
from robolearn.spaces import flat_size

_KEYS = {"config", "seed", "counters", "env", "observation_space", "action_space"}
_LEARNING = "learning"
PASSING = {"rollout", "choice"}
"""Keepers of the episodes under way: of no use where new ones begin."""
_RNG_SIZES = {torch.Generator().get_state().numel(), 16}
"""Bytes of a generator's state: on the CPU, and on CUDA."""
_SLACK = 1_000_000  # parameters that a config may declare beyond those in the files

State: TypeAlias = dict[str, Any]
"""What JSON can hold."""
Tensors: TypeAlias = dict[str, dict[str, Tensor]]
"""By file and name."""


class Keeper(Protocol):
    """Storage of steps: without it an agent acts as it does but learns otherwise."""

    def state(self) -> dict[str, Tensor]:
        """Return all that is stored, by name; not copied."""
        ...

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Load what ``state`` returned."""
        ...


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What of an agent changes while it learns."""

    modules: Mapping[str, nn.Module]
    optimizer: FlatAdam | None = None
    """None where nothing descends a gradient."""
    generators: Mapping[str, torch.Generator]
    counters: tuple[str, ...] = ("steps",)
    """Names of its attributes that count something."""
    keepers: Mapping[str, Keeper] = field(default_factory=dict)


A = TypeVar("A", bound=Agent)


def save_learning(agent: Agent, folder: Path, session: State) -> None:
    """Write an agent in the middle of its learning, with all it takes to go on exactly there.

    Args:
        agent: Has learned already, if only for no steps.
        folder: Where to.
        session: State of the training loop.

    Raises:
        DivergedError: It has a number that is not finite; nothing was written.
    """
    state, tensors = saved_state(agent)
    learning: State = {"began": agent.began, "until": agent.until, "session": session}
    taken = agent.collector.snapshot()
    if taken is not None:
        learning["collector"], arrays = taken
        tensors["collector"] = {name: torch.from_numpy(array) for name, array in arrays.items()}
    for name, keeper in agent.parts().keepers.items():
        tensors[name] = keeper.state()
    write_checkpoint(folder, {**state, _LEARNING: learning}, tensors)


def saved_state(agent: Agent) -> tuple[State, Tensors]:
    """Return config, environments, networks, optimizer, random generators and counters.

    Raises:
        DivergedError: A number is not finite.
    """
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


def load_learning(
    cls: type[A], folder: Path, device: str, compile: str = "auto"
) -> tuple[A, State, bool]:
    """Read what ``save_learning`` wrote.

    Returns:
        The agent, the session, and whether it goes on exactly there. It does not where its
        environments cannot be restored and begin new episodes, nor on another kind of device,
        whose random numbers differ.

    Raises:
        RobolearnError: No learning there to go on with, a damaged one, or one of another algorithm.
    """
    agent, state, tensors, same_streams = read_agent(
        cls, folder, None, device, learning=True, compile=compile
    )
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


def read_agent(
    cls: type[A],
    folder: Path,
    env: Env | None,
    device: str,
    *,
    learning: bool = False,
    **how: Any,
) -> tuple[A, State, Tensors, bool]:
    """Return an agent, what was read, and whether its random generators go on where they were.

    ``learning`` says that it was written by ``save_learning``; ``how`` are further arguments of the
    class; the others are those of :meth:`robolearn.agents.base.BaseAgent.load`.

    Raises:
        RobolearnError: No agent there, a damaged one, or one of another algorithm.
    """
    build: Any = cls
    name = agent_name(cls)
    state, tensors = read_checkpoint(folder)
    if state.get("agent") != name:
        raise RobolearnError(f"{folder} holds a {state.get('agent')!r} agent, not {name!r}.")
    missing = sorted(_KEYS - state.keys())
    if missing:
        raise RobolearnError(f"{folder} does not say the agent's {', '.join(missing)}.")
    if learning and _LEARNING not in state:
        raise RobolearnError(
            f"{folder} holds an agent, but no learning to go on with. Use it with robolearn eval, "
            "or robolearn record."
        )
    with fitting(folder):
        config = from_dict(build.Config, state["config"])
        described = TrainingEnvs.from_json(state, outside=run_of(folder))
        _require_contained(folder, config, described, tensors)
        envs = described if env is None else TrainingEnvs.of(env, None, {})
        described.require_same_spaces(envs, "what it is given to learn in")
        agent: A = build(envs, config, seed=state["seed"], device=device, **how)
        _require_encoder(folder, state.get("encoder"), agent.encoder)
        parts = agent.parts()
        for name, module in parts.modules.items():
            module.load_state_dict(tensors[name])
        same_streams = True
        for name, rng in parts.generators.items():
            saved = tensors["random"][name]
            if saved.numel() in _RNG_SIZES - {rng.get_state().numel()}:
                same_streams = False  # of another kind of device: it begins anew
            else:
                rng.set_state(saved)
        if parts.optimizer is not None:
            moments = tensors["optimizer"].items()
            parts.optimizer.load_state_dict({key.removeprefix("0."): t for key, t in moments})
        for name in parts.counters:
            setattr(agent, name, type(getattr(agent, name))(state["counters"][name]))
    return agent, state, tensors, same_streams


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


def _require_contained(folder: Path, config: Any, envs: TrainingEnvs, tensors: Tensors) -> None:
    """Refuse, before any is made, networks much larger than what the files hold."""
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
