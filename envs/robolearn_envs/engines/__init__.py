"""Engines by name. Each is imported when it is asked for, so a missing one costs nothing."""

import importlib.util
import os
import sys
from typing import Any, Literal, get_args

from robolearn_envs.engines.base import DeviceEngine, Engine
from robolearn_envs.names import did_you_mean, pick
from robolearn_envs.robots import CartPole, DiscRobot, Robot, Rover

ENGINES = {"mujoco": "mujoco", "bullet": "pybullet", "analytic": "numpy"}
"""Engine names and the package each one needs."""
DEVICE_ENGINES = {"torch": "torch", "warp": "mujoco_warp"}
"""Engines whose copies live on a torch device, and the package each one needs."""
TWINS = {"torch": "analytic", "warp": "mujoco"}
"""Of each engine on a device the one that moves alike on the host."""
Damping = Literal["none", "default"]
"""'default' is the drag that Bullet gives every link unless it is told not to."""
DAMPINGS: tuple[Damping, ...] = get_args(Damping)


def installed(name: str) -> bool:
    """Return whether the package an engine needs is there."""
    return importlib.util.find_spec((ENGINES | DEVICE_ENGINES)[name]) is not None


def install_hint(name: str) -> str:
    """Return how to install the package an engine needs, or what to do without it."""
    if name != "bullet":
        packages = {"warp": "mujoco-warp warp-lang"}.get(name, ENGINES.get(name, name))
        return f"Install it with: pip install {packages}"
    if sys.version_info >= (3, 14):
        return (
            f"PyBullet has no wheels for Python {sys.version_info[0]}.{sys.version_info[1]}. "
            "Use engine='mujoco', or Python 3.11 to 3.13."
        )
    package = "pybullet" if sys.version_info < (3, 12) else "pybullet-arm64"
    return f"Install it with: pip install {package} (or use engine='mujoco')"


def make_engine(
    name: str,
    robot: Robot,
    timestep: float,
    num_envs: int,
    threads: int = 0,
    damping: Damping = "none",
) -> Engine:
    """Build the named engine for a robot.

    Args:
        name: One of ``ENGINES``.
        robot: The robot, one the engine can move.
        timestep: Physics step in s.
        num_envs: Copies.
        threads: Threads of the MuJoCo engine, 0 for one per core.
        damping: 'default' with Bullet only.

    Raises:
        ValueError: Unknown engine, or damping asked of one that has none of its own.
        ImportError: The engine's package is not installed, or cannot be imported.
        TypeError: The engine cannot move the robot.
    """
    pick("engine", name, ENGINES)
    if not installed(name):
        raise ImportError(
            f"Engine '{name}' needs the package {ENGINES[name]}, which is not installed. "
            f"{install_hint(name)}"
        )
    if damping not in DAMPINGS:
        raise ValueError(did_you_mean("damping", str(damping), DAMPINGS))
    if damping == "default" and name != "bullet":
        raise ValueError(
            f"damping='default' is Bullet's own and needs engine='bullet', got engine='{name}'."
        )
    if name == "mujoco":
        _check_mujoco()
        from robolearn_envs.engines.mujoco import MujocoEngine

        return MujocoEngine(robot, num_envs, timestep, threads=threads)
    if name == "bullet":
        from robolearn_envs.engines.bullet import BulletEngine

        if isinstance(robot, CartPole | DiscRobot | Rover):
            return BulletEngine(robot, num_envs, timestep, damped=damping == "default")
    if isinstance(robot, CartPole | DiscRobot):
        from robolearn_envs.engines.analytic import AnalyticEngine

        return AnalyticEngine(robot, num_envs, timestep)
    raise TypeError(f"Engine '{name}' cannot move a {type(robot).__name__}.")


def _check_mujoco() -> None:
    """Import MuJoCo, which looks for the OpenGL platform of ``MUJOCO_GL`` at its import.

    Raises:
        ImportError: There is no such platform here.
    """
    try:
        import mujoco  # noqa: F401
    except (RuntimeError, AttributeError, TypeError) as problem:
        raise ImportError(
            f"MuJoCo cannot be imported with MUJOCO_GL={os.environ.get('MUJOCO_GL')} ({problem}). "
            "Unset MUJOCO_GL; robolearn does not need it."
        ) from problem


def make_device_engine(
    name: str, robot: Robot, timestep: float, num_envs: int, *, device: Any, dtype: Any = None
) -> DeviceEngine:
    """Build the named engine for a robot on a torch device.

    Args:
        name: One of ``DEVICE_ENGINES``.
        robot: The robot, one the engine can move.
        timestep: Physics step in s.
        num_envs: Copies.
        device: A torch device.
        dtype: A torch type, of the closed form's numbers.

    Raises:
        ValueError: Unknown engine.
        ImportError: The engine's package is not installed.
        TypeError: The engine cannot move the robot.
    """
    pick("engine", name, DEVICE_ENGINES)
    if not installed(name):
        raise ImportError(
            f"Engine '{name}' needs the package {DEVICE_ENGINES[name]}, which is not installed. "
            f"{install_hint(name)}"
        )
    if name == "warp":
        from robolearn_envs.engines.warp import WarpEngine

        return WarpEngine(robot, num_envs, timestep, device=device)
    if isinstance(robot, CartPole | DiscRobot):
        from robolearn_envs import torch_arrays
        from robolearn_envs.engines.analytic import AnalyticEngine

        return AnalyticEngine(
            robot, num_envs, timestep, xp=torch_arrays, device=device, dtype=dtype
        )
    raise TypeError(f"Engine '{name}' cannot move a {type(robot).__name__}.")
