"""One agent trained with one seed: how it did on the way and in the end."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from robolearn.config import from_dict, to_dict
from robolearn.errors import RobolearnError
from robolearn.files import shown

MOST_EPISODES = 100_000
"""Of one evaluation."""
_MOST_POINTS = 1000  # of a curve
_LARGEST = 1e100  # of a figure in a file: what is larger overflows when it is squared
_DEEPEST = 8  # levels of hyper-parameters


@dataclass(frozen=True, kw_only=True)
class Point:
    """An evaluation on the way, on other episodes than the final one."""

    steps: int
    """Environment steps learned from."""
    seconds: float
    """Of learning, evaluations left out."""
    mean_return: float
    success_rate: float | None = None
    """None where the environment does not say."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One agent trained with one seed, and how it then did."""

    agent: str
    seed: int
    actions: str
    """'discrete' or 'continuous'."""
    steps: int
    """Environment steps it learned from."""
    wall_s: float
    """Seconds of training: making environments and agent included, evaluation not."""
    steps_per_s: float
    episodes: int
    mean_return: float
    std_return: float
    min_return: float
    max_return: float
    mean_length: float
    success_rate: float | None
    """None where the environment does not say."""
    details: Mapping[str, float]
    """Means of what else the task tells of an episode, by name."""
    source: str
    """Where the hyper-parameters come from."""
    hyper: Mapping[str, Any] = field(default_factory=dict)
    """Hyper-parameters by the agent's own names for them."""
    split: Mapping[str, float] = field(default_factory=dict)
    """Seconds of training spent in 'env' and 'update'."""
    curve: tuple[Point, ...] = ()
    """Evaluations on the way, before the first step and after the last one included."""
    returns: tuple[float, ...] = ()
    """Of the final episodes, in their order."""

    def to_json(self) -> str:
        """Return a line ``from_json`` reads back."""
        return json.dumps(to_dict(self))

    @classmethod
    def from_json(cls, line: str | bytes) -> "Cell":
        """Return the cell that a line describes.

        Raises:
            RobolearnError: It describes none.
        """
        try:
            told = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise RobolearnError("no JSON") from error
        if not isinstance(told, dict):
            raise RobolearnError("no cell")
        returns, curve = told.pop("returns", None), told.pop("curve", None)
        if not isinstance(returns, list) or not 1 <= len(returns) <= MOST_EPISODES:
            raise RobolearnError("no returns")
        if not isinstance(curve, list) or not 1 <= len(curve) <= _MOST_POINTS:
            raise RobolearnError("no curve")
        points = tuple(from_dict(Point, each, "curve.") for each in curve)
        cell = replace(from_dict(cls, told), returns=tuple(returns), curve=points)
        _require_sound(cell)
        return cell


def _require_sound(cell: Cell) -> None:
    """Refuse a cell out of a file that cannot be reckoned with.

    Raises:
        RobolearnError: It has figures that are none, or fewer or more returns than episodes.
    """
    figures = (
        *cell.returns,
        *(cell.mean_return, cell.std_return, cell.min_return, cell.max_return, cell.mean_length),
        *(cell.wall_s, cell.steps_per_s, cell.success_rate or 0.0),
        *cell.details.values(),
        *cell.split.values(),
        *(each for point in cell.curve for each in (point.seconds, point.mean_return)),
    )
    for figure in figures:
        if not isinstance(figure, float | int) or not abs(figure) <= _LARGEST:
            raise RobolearnError(f"a figure that is none: {shown(figure)}")
    if len(cell.returns) != cell.episodes:
        raise RobolearnError(f"{len(cell.returns)} returns of {cell.episodes} episodes")
    if cell.wall_s <= 0 or cell.steps_per_s <= 0:
        raise RobolearnError("learning that took no time")
    if not _is_shallow(cell.hyper, _DEEPEST):
        raise RobolearnError("hyper-parameters that nest too deeply")


def _is_shallow(value: Any, levels: int) -> bool:
    """Return whether a value nests in no more than so many levels."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels > 0 and all(_is_shallow(part, levels - 1) for part in parts)
