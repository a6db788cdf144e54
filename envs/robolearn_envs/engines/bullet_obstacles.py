# pyright: reportMissingModuleSource=false, reportAttributeAccessIssue=false
"""Walls and obstacles in a Bullet world, and what sensors see of them.

They stand in the robot's own world, but in millimeters, where nothing can touch them: Bullet
stops a ray up to a thousandth of a unit in front of a curved surface, which would be 1 mm.
"""

from collections import defaultdict

import numpy as np

from robolearn_envs.engines.bullet_world import OBSTACLE, RAY, pybullet
from robolearn_envs.maps.grid import ARENA_HALF_SIZE
from robolearn_envs.maps.obstacles import HEIGHT, PAD_POSITION

_UNIT = 1000.0  # in a meter

Shape = tuple[float, ...]
"""Radius of a cylinder, or half extents of a box in x and y, m."""


class BulletObstacles:
    """Obstacles of one client. Bodies are made when first needed and used again, never removed."""

    def __init__(self, client: int) -> None:
        """Build the walls."""
        self._client = client
        self._pool: dict[Shape, list[int]] = defaultdict(list)
        self._cylinders: list[int] = []
        self._positions = np.zeros((0, 2))  # where the cylinders are
        self._in_use: list[int] = []
        thick = 0.1
        for sign in (-1, 1):
            self._place(
                self._make((thick, ARENA_HALF_SIZE + 2 * thick)),
                sign * (ARENA_HALF_SIZE + thick),
                0.0,
            )
            self._place(
                self._make((ARENA_HALF_SIZE + 2 * thick, thick)),
                0.0,
                sign * (ARENA_HALF_SIZE + thick),
            )

    def _make(self, shape: Shape) -> int:
        """Return a new body of a shape."""
        client = self._client
        if len(shape) == 1:
            collision = pybullet.createCollisionShape(
                pybullet.GEOM_CYLINDER,
                radius=shape[0] * _UNIT,
                height=HEIGHT * _UNIT,
                physicsClientId=client,
            )
        else:
            half = [shape[0] * _UNIT, shape[1] * _UNIT, HEIGHT * _UNIT / 2]
            collision = pybullet.createCollisionShape(
                pybullet.GEOM_BOX, halfExtents=half, physicsClientId=client
            )
        body = pybullet.createMultiBody(0, collision, physicsClientId=client)
        pybullet.setCollisionFilterGroupMask(body, -1, OBSTACLE, RAY, physicsClientId=client)
        return body

    def _place(self, body: int, x: float, y: float) -> None:
        pybullet.resetBasePositionAndOrientation(
            body,
            (x * _UNIT, y * _UNIT, HEIGHT * _UNIT / 2),
            (0, 0, 0, 1),
            physicsClientId=self._client,
        )

    def set_obstacles(self, cylinders: np.ndarray, boxes: np.ndarray) -> None:
        """Put obstacles into the arena, and those that stood there before out of it.

        Args:
            cylinders: x, y, radius. Shape (K, 3 or more), m.
            boxes: x, y and half extents. Shape (B, 4), m.
        """
        free = {shape: list(bodies) for shape, bodies in self._pool.items()}
        before = set(self._in_use)
        self._cylinders = self._take(cylinders[:, :2], cylinders[:, 2:3], free)
        self._positions = cylinders[:, :2].copy()
        self._in_use = self._cylinders + self._take(boxes[:, :2], boxes[:, 2:], free)
        for body in before.difference(self._in_use):
            self._place(body, PAD_POSITION, PAD_POSITION)

    def _take(
        self, places: np.ndarray, shapes: np.ndarray, free: dict[Shape, list[int]]
    ) -> list[int]:
        """Return bodies of these shapes at these places, out of ``free`` where it has any."""
        taken = []
        for (x, y), row in zip(places.tolist(), shapes.tolist(), strict=True):
            shape = tuple(row)
            if not free.get(shape):
                body = self._make(shape)
                self._pool[shape].append(body)
            else:
                body = free[shape].pop()
            self._place(body, x, y)
            taken.append(body)
        return taken

    def set_positions(self, cylinders: np.ndarray) -> None:
        """Move those cylinders that stand elsewhere now. Shape (K, 3 or more), m."""
        for k in np.flatnonzero((cylinders[:, :2] != self._positions).any(axis=1)):
            self._place(self._cylinders[k], *cylinders[k, :2].tolist())
        self._positions = cylinders[:, :2].copy()

    def raycast(self, origin: np.ndarray, direction: np.ndarray, max_distance: float) -> np.ndarray:
        """Return how far rays go.

        Args:
            origin: Shape (3,), m.
            direction: Shape (R, 3), or (R, 2) for horizontal rays.
            max_distance: What a ray reads that meets nothing nearer.

        Returns:
            In lengths of the directions. Shape (R,).
        """
        start = np.tile(origin, (len(direction), 1))
        end = start.copy()
        end[:, : direction.shape[1]] += max_distance * direction
        hits = pybullet.rayTestBatch(
            (_UNIT * start).tolist(),
            (_UNIT * end).tolist(),
            numThreads=1,
            collisionFilterMask=OBSTACLE,
            physicsClientId=self._client,
        )
        distance = max_distance * np.array([hit[2] for hit in hits])
        if direction.shape[1] == 3:  # the floor is no obstacle
            falls = direction[:, 2] < 0
            floor = np.where(falls, -origin[2] / np.where(falls, direction[:, 2], -1.0), np.inf)
            distance = np.minimum(distance, floor)
        return distance
