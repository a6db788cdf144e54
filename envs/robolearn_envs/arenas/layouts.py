"""Random layouts: goal, obstacles and starts, drawn anew until the goal can be reached.

Only additions, products and square roots are used on the way to a layout, which give the same
bits on every machine, and every coordinate is rounded to a centimeter.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from robolearn_envs.arenas.grid import (
    CENTERS,
    HALF,
    INFLATION,
    clearance,
    filled,
    foothold,
    free_cells,
    geodesic,
)
from robolearn_envs.arrays import Array, namespace
from robolearn_envs.streams import uniform

Split: TypeAlias = Literal["train", "val", "test"]

SPLITS: dict[str, tuple[int, ...]] = {"train": (0, 1), "val": (2,), "test": (3,)}
"""Colors of the goal cells of each split: (column + row) mod 4. No two splits share a goal."""
NEAR, FAR = 2.0, 8.0
"""Shortest and longest way from a start to the goal in m."""
STARTS = 256
"""Starts kept with each layout."""
HEIGHT = 1.0
"""Height of walls and obstacles in m."""
ARRIVED = 0.3
"""Distance of the robot's middle from the goal in m at which it is reached."""
PARKED = 1000.0
"""Where obstacles that are not there stand in m: out of reach of every sensor."""

_RADII = (0.2, 0.3, 0.4, 0.5)  # m
_SWING, _SPEED = (0.5, 1.2), (0.2, 0.5)  # of a mover: m to either side, m/s at the fastest
_DIRECTIONS = ((1.0, 0.0), (0.0, 1.0), (0.6, 0.8), (0.8, 0.6), (0.6, -0.8), (0.8, -0.6))
_TRIES = 16  # places drawn for each cylinder
_SWINGS = (-1.0, -0.5, 0.0, 0.5, 1.0)  # parts of a mover's swing that are looked at
_ROOM = 2.5  # m, side of a room of level 4
_WALL = 0.1  # m, half of a wall's thickness
ENOUGH = 200
"""Cells of the grid from which a layout can at least be started."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """What a level is made of.

    Cylinders have a radius of ``_RADII`` m, movers one of the first two. Movers swing to and fro in
    one of six directions; the least and the most are ``_SWING`` m to either side, and ``_SPEED``
    m/s where they are fastest. Walls divide the arena into rooms of ``_ROOM`` m, joined by a random
    tree of openings and some more.
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
    field: np.ndarray
    """Length of the shortest way to the goal past what stands still, see ``grid.filled``.
    Shape (CELLS, CELLS), m, float32."""
    starts: np.ndarray
    """Where an episode may begin. Shape (STARTS, 2), m."""


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
    """Yield ``count`` layouts, the same on every machine."""
    key = 1000 * level + list(SPLITS).index(split)
    candidate = 0
    while count:
        layout = _candidate(LEVELS[level], SPLITS[split], _Draws(key, candidate))
        candidate += 1
        if layout is not None:
            count -= 1
            yield layout


def _candidate(level: Level, colors: tuple[int, ...], draws: _Draws) -> Layout | None:
    """Return a random layout, or None where the goal is buried or too little room is left."""
    cell = _goal_cell(colors, draws)
    goal = CENTERS[list(cell)]
    boxes = _walls(draws) if level.walls else np.zeros((0, 4))
    if _gap(goal, np.zeros((0, 7)), boxes) < 0.5:
        return None
    cylinders = _cylinders(level, goal, boxes, draws)
    if cylinders is None:
        return None
    return furnished(goal, cylinders, boxes, draws.below(1 << 30))


def furnished(
    goal: np.ndarray, cylinders: np.ndarray, boxes: np.ndarray, choice: int = 0
) -> Layout | None:
    """Return the layout with distance field and starts, or None where nothing can start.

    Args:
        goal: Shape (2,), m.
        cylinders: Shape (K, 7).
        boxes: Shape (B, 4), m.
        choice: Draws the starts.
    """
    still = cylinders[cylinders[:, 5] == 0]
    free = free_cells(still, boxes)
    cell = foothold(free, goal)
    if cell is None:
        return None
    distance = geodesic(free, cell)
    possible = (distance >= NEAR) & (distance <= FAR)
    movers = cylinders[cylinders[:, 5] != 0]
    longest = np.sqrt((movers[:, 3:5] ** 2).sum(axis=1)).max(initial=0.0)
    halves = max(4, math.ceil(longest / 0.3))  # so that the places are 0.3 m apart at the most
    for swing in np.arange(-halves, halves + 1) / halves if len(movers) else ():
        possible &= free_cells(_at(movers, swing), boxes[:0])
    columns, rows = np.nonzero(possible)
    if len(columns) < ENOUGH:
        return None
    picked = uniform(np.array([choice]), np.array([0]), STARTS)[0]
    index = (picked * len(columns)).astype(np.int64)
    starts = np.stack([CENTERS[columns[index]], CENTERS[rows[index]]], axis=-1)
    return Layout(goal, cylinders, boxes, filled(distance), starts)


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
    reach, speed = draws.within(*_SWING), draws.within(*_SPEED)
    swing = [round(reach * part, 2) for part in along]
    return np.array([[x, y, radius, *swing, round(speed / reach, 2), draws.within(0, 6.28)]])


def _fits(one: np.ndarray, goal: np.ndarray, placed: np.ndarray, boxes: np.ndarray) -> bool:
    """Return whether a cylinder stays clear of goal, walls and the others, wherever they swing."""
    moves = one[0, 5] != 0
    radius = one[0, 2]
    goal_gap = (0.8 if moves else 0.5) + radius
    others = np.concatenate([_at(placed, s) for s in _SWINGS])
    for swing in _SWINGS if moves else (0.0,):
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


def parked(obstacles: np.ndarray, count: int) -> np.ndarray:
    """Return obstacles of one or several arenas with parked ones added.

    Args:
        obstacles: Cylinders or boxes. Shape (..., K, 7 or 4).
        count: How many there shall be, at least K.

    Returns:
        Shape (..., count, 7 or 4).
    """
    columns = obstacles.shape[-1]
    row = [PARKED, PARKED, 0.01] + ([0.01] if columns == 4 else [0.0] * (columns - 3))
    shape = (*obstacles.shape[:-2], count - obstacles.shape[-2], columns)
    return np.concatenate([obstacles, np.broadcast_to(row, shape)], axis=-2)


def at_time(cylinders: Array, time: Array) -> Array:
    """Return x, y and radius of cylinders at a time. Shape (N, K, 3).

    Args:
        cylinders: See :class:`Layout`. Shape (N, K, 7).
        time: Shape (N,), s.
    """
    xp = namespace(cylinders)
    swing = xp.sin(cylinders[..., 5] * time[:, None] + cylinders[..., 6])[..., None]
    middle = cylinders[..., :2] + cylinders[..., 3:5] * swing
    return xp.concat([middle, cylinders[..., 2:3]], axis=-1)


def inside(xy: np.ndarray) -> bool:
    """Return whether a robot fits at a point as far as the arena's walls go."""
    return bool(np.abs(xy).max() <= HALF - INFLATION)
