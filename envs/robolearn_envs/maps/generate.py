"""Random layouts: goal, obstacles and starts, drawn anew until the goal can be reached.

Only additions, products and square roots are used on the way to a layout, which give the same
bits on every machine, and every coordinate is rounded to a centimeter.
"""

import functools
import importlib.resources
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from robolearn_envs.core.rng import uniform
from robolearn_envs.maps.grid import (
    ARENA_HALF_SIZE,
    CELL_CENTERS,
    INFLATION_RADIUS,
    clearance,
    extrapolate_distance_map,
    free_cells,
    nearest_free_cell,
    shortest_path_map,
)

Split: TypeAlias = Literal["train", "val", "test"]

SPLITS: dict[str, tuple[int, ...]] = {"train": (0, 1), "val": (2,), "test": (3,)}
"""Colors of the goal cells of each split: (column + row) mod 4. No two splits share a goal."""
MIN_START_DISTANCE, MAX_START_DISTANCE = 2.0, 8.0
"""Shortest and longest way from a start to the goal in m."""
STARTS_PER_LAYOUT = 256
"""Starts kept with each layout."""
GOAL_TOLERANCE = 0.3
"""Distance of the robot's middle from the goal in m at which it is reached."""

_RADII = (0.2, 0.3, 0.4, 0.5)  # m
_AMPLITUDE, _SPEED = (0.5, 1.2), (0.2, 0.5)  # of a mover: m to either side, m/s at the fastest
_DIRECTIONS = ((1.0, 0.0), (0.0, 1.0), (0.6, 0.8), (0.8, 0.6), (0.6, -0.8), (0.8, -0.6))
_TRIES = 16  # places drawn for each cylinder
_OFFSETS = (-1.0, -0.5, 0.0, 0.5, 1.0)  # parts of a mover's swing that are looked at
_ROOM = 2.5  # m, side of a room of level 4
_WALL = 0.1  # m, half of a wall's thickness
MIN_START_CELLS = 200
"""Cells of the grid from which a layout can at least be started."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """What a level is made of.

    Cylinders have a radius of ``_RADII`` m, dynamic obstacles one of the first two. They oscillate
    in one of six directions; the least and the most are ``_AMPLITUDE`` m to either side, and
    ``_SPEED`` m/s where they are fastest. Walls divide the arena into rooms of ``_ROOM`` m, joined
    by a random tree of openings and some more.
    """

    cylinders: int = 0
    movers: int = 0
    """How many of the cylinders swing to and fro."""
    walls: bool = False
    """Whether the arena is divided into rooms and corridors."""

    @property
    def boxes(self) -> int:
        """The most walls a layout of this level has."""
        return 9 if self.walls else 0


LEVELS = (
    Level(),
    Level(cylinders=4),
    Level(cylinders=8),
    Level(cylinders=12, movers=4),
    Level(cylinders=2, walls=True),
)


class Layout(NamedTuple):
    """An arena and a goal in it."""

    goal: np.ndarray
    """Shape (2,), m."""
    cylinders: np.ndarray
    """x, y, radius (m), then dx, dy (m), omega (rad/s), phase (rad): at time t the middle is at
    (x, y) + (dx, dy) sin(omega t + phase). Shape (K, 7)."""
    boxes: np.ndarray
    """x, y and half extents of the walls. Shape (B, 4), m."""
    distance_map: np.ndarray
    """Length of the shortest way to the goal past what stands still, see ``grid.filled``.
    Shape (GRID_SIZE, GRID_SIZE), m, float32."""
    starts: np.ndarray
    """Where an episode may begin. Shape (STARTS_PER_LAYOUT, 2), m."""


class _Draws:
    """Uniform numbers of one candidate layout, in order."""

    def __init__(self, key: int, candidate: int) -> None:
        numbers = uniform(np.array([key]), np.array([candidate]), 1024)[0]
        self._numbers: Iterator[float] = iter(numbers.tolist())

    def within(self, low: float, high: float) -> float:
        """Return the next number, between two bounds, in whole centimeters."""
        return round(low + (high - low) * next(self._numbers), 2)

    def below(self, count: int) -> int:
        """Return the next whole number of 0 ... count - 1."""
        return int(count * next(self._numbers))


def generate(level: int, split: str, count: int) -> Iterator[Layout]:
    """Yield the first ``count`` layouts, the same on every machine."""
    for index in range(count):
        yield layout_of(level, split, index)


def layout_of(level: int, split: str, index: int) -> Layout:
    """Return one layout of a level and split, the same on every machine.

    Candidates are drawn one after the other and those that cannot be solved are left out;
    ``rejected.json`` says how many are left out before each layout, so that none has to be tried.
    """
    key = 1000 * level + list(SPLITS).index(split)
    candidate = index + sum(_rejected(level, split)[: index + 1])
    layout = _candidate(LEVELS[level], SPLITS[split], _Draws(key, candidate))
    assert layout is not None
    return layout


@functools.cache
def _rejected(level: int, split: str) -> list[int]:
    """Return how many candidates are left out before each layout."""
    text = importlib.resources.files("robolearn_envs.maps").joinpath("rejected.json").read_text()
    return [int(digit) for digit in json.loads(text).get(f"{level}/{split}", "")]


def _candidate(level: Level, colors: tuple[int, ...], draws: _Draws) -> Layout | None:
    """Return a random layout, or None where the goal is buried or too little room is left."""
    cell = _goal_cell(colors, draws)
    goal = CELL_CENTERS[list(cell)]
    boxes = _walls(draws) if level.walls else np.zeros((0, 4))
    if _gap(goal, np.zeros((0, 7)), boxes) < 0.5:
        return None
    cylinders = _cylinders(level, goal, boxes, draws)
    if cylinders is None:
        return None
    return build_layout(goal, cylinders, boxes, draws.below(1 << 30))


def build_layout(
    goal: np.ndarray,
    cylinders: np.ndarray,
    boxes: np.ndarray,
    choice: int = 0,
    *,
    block_moving: bool = False,
) -> Layout | None:
    """Return the layout with distance map and starts, or None where nothing can start.

    Args:
        goal: Shape (2,), m.
        cylinders: Shape (K, 7).
        boxes: Shape (B, 4), m.
        choice: Draws the starts.
        block_moving: Count cells as blocked that one moving obstacle covers all the time.
    """
    still = cylinders[cylinders[:, 5] == 0]
    free = passable_cells(cylinders, boxes) if block_moving else free_cells(still, boxes)
    sweeps = [_swept_cells(one[None]) for one in cylinders[cylinders[:, 5] != 0]]
    cell = nearest_free_cell(free, goal)
    if cell is None:
        return None
    distance = shortest_path_map(free, cell)
    possible = (distance >= MIN_START_DISTANCE) & (distance <= MAX_START_DISTANCE)
    for sweep in sweeps:
        possible &= np.logical_and.reduce(sweep)
    columns, rows = np.nonzero(possible)
    if len(columns) < MIN_START_CELLS:
        return None
    picked = uniform(np.array([choice]), np.array([0]), STARTS_PER_LAYOUT)[0]
    index = (picked * len(columns)).astype(np.int64)
    starts = np.stack([CELL_CENTERS[columns[index]], CELL_CENTERS[rows[index]]], axis=-1)
    return Layout(goal, cylinders, boxes, extrapolate_distance_map(distance), starts)


def passable_cells(cylinders: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return the cells that no obstacle covers all the time, see ``grid.free_cells``.

    Args:
        cylinders: Shape (K, 7).
        boxes: Shape (B, 4), m.
    """
    free = free_cells(cylinders[cylinders[:, 5] == 0], boxes)
    for one in cylinders[cylinders[:, 5] != 0]:
        free &= np.logical_or.reduce(_swept_cells(one[None]))
    return free


