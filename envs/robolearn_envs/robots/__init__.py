"""Robots: one frozen dataclass in SI units each, written out as MJCF for MuJoCo and URDF for Bullet."""  # noqa: E501

from robolearn_envs.robots.base import Inertial, MobileRobot, Robot, adjusted
from robolearn_envs.robots.cartpole import CartPole, ControlSuiteCartPole
from robolearn_envs.robots.disc import DiscRobot
from robolearn_envs.robots.rover import Rover

__all__ = [
    "CartPole",
    "ControlSuiteCartPole",
    "DiscRobot",
    "Inertial",
    "MobileRobot",
    "Robot",
    "Rover",
    "adjusted",
]
