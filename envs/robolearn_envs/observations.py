"""Batches of observations, in one array or in a dictionary of them."""

from typing import Any

import gymnasium as gym
import numpy as np

from robolearn_envs.engines.base import Rows
from robolearn_envs.tasks.base import Observation


def within(space: gym.Space, observation: Observation) -> Any:
    """Return observations as float32, clipped to the bounds of their space."""
    if isinstance(space, gym.spaces.Dict):
        return {name: within(part, observation[name]) for name, part in space.items()}
    assert isinstance(space, gym.spaces.Box)
    return np.clip(np.asarray(observation).astype(np.float32), space.low, space.high)


def zeros_like(observation: Observation) -> Any:
    """Return zeros shaped like observations."""
    if isinstance(observation, dict):
        return {name: np.zeros_like(part) for name, part in observation.items()}
    return np.zeros_like(observation)


def copy_rows(source: Observation, from_rows: Rows, target: Observation, to_rows: Rows) -> None:
    """Copy rows of observations into others."""
    if isinstance(source, dict):
        for name, part in source.items():
            target[name][to_rows] = part[from_rows]
    else:
        target[to_rows] = source[from_rows]
