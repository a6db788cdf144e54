"""What trains, evaluates and films agents needs of them."""

from collections.abc import Iterator
from inspect import isfunction, signature
from typing import Any, Generic, NamedTuple, Protocol, Self

import numpy as np

from robolearn.collect.collector import Episode
from robolearn.collect.device_collector import AnyCollector
from robolearn.environments import TrainingEnvs
from robolearn.errors import RobolearnError
from robolearn.networks.encoders import EncoderFactory


class TrainingUpdate(NamedTuple):
    """What an agent reports after each update."""

    steps: int
    """Environment steps made so far."""
    metrics: dict[str, float]
    """Of the update, by name."""
    episodes: list[Episode]
    """Episodes finished since the last report."""


class Policy(Protocol):
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


class Agent(Policy, Protocol):
    """A learning agent, and what a user's class needs; :class:`AgentClass` is the class itself.

    Deriving from :class:`robolearn.agents.base.BaseAgent` gives all but the algorithm.
    """

    envs: TrainingEnvs
    config: Any
    encoder: EncoderFactory | None
    """Makes an encoder of the user's; None for none."""
    seed: int
    began: int
    """Steps made when schedules began."""
    until: int
    """Steps made when the learning under way ends."""
    how: str
    """Eager or captured as CUDA graphs, and why."""

    @property
    def steps(self) -> int:
        """Environment steps learned from so far."""
        ...

    @property
    def collector(self) -> AnyCollector:
        """Of the training environments; they are made at the first call."""
        ...

    def iterate(self, steps: int) -> Iterator[TrainingUpdate]:
        """Learn from ``steps`` more environment steps or a few more, reporting each update."""
        ...

    def continue_learning(self) -> Iterator[TrainingUpdate]:
        """Go on with the learning under way, to the end of what ``iterate`` was asked for."""
        ...

    def time_split(self) -> dict[str, float]:
        """Return seconds of learning so far spent in 'env' and in 'update'."""
        ...

    def parts(self) -> Any:
        """Return what changes while it learns: :class:`robolearn.agents.saving.Parts`."""
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


class AgentClass(Protocol):
    """A class of agents, whose constructor takes ``_ARGUMENTS``."""

    name: str
    """For messages, and tuned hyper-parameters."""
    Config: Any
    """Class of its hyper-parameters: a frozen keyword-only dataclass that has ``num_envs``."""
    discrete_only: bool
    """It serves one discrete action alone."""
    supports_gpu_envs: bool
    """It learns where the simulation is, on engines whose copies live on a device."""

    def load(self, folder: Any, *, env: Any = None, device: str = "auto") -> Agent:
        """Read back what ``save`` wrote."""
        ...


_ARGUMENTS = ("env", "config", "seed", "device", "compile")


def missing_of_class(cls: type) -> list[str]:
    """Return what a class lacks to be an agent's: members, and arguments of its constructor."""
    methods = [name for name, member in _members(Agent).items() if isfunction(member)]
    lacks = [name for name in (*_members(AgentClass), *methods) if not hasattr(cls, name)]
    parameters = signature(cls).parameters
    if not any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        lacks += [f"{name}= of __init__" for name in _ARGUMENTS if name not in parameters]
    return lacks


def require_agent(agent: Any) -> None:
    """Refuse an object that is no agent.

    Raises:
        RobolearnError: It lacks members, which are named.
    """
    missing = [name for name in _members(Agent) if not hasattr(agent, name)]
    if missing:
        raise RobolearnError(
            f"{type(agent).__name__} is no agent: it lacks {', '.join(missing)}. Set them in "
            "__init__."
        )


def _members(protocol: type) -> dict[str, Any]:
    """Return the public members of a protocol by name; those without a value as None."""
    found: dict[str, Any] = {}
    for base in protocol.__mro__:
        if base not in (object, Protocol, Generic):
            found |= dict.fromkeys(base.__annotations__) | vars(base)
    return {name: member for name, member in found.items() if not name.startswith("_")}
