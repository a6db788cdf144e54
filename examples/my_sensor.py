"""A sensor of your own: three ultrasonic rangefinders, on a robot that drives to a goal.

In this folder, or with it on PYTHONPATH, all commands take it by name:

    robolearn train ppo --env my_sensor:me/NavSonar-v0

Noise, dropout and latency come with it: ``domain_randomization={"sonar_noise": 0.02}``.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import gymnasium as gym
import numpy as np

from robolearn_envs import register
from robolearn_envs.arrays import Array, namespace
from robolearn_envs.core.sim import Sim
from robolearn_envs.robots import UnicycleRobot
from robolearn_envs.sensors import Sensor
from robolearn_envs.tasks import NavLidar


@dataclass(frozen=True, kw_only=True)
class Sonar(Sensor):
    """Ranges ahead, to the left and to the right: of the nearest thing in a cone, in m."""

    name: str = "sonar"
    range_max: float = 4.0
    """Farthest reading in m."""
    cone: float = 0.5
    """Opening angle in rad."""

    lost: ClassVar[float] = 4.0
    full_noise: ClassVar[float] = 0.02  # m

    @property
    def space(self) -> gym.spaces.Box:
        """Ranges in m. Shape (3,)."""
        return gym.spaces.Box(0.0, self.range_max, (3,), np.float32)

    def read(self, sim: Sim) -> Array:
        """Return the nearest of five rays in each cone. Shape (n, 3)."""
        xp = sim.xp
        xy, heading = sim.robot.pose(sim.qpos)
        middles = (0.0, math.pi / 2, -math.pi / 2)
        turns = [middle + self.cone * (k / 4 - 0.5) for middle in middles for k in range(5)]
        angles = xp.stack([heading + turn for turn in turns], axis=-1)
        origin = xp.concat([xy, 0 * heading[:, None] + 0.1], axis=-1)
        directions = xp.stack([xp.cos(angles), xp.sin(angles)], axis=-1)
        ranges = sim.raycast(origin, directions, self.range_max)
        return xp.min(xp.reshape(ranges, (-1, 3, 5)), axis=-1)

    def mirror(self, reading: Array) -> Array:
        """Return the ranges with left and right exchanged."""
        xp = namespace(reading)
        return xp.stack([reading[:, 0], reading[:, 2], reading[:, 1]], axis=-1)


class NavSonar(NavLidar):
    """NavLidar with rangefinders instead of the lidar."""

    robot = UnicycleRobot()
    sensors = (Sonar(),)


register("me/NavSonar-v0", NavSonar)
