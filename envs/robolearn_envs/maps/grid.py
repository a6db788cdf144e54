"""The floor as a grid: which cells a robot may stand on, and how far each is from the goal."""

import functools

import numpy as np

from robolearn_envs.arrays import Array, namespace

ARENA_HALF_SIZE = 5.0
"""Half of the arena's side in m; its middle is the origin."""
RESOLUTION = 0.1
"""Side of a grid cell in m."""
GRID_SIZE = 100
"""Cells along a side."""
CELL_CENTERS = (2 * np.arange(GRID_SIZE) + 1 - GRID_SIZE) / 20
"""Coordinates of the cells' centers along either axis in m. Shape (GRID_SIZE,)."""
INFLATION_RADIUS = 0.3
"""The middle of a robot keeps this far from every surface in m: 0.1 m more than its radius."""
MAX_ROBOT_RADIUS = 0.22
"""Largest radius of a robot in m. In a cell that keeps ``INFLATION_RADIUS`` it touches nothing: the
corners are RESOLUTION / sqrt(2) = 0.07 m from the middle."""

_MOVES = ((1, 0), (0, 1), (1, 1), (1, -1), (2, 1), (1, 2), (2, -1), (1, -2))
"""Steps to half of a cell's 16 neighbors; the other half are their opposites."""


def clearance(xy: Array, cylinders: Array, boxes: Array) -> Array:
    """Return the distance from points to the nearest surface, negative inside an obstacle.

    Args:
        xy: One point in each of N arenas. Shape (N, 2), m.
        cylinders: x, y and radius, further columns ignored. Shape (N, K, 3 or more), m.
        boxes: x, y and half extents of axis-aligned boxes. Shape (N, B, 4), m.

    Returns:
        Shape (N,), m; walls of the arena included.
    """
    xp = namespace(xy)
    nearest = ARENA_HALF_SIZE - xp.max(xp.abs(xy), axis=-1)
    if cylinders.shape[1]:
        dx, dy = cylinders[..., 0] - xy[:, :1], cylinders[..., 1] - xy[:, 1:]
        gaps = xp.sqrt(dx * dx + dy * dy) - cylinders[..., 2]
        nearest = xp.minimum(nearest, xp.min(gaps, axis=-1))
    if boxes.shape[1]:
        beyond = xp.abs(xy[:, None, :] - boxes[..., :2]) - boxes[..., 2:]
        outside = xp.sqrt(xp.sum(xp.clip(beyond, 0.0, None) ** 2, axis=-1))
        gaps = outside + xp.clip(xp.max(beyond, axis=-1), None, 0.0)
        nearest = xp.minimum(nearest, xp.min(gaps, axis=-1))
    return nearest


