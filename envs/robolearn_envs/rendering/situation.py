"""What a navigation view shows: one environment at one moment."""

from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from robolearn_envs.arenas.layouts import PARKED
from robolearn_envs.arrays import Array

Sensor: TypeAlias = Literal["lidar", "camera"]
"""What the robot looks with."""
DRAWN = ("goal", "cylinders", "now", "boxes")
"""Of what a navigation task remembers, what a picture shows."""


class Situation(NamedTuple):
    """Where the robot has been, and what stands around it now."""

    trail: np.ndarray
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
    def of(cls, memory: Mapping[str, Array], index: int, trail: np.ndarray) -> "Situation":
        """Return the situation of environment ``index``, without what is parked.

        Args:
            memory: What the navigation task remembers. Shapes (N, ...).
            index: Which environment.
            trail: See the field.
        """
        goal, cylinders, now, boxes = (memory[name][index] for name in DRAWN)
        there = cylinders[:, 0] != PARKED
        return cls(trail, goal, cylinders[there], now[there], boxes[boxes[:, 0] != PARKED])

    @property
    def moves(self) -> np.ndarray:
        """Which cylinders swing to and fro. Shape (K,), bool."""
        return self.cylinders[:, 5] != 0
