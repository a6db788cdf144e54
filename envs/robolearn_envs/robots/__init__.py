"""Robots: one frozen dataclass in SI units each, written out as MJCF for MuJoCo and URDF for Bullet."""  # noqa: E501

from robolearn_envs.robots.base import Inertial, MobileRobot, Robot, replace_fields
from robolearn_envs.robots.cart_pole import CartPole, DMControlCartPole
from robolearn_envs.robots.diff_drive import DiffDriveRobot
from robolearn_envs.robots.unicycle import UnicycleRobot
from robolearn_envs.robots.wheeled import Caster, Wheel, WheeledRobot

__all__ = [
    "CartPole",
    "Caster",
    "DMControlCartPole",
    "DiffDriveRobot",
    "Inertial",
    "MobileRobot",
    "Robot",
    "UnicycleRobot",
    "Wheel",
    "WheeledRobot",
    "replace_fields",
]
