"""Tasks: the rules of control problems."""

from robolearn_envs.fields import Field
from robolearn_envs.tasks.base import (
    ActionKind,
    InitialState,
    Marker,
    Observation,
    Task,
    TaskState,
)
from robolearn_envs.tasks.cart_pole import CartPoleBalance, CartPoleDMC, CartPoleSwingUp
from robolearn_envs.tasks.point_goal import NavDepth, NavLidar, NavRover, PointGoal

__all__ = [
    "ActionKind",
    "CartPoleBalance",
    "CartPoleDMC",
    "CartPoleSwingUp",
    "Field",
    "InitialState",
    "Marker",
    "NavDepth",
    "NavLidar",
    "NavRover",
    "Observation",
    "PointGoal",
    "Task",
    "TaskState",
]
