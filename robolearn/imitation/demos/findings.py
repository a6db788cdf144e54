"""What is wrong, or worth knowing, about demonstrations; and their arrays by name."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

import gymnasium as gym
import numpy as np

from robolearn.imitation.demos.episodes import Demonstration, Demonstrations

Severity: TypeAlias = Literal["error", "warning", "note"]


class Finding(NamedTuple):
    """One thing found in demonstrations."""

    severity: Severity
    """error: do not learn from it; warning: look at it; note: good to know."""
    kind: str
    """What kind of thing: shape, length, finite, bounds, end, frozen, return, ..."""
    text: str
    """One line: what was found, what was expected."""
    episode: int | None = None
    """Which one, counted from 0; None for what is true of all of them together."""
    key: str = ""
    """Which array of it, such as observation or state['qpos']; "" for none in particular."""

    def __str__(self) -> str:
        """Return one line for people."""
        where = "" if self.episode is None else f"episode {self.episode}: "
        what = f"{self.key} " if self.key else ""
        return f"{self.severity}: {where}{what}{self.text}"


class Part(NamedTuple):
    """An array of an episode, and what is known of how it should be."""

    key: str
    array: np.ndarray
    """Shape (T + extra, *shape), if all is well."""
    shape: tuple[int, ...] | None
    """Of one step; None for any."""
    extra: int
    """1 where the state after the last step counts too, else 0."""
    space: gym.Space | None = None
    """What each step must lie in; None for any numbers."""


def parts(demos: Demonstrations, one: Demonstration) -> Iterator[Part]:
    """Yield all arrays of an episode."""
    yield from observed(demos.observation_space, one.observation)
    for key in ("action", "clean_action"):
        array = getattr(one, key)
        if array is not None:
            yield Part(key, np.asarray(array), demos.action_space.shape, 0, demos.action_space)
    for key in ("reward", "terminated", "truncated"):
        yield Part(key, np.asarray(getattr(one, key)), (), 0)
    for name, array in one.state.items():
        yield Part(f"state[{name!r}]", np.asarray(array), None, 1)


def observed(space: gym.Space, batch: Any, key: str = "observation") -> Iterator[Part]:
    """Yield the arrays of a batch of observations; one that is not there is empty.

    Args:
        space: Of a single observation.
        batch: T + 1 of them.
        key: What it is called.
    """
    if isinstance(space, gym.spaces.Dict):
        for name, inner in space.items():
            there = isinstance(batch, Mapping) and name in batch
            yield from observed(inner, batch[name] if there else (), f"{key}[{name!r}]")
    elif isinstance(space, gym.spaces.Tuple):
        for i, inner in enumerate(space.spaces):
            there = isinstance(batch, tuple) and i < len(batch)
            yield from observed(inner, batch[i] if there else (), f"{key}[{i}]")
    else:
        yield Part(key, np.asarray(batch), space.shape, 1, space)
