"""What demonstrations bought: figures of learning curves."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

from robolearn.errors import RobolearnError

Curve: TypeAlias = Sequence[tuple[int, float]]
"""Environment steps, and the mean return of an evaluation after them."""


class Gains(NamedTuple):
    """Figures of one learning curve that begins with a pretrained agent."""

    start: float
    """Return before a step is made."""
    end: float
    """Return at the end."""
    dip: float
    """By which part of the start it falls below that at most; 0 if never."""
    retention: float
    """The end over the start; of a negative start 1 plus the gain over its magnitude."""
    steps: float
    """After which a threshold is first reached; infinite if it never is."""


def read_curve(run: Path) -> list[tuple[int, float]]:
    """Return the evaluations on the way of a run.

    Raises:
        RobolearnError: There are none.
    """
    path = run / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
    points = [
        (int(r["steps"]), float(r["eval/mean_reward"])) for r in rows if "eval/mean_reward" in r
    ]
    if not points:
        raise RobolearnError(f"{run} holds no evaluations. Name the folder of a run that ended.")
    return points


def gains(points: Curve, threshold: float) -> Gains:
    """Return the figures of a curve.

    Args:
        points: In order of steps, at least one.
        threshold: A return.
    """
    start, end = points[0][1], points[-1][1]
    retention = 1 + _share(end - start, abs(start))
    return Gains(start, end, dip(points), retention, steps_to(points, threshold))


def steps_to(points: Curve, threshold: float) -> float:
    """Return the steps after which a curve first reaches a return; infinite if it never does."""
    return next((float(steps) for steps, score in points if score >= threshold), math.inf)


def dip(points: Curve) -> float:
    """Return by which part of its start, in magnitude, a curve falls below it at most."""
    start, least = points[0][1], min(score for _, score in points)
    return _share(start - least, abs(start))


def saved(steps: float, scratch: float) -> float:
    """Return which part of the steps from scratch is saved; none of none, or if never reached.

    Args:
        steps: With demonstrations; infinite if the threshold was never reached.
        scratch: Without; infinite if never, and then all are saved where it was reached at all.
    """
    if math.isinf(steps):
        return 0.0
    return 1.0 if math.isinf(scratch) else max(0.0, 1 - _share(steps, scratch))


def normalized(score: float, random: float, expert: float) -> float:
    """Return a return on the scale where random actions have 0 and the expert 1.

    Raises:
        RobolearnError: The expert is no better than random actions.
    """
    if not expert > random:
        raise RobolearnError(
            f"The expert's return must be above that of random actions, got {expert:g} and "
            f"{random:g}. Name a set whose card has both scores."
        )
    return (score - random) / (expert - random)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
