"""Obstacles: upright cylinders, some of which move, and axis-aligned boxes, all equally high."""

import numpy as np

from robolearn_envs.arrays import Array, namespace

HEIGHT = 1.0
"""Height of walls and obstacles in m."""
PAD_POSITION = 1000.0
"""Where obstacles that are not there stand in m: out of reach of every sensor."""


def pad_obstacles(obstacles: np.ndarray, count: int) -> np.ndarray:
    """Return obstacles of one or several arenas with padding added.

    Args:
        obstacles: Cylinders or boxes. Shape (..., K, 7, 3 or 4).
        count: How many there shall be, at least K.

    Returns:
        Shape (..., count, 7, 3 or 4).
    """
    columns = obstacles.shape[-1]
    row = [PAD_POSITION, PAD_POSITION, 0.01]
    row += [0.01] if columns == 4 else [0.0] * (columns - 3)
    shape = (*obstacles.shape[:-2], count - obstacles.shape[-2], columns)
    return np.concatenate([obstacles, np.broadcast_to(row, shape)], axis=-2)


def obstacle_positions_at(cylinders: Array, time: Array) -> Array:
    """Return x, y and radius of cylinders at a time. Shape (N, K, 3).

    Args:
        cylinders: See :class:`~robolearn_envs.maps.generate.Layout`. Shape (N, K, 7).
        time: Shape (N,), s.
    """
    xp = namespace(cylinders)
    offset = xp.sin(cylinders[..., 5] * time[:, None] + cylinders[..., 6])[..., None]
    middle = cylinders[..., :2] + cylinders[..., 3:5] * offset
    return xp.concat([middle, cylinders[..., 2:3]], axis=-1)


def swept_clearance(
    start: Array,
    end: Array,
    cylinders: Array,
    moved_cylinders: Array,
    boxes: Array,
    half_size: float,
) -> Array:
    """Return the least distance to a surface on a straight way, 0 or less where one is touched.

    Obstacles move along straight lines meanwhile. So nothing thin or fast is passed through between
    two control steps.

    Args:
        start: Where each robot's middle was. Shape (N, 2), m.
        end: Where it is. Shape (N, 2), m.
        cylinders: x, y and radius at the start. Shape (N, K, 3), m.
        moved_cylinders: The same at the end. Shape (N, K, 3), m.
        boxes: x, y and half extents. Shape (N, B, 4), m.
        half_size: Half of the arena's side in m.

    Returns:
        Shape (N,), m; walls of the arena included.
    """
    xp = namespace(start)
    nearest = half_size - xp.max(xp.maximum(xp.abs(start), xp.abs(end)), axis=-1)
    if cylinders.shape[1]:
        first = start[:, None] - cylinders[..., :2]
        path = end[:, None] - moved_cylinders[..., :2] - first
        closest = first + _fraction(first, path)[..., None] * path
        gaps = xp.sqrt(xp.sum(closest * closest, axis=-1)) - cylinders[..., 2]
        nearest = xp.minimum(nearest, xp.min(gaps, axis=-1))
    if boxes.shape[1]:
        first = start[:, None] - boxes[..., :2]
        last = end[:, None] - boxes[..., :2]
        half = boxes[..., 2:]
        gaps = xp.minimum(_box_distance(first, half), _box_distance(last, half))
        for sign_x, sign_y in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            corner = xp.stack([sign_x * boxes[..., 2], sign_y * boxes[..., 3]], axis=-1)
            offset, path = first - corner, last - first
            closest = offset + _fraction(offset, path)[..., None] * path
            gaps = xp.minimum(gaps, xp.sqrt(xp.sum(closest * closest, axis=-1)))
        gaps = xp.where(_crosses(first, last, half), xp.clip(gaps, None, 0.0), gaps)
        nearest = xp.minimum(nearest, xp.min(gaps, axis=-1))
    return nearest


def _fraction(offset: Array, path: Array) -> Array:
    """Return at which part of a path from ``offset`` the origin is nearest. Shape (N, K)."""
    xp = namespace(path)
    square = xp.sum(path * path, axis=-1)
    along = -xp.sum(offset * path, axis=-1)
    return xp.clip(along / xp.where(square > 0, square, 1.0), 0.0, 1.0)


def _box_distance(point: Array, half: Array) -> Array:
    """Return the distance of points from boxes about the origin, negative inside. Shape (N, B)."""
    xp = namespace(point)
    beyond = xp.abs(point) - half
    outside = xp.sqrt(xp.sum(xp.clip(beyond, 0.0, None) ** 2, axis=-1))
    return outside + xp.clip(xp.max(beyond, axis=-1), None, 0.0)


def _crosses(first: Array, last: Array, half: Array) -> Array:
    """Return whether segments meet boxes about the origin (separating axes). Shape (N, B)."""
    xp = namespace(first)
    middle, reach = (first + last) / 2, (last - first) / 2
    apart = xp.abs(middle) > half + xp.abs(reach)
    cross = xp.abs(middle[..., 0] * reach[..., 1] - middle[..., 1] * reach[..., 0])
    span = half[..., 0] * xp.abs(reach[..., 1]) + half[..., 1] * xp.abs(reach[..., 0])
    return ~(apart[..., 0] | apart[..., 1] | (cross > span))
