# pyright: reportMissingModuleSource=false, reportAttributeAccessIssue=false
"""Walls and obstacles in a Bullet world, and what sensors see of them.

They stand in the robot's own world, but in millimeters, where nothing can touch them: Bullet
stops a ray up to a thousandth of a unit in front of a curved surface, which would be 1 mm.
"""

from collections import defaultdict

import numpy as np

from robolearn_envs import sensors
from robolearn_envs.arenas.grid import HALF
from robolearn_envs.arenas.layouts import HEIGHT, PARKED
from robolearn_envs.engines.bullet_world import OBSTACLE, RAY, pybullet

_UNIT = 1000.0  # in a meter
_NEAR, _FAR = 0.05, 8.0  # m, of the depth camera
_PIXEL = 2 * _NEAR / sensors.PIXELS  # m, at distance _NEAR

Shape = tuple[float, ...]
"""Radius of a cylinder, or half extents of a box in x and y, m."""


class BulletScenery:
    """Obstacles of one client. Bodies are made when first needed and used again, never removed."""

    def __init__(self, client: int) -> None:
        """Build the walls."""
        self._client = client
        self._pool: dict[Shape, list[int]] = defaultdict(list)
        self._cylinders: list[int] = []
        self._stand = np.zeros((0, 2))  # where the cylinders are
        self._in_use: list[int] = []
        thick = 0.1
        for sign in (-1, 1):
            self._place(self._make((thick, HALF + 2 * thick)), sign * (HALF + thick), 0.0)
            self._place(self._make((HALF + 2 * thick, thick)), 0.0, sign * (HALF + thick))
        self._lay_floor()

    def _lay_floor(self) -> None:
        """Put a slab under everything, for the camera alone."""
        half = [2 * HALF * _UNIT, 2 * HALF * _UNIT, _UNIT]
        slab = pybullet.createVisualShape(
            pybullet.GEOM_BOX, halfExtents=half, physicsClientId=self._client
        )
        pybullet.createMultiBody(
            0, -1, slab, basePosition=[0, 0, -_UNIT], physicsClientId=self._client
        )

    def _make(self, shape: Shape) -> int:
        """Return a new body of a shape."""
        client = self._client
        if len(shape) == 1:
            kind, radius, height = pybullet.GEOM_CYLINDER, shape[0] * _UNIT, HEIGHT * _UNIT
            touched = pybullet.createCollisionShape(
                kind, radius=radius, height=height, physicsClientId=client
            )
            drawn = pybullet.createVisualShape(
                kind, radius=radius, length=height, physicsClientId=client
            )
        else:
            half = [shape[0] * _UNIT, shape[1] * _UNIT, HEIGHT * _UNIT / 2]
            kind = pybullet.GEOM_BOX
            touched = pybullet.createCollisionShape(kind, halfExtents=half, physicsClientId=client)
            drawn = pybullet.createVisualShape(kind, halfExtents=half, physicsClientId=client)
        body = pybullet.createMultiBody(0, touched, drawn, physicsClientId=client)
        pybullet.setCollisionFilterGroupMask(body, -1, OBSTACLE, RAY, physicsClientId=client)
        return body

    def _place(self, body: int, x: float, y: float) -> None:
        pybullet.resetBasePositionAndOrientation(
            body,
            (x * _UNIT, y * _UNIT, HEIGHT * _UNIT / 2),
            (0, 0, 0, 1),
            physicsClientId=self._client,
        )

    def furnish(self, cylinders: np.ndarray, boxes: np.ndarray) -> None:
        """Put obstacles into the arena, and those that stood there before out of it.

        Args:
            cylinders: x, y, radius. Shape (K, 3 or more), m.
            boxes: x, y and half extents. Shape (B, 4), m.
        """
        free = {shape: list(bodies) for shape, bodies in self._pool.items()}
        before = set(self._in_use)
        self._cylinders = self._take(cylinders[:, :2], cylinders[:, 2:3], free)
        self._stand = cylinders[:, :2].copy()
        self._in_use = self._cylinders + self._take(boxes[:, :2], boxes[:, 2:], free)
        for body in before.difference(self._in_use):
            self._place(body, PARKED, PARKED)

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

    def move(self, cylinders: np.ndarray) -> None:
        """Put those cylinders elsewhere that have moved. Shape (K, 3 or more), m."""
        for k in np.flatnonzero((cylinders[:, :2] != self._stand).any(axis=1)):
            self._place(self._cylinders[k], *cylinders[k, :2].tolist())
        self._stand = cylinders[:, :2].copy()

    def scan(self, xy: np.ndarray, directions: np.ndarray) -> list[float]:
        """Return lidar ranges.

        Args:
            xy: Shape (2,), m.
            directions: Unit directions. Shape (RAYS, 2).

        Returns:
            RAYS numbers, m.
        """
        start = np.full((sensors.RAYS, 3), sensors.LIDAR_HEIGHT)
        start[:, :2] = xy
        end = start.copy()
        end[:, :2] += sensors.REACH * directions
        hits = pybullet.rayTestBatch(
            (_UNIT * start).tolist(),
            (_UNIT * end).tolist(),
            numThreads=1,
            collisionFilterMask=OBSTACLE,
            physicsClientId=self._client,
        )
        return [sensors.REACH * hit[2] for hit in hits]

    def depth(self, xy: np.ndarray, heading: float) -> np.ndarray:
        """Return a depth image drawn by TinyRenderer. Shape (PIXELS, PIXELS), m.

        Args:
            xy: Shape (2,), m.
            heading: rad.
        """
        eye = np.array([*xy, sensors.CAMERA_HEIGHT]) * _UNIT
        ahead = np.array([np.cos(heading), np.sin(heading), 0.0])
        view = pybullet.computeViewMatrix(eye.tolist(), (eye + ahead).tolist(), [0, 0, 1])
        # TinyRenderer looks through the lower left corner of a pixel, not through its middle.
        low, high = -_NEAR + _PIXEL / 2, _NEAR + _PIXEL / 2
        frustum = (_UNIT * edge for edge in (low, high, low, high, _NEAR, _FAR))
        buffer = pybullet.getCameraImage(
            sensors.PIXELS,
            sensors.PIXELS,
            view,
            pybullet.computeProjectionMatrix(*frustum),
            shadow=0,
            flags=pybullet.ER_NO_SEGMENTATION_MASK,
            renderer=pybullet.ER_TINY_RENDERER,
            physicsClientId=self._client,
        )[3]
        buffer = np.asarray(buffer, dtype=np.float64).reshape(sensors.PIXELS, sensors.PIXELS)
        return np.minimum(_FAR * _NEAR / (_FAR - (_FAR - _NEAR) * buffer), sensors.REACH)
