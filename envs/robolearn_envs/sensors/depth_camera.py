"""Depth camera."""

from dataclasses import dataclass
from typing import ClassVar

import gymnasium as gym
import numpy as np

from robolearn_envs.arrays import Array, namespace
from robolearn_envs.core.sim import Sim
from robolearn_envs.maps.obstacles import HEIGHT
from robolearn_envs.sensors.base import Sensor, arange_like, check_range


@dataclass(frozen=True, kw_only=True)
class DepthCamera(Sensor):
    """Looks ahead from the robot's middle, levelled, with a field of view of 90 degrees both ways.

    Readings are depths along the camera's axis over ``range_max``, rows from the top. All that
    stands is upright and equally high, so each column of pixels needs one horizontal ray: the floor
    before what it meets, and nothing above it, follow from the heights.
    """

    name: str = "depth"
    image_size: int = 64
    """Rows and columns."""
    range_max: float = 5.0
    """Farthest depth in m."""
    height: float = 0.3
    """Above the floor in m."""

    lost: ClassVar[float] = 1.0
    full_noise: ClassVar[float] = 0.1  # m
    full_dropout: ClassVar[float] = 0.1

    def __post_init__(self) -> None:
        """Refuse what no camera can be."""
        check_range(self, "image_size", 8, 512)
        check_range(self, "range_max", 1e-3, 1000.0)
        check_range(self, "height", 1e-3, 0.999)

    @property
    def scale(self) -> float:  # type: ignore[override]
        """Meters that 1 stands for."""
        return self.range_max

    @property
    def space(self) -> gym.spaces.Box:
        """Depths over ``range_max``. Shape (image_size, image_size)."""
        return gym.spaces.Box(0.0, 1.0, (self.image_size, self.image_size), np.float32)

    def pixel_slopes(self, like: Array) -> Array:
        """Return the offsets at distance 1 of the pixels' middles, from the left or the top.

        Shape (image_size,), of the type and on the device of an array.
        """
        return (2 * arange_like(self.image_size, like) + 1 - self.image_size) / self.image_size

    def column_directions(self, heading: Array) -> Array:
        """Return each image column's horizontal direction, of length 1 along the axis.

        Shape (N, image_size, 2).
        """
        xp = namespace(heading)
        right = self.pixel_slopes(heading)
        cos, sin = xp.cos(heading)[:, None], xp.sin(heading)[:, None]
        return xp.stack([cos + sin * right, sin - cos * right], axis=-1)

    def read(self, sim: Sim) -> Array:
        """Return depths over ``range_max``. Shape (n, image_size, image_size)."""
        xp = sim.xp
        xy, heading = sim.robot.pose(sim.qpos)
        origin = xp.concat([xy, 0 * heading[:, None] + self.height], axis=-1)
        ahead = sim.raycast(origin, self.column_directions(heading), self.range_max)[:, None, :]
        down = self.pixel_slopes(heading)[:, None]
        floor = xp.where(down > 0, self.height / xp.where(down > 0, down, 1.0), self.range_max)
        over = self.height - down * ahead > HEIGHT
        depth = xp.minimum(xp.minimum(ahead, floor), self.range_max + 0 * ahead)
        return xp.where(over, self.range_max, depth) / self.range_max

    def mirror(self, reading: Array) -> Array:
        """Return what is read in a mirror, left for right."""
        return namespace(reading).flip(reading, axis=-1)
