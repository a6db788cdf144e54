"""The closed form: equations of motion written out, on NumPy or torch."""

from collections.abc import Mapping
from typing import Any

from robolearn_envs.arrays import Array
from robolearn_envs.core.backend import EnvIndex, NumpyBackend
from robolearn_envs.engines.base import non_finite_envs
from robolearn_envs.robots import Robot
from robolearn_envs.sensors.raycast import raycast


class AnalyticEngine:
    """Steps the exact equations of motion with semi-implicit Euler, all environments at once."""

    def __init__(
        self,
        robot: Robot,
        num_envs: int,
        timestep: float,
        *,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        """Build N robots at rest.

        Args:
            robot: A robot with a ``forward_dynamics`` method.
            num_envs: N.
            timestep: Physics step in s.
            device: A torch device, to compute with tensors; None for NumPy.
            dtype: Of the tensors; None for float64.
        """
        if device is None:
            self._backend: Any = NumpyBackend()
        else:
            from robolearn_envs.core.torch_backend import TorchBackend

            self._backend = TorchBackend(device)
        self._robot, self._nominal, self._timestep = robot, robot, timestep
        self._xp = xp = self._backend.xp
        dtype = dtype or xp.float64
        self._joints = len(robot.joint_names)
        # One contiguous row per coordinate; (N, joints) views of them are handed out.
        self._state = xp.zeros((2 * self._joints, num_envs), dtype=dtype, device=device)
        self.qpos, self.qvel = self._state[: self._joints].T, self._state[self._joints :].T
        self.diverged = xp.zeros(num_envs, dtype=xp.bool, device=device)
        self._ones = xp.ones(num_envs, dtype=dtype, device=device)
        self._cylinders = xp.zeros((num_envs, 0, 3), dtype=dtype, device=device)
        self._boxes = xp.zeros((num_envs, 0, 4), dtype=dtype, device=device)

    def reset(
        self, rows: EnvIndex, qpos: Array, qvel: Array, field_scales: Mapping[str, Array] | None
    ) -> None:
        """Put some environments into a state, with other physical fields if there are scales."""
        put = self._backend.put
        for row in range(self._joints):
            put(self._state[row], rows, qpos[:, row])
            put(self._state[self._joints + row], rows, qvel[:, row])
        put(self.diverged, rows, False)
        if field_scales is not None:
            if self._robot is self._nominal:
                self._robot = self._nominal.with_scaled_fields(
                    {name: self._ones + 0 for name in field_scales}
                )
            for name, scale in field_scales.items():
                put(getattr(self._robot, name), rows, getattr(self._nominal, name) * scale)

    def step(self, force: Array) -> None:
        """Advance by one physics step: v += a dt, then q += v dt."""
        acceleration = self._robot.forward_dynamics(self.qpos, self.qvel, force)  # type: ignore[misc]
        for row in range(self._joints):
            velocity = self._state[self._joints + row]
            velocity += acceleration[row] * self._timestep
            self._state[row] += velocity * self._timestep
        if self._backend.on_host:
            diverged = non_finite_envs(self._state.T)
            if diverged is not None:
                self.diverged |= diverged
                self._state[:, diverged] = 0.0
        else:  # the same without looking at the outcome, which would stall the device
            diverged = ~self._xp.isfinite(self._xp.sum(self._state, axis=0))
            self.diverged |= diverged
            self._state[:] = self._xp.where(diverged, 0.0, self._state)

    def get_state(self) -> dict[str, Array]:
        """Return positions and velocities."""
        return {"state": self._xp.asarray(self._state, copy=True)}

    def set_state(self, state: Mapping[str, Array]) -> None:
        """Go back to a state."""
        self._state[:] = state["state"]

    def set_obstacles(self, rows: EnvIndex, cylinders: Array, boxes: Array) -> None:
        """Put obstacles around some environments."""
        self._cylinders = self._room(self._cylinders, cylinders[..., :3])
        self._boxes = self._room(self._boxes, boxes)
        self._cylinders[rows], self._boxes[rows] = cylinders[..., :3], boxes

    def _room(self, kept: Array, wanted: Array) -> Array:
        """Return what is kept of all environments' obstacles, or room for as many as are wanted."""
        if wanted.shape[1] == kept.shape[1]:
            return kept
        shape = (kept.shape[0], *wanted.shape[1:])
        return self._xp.zeros(shape, dtype=kept.dtype, device=kept.device)

    def set_obstacle_positions(self, cylinders: Array) -> None:
        """Move every environment's cylinders."""
        self._cylinders[:] = cylinders[..., :3]

    def raycast(
        self, rows: EnvIndex, origin: Array, direction: Array, max_distance: float
    ) -> Array:
        """Return how far rays go. Shape (n, R)."""
        take = self._backend.take
        cylinders, boxes = take(self._cylinders, rows), take(self._boxes, rows)
        return raycast(origin, direction, cylinders, boxes, max_distance)

    def close(self) -> None:
        """Nothing to release."""
