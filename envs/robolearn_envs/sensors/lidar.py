"""Planar lidar, as ROS's ``sensor_msgs/LaserScan`` describes it."""

import math
from dataclasses import dataclass
from typing import ClassVar

import gymnasium as gym
import numpy as np

from robolearn_envs.arrays import Array, namespace
from robolearn_envs.core.sim import Sim
from robolearn_envs.sensors.base import Sensor, arange_like, check_range


@dataclass(frozen=True, kw_only=True)
class Lidar(Sensor):
    """Looks out horizontally from the robot's middle; it does not see the robot.

    Readings are ranges over ``range_max``, 1 where nothing is in reach. All round, ray 0 points
    along the heading and the others follow anticlockwise; with a smaller field of view the rays go
    from ``-fov / 2`` (to the right) to ``fov / 2``.
    """

    name: str = "lidar"
    num_rays: int = 36
    """Rays, evenly spread."""
    fov: float = 2 * math.pi
    """Field of view in rad, up to 2 pi."""
    range_max: float = 5.0
    """Farthest reading in m."""
    height: float = 0.2
    """Above the floor in m."""

    lost: ClassVar[float] = 1.0
    full_noise: ClassVar[float] = 0.1  # m
    full_dropout: ClassVar[float] = 0.1

    def __post_init__(self) -> None:
        """Refuse what no lidar can be."""
        check_range(self, "num_rays", 1, 4096)
        check_range(self, "fov", 1e-3, 2 * math.pi)
        check_range(self, "range_max", 1e-3, 1000.0)
        check_range(self, "height", 1e-3, 0.999)

    @property
    def scale(self) -> float:  # type: ignore[override]
        """Meters that 1 stands for."""
        return self.range_max

    @property
    def space(self) -> gym.spaces.Box:
        """Ranges over ``range_max``. Shape (num_rays,)."""
        return gym.spaces.Box(0.0, 1.0, (self.num_rays,), np.float32)

    @property
    def is_round(self) -> bool:
        """Whether it looks all round."""
        return self.fov >= 2 * math.pi

    def angles(self, like: Array) -> Array:
        """Return the angle of each ray to the heading, rad, anticlockwise. Shape (num_rays,).

        Args:
            like: An array of the type, and on the device, that angles are to be of.
        """
        count = arange_like(self.num_rays, like)
        if self.is_round:
            return count * (2 * math.pi / self.num_rays)
        return count * (self.fov / max(self.num_rays - 1, 1)) - self.fov / 2

    def directions(self, heading: Array) -> Array:
        """Return the unit directions of all rays. Shape (N, num_rays, 2).

        Args:
            heading: Shape (N,), rad.
        """
        xp = namespace(heading)
        offsets = self.angles(heading)
        own_cos, own_sin = xp.cos(offsets), xp.sin(offsets)
        cos, sin = xp.cos(heading)[:, None], xp.sin(heading)[:, None]
        return xp.stack([cos * own_cos - sin * own_sin, sin * own_cos + cos * own_sin], axis=-1)

    def read(self, sim: Sim) -> Array:
        """Return ranges over ``range_max``. Shape (n, num_rays)."""
        xp = sim.xp
        xy, heading = sim.robot.pose(sim.qpos)
        origin = xp.concat([xy, 0 * heading[:, None] + self.height], axis=-1)
        ranges = sim.raycast(origin, self.directions(heading), self.range_max)
        return ranges / self.range_max

    def mirror(self, reading: Array) -> Array:
        """Return what is read in a mirror, left for right. Shape (n, num_rays)."""
        xp = namespace(reading)
        if not self.is_round:
            return xp.flip(reading, axis=-1)
        return xp.concat([reading[:, :1], xp.flip(reading[:, 1:], axis=-1)], axis=-1)
