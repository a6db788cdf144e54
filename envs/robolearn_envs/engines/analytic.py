"""The closed form: equations of motion written out, on NumPy or torch."""

from collections.abc import Mapping
from types import ModuleType
from typing import Any, ClassVar, Protocol

import numpy as numpy_namespace

from robolearn_envs import sensors
from robolearn_envs.arrays import Array
from robolearn_envs.engines.base import Rows, not_finite


class ClosedFormRobot(Protocol):
    """A robot whose equations of motion are written out."""

    joints: ClassVar[tuple[str, ...]]
    """Names of the coordinates."""

    def acceleration(
        self, qpos: Array, qvel: Array, force: Array, xp: ModuleType
    ) -> tuple[Array, ...]:
        """Return the acceleration of each coordinate, shapes (N,)."""
        ...

    def scaled(self, factors: Mapping[str, Array]) -> "ClosedFormRobot":
        """Return a copy whose named fields are multiplied by ``factors``."""
        ...


class AnalyticEngine:
    """Steps the exact equations of motion with semi-implicit Euler, all copies at once."""

    def __init__(
        self,
        robot: ClosedFormRobot,
        num_envs: int,
        timestep: float,
        *,
        xp: ModuleType = numpy_namespace,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        """Build N copies at rest.

        Args:
            robot: A robot with an ``acceleration`` method.
            num_envs: N.
            timestep: Physics step in s.
            xp: Array API namespace to compute in (NumPy or torch).
            device: Device of the arrays, as ``xp`` names it.
            dtype: Their type, as ``xp`` names it; None for float64.
        """
        self._robot, self._timestep, self._xp = robot, timestep, xp
        dtype = dtype or xp.float64
        self._nominal = robot
        self._joints = len(robot.joints)
        # One contiguous row per coordinate; (N, joints) views of them are handed out.
        self._state = xp.zeros((2 * self._joints, num_envs), dtype=dtype, device=device)
        self.broken = xp.zeros(num_envs, dtype=xp.bool, device=device)
        self._ones = xp.ones(num_envs, dtype=dtype, device=device)
        self._cylinders = xp.zeros((num_envs, 0, 3), dtype=dtype, device=device)
        self._boxes = xp.zeros((num_envs, 0, 4), dtype=dtype, device=device)

    @property
    def qpos(self) -> Array:
        """Joint positions. Shape (N, joints)."""
        return self._state[: self._joints].T

    @property
    def qvel(self) -> Array:
        """Joint velocities. Shape (N, joints)."""
        return self._state[self._joints :].T

    def reset(self, ids: Array, qpos: Array, qvel: Array, factors: dict[str, Array] | None) -> None:
        """Put copies ``ids`` into a state, with new physical fields if ``factors`` are given."""
        for row in range(self._joints):
            self._state[row, ids] = qpos[:, row]
            self._state[self._joints + row, ids] = qvel[:, row]
        self.broken[ids] = False
        if factors is not None:
            self._set_fields(ids, factors)

    def _set_fields(self, ids: Array, factors: dict[str, Array]) -> None:
        self._own_fields(factors)
        for name, factor in factors.items():
            getattr(self._robot, name)[ids] = getattr(self._nominal, name) * factor

    def _own_fields(self, factors: Mapping[str, Array]) -> None:
        """Let each copy have physical fields of its own, if they do not yet."""
        if self._robot is self._nominal:
            self._robot = self._nominal.scaled({name: self._ones + 0 for name in factors})

    def replace(
        self, chosen: Array, qpos: Array, qvel: Array, factors: dict[str, Array] | None
    ) -> None:
        """Put the chosen copies into a state; arrays have rows for all, whatever the others'.

        Which they are is decided on the device, with nothing of a size that depends on it.

        Args:
            chosen: Shape (N,), bool.
            qpos: Shape (N, joints).
            qvel: Shape (N, joints).
            factors: As of ``reset``, shapes (N,).
        """
        for row in range(self._joints):
            for place, column in ((row, qpos[:, row]), (self._joints + row, qvel[:, row])):
                self._state[place] = self._xp.where(chosen, column, self._state[place])
        self.broken &= ~chosen
        if factors is not None:
            self._own_fields(factors)
            for name, factor in factors.items():
                field = getattr(self._robot, name)
                field[:] = self._xp.where(chosen, getattr(self._nominal, name) * factor, field)

    def step(self, force: Array) -> None:
        """Advance by one physics step: v += a dt, then q += v dt."""
        acceleration = self._robot.acceleration(self.qpos, self.qvel, force, self._xp)
        for row in range(self._joints):
            velocity = self._state[self._joints + row]
            velocity += acceleration[row] * self._timestep
            self._state[row] += velocity * self._timestep
        if self._xp is numpy_namespace:
            self._check()
        else:
            self._check_on_device()

    def _check(self) -> None:
        broken = not_finite(self._state.T)
        if broken is not None:
            self.broken |= broken
            self._state[:, broken] = 0.0

    def _check_on_device(self) -> None:
        """Do what ``_check`` does without looking at the outcome, which would stall the device."""
        broken = ~self._xp.isfinite(self._xp.sum(self._state, axis=0))
        self.broken |= broken
        self._state[:] = self._xp.where(broken, 0.0, self._state)

    def snapshot(self) -> dict[str, Array]:
        """Return positions and velocities."""
        return {"state": self._xp.asarray(self._state, copy=True)}

    def restore(self, snapshot: Mapping[str, Array]) -> None:
        """Go back to a snapshot."""
        self._state[:] = snapshot["state"]

    def furnish(self, ids: Rows, cylinders: Array, boxes: Array) -> None:
        """Put obstacles around copies ``ids``."""
        self._cylinders = self._room(self._cylinders, cylinders)
        self._boxes = self._room(self._boxes, boxes)
        self._cylinders[ids], self._boxes[ids] = cylinders, boxes

    def _room(self, kept: Array, wanted: Array) -> Array:
        """Return what is kept of all copies' obstacles, or room for as many as are wanted."""
        if wanted.shape[1] == kept.shape[1]:
            return kept
        shape = (kept.shape[0], *wanted.shape[1:])
        return self._xp.zeros(shape, dtype=kept.dtype, device=kept.device)

    def move(self, cylinders: Array) -> None:
        """Put every copy's cylinders elsewhere."""
        self._cylinders[:] = cylinders

    def scan(self, ids: Rows, xy: Array, heading: Array) -> Array:
        """Return lidar ranges of copies ``ids``. Shape (n, RAYS), m."""
        return sensors.scan(xy, heading, self._cylinders[ids], self._boxes[ids])

    def depth(self, ids: Rows, xy: Array, heading: Array) -> Array:
        """Return depth images of copies ``ids``. Shape (n, PIXELS, PIXELS), m."""
        return sensors.depth(xy, heading, self._cylinders[ids], self._boxes[ids])

    def close(self) -> None:
        """Nothing to release."""