def free_cells(cylinders: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return the cells whose center is ``INFLATION_RADIUS`` from everything, bool.

    Args:
        cylinders: Of one arena. Shape (K, 3 or more), m.
        boxes: Of one arena. Shape (B, 4), m.
    """
    x, y = np.meshgrid(CELL_CENTERS, CELL_CENTERS, indexing="ij")
    points = np.stack([x.ravel(), y.ravel()], axis=-1)
    gaps = clearance(points, cylinders[None], boxes[None])
    return (gaps >= INFLATION_RADIUS - 1e-9).reshape(GRID_SIZE, GRID_SIZE)


def nearest_cell(xy: np.ndarray) -> tuple[int, int]:
    """Return the cell a point lies in."""
    column, row = np.clip(
        np.floor((np.asarray(xy) + ARENA_HALF_SIZE) / RESOLUTION), 0, GRID_SIZE - 1
    ).astype(int)
    return int(column), int(row)


def nearest_free_cell(free: np.ndarray, xy: np.ndarray) -> tuple[int, int] | None:
    """Return the free cell nearest to a point, of its own and the eight around it; None if none is.

    Args:
        free: Shape (GRID_SIZE, GRID_SIZE), bool.
        xy: Shape (2,), m.
    """
    column, row = nearest_cell(xy)
    around = [
        (i, j)
        for i in range(max(column - 1, 0), min(column + 2, GRID_SIZE))
        for j in range(max(row - 1, 0), min(row + 2, GRID_SIZE))
        if free[i, j]
    ]
    away = [(CELL_CENTERS[i] - xy[0]) ** 2 + (CELL_CENTERS[j] - xy[1]) ** 2 for i, j in around]
    return around[int(np.argmin(away))] if around else None


@functools.cache
def _edges() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return all grid edges: both ends, two cells that must be free between them, lengths in m."""
    index = np.arange(GRID_SIZE * GRID_SIZE).reshape(GRID_SIZE, GRID_SIZE)
    x, y = np.divmod(index.ravel(), GRID_SIZE)
    ends, between, lengths = [], [], []
    for dx, dy in _MOVES:
        valid = (x + dx < GRID_SIZE) & (y + dy >= 0) & (y + dy < GRID_SIZE)
        a, b = x[valid], y[valid]
        half = (dx - np.sign(dx) * (abs(dx) > 1), dy - np.sign(dy) * (abs(dy) > 1))
        other = (dx - half[0], dy - half[1])
        ends.append((index[a, b], index[a + dx, b + dy]))
        steps = (half, other) if abs(dx) + abs(dy) == 3 else ((0, 0), (0, 0))
        between.append([index[a + sx, b + sy] for sx, sy in steps])
        lengths.append(np.full(len(a), RESOLUTION * np.sqrt(dx * dx + dy * dy)))
    first, second = (np.concatenate(part) for part in zip(*ends, strict=True))
    middle = np.concatenate([np.stack(part) for part in between], axis=1)
    return first, second, middle, np.concatenate(lengths)


def shortest_path_map(free: np.ndarray, goal: tuple[int, int]) -> np.ndarray:
    """Return the length of the shortest path from every free cell to the goal's.

    Dijkstra (1959) over the 16-neighbor grid, whose paths are at most 2.8 % longer than
    straight ones.

    Args:
        free: Cells a robot may stand on. Shape (GRID_SIZE, GRID_SIZE), bool.
        goal: A free cell.

    Returns:
        Shape (GRID_SIZE, GRID_SIZE), m; infinite where there is no path.
    """
    from scipy.sparse import (
        csr_array,  # as in ``extrapolate_distance_map``: only new layouts need SciPy
    )
    from scipy.sparse.csgraph import dijkstra

    first, second, middle, length = _edges()
    passable = free.ravel()
    kept = passable[first] & passable[second] & passable[middle].all(axis=0)
    graph = csr_array(
        (length[kept], (first[kept], second[kept])), shape=(GRID_SIZE**2, GRID_SIZE**2)
    )
    source = goal[0] * GRID_SIZE + goal[1]
    return dijkstra(graph, directed=False, indices=source).reshape(GRID_SIZE, GRID_SIZE)


def extrapolate_distance_map(distance: np.ndarray) -> np.ndarray:
    """Return a distance field that is finite everywhere.

    Cells without a path get the value of the nearest cell that has one, plus the way there, so
    that a robot that shaves an obstacle still reads a sensible distance.
    """
    from scipy.ndimage import distance_transform_edt

    outside = ~np.isfinite(distance)
    away, nearest = np.empty(outside.shape), np.empty((2, *outside.shape), dtype=np.int32)
    distance_transform_edt(outside, return_indices=True, distances=away, indices=nearest)
    return (distance[tuple(nearest)] + RESOLUTION * away).astype(np.float32)


def interpolate_distance(field: Array, xy: Array, which: Array | None = None) -> Array:
    """Return distance fields at points, bilinear between the cells' centers. Shape (N,), m.

    Args:
        field: Fields. Shape (M, GRID_SIZE, GRID_SIZE), m.
        xy: Points. Shape (N, 2), m.
        which: The field each point is looked up in, shape (N,), integer; None for one each.
    """
    xp = namespace(field)
    place = xp.clip((xy + ARENA_HALF_SIZE) / RESOLUTION - 0.5, 0.0, GRID_SIZE - 1.001)
    corner = xp.astype(xp.floor(place), xp.int64)
    u, v = (place - corner)[:, 0], (place - corner)[:, 1]
    i, j = corner[:, 0], corner[:, 1]
    n = xp.arange(field.shape[0], device=field.device) if which is None else which
    below = field[n, i, j] * (1 - v) + field[n, i, j + 1] * v
    above = field[n, i + 1, j] * (1 - v) + field[n, i + 1, j + 1] * v
    return below * (1 - u) + above * u
