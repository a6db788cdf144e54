"""Rays in closed form, among walls and obstacles that are upright and all equally high."""

from robolearn_envs.arrays import Array, namespace
from robolearn_envs.maps.grid import ARENA_HALF_SIZE
from robolearn_envs.maps.obstacles import HEIGHT


def raycast(
    origin: Array, direction: Array, cylinders: Array, boxes: Array, max_distance: float
) -> Array:
    """Return how far rays go before they meet the floor, a wall or an obstacle.

    What stands on the floor is upright and equally high: a ray that clears the first obstacle has
    risen above all others.

    Args:
        origin: Where each environment's rays begin: in the arena, outside of all obstacles.
            Shape (N, 3), m.
        direction: Of any length. Shape (N, R, 3), or (N, R, 2) for horizontal rays.
        cylinders: x, y, radius, further columns ignored. Shape (N, K, 3 or more), m.
        boxes: x, y and half extents. Shape (N, B, 4), m.
        max_distance: No ray goes farther.

    Returns:
        In lengths of the directions. Shape (N, R).
    """
    xp = namespace(origin)
    distance = raycast_2d(
        origin[:, :2], direction[..., 0], direction[..., 1], cylinders, boxes, max_distance
    )
    if direction.shape[-1] == 2:
        return distance
    height, rise = origin[:, 2:3], direction[..., 2]
    falls = rise < 0
    floor = xp.where(falls, -height / xp.where(falls, rise, -1.0), max_distance)
    distance = xp.where(height + rise * distance > HEIGHT, max_distance, distance)
    return xp.clip(xp.minimum(distance, floor), None, max_distance)


def raycast_2d(
    xy: Array, dx: Array, dy: Array, cylinders: Array, boxes: Array, max_distance: float
) -> Array:
    """Return how far horizontal rays go before they meet a wall or an obstacle.

    Args:
        xy: Where the rays begin. Shape (N, 2), m.
        dx: x of their directions, of any length. Shape (N, R).
        dy: y of their directions. Shape (N, R).
        cylinders: Shape (N, K, 3 or more), m.
        boxes: Shape (N, B, 4), m.
        max_distance: No ray goes farther.

    Returns:
        In lengths of the directions, m for unit ones. Shape (N, R).
    """
    xp = namespace(xy)
    x, y = xy[:, :1], xy[:, 1:]
    tiny = 1e-30  # a ray along an axis takes for ever to cross the other
    per_x, per_y = 1 / xp.where(dx == 0, tiny, dx), 1 / xp.where(dy == 0, tiny, dy)
    nearest = xp.clip(xp.abs(per_x) * ARENA_HALF_SIZE - x * per_x, None, max_distance)
    nearest = xp.minimum(nearest, xp.abs(per_y) * ARENA_HALF_SIZE - y * per_y)
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
