"""The seam between tasks and physics."""

import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from robolearn_envs.arrays import Array
from robolearn_envs.core.backend import EnvIndex
from robolearn_envs.robots.base import Robot


class Engine(Protocol):
    """Moves N copies of one robot, and casts rays. It knows no reward, no episode, no action space.

    Every engine takes the same generalized forces and steps the same semi-implicit Euler
    scheme, so that engines built from one robot agree to rounding. Engines on a torch device hold
    tensors in the same storage for ever, and take masks of shape (N,) as rows, with arrays that
    have a row for every environment; none of their methods but the last three waits for the device.
    """

    def __init__(self, robot: Robot, num_envs: int, timestep: float, **options: Any) -> None:
        """Build N copies at rest.

        Args:
            robot: What moves.
            num_envs: N.
            timestep: Physics step in s.
            **options: Keyword arguments of this engine alone.
        """
        ...

    @property
    def qpos(self) -> Array:
        """Joint positions, m or rad; live, do not write. Shape (N, positions)."""
        ...

    @property
    def qvel(self) -> Array:
        """Joint velocities, m/s or rad/s; live, do not write. Shape (N, velocities)."""
        ...

    def reset(
        self, rows: EnvIndex, qpos: Array, qvel: Array, field_scales: Mapping[str, Array] | None
    ) -> None:
        """Put some environments into a state.

        Args:
            rows: Which: integers of shape (n,), on a device a mask of shape (N,).
            qpos: Their joint positions. Shape (n, positions).
            qvel: Their joint velocities. Shape (n, velocities).
            field_scales: For each randomized field of the robot the factor of its nominal value,
                shape (n,); None leaves the robots as they are.
        """
        ...

    @property
    def diverged(self) -> Array:
        """Environments whose simulation diverged since their last reset. Shape (N,), bool.

        Their state stopped being finite, or the engine says so; they were put at rest in the
        origin, that the others can go on.
        """
        ...

    def step(self, force: Array) -> None:
        """Advance all environments by one physics step.

        Args:
            force: Force on each actuated joint, N or N m. Shape (N, actuated joints).
        """
        ...

    def set_obstacles(self, rows: EnvIndex, cylinders: Array, boxes: Array) -> None:
        """Put obstacles around some environments.

        Args:
            rows: Which; on a device always all.
            cylinders: x, y, radius, further columns ignored. Shape (n, K, 3 or more), m.
            boxes: x, y and half extents. Shape (n, B, 4), m.
        """
        ...

    def set_obstacle_positions(self, cylinders: Array) -> None:
        """Move every environment's cylinders; their radii stay. Shape (N, K, 3 or more), m."""
        ...

    def raycast(
        self, rows: EnvIndex, origin: Array, direction: Array, max_distance: float
    ) -> Array:
        """Return how far rays go before they meet the floor, a wall or an obstacle.

        The robot itself is not met.

        Args:
            rows: Which environments.
            origin: Where each environment's rays begin, inside the arena. Shape (n, 3), m.
            direction: Their directions, of any length. Shape (n, R, 3).
            max_distance: What a ray reads that meets nothing nearer, in lengths of its direction.

        Returns:
            In lengths of the directions, m for unit ones. Shape (n, R).
        """
        ...

    def get_state(self) -> dict[str, Array]:
        """Return what ``set_state`` needs to go on exactly from here, but for obstacles."""
        ...

    def set_state(self, state: Mapping[str, Array]) -> None:
        """Go back to a state of an engine like this one.

        Args:
            state: Of environments with the same physical fields, which ``reset`` has just set.
        """
        ...

    def close(self) -> None:
        """Release what the engine holds; safe to call twice."""
        ...


class SimulationError(RuntimeError):
    """The simulation of an environment diverged, or its engine reports an error."""

    def __init__(self, message: str, env: int | None = None) -> None:
        """Say what happened, and in which environment where it is one of them."""
        super().__init__(message)
        self.env = env


def non_finite_envs(state: np.ndarray) -> np.ndarray | None:
    """Return which rows hold a NaN or an infinity, shape (N,), bool; None where none does.

    Args:
        state: One row for each environment. Shape (N, numbers).
    """
    if math.isfinite(np.vdot(state, state)):  # 1 us, np.isfinite takes 2
        return None
    diverged = np.asarray(~np.isfinite(state).all(axis=1))
    return diverged if diverged.any() else None  # the squares of finite numbers may be infinite
