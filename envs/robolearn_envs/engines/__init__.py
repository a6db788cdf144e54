"""Engines by name. Each is imported when it is asked for, so a missing one costs nothing."""

import importlib
import importlib.util
import os
import sys
from typing import Any, NamedTuple

from robolearn_envs.engines.base import Engine, SimulationError
from robolearn_envs.names import pick
from robolearn_envs.robots import Robot

__all__ = [
    "DEVICE_ENGINES",
    "ENGINES",
    "HOST_EQUIVALENT",
    "Engine",
    "EngineSpec",
    "SimulationError",
    "install_hint",
    "installed",
    "make_engine",
    "register_engine",
    "unsupported",
]


class EngineSpec(NamedTuple):
    """Where an engine is, and what it needs."""

    entry_point: str
    """``module:Class`` of an :class:`~robolearn_envs.engines.base.Engine`."""
    package: str
    """The package it needs."""
    robot_needs: str
    """What a robot must have for it: "to_mjcf", "to_urdf" or "forward_dynamics"."""
    options: tuple[str, ...] = ()
    """Keyword arguments of its own, besides robot, num_envs and timestep."""


ENGINES: dict[str, EngineSpec] = {
    "mujoco": EngineSpec(
        "robolearn_envs.engines.mujoco:MujocoEngine", "mujoco", "to_mjcf", ("num_threads",)
    ),
    "bullet": EngineSpec(
        "robolearn_envs.engines.bullet:BulletEngine", "pybullet", "to_urdf", ("bullet_damping",)
    ),
    "analytic": EngineSpec(
        "robolearn_envs.engines.analytic:AnalyticEngine", "numpy", "forward_dynamics"
    ),
}
"""Engines on the host, by name."""
DEVICE_ENGINES: dict[str, EngineSpec] = {
    "torch": EngineSpec(
        "robolearn_envs.engines.analytic:AnalyticEngine",
        "torch",
        "forward_dynamics",
        ("device", "dtype"),
    ),
    "warp": EngineSpec(
        "robolearn_envs.engines.warp:WarpEngine", "mujoco_warp", "to_mjcf", ("device",)
    ),
}
"""Engines whose environments live on a torch device, by name."""
HOST_EQUIVALENT = {"torch": "analytic", "warp": "mujoco"}
"""Of each engine on a device the one on the host that moves alike."""


def register_engine(
    name: str,
    entry_point: str,
    *,
    package: str = "numpy",
    robot_needs: str = "to_mjcf",
    options: tuple[str, ...] = (),
) -> None:
    """Make an engine of one's own known, for ``engine=name``; on the host, with NumPy arrays.

    Args:
        name: What to call it.
        entry_point: ``module:Class`` of an :class:`Engine`.
        package: The package it needs.
        robot_needs: What a robot must have: "to_mjcf", "to_urdf" or "forward_dynamics".
        options: Keyword arguments of its own.

    Raises:
        ValueError: The name is taken by another one, or ``entry_point`` is none.
    """
    spec = EngineSpec(entry_point, package, robot_needs, tuple(options))
    if name in DEVICE_ENGINES or ENGINES.get(name, spec) != spec:
        raise ValueError(f"Engine '{name}' is registered already: choose another name.")
    if entry_point.count(":") != 1:
        raise ValueError(f"entry_point must be 'module:Class', got {entry_point!r}.")
    ENGINES[name] = spec


def installed(name: str) -> bool:
    """Return whether the package an engine needs is there."""
    return importlib.util.find_spec((ENGINES | DEVICE_ENGINES)[name].package) is not None


def install_hint(name: str) -> str:
    """Return how to install the package an engine needs, or what to do without it."""
    if name != "bullet":
        packages = {"warp": "mujoco-warp warp-lang"}.get(name)
        return (
            f"Install it with: pip install {packages or (ENGINES | DEVICE_ENGINES)[name].package}"
        )
    if sys.version_info >= (3, 14):
        return (
            f"PyBullet has no wheels for Python {sys.version_info[0]}.{sys.version_info[1]}. "
            "Use engine='mujoco', or Python 3.11 to 3.13."
        )
    package = "pybullet" if sys.version_info < (3, 12) else "pybullet-arm64"
    return f"Install it with: pip install {package} (or use engine='mujoco')"


def unsupported(name: str, robot: Robot) -> str | None:
    """Return why an engine cannot move a robot; None if it can."""
    needs = (ENGINES | DEVICE_ENGINES)[name].robot_needs
    kind = type(robot).__name__
    if needs == "to_urdf" and robot.to_urdf() is None:
        return f"{kind} has no to_urdf(), which engine '{name}' needs."
    if needs == "forward_dynamics" and robot.forward_dynamics is None:
        return f"{kind} has no forward_dynamics(), the closed form that engine '{name}' needs."
    if needs == "to_mjcf" and type(robot).to_mjcf is Robot.to_mjcf:
        return f"{kind} has no to_mjcf(), which engine '{name}' needs."
    return None


def make_engine(name: str, robot: Robot, timestep: float, num_envs: int, **options: Any) -> Engine:
    """Build the named engine for a robot.

    Args:
        name: One of ``ENGINES`` or ``DEVICE_ENGINES``.
        robot: The robot.
        timestep: Physics step in s.
        num_envs: Environments.
        **options: Of this engine alone; see ``EngineSpec.options``.

    Raises:
        ValueError: Unknown engine, an option of another one, or a robot it cannot move.
        ImportError: The engine's package is not installed, or cannot be imported.
    """
    spec = pick("engine", name, {**ENGINES, **DEVICE_ENGINES})
    if (reason := unsupported(name, robot)) is not None:
        raise ValueError(reason)
    for option in options:
        if option not in spec.options:
            owners = [n for n, s in {**ENGINES, **DEVICE_ENGINES}.items() if option in s.options]
            raise ValueError(
                f"Engine '{name}' has no option '{option}': it is for {' and '.join(owners)}."
            )
    if not installed(name):
        raise ImportError(
            f"Engine '{name}' needs the package {spec.package}, which is not installed. "
            f"{install_hint(name)}"
        )
    if name in ("mujoco", "warp"):
        _check_mujoco()
    module, _, attribute = spec.entry_point.partition(":")
    return getattr(importlib.import_module(module), attribute)(robot, num_envs, timestep, **options)


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
