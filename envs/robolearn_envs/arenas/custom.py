"""Layouts and starts a user gives: checked before anything moves."""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from robolearn_envs.arenas.grid import (
    HALF,
    INFLATION,
    WIDEST,
    clearance,
    foothold,
    free_cells,
    geodesic,
)
from robolearn_envs.arenas.layouts import Layout, furnished, inside
from robolearn_envs.names import did_you_mean

MOST = 16
"""The most cylinders (movers included) and the most boxes a layout may have."""
COLUMNS = {
    "goal": ("x", "y"),
    "start": ("x", "y", "heading"),
    "cylinders": ("x", "y", "radius"),
    "movers": ("x", "y", "radius", "dx", "dy", "omega", "phase"),
    "boxes": ("x", "y", "half_x", "half_y"),
}
"""Numbers of each key of a layout; of the last three keys there is a list of such rows."""
UNITS = {"heading": "rad", "omega": "rad/s", "phase": "rad"}
"""Of those numbers that are not in m."""
FASTEST_SWING = 10.0
"""Angular frequency of the fastest mover in rad/s."""
START_GAP = WIDEST
"""A start is at least this far from every surface in m."""
RULES = {
    "goal": "required; ``INFLATION`` m or more from walls and all that stands still; at least "
    "``layouts.ENOUGH`` cells of the grid have ``layouts.NEAR`` to ``layouts.FAR`` m of way to it",
    "start": "where the robot begins; ``START_GAP`` m or more from every surface, and not cut off "
    "from the goal; without it starts are drawn as for built-in layouts",
    "cylinders": "rows of cylinders that stand; radius > 0, |x| and |y| <= ``HALF`` m; with movers "
    "``MOST`` at most",
    "movers": "rows of cylinders that move: at time t the middle is at "
    "(x + dx sin(omega t + phase), y + dy sin(omega t + phase)), always within the limits for "
    "cylinders; |omega| <= ``FASTEST_SWING`` rad/s",
    "boxes": "rows of boxes, sides along x and y; half extents > 0, |x| and |y| <= ``HALF`` m; "
    "``MOST`` at most",
}
"""What each key means, and its limits."""
_TABLES = ("cylinders", "movers", "boxes")


def layout_from_json(data: Any) -> tuple[Layout, np.ndarray | None]:
    """Return a layout given as a mapping or as JSON text, and the start if it names one.

    Its keys and their limits are those of ``COLUMNS`` and ``RULES``.

    Raises:
        ValueError: Says which key is wrong, what was got and what was expected.
    """
    if isinstance(data, str):
        try:
            data = json.loads(data)
        except (json.JSONDecodeError, RecursionError) as problem:
            raise ValueError(f"The layout is not JSON: {problem}.") from problem
    if not isinstance(data, Mapping):
        raise ValueError(f"A layout is a mapping with a 'goal', got {type(data).__name__}.")
    for key in data:
        if key not in COLUMNS:
            raise ValueError(did_you_mean("key of a layout", str(key), COLUMNS))
    if "goal" not in data:
        raise ValueError("The layout has no 'goal': give [x, y] in m.")
    rows = {key: _table(key, data.get(key, [])) for key in _TABLES}
    movers = rows["movers"]
    still = (movers[:, 5] == 0) | ~movers[:, 3:5].any(axis=1)  # where their phase puts them
    rows["movers"][still] = _as_they_begin(rows["movers"][still]) * [1, 1, 1, 0, 0, 0, 0]
    posts = np.concatenate([rows["cylinders"], np.zeros((len(rows["cylinders"]), 4))], axis=1)
    cylinders = np.concatenate([rows["movers"], posts])
    _check_sizes(cylinders, rows["boxes"])
    goal = _goal(data["goal"], cylinders, rows["boxes"])
    found = furnished(goal, cylinders, rows["boxes"])
    if found is None:
        raise ValueError(
            f"The layout cannot be solved: from goal {goal.tolist()} there is hardly any way for "
            f"a robot that keeps {INFLATION} m from every surface. Move the goal or obstacles."
        )
    start = check_start(data["start"], found) if "start" in data else None
    return found, start


