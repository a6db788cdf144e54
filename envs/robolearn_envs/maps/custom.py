"""Layouts and starts a user gives: checked before anything moves."""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from robolearn_envs.maps.generate import Layout, build_layout, in_arena, passable_cells
from robolearn_envs.maps.grid import (
    ARENA_HALF_SIZE,
    INFLATION_RADIUS,
    MAX_ROBOT_RADIUS,
    clearance,
    nearest_free_cell,
    shortest_path_map,
)
from robolearn_envs.names import did_you_mean

MAX_OBSTACLES = 16
"""The most cylinders (dynamic_obstacles included) and the most boxes a layout may have."""
COLUMNS = {
    "goal": ("x", "y"),
    "start": ("x", "y", "heading"),
    "cylinders": ("x", "y", "radius"),
    "dynamic_obstacles": (
        "x",
        "y",
        "radius",
        "amplitude_x",
        "amplitude_y",
        "angular_frequency",
        "phase",
    ),
    "boxes": ("x", "y", "half_x", "half_y"),
}
"""Numbers of each key of a layout; of the last three keys there is a list of such rows."""
UNITS = {"heading": "rad", "angular_frequency": "rad/s", "phase": "rad"}
"""Of those numbers that are not in m."""
MAX_FREQUENCY = 10.0
"""Angular frequency of the fastest dynamic obstacle in rad/s."""
MAX_SPEED = 5.0
"""Speed of the fastest dynamic obstacle in m/s."""
START_CLEARANCE = MAX_ROBOT_RADIUS
"""A start is at least this far from every surface in m."""
RULES = {
    "goal": "required; ``INFLATION_RADIUS`` m or more from walls and all that stands still; at "
    "least ``generate.MIN_START_CELLS`` cells of the grid have ``generate.MIN_START_DISTANCE`` to "
    "``generate.MAX_START_DISTANCE`` m of way to it",
    "start": "where the robot begins; ``START_CLEARANCE`` m or more from every surface, and not "
    "cut off from the goal; without it starts are drawn as for built-in layouts",
    "cylinders": "rows of cylinders that stand; radius > 0, |x| and |y| <= ``ARENA_HALF_SIZE`` m; "
    "with dynamic_obstacles ``MAX_OBSTACLES`` at most",
    "dynamic_obstacles": "rows of cylinders that move: at time t the middle is at "
    "(x, y) + amplitude sin(angular_frequency t + phase), always within the limits for cylinders; "
    "|angular_frequency| <= ``MAX_FREQUENCY`` rad/s, and never faster than ``MAX_SPEED`` m/s",
    "boxes": "rows of boxes, sides along x and y; half extents > 0, |x| and |y| <= "
    "``ARENA_HALF_SIZE`` m; ``MAX_OBSTACLES`` at most",
}
"""What each key means, and its limits."""
_TABLES = ("cylinders", "dynamic_obstacles", "boxes")


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
    moving = rows["dynamic_obstacles"]
    still = (moving[:, 5] == 0) | ~moving[:, 3:5].any(axis=1)  # where their phase puts them
    moving[still] = _as_they_begin(moving[still]) * [1, 1, 1, 0, 0, 0, 0]
    posts = np.concatenate([rows["cylinders"], np.zeros((len(rows["cylinders"]), 4))], axis=1)
    cylinders = np.concatenate([moving, posts])
    _check_sizes(cylinders, rows["boxes"])
    goal = _goal(data["goal"], cylinders, rows["boxes"])
    found = build_layout(goal, cylinders, rows["boxes"], block_moving=True)
    if found is None:
        raise ValueError(
            f"The layout cannot be solved: from goal {goal.tolist()} there is hardly any way for "
            f"a robot that keeps {INFLATION_RADIUS} m from every surface. Move goal or obstacles."
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
    for what, rows in (("cylinders and dynamic_obstacles", cylinders), ("boxes", boxes)):
        if len(rows) > MAX_OBSTACLES:
            raise ValueError(f"A layout has at most {MAX_OBSTACLES} {what}, got {len(rows)}.")
    sizes = np.concatenate([cylinders[:, 2], boxes[:, 2:].ravel()])
    if (sizes <= 0).any():
        raise ValueError(f"Radii and half extents must be positive, got {sizes.min()}.")
    if sizes.size and sizes.max() > 2 * ARENA_HALF_SIZE:
        raise ValueError(
            f"Radii and half extents are {2 * ARENA_HALF_SIZE} m at most, got {sizes.max():.3g}."
        )
    if (np.abs(cylinders[:, 5]) > MAX_FREQUENCY).any():
        worst = cylinders[np.abs(cylinders[:, 5]).argmax(), 5]
        raise ValueError(
            f"angular_frequency must lie within +-{MAX_FREQUENCY} rad/s, got {worst:.3g}."
        )
    speeds = np.hypot(cylinders[:, 3], cylinders[:, 4]) * np.abs(cylinders[:, 5])
    if speeds.size and speeds.max() > MAX_SPEED:
        raise ValueError(
            f"Dynamic obstacles (amplitude times angular_frequency) move at {MAX_SPEED} m/s at "
            f"most, got {speeds.max():.3g}."
        )
    ends = [cylinders[:, :2] + sign * cylinders[:, 3:5] for sign in (-1, 0, 1)]
    places = np.concatenate([*(end.ravel() for end in ends), boxes[:, :2].ravel()])
    if (np.abs(places) > ARENA_HALF_SIZE).any():
        worst = places[np.abs(places).argmax()]
        raise ValueError(
            f"Obstacles must stand within +-{ARENA_HALF_SIZE} m, got a coordinate of {worst:.3g}."
        )


def _goal(given: Any, cylinders: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    goal = _numbers("goal", given, 2)
    still = cylinders[cylinders[:, 5] == 0]
    if not in_arena(goal) or clearance(goal[None], still[None], boxes[None])[0] < INFLATION_RADIUS:
        raise ValueError(
            f"The goal must be {INFLATION_RADIUS} m or more from walls and obstacles, got "
            f"{goal.tolist()}."
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
    if gap < START_CLEARANCE:
        raise ValueError(
            f"start {start.tolist()} is {gap:.3g} m from the nearest surface (negative is inside "
            f"an obstacle or wall); the robot's middle needs {START_CLEARANCE} m or more."
        )
    free = passable_cells(layout.cylinders, layout.boxes)
    home, foot = nearest_free_cell(free, layout.goal), nearest_free_cell(free, start[:2])
    if home is None or foot is None or not np.isfinite(shortest_path_map(free, home)[foot]):
        raise ValueError(f"start {start.tolist()} is cut off from the goal.")
    start[2] = math.remainder(start[2], 2 * math.pi)  # MuJoCo calls large angles unstable
    return start


def _as_they_begin(cylinders: np.ndarray) -> np.ndarray:
    moved = cylinders.copy()
    moved[:, :2] += cylinders[:, 3:5] * np.sin(cylinders[:, 6:7])
    return moved
