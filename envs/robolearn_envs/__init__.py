"""Robot and control environments for Gymnasium; importing this registers them.

>>> import gymnasium as gym, robolearn_envs
>>> env = gym.make("robolearn/CartPoleSwingUp-v0", engine="bullet")
>>> envs = gym.make_vec("robolearn/CartPoleSwingUp-v0", num_envs=64, engine="mujoco")
"""

from typing import Any

import gymnasium as gym

from robolearn_envs.first_steps import FIRST_STEPS
from robolearn_envs.tasks import TASKS

NAMESPACE = "robolearn"

ENVS: tuple[str, ...] = tuple(f"{NAMESPACE}/{task}" for task in TASKS)
"""Ids of the environments with physics, each a native batch with a choice of engines."""


def make_vec(env_id: str, num_envs: int, **kwargs: Any) -> gym.vector.VectorEnv:
    """Return a native batch of environments: ``gymnasium.make_vec`` with our ids registered."""
    return gym.make_vec(env_id, num_envs=num_envs, **kwargs)


for _task in TASKS:
    gym.register(
        f"{NAMESPACE}/{_task}",
        entry_point="robolearn_envs.single:RoboEnv",
        vector_entry_point="robolearn_envs.batch:make_batch",
        kwargs={"task": _task},
        disable_env_checker=False,
    )

for _name, _step in FIRST_STEPS.items():
    gym.register(
        f"{NAMESPACE}/{_name}",
        entry_point=_step.entry_point,
        max_episode_steps=_step.max_steps,
    )