def _numbers(key: str, given: Any, count: int) -> np.ndarray:
    """Return ``count`` finite numbers. Shape (count,)."""
    given = given.tolist() if isinstance(given, np.ndarray) else given
    right = isinstance(given, Sequence) and not isinstance(given, str)
    if right and len(given) == count and all(_is_number(item) for item in given):
        return np.array([float(item) for item in given])
    raise ValueError(f"'{key}' must be {count} finite numbers, got {given!r}.")


def _is_number(item: Any) -> bool:
    plain = isinstance(item, int | float | np.integer | np.floating) and not isinstance(item, bool)
    # Neither NaN nor an int of 400 digits is that small.
    return plain and bool(abs(item) <= sys.float_info.max)


def _table(key: str, given: Any) -> np.ndarray:
    """Return rows of a key's numbers. Shape (rows, columns)."""
    columns = len(COLUMNS[key])
    given = given.tolist() if isinstance(given, np.ndarray) else given
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise ValueError(f"'{key}' must be a list of rows of {columns} numbers, got {given!r}.")
    rows = [_numbers(f"{key}[{k}]", row, columns) for k, row in enumerate(given)]
    return np.array(rows).reshape(-1, columns)


def _check_sizes(cylinders: np.ndarray, boxes: np.ndarray) -> None:
    for what, rows in (("cylinders and movers", cylinders), ("boxes", boxes)):
        if len(rows) > MOST:
            raise ValueError(f"A layout has at most {MOST} {what}, got {len(rows)}.")
    sizes = np.concatenate([cylinders[:, 2], boxes[:, 2:].ravel()])
    if (sizes <= 0).any():
        raise ValueError(f"Radii and half extents must be positive, got {sizes.min()}.")
    if sizes.size and sizes.max() > 2 * HALF:
        raise ValueError(f"Radii and half extents are {2 * HALF} m at most, got {sizes.max():.3g}.")
    if (np.abs(cylinders[:, 5]) > FASTEST_SWING).any():
        worst = cylinders[np.abs(cylinders[:, 5]).argmax(), 5]
        raise ValueError(f"omega must lie within +-{FASTEST_SWING} rad/s, got {worst:.3g}.")
    ends = [cylinders[:, :2] + sign * cylinders[:, 3:5] for sign in (-1, 0, 1)]
    places = np.concatenate([*(end.ravel() for end in ends), boxes[:, :2].ravel()])
    if (np.abs(places) > HALF).any():
        worst = places[np.abs(places).argmax()]
        raise ValueError(
            f"Obstacles must stand within +-{HALF} m, got a coordinate of {worst:.3g}."
        )


def _goal(given: Any, cylinders: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    goal = _numbers("goal", given, 2)
    still = cylinders[cylinders[:, 5] == 0]
    if not inside(goal) or clearance(goal[None], still[None], boxes[None])[0] < INFLATION:
        raise ValueError(
            f"The goal must be {INFLATION} m or more from walls and obstacles, got {goal.tolist()}."
        )
    return goal


def check_start(given: Any, layout: Layout) -> np.ndarray:
    """Return a start [x, y, heading] in a layout. Shape (3,).

    Raises:
        ValueError: Outside the arena, in or too near an obstacle, or cut off from the goal.
    """
    start = _numbers("start", given, 3)
    xy = start[None, :2]
    gap = clearance(xy, _as_they_begin(layout.cylinders)[None], layout.boxes[None])[0]
    if gap < START_GAP:
        raise ValueError(
            f"start {start.tolist()} is {gap:.3g} m from the nearest surface (negative is inside "
            f"an obstacle or wall); the robot's middle needs {START_GAP} m or more."
        )
    still = layout.cylinders[layout.cylinders[:, 5] == 0]
    free = free_cells(still, layout.boxes)
    home, foot = foothold(free, layout.goal), foothold(free, start[:2])
    if home is None or foot is None or not np.isfinite(geodesic(free, home)[foot]):
        raise ValueError(f"start {start.tolist()} is cut off from the goal.")
    start[2] = math.remainder(start[2], 2 * math.pi)  # MuJoCo calls large angles unstable
    return start


def _as_they_begin(cylinders: np.ndarray) -> np.ndarray:
    moved = cylinders.copy()
    moved[:, :2] += cylinders[:, 3:5] * np.sin(cylinders[:, 6:7])
    return moved
