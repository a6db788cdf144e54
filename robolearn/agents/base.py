"""The seams between agents and what trains, evaluates and films them."""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, Self

import numpy as np

from robolearn.collect import Episode
from robolearn.device.collector import AnyCollector
from robolearn.environments import TrainingEnvs


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

    envs: TrainingEnvs
    config: Any

    @property
    def steps(self) -> int:
        """Environment steps learned from so far."""
        ...

    how: str
    """How it computes, and why so."""

    @property
    def collector(self) -> AnyCollector:
        """Of the training environments; they are made at the first call."""
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
