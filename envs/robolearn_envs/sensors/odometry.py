"""Odometry: where the robot is, as counted from its start."""

from dataclasses import dataclass
from typing import ClassVar

import gymnasium as gym
import numpy as np

from robolearn_envs.arrays import Array
from robolearn_envs.core.sim import Sim
from robolearn_envs.sensors.base import Sensor


@dataclass(frozen=True, kw_only=True)
class Odometry(Sensor):
    """Pose in the frame of the episode's start, and twist (ROS's ``nav_msgs/Odometry``).

    A reading is x and y over 10 m, cos and sin of the heading, forward speed in m/s and turning
    rate in rad/s.
    """

    name: str = "odometry"

    uses_history: ClassVar[bool] = True
    full_noise: ClassVar[float] = 0.02
    mirror_signs: ClassVar[tuple[float, ...]] = (1.0, -1.0, 1.0, -1.0, 1.0, -1.0)

    @property
    def space(self) -> gym.spaces.Box:
        """x, y, cos, sin, v, omega. Shape (6,)."""
        high = np.array([2.0, 2.0, 1.0, 1.0, 5.0, 20.0], dtype=np.float32)
        return gym.spaces.Box(-high, high)

    def read(self, sim: Sim) -> Array:
        """Return pose and twist. Shape (n, 6)."""
        xp, robot = sim.xp, sim.robot
        xy, heading = robot.pose(sim.qpos)
        start, first = robot.pose(sim.history["initial_qpos"])
        away, turned = (xy - start) / 10.0, heading - first
        cos, sin = xp.cos(first), xp.sin(first)
        x, y = away[:, 0] * cos + away[:, 1] * sin, away[:, 1] * cos - away[:, 0] * sin
        v, omega = robot.twist(sim.qpos, sim.qvel)
        return xp.stack([x, y, xp.cos(turned), xp.sin(turned), v, omega], axis=-1)
