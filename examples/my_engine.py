"""An engine of your own: equations of motion, integrated by the classical Runge-Kutta method.

In this folder, or with it on PYTHONPATH, all commands take it by name; importing the module
registers the engine:

    robolearn train ppo --env my_engine:robolearn/CartPoleSwingUp-v0 --engine rk4

An engine moves N copies of a robot and casts rays; tasks, rewards and episodes are not its own.
"""

from collections.abc import Mapping

import numpy as np

from robolearn_envs import register_engine
from robolearn_envs.robots import Robot
from robolearn_envs.sensors.raycast import raycast


class RungeKutta:
    """Moves robots that have ``forward_dynamics``; errors shrink with the step's fourth power."""

    def __init__(self, robot: Robot, num_envs: int, timestep: float) -> None:
        """Put N robots at rest."""
        self._robot = self._scaled_robot = robot
        self._timestep = timestep
        self.qpos = np.zeros((num_envs, len(robot.joint_names)))
        self.qvel = np.zeros_like(self.qpos)
        self.diverged = np.zeros(num_envs, dtype=np.bool_)
        self._scales = {name: np.ones(num_envs) for name in robot.randomizable}
        self._cylinders, self._boxes = np.zeros((num_envs, 0, 3)), np.zeros((num_envs, 0, 4))

    def reset(
        self,
        rows: np.ndarray,
        qpos: np.ndarray,
        qvel: np.ndarray,
        field_scales: Mapping[str, np.ndarray] | None,
    ) -> None:
        """Put some environments into a state; randomized fields become arrays, shape (N,)."""
        self.qpos[rows], self.qvel[rows], self.diverged[rows] = qpos, qvel, False
        for name, scale in (field_scales or {}).items():
            self._scales[name][rows] = scale
            self._scaled_robot = self._robot.with_scaled_fields(self._scales)

    def step(self, force: np.ndarray) -> None:
        """Advance by one physics step under a constant force."""
        dynamics, h, q, v = (
            self._scaled_robot.forward_dynamics,
            self._timestep,
            self.qpos,
            self.qvel,
        )
        assert dynamics is not None

        def acceleration(qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
            return np.stack(dynamics(qpos, qvel, force), axis=-1)

        a1 = acceleration(q, v)
        v2 = v + h / 2 * a1
        a2 = acceleration(q + h / 2 * v, v2)
        v3 = v + h / 2 * a2
        a3 = acceleration(q + h / 2 * v2, v3)
        v4 = v + h * a3
        a4 = acceleration(q + h * v3, v4)
        self.qpos = q + h / 6 * (v + 2 * v2 + 2 * v3 + v4)
        self.qvel = v + h / 6 * (a1 + 2 * a2 + 2 * a3 + a4)
        lost = ~np.isfinite(self.qpos + self.qvel).all(axis=1)
        self.qpos[lost], self.qvel[lost] = 0.0, 0.0
        self.diverged |= lost

    def set_obstacles(self, rows: np.ndarray, cylinders: np.ndarray, boxes: np.ndarray) -> None:
        """Keep what stands around some environments."""
        count = len(self.qpos)
        if cylinders.shape[1] != self._cylinders.shape[1]:
            self._cylinders = np.zeros((count, cylinders.shape[1], 3))
        if boxes.shape[1] != self._boxes.shape[1]:
            self._boxes = np.zeros((count, boxes.shape[1], 4))
        self._cylinders[rows], self._boxes[rows] = cylinders[..., :3], boxes

    def set_obstacle_positions(self, cylinders: np.ndarray) -> None:
        """Move the cylinders."""
        self._cylinders = cylinders[..., :3].copy()

    def raycast(
        self, rows: np.ndarray, origin: np.ndarray, direction: np.ndarray, max_distance: float
    ) -> np.ndarray:
        """Return how far rays go. Shape (n, R)."""
        return raycast(origin, direction, self._cylinders[rows], self._boxes[rows], max_distance)

    def get_state(self) -> dict[str, np.ndarray]:
        """Return positions and velocities."""
        return {"qpos": self.qpos.copy(), "qvel": self.qvel.copy()}

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Go back to a state."""
        self.qpos, self.qvel = state["qpos"].copy(), state["qvel"].copy()

    def close(self) -> None:
        """Nothing to release."""


register_engine("rk4", "my_engine:RungeKutta", robot_needs="forward_dynamics")
