"""Inertial measurement unit."""

from dataclasses import dataclass
from typing import ClassVar

import gymnasium as gym
import numpy as np

from robolearn_envs.arrays import Array
from robolearn_envs.core.sim import Sim
from robolearn_envs.sensors.base import Sensor


@dataclass(frozen=True, kw_only=True)
class IMU(Sensor):
    """Accelerometer and gyroscope of a robot that drives (ROS's ``sensor_msgs/Imu``).

    A reading is the mean acceleration over the last control step, forward and to the left, in
    10 m/s^2, and the turning rate in rad/s.
    """

    name: str = "imu"

    uses_history: ClassVar[bool] = True
    full_noise: ClassVar[float] = 0.05
    mirror_signs: ClassVar[tuple[float, ...]] = (1.0, -1.0, -1.0)

    @property
    def space(self) -> gym.spaces.Box:
        """Accelerations and turning rate. Shape (3,)."""
        high = np.array([10.0, 10.0, 20.0], dtype=np.float32)
        return gym.spaces.Box(-high, high)

    def read(self, sim: Sim) -> Array:
        """Return accelerations and turning rate. Shape (n, 3)."""
        xp = sim.xp
        _, heading = sim.robot.pose(sim.qpos)
        change = (sim.qvel - sim.history["previous_qvel"])[:, :2] / (10.0 * sim.control_timestep)
        cos, sin = xp.cos(heading), xp.sin(heading)
        ahead = change[:, 0] * cos + change[:, 1] * sin
        left = change[:, 1] * cos - change[:, 0] * sin
        _, omega = sim.robot.twist(sim.qpos, sim.qvel)
        return xp.stack([ahead, left, omega], axis=-1)
