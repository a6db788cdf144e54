"""The seam between tasks and physics."""

import math
from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

import numpy as np

from robolearn_envs.arrays import Array

Rows: TypeAlias = Any
"""Which copies: integers of shape (n,), or a slice."""


class Engine(Protocol):
    """Moves N copies of one robot and senses. It knows no reward, no episode, no action space.

    Every engine takes the same generalized forces and steps the same semi-implicit Euler
    scheme, so that engines built from one robot agree to rounding.
    """

    @property
    def qpos(self) -> Array:
        """Joint positions, m or rad; live, do not write. Shape (N, joints), float64."""
        ...

    @property
    def qvel(self) -> Array:
        """Joint velocities, m/s or rad/s; live, do not write. Shape (N, joints), float64."""
        ...

    def reset(self, ids: Array, qpos: Array, qvel: Array, factors: dict[str, Array] | None) -> None:
        """Put some copies into a state.

        Args:
            ids: Which copies. Shape (n,), integer.
            qpos: Their joint positions. Shape (n, joints).
            qvel: Their joint velocities. Shape (n, joints).
            factors: For each randomized field of the robot the factor it is multiplied by,
                shape (n,); None leaves the copies as they are.
        """
        ...

    @property
    def broken(self) -> Array:
        """Copies whose simulation broke down since their last reset. Shape (N,), bool.

        Their state stopped being finite, or the engine says so; they were put at rest in the
        origin, that the others can go on.
        """
        ...

    def step(self, force: Array) -> None:
        """Advance all copies by one physics step.

        Args:
            force: Force on each actuated joint, N or N m. Shape (N, actuated).
        """
        ...

    def snapshot(self) -> dict[str, Array]:
        """Return what ``restore`` needs to go on exactly from here, but for obstacles."""
        ...

    def restore(self, snapshot: Mapping[str, Array]) -> None:
        """Go back to a snapshot of an engine like this one.

        Args:
            snapshot: Of copies with the same physical fields, which ``reset`` has just set.
        """
        ...

    def furnish(self, ids: Rows, cylinders: Array, boxes: Array) -> None:
        """Put obstacles around some copies.

        Args:
            ids: Which copies.
            cylinders: x, y, radius, further columns ignored. Shape (n, K, 3 or more), m.
            boxes: x, y and half extents. Shape (n, B, 4), m.
        """
        ...

    def move(self, cylinders: Array) -> None:
        """Put every copy's cylinders elsewhere; their radii stay. Shape (N, K, 3 or more), m."""
        ...

    def scan(self, ids: Rows, xy: Array, heading: Array) -> Array:
        """Return lidar ranges, as ``robolearn_envs.sensors`` defines them. Shape (n, RAYS), m.

        Args:
            ids: Which copies.
            xy: Where they are. Shape (n, 2), m.
            heading: Shape (n,), rad.
        """
        ...

    def depth(self, ids: Rows, xy: Array, heading: Array) -> Array:
        """Return depth images. Shape (n, PIXELS, PIXELS), m along the camera's axis."""
        ...

    def close(self) -> None:
        """Release what the engine holds; safe to call twice."""
        ...


class DeviceEngine(Engine, Protocol):
    """An engine whose copies live on a torch device: its arrays are tensors.

    Positions and velocities stay in the same storage. No method but ``snapshot`` and ``restore``
    waits for the device; ``ids`` is always all of them.
    """

    def replace(
        self, chosen: Array, qpos: Array, qvel: Array, factors: dict[str, Array] | None
    ) -> None:
        """Put the chosen copies into a state; arrays have rows for all, whatever the others'.

        Args:
            chosen: Shape (N,), bool.
            qpos: Shape (N, joints).
            qvel: Shape (N, joints).
            factors: As of ``reset``, shapes (N,).
        """
        ...


class EngineError(RuntimeError):
    """The simulation of a copy broke down: a non-finite state, or the engine said so."""

    def __init__(self, message: str, env: int | None = None) -> None:
        """Say what happened, and to which copy where it is one of them."""
        super().__init__(message)
        self.env = env


def not_finite(state: np.ndarray) -> np.ndarray | None:
    """Return which rows hold a NaN or an infinity, shape (N,), bool; None where none does.

    Args:
        state: One row per copy. Shape (N, numbers).
    """
    if math.isfinite(np.vdot(state, state)):  # 1 us, np.isfinite takes 2
        return None
    broken = np.asarray(~np.isfinite(state).all(axis=1))
    return broken if broken.any() else None  # the squares of finite numbers may be infinite
