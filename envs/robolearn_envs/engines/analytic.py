"""The closed form: equations of motion written out, on NumPy or torch."""

import math
from types import ModuleType
from typing import Any

import array_api_compat.numpy as numpy_namespace
import numpy as np

from robolearn_envs.arrays import Array
from robolearn_envs.engines.base import check_finite
from robolearn_envs.robots import CartPole


class AnalyticEngine:
    """Steps the exact equations of motion with semi-implicit Euler, all copies at once.

    Only NumPy states are checked for NaN: reading a tensor back would stall its device.
    """

    def __init__(
        self,
        robot: CartPole,
        num_envs: int,
        timestep: float,
        *,
        xp: ModuleType = numpy_namespace,
        device: Any = None,
    ) -> None:
        """Build N copies at rest.

        Args:
            robot: A robot with an ``acceleration`` method.
            num_envs: N.
            timestep: Physics step in s.
            xp: Array API namespace to compute in (NumPy or torch).
            device: Device of the arrays, as ``xp`` names it.
        """
        self._robot, self._timestep, self._xp = robot, timestep, xp
        self._nominal = robot
        # One contiguous row per coordinate; (N, joints) views of them are handed out.
        self._state = xp.zeros((4, num_envs), dtype=xp.float64, device=device)
        self._ones = xp.ones(num_envs, dtype=xp.float64, device=device)

    @property
    def qpos(self) -> Array:
        """Joint positions. Shape (N, 2)."""
        return self._state[:2].T

    @property
    def qvel(self) -> Array:
        """Joint velocities. Shape (N, 2)."""
        return self._state[2:].T

    def reset(self, ids: Array, qpos: Array, qvel: Array, factors: dict[str, Array] | None) -> None:
        """Put copies ``ids`` into a state, with new physical fields if ``factors`` are given."""
        for row in range(2):
            self._state[row, ids] = qpos[:, row]
            self._state[2 + row, ids] = qvel[:, row]
        if factors is not None:
            self._set_fields(ids, factors)

    def _set_fields(self, ids: Array, factors: dict[str, Array]) -> None:
        if self._robot is self._nominal:
            self._robot = self._nominal.scaled({name: self._ones for name in factors})
        for name, factor in factors.items():
            getattr(self._robot, name)[ids] = getattr(self._nominal, name) * factor

    def step(self, force: Array) -> None:
        """Advance by one physics step: v += a dt, then q += v dt."""
        acceleration = self._robot.acceleration(self.qpos, self.qvel, force, self._xp)
        for row in range(2):
            self._state[2 + row] += acceleration[row] * self._timestep
            self._state[row] += self._state[2 + row] * self._timestep
        if self._xp is numpy_namespace:
            self._check()

    def _check(self) -> None:
        positions = self._state[:2]  # a broken velocity has just been added to them
        if not math.isfinite(np.vdot(positions, positions)):  # 1 us, np.isfinite takes 2
            check_finite("The closed form", positions.T)

    def close(self) -> None:
        """Nothing to release."""