def _swept_cells(mover: np.ndarray) -> list[np.ndarray]:
    """Return the free cells at places along a moving obstacle's way, 0.3 m apart at the most.

    Args:
        mover: Shape (1, 7).
    """
    longest = float(np.sqrt((mover[:, 3:5] ** 2).sum()))
    halves = max(4, math.ceil(longest / 0.3))
    return [
        free_cells(_at(mover, offset), np.zeros((0, 4)))
        for offset in np.arange(-halves, halves + 1) / halves
    ]


def _at(cylinders: np.ndarray, swing: float) -> np.ndarray:
    """Return cylinders at a part of their swing in [-1, 1]."""
    moved = cylinders.copy()
    moved[:, :2] += swing * cylinders[:, 3:5]
    return moved


def _gap(point: np.ndarray, cylinders: np.ndarray, boxes: np.ndarray) -> float:
    return float(clearance(point[None], cylinders[None], boxes[None])[0])


def _goal_cell(colors: tuple[int, ...], draws: _Draws) -> tuple[int, int]:
    """Return a cell of one of the colors, 0.6 m or more from the walls."""
    column, row = 6 + draws.below(85), 6 + draws.below(88)
    while (column + row) % 4 not in colors:
        column += 1
    return column, row


def _cylinders(
    level: Level, goal: np.ndarray, boxes: np.ndarray, draws: _Draws
) -> np.ndarray | None:
    """Return a level's cylinders, movers first, or None where one found no place."""
    placed = np.zeros((0, 7))
    for k in range(level.cylinders):
        for _ in range(_TRIES):
            one = _mover(draws) if k < level.movers else _post(draws)
            if _fits(one, goal, placed, boxes):
                placed = np.concatenate([placed, one])
                break
        else:
            return None
    return placed


