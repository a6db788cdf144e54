"""A robot of your own: four wheels that turn by skidding, among obstacles.

In this folder, or with it on PYTHONPATH, all commands take it by name:

    robolearn train ppo --env my_robot:me/NavFourWheel-v0

``WheeledRobot`` writes the MJCF for MuJoCo and the URDF for Bullet.
"""

from dataclasses import dataclass
from typing import ClassVar

from robolearn_envs import PointGoal, register
from robolearn_envs.robots import Wheel, WheeledRobot


@dataclass(frozen=True, kw_only=True)
class FourWheelRobot(WheeledRobot):
    """Two driven wheels on each side.

    To turn, the wheels slide sideways. Tires with less grip, a short wheel base, strong motors and
    the rotors of gear motors let them.
    """

    wheel_base: float = 0.1
    """Distance between the front and the rear wheels in m."""
    wheel_radius: float = 0.04
    wheel_separation: float = 0.3
    friction: float = 0.6
    max_wheel_velocity: float = 25.0
    max_torque: float = 1.0
    velocity_kp: float = 2.0
    armature: float = 0.01

    joint_names: ClassVar[tuple[str, ...]] = (
        "front_left",
        "front_right",
        "rear_left",
        "rear_right",
    )

    @property
    def wheels(self) -> tuple[Wheel, ...]:
        """Two in front, two behind."""
        x, y = self.wheel_base / 2, self.wheel_separation / 2
        places = ((x, y), (x, -y), (-x, y), (-x, -y))
        return tuple(Wheel(name, *xy) for name, xy in zip(self.joint_names, places, strict=True))


class NavFourWheel(PointGoal):
    """Drive it to a goal among obstacles by a 36-ray lidar."""

    robot = FourWheelRobot()
    timestep = 0.01  # s
    frame_skip = 10


register("me/NavFourWheel-v0", NavFourWheel)
