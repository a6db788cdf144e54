"""The tasks that come with the package, by the end of their ids."""

import gymnasium as gym

from robolearn_envs import ENVS
from robolearn_envs.engines import ENGINES
from robolearn_envs.registry import supported_engines, task_of

TASKS = {env_id.removeprefix("robolearn/"): task_of(env_id) for env_id in ENVS}


def shorten(name, steps, setattr=setattr):
    """Let episodes of a task end after fewer steps; pass monkeypatch's setattr to undo it."""
    setattr(TASKS[name], "max_episode_steps", steps)
    setattr(gym.registry[f"robolearn/{name}"], "max_episode_steps", steps)


def host_engines(name):
    """Return the engines on the host that a task runs on, its default first."""
    return [engine for engine in supported_engines(TASKS[name]) if engine in ENGINES]