def _post(draws: _Draws) -> np.ndarray:
    x, y = draws.within(-4.5, 4.5), draws.within(-4.5, 4.5)
    return np.array([[x, y, _RADII[draws.below(4)], 0, 0, 0, 0]])


def _mover(draws: _Draws) -> np.ndarray:
    x, y = draws.within(-4.0, 4.0), draws.within(-4.0, 4.0)
    radius = _RADII[draws.below(2)]
    along = _DIRECTIONS[draws.below(6)]
    reach, speed = draws.within(*_AMPLITUDE), draws.within(*_SPEED)
    swing = [round(reach * part, 2) for part in along]
    return np.array([[x, y, radius, *swing, round(speed / reach, 2), draws.within(0, 6.28)]])


def _fits(one: np.ndarray, goal: np.ndarray, placed: np.ndarray, boxes: np.ndarray) -> bool:
    """Return whether a cylinder stays clear of goal, walls and the others, wherever they swing."""
    moves = one[0, 5] != 0
    radius = one[0, 2]
    goal_gap = (0.8 if moves else 0.5) + radius
    others = np.concatenate([_at(placed, s) for s in _OFFSETS])
    for swing in _OFFSETS if moves else (0.0,):
        middle = _at(one, swing)[0, :2]
        if ((middle - goal) ** 2).sum() < goal_gap**2:
            return False
        if _gap(middle, others, boxes) < radius + 0.1:
            return False
    return True


def _walls(draws: _Draws) -> np.ndarray:
    """Return the walls of 4 x 4 rooms, joined by a random tree of doors and some more.

    Kruskal's algorithm (1956) opens the walls of a spanning tree; of the nine that are left each
    stands with probability 0.6. Shape (B, 4), m.
    """
    sides = [(r, c, r, c + 1) for r in range(4) for c in range(3)]
    sides += [(r, c, r + 1, c) for r in range(3) for c in range(4)]
    room = list(range(16))

    def root(k: int) -> int:
        while room[k] != k:
            k = room[k]
        return k

    walls = []
    while sides:
        r, c, s, d = sides.pop(draws.below(len(sides)))
        one, other = root(4 * r + c), root(4 * s + d)
        if one != other:
            room[one] = other
        elif draws.below(10) < 6:
            x, y = ((c + d + 1) / 2 - 2) * _ROOM, ((r + s + 1) / 2 - 2) * _ROOM
            long, thin = _ROOM / 2 + _WALL, _WALL
            walls.append((x, y, thin, long) if r == s else (x, y, long, thin))
    return np.array(walls).reshape(-1, 4)


def in_arena(xy: np.ndarray) -> bool:
    """Return whether a robot fits at a point as far as the arena's walls go."""
    return bool(np.abs(xy).max() <= ARENA_HALF_SIZE - INFLATION_RADIUS)
