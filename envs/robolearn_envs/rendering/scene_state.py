"""What a navigation view shows: one environment at one moment."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from robolearn_envs.arrays import Array
from robolearn_envs.maps.obstacles import PAD_POSITION
from robolearn_envs.tasks.base import Task, TaskState

RENDER_STATE_KEYS = ("goal", "cylinders", "obstacle_positions", "boxes")
"""Of what a navigation task keeps, what a picture shows."""


def render_state(task: Task, state: TaskState) -> TaskState:
    """Return what pictures show of what a task keeps: all of it, where the task draws markers."""
    if type(task).markers is not Task.markers:
        return state
    return {name: state[name] for name in RENDER_STATE_KEYS if name in state}


class NavSceneState(NamedTuple):
    """Where the robot has been, and what stands around it now."""

    trajectory: np.ndarray
    """x, y (m) and heading (rad) at every step of the episode, newest last. Shape (T, 3)."""
    goal: np.ndarray
    """Shape (2,), m."""
    cylinders: np.ndarray
    """As in :class:`Layout`. Shape (K, 7)."""
    now: np.ndarray
    """x, y and radius of the cylinders at this moment. Shape (K, 3), m."""
    boxes: np.ndarray
    """x, y and half extents. Shape (B, 4), m."""

    @classmethod
    def of(
        cls, task_state: Mapping[str, Array], index: int, trajectory: np.ndarray
    ) -> "NavSceneState":
        """Return the scene of environment ``index``, without padding.

        Args:
            task_state: What the navigation task keeps. Shapes (N, ...).
            index: Which environment.
            trajectory: See the field.
        """
        goal, cylinders, now, boxes = (task_state[name][index] for name in RENDER_STATE_KEYS)
        there = cylinders[:, 0] != PAD_POSITION
        return cls(
            trajectory, goal, cylinders[there], now[there], boxes[boxes[:, 0] != PAD_POSITION]
        )

    @property
    def is_dynamic(self) -> np.ndarray:
        """Which cylinders move. Shape (K,), bool."""
        return self.cylinders[:, 5] != 0
