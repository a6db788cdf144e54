"""An expert for balancing: the linear-quadratic regulator of the pole above the cart."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

import numpy as np
from scipy.linalg import solve_discrete_are

from robolearn_envs.engines import make_engine
from robolearn_envs.registry import supported_engines
from robolearn_envs.robots import Robot
from robolearn_envs.tasks.base import Task
from robolearn_envs.vector import RoboVectorEnv

WEIGHTS = (5.0, 3.0, 0.4, 0.15)
"""Costs of x^2 (m^2), theta^2, x_dot^2 and theta_dot^2; that of the squared command is 1.

Of those tried, they earn the most in SwingUp-v0 (cross-entropy method, Rubinstein, 1999; on starts
drawn for it, no evaluation's).
"""
_NUDGE = 1e-5  # m, rad, per s, and of the command: how far off upright differences are taken

T = TypeVar("T")


class Regulator(NamedTuple):
    """The command ``-gain @ z`` in [-1, 1] brings a state z = (x, theta, x_dot, theta_dot) to 0."""

    gain: np.ndarray
    """Shape (4,)."""
    cost: np.ndarray
    """Bringing z there costs ``z @ cost @ z``, if no force is too large. Shape (4, 4)."""


def quickest_engine(task: Task) -> str:
    """Return the engine to make a few copies of a robot in: the closed form where there is one."""
    there = supported_engines(task)
    return "analytic" if "analytic" in there else there[0]


def linearize(task: Task, robot: Robot, engine: str) -> tuple[np.ndarray, np.ndarray]:
    """Return how one environment step changes states near upright, z' = A z + B command.

    Central differences of the step the environments make: the task's force on that engine.

    Args:
        task: Of the environment.
        robot: A cart-pole.
        engine: One that the task runs on.

    Returns:
        A of shape (4, 4) and B of shape (4, 1), for z = (x, theta, x_dot, theta_dot).
    """
    nudges = _NUDGE * np.eye(5)  # of z and command
    copies = make_engine(engine, robot, task.timestep, len(nudges))

    def after(start: np.ndarray) -> np.ndarray:
        copies.reset(np.arange(len(start)), start[:, :2], start[:, 2:4], None)
        for _ in range(task.frame_skip):
            copies.step(task.actuate(copies.qpos, copies.qvel, start[:, 4:], {}))
        return np.concatenate([copies.qpos, copies.qvel], axis=1)

    slope = (after(nudges) - after(-nudges)).T / (2 * _NUDGE)
    copies.close()
    return slope[:, :4], slope[:, 4:]


def regulate(task: Task, robot: Robot) -> Regulator:
    """Return the regulator that is optimal for ``WEIGHTS`` near upright."""
    a, b = linearize(task, robot, quickest_engine(task))
    cost = solve_discrete_are(a, b, np.diag(WEIGHTS), np.eye(1))
    return Regulator(np.linalg.solve(1 + b.T @ cost @ b, b.T @ cost @ a)[0], cost)


def for_each(envs: RoboVectorEnv, design: Callable[[Task, Robot], T]) -> Callable[[], list[T]]:
    """Return what gives the design for every environment's robot, as it is in this episode.

    Each is made once: they are remembered for as many robots as there are environments.
    """

    @lru_cache(maxsize=envs.num_envs)
    def remembered(robot: Robot) -> T:
        return design(envs.task, robot)

    return lambda: [remembered(envs.robot_params(index)) for index in range(envs.num_envs)]


def from_upright(envs: RoboVectorEnv) -> np.ndarray:
    """Return x, theta in [-pi, pi), x_dot and theta_dot of every environment. Shape (N, 4)."""
    z = np.concatenate(envs.qpos_qvel(), axis=1)
    z[:, 1] = (z[:, 1] + np.pi) % (2 * np.pi) - np.pi
    return z


class LQRExpert:
    """Balances: it knows every robot as it is in this episode, but not how strong its motor is."""

    def __init__(self, envs: RoboVectorEnv) -> None:
        """Balance in these environments."""
        self._envs = envs
        self._regulators = for_each(envs, regulate)

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, Any]:
        """Return actions for the environments as they stand; the arguments are not looked at."""
        gain = np.stack([regulator.gain for regulator in self._regulators()])
        command = -(gain * from_upright(self._envs)).sum(axis=1, keepdims=True)
        return self._envs.ctrl_to_action(np.clip(command, -1.0, 1.0)), state
