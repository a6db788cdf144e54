"""Robot and control environments for Gymnasium; importing this registers them.

>>> import gymnasium as gym, robolearn_envs
>>> env = gym.make("robolearn/CartPoleSwingUp-v0", engine="bullet")
>>> envs = gym.make_vec("robolearn/CartPoleSwingUp-v0", num_envs=64, engine="mujoco")
"""

from typing import Any

import gymnasium as gym

from robolearn_envs.core.sim import Sim
from robolearn_envs.engines import register_engine
from robolearn_envs.fields import Field
from robolearn_envs.registry import NAMESPACE, register
from robolearn_envs.rewards import tolerance
from robolearn_envs.tasks import (
    CartPoleBalance,
    CartPoleDMC,
    CartPoleSwingUp,
    InitialState,
    Marker,
    NavDepth,
    NavLidar,
    NavRover,
    PointGoal,
    Task,
)
from robolearn_envs.toy import TOY_ENVS

__all__ = [
    "ENVS",
    "NAMESPACE",
    "TOY_ENVS",
    "Field",
    "InitialState",
    "Marker",
    "PointGoal",
    "Sim",
    "Task",
    "make_vec",
    "register",
    "register_engine",
    "tolerance",
]

_TASKS: tuple[type[Task], ...] = (
    CartPoleBalance,
    CartPoleSwingUp,
    CartPoleDMC,
    NavLidar,
    NavDepth,
    NavRover,
)

ENVS: tuple[str, ...] = tuple(f"{NAMESPACE}/{task.__name__}-v0" for task in _TASKS)
"""Ids of the environments with physics that come with the package."""


def make_vec(env_id: str, num_envs: int, **kwargs: Any) -> gym.vector.VectorEnv:
    """Return a native batch of environments: ``gymnasium.make_vec`` with our ids registered."""
    return gym.make_vec(env_id, num_envs=num_envs, **kwargs)


for _id, _task in zip(ENVS, _TASKS, strict=True):
    register(_id, _task)

for _name, _toy in TOY_ENVS.items():
    gym.register(
        f"{NAMESPACE}/{_name}",
        entry_point=_toy.entry_point,
        max_episode_steps=_toy.max_episode_steps,
    )
