"""Engines by name. Each is imported when it is asked for, so a missing one costs nothing."""

import importlib.util

from robolearn_envs.engines.base import Engine
from robolearn_envs.names import pick
from robolearn_envs.robots import CartPole
from robolearn_envs.tasks.base import Task

ENGINES = {"mujoco": "mujoco", "bullet": "pybullet", "analytic": "numpy"}
"""Engine names and the package each one needs."""


def installed(name: str) -> bool:
    """Return whether the package an engine needs is there."""
    return importlib.util.find_spec(ENGINES[name]) is not None


def make_engine(name: str, task: Task, task_name: str, num_envs: int, threads: int = 0) -> Engine:
    """Build the named engine for a task.

    Args:
        name: One of ``ENGINES``.
        task: Gives the robot and the physics step.
        task_name: For messages.
        num_envs: Copies.
        threads: Threads of the MuJoCo engine, 0 for one per core.

    Raises:
        ValueError: Unknown engine, or one the task does not run on.
        ImportError: The engine's package is not installed.
    """
    pick("engine", name, ENGINES)
    if name not in task.engines:
        raise ValueError(
            f"{task_name} does not run on engine '{name}': it is defined on "
            f"{' and '.join(task.engines)} only. Use engine='{task.engines[0]}'."
        )
    if not installed(name):
        raise ImportError(
            f"Engine '{name}' needs the package {ENGINES[name]}, which is not installed. "
            "PyBullet has wheels up to Python 3.11; use engine='mujoco' on newer ones."
        )
    if name == "mujoco":
        from robolearn_envs.engines.mujoco import MujocoEngine

        return MujocoEngine(task.robot, num_envs, task.timestep, threads=threads)
    if not isinstance(task.robot, CartPole):
        raise TypeError(f"Engine '{name}' cannot move a {type(task.robot).__name__}.")
    if name == "bullet":
        from robolearn_envs.engines.bullet import BulletEngine

        return BulletEngine(task.robot, num_envs, task.timestep)
    from robolearn_envs.engines.analytic import AnalyticEngine

    return AnalyticEngine(task.robot, num_envs, task.timestep)
