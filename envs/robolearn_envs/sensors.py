"""Lidar and depth camera: their geometry, and what they see in closed form.

Both look out from the robot's middle, levelled, and do not see the robot itself. Walls and
obstacles are all ``HEIGHT`` m high.
"""

import math

from robolearn_envs.arenas.grid import HALF
from robolearn_envs.arenas.layouts import HEIGHT
from robolearn_envs.arrays import Array, namespace

RAYS = 36
"""Lidar rays, evenly spread over the full circle; the first points forward, then anticlockwise."""
REACH = 5.0
"""Farthest reading of lidar and depth camera in m."""
LIDAR_HEIGHT = 0.2
"""Of the horizontal lidar above the floor in m."""
CAMERA_HEIGHT = 0.3
"""Of the depth camera above the floor in m; it looks straight ahead."""
PIXELS = 64
"""Rows and columns of a depth image. The field of view is 90 degrees both ways."""


def lidar_directions(heading: Array) -> tuple[Array, Array]:
    """Return x and y of the lidar's unit directions. Shapes (N, RAYS).

    Args:
        heading: Shape (N,), rad.
    """
    xp = namespace(heading)
    offsets = _count(RAYS, heading) * (2 * math.pi / RAYS)
    own_cos, own_sin = xp.cos(offsets), xp.sin(offsets)
    cos, sin = xp.cos(heading)[:, None], xp.sin(heading)[:, None]
    return cos * own_cos - sin * own_sin, sin * own_cos + cos * own_sin


def camera_directions(heading: Array) -> Array:
    """Return the directions of the camera's pixels, of length 1 along its axis.

    So a pixel's depth, which is measured along the axis, is the ray's parameter.

    Args:
        heading: Shape (N,), rad.

    Returns:
        Shape (N, PIXELS, PIXELS, 3), rows from the top.
    """
    xp = namespace(heading)
    dx, dy = _column_directions(heading)
    shape = (heading.shape[0], PIXELS, PIXELS)
    down = _slopes(heading)[None, :, None]
    parts = (dx[:, None, :], dy[:, None, :], -down)
    return xp.stack([xp.broadcast_to(part, shape) for part in parts], axis=-1)


def _column_directions(heading: Array) -> tuple[Array, Array]:
    """Return x and y of each image column's direction, of length 1 along the axis.

    Shapes (N, PIXELS).
    """
    xp = namespace(heading)
    right = _slopes(heading)
    cos, sin = xp.cos(heading)[:, None], xp.sin(heading)[:, None]
    return cos + sin * right, sin - cos * right


def _slopes(array: Array) -> Array:
    """Return the offsets at distance 1 of the pixels' middles, left to right or top to bottom.

    Shape (PIXELS,), of the type and on the device of an array.
    """
    return (2 * _count(PIXELS, array) + 1 - PIXELS) / PIXELS


def _count(number: int, array: Array) -> Array:
    """Return 0 ... number - 1, made where an array is, from which copying would wait."""
    return namespace(array).arange(number, dtype=array.dtype, device=array.device)


def first_hit(
    xy: Array, dx: Array, dy: Array, cylinders: Array, boxes: Array, reach: float
) -> Array:
    """Return how far horizontal rays go before they meet a wall or an obstacle.

    Args:
        xy: Where the rays begin: in the arena, outside of all obstacles. Shape (N, 2), m.
        dx: x of their directions, of any length. Shape (N, R).
        dy: y of their directions. Shape (N, R).
        cylinders: x, y, radius, further columns ignored. Shape (N, K, 3 or more), m.
        boxes: x, y and half extents. Shape (N, B, 4), m.
        reach: No ray goes farther.

    Returns:
        In lengths of the directions, m for unit ones. Shape (N, R).
    """
    xp = namespace(xy)
    x, y = xy[:, :1], xy[:, 1:]
    tiny = 1e-30  # a ray along an axis takes for ever to cross the other
    per_x, per_y = 1 / xp.where(dx == 0, tiny, dx), 1 / xp.where(dy == 0, tiny, dy)
    nearest = xp.clip(xp.abs(per_x) * HALF - x * per_x, None, reach)
    nearest = xp.minimum(nearest, xp.abs(per_y) * HALF - y * per_y)
    square = dx * dx + dy * dy
    for k in range(cylinders.shape[1]):
        aside, ahead = cylinders[:, k, 0, None] - x, cylinders[:, k, 1, None] - y
        along = aside * dx + ahead * dy
        miss = aside * dy - ahead * dx  # times the direction's length
        chord = cylinders[:, k, 2, None] ** 2 * square - miss * miss
        entry = (along - xp.sqrt(xp.clip(chord, 0.0, None))) / square
        hit = (chord > 0) & (along > 0) & (entry < nearest)
        nearest = xp.where(hit, entry, nearest)
    for b in range(boxes.shape[1]):
        middle_x = (boxes[:, b, 0, None] - x) * per_x
        middle_y = (boxes[:, b, 1, None] - y) * per_y
        half_x, half_y = boxes[:, b, 2, None] * xp.abs(per_x), boxes[:, b, 3, None] * xp.abs(per_y)
        entry = xp.maximum(middle_x - half_x, middle_y - half_y)
        leave = xp.minimum(middle_x + half_x, middle_y + half_y)
        hit = (entry < leave) & (leave > 0) & (entry < nearest)
        nearest = xp.where(hit, entry, nearest)
    return xp.clip(nearest, 0.0, None)


def scan(xy: Array, heading: Array, cylinders: Array, boxes: Array) -> Array:
    """Return lidar ranges in closed form. Shape (N, RAYS), m.

    Args:
        xy: Shape (N, 2), m.
        heading: Shape (N,), rad.
        cylinders: Shape (N, K, 3 or more).
        boxes: Shape (N, B, 4).
    """
    return first_hit(xy, *lidar_directions(heading), cylinders, boxes, REACH)


def depth(xy: Array, heading: Array, cylinders: Array, boxes: Array) -> Array:
    """Return depth images in closed form. Shape (N, PIXELS, PIXELS), m along the camera's axis.

    All that stands on the floor is upright and equally high, so a column of pixels sees the first
    thing in its direction, the floor before it, and nothing above it: a ray that clears the first
    obstacle has risen above all others.

    Args:
        xy: Shape (N, 2), m.
        heading: Shape (N,), rad.
        cylinders: Shape (N, K, 3 or more).
        boxes: Shape (N, B, 4).
    """
    xp = namespace(xy)
    ahead = first_hit(xy, *_column_directions(heading), cylinders, boxes, REACH)[:, None, :]
    down = _slopes(heading)[:, None]
    floor = xp.where(down > 0, CAMERA_HEIGHT / xp.where(down > 0, down, 1.0), REACH)
    over = CAMERA_HEIGHT - down * ahead > HEIGHT
    return xp.where(over, REACH, xp.minimum(xp.minimum(ahead, floor), REACH + 0 * ahead))
