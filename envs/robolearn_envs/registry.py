"""Registering tasks: one call makes a task an environment, on every engine that can move its robot.

>>> from robolearn_envs import register
>>> register("me/CartPoleReach-v0", CartPoleReach, max_episode_steps=300)  # doctest: +SKIP

What is registered is made by ``gymnasium.make`` and ``make_vec``. ``module:me/CartPoleReach-v0``
imports the module that registers it first, which is how other processes find it.
"""

import importlib
import inspect
import numbers
from collections.abc import Mapping
from typing import Any, NamedTuple

import gymnasium as gym

from robolearn_envs.engines import DEVICE_ENGINES, ENGINES, unsupported
from robolearn_envs.names import pick, suggestion
from robolearn_envs.tasks.base import ActionKind, Task

NAMESPACE = "robolearn"


class Registered(NamedTuple):
    """A task that environments are made of."""

    id: str
    task: type[Task]
    max_episode_steps: int | None
    """None for the task's."""


_REGISTRY: dict[str, Registered] = {}


def register(
    id: str,
    task: type[Task],
    *,
    max_episode_steps: int | None = None,
) -> None:
    """Register a task as an environment, here and with Gymnasium.

    Args:
        id: Gymnasium id, such as ``me/CartPoleReach-v0``.
        task: A subclass of :class:`~robolearn_envs.tasks.base.Task`.
        max_episode_steps: Control steps after which episodes are truncated; None for the task's.

    Raises:
        ValueError: The id is taken, or the task lacks a method.
    """
    if not (isinstance(task, type) and issubclass(task, Task)):
        raise ValueError(f"task must be a subclass of robolearn_envs.Task, got {task!r}.")
    if missing := sorted(task.__abstractmethods__):
        raise ValueError(f"{task.__name__} lacks {', '.join(missing)}: write these methods.")
    if not hasattr(task, "robot"):
        raise ValueError(f"{task.__name__} lacks a robot: set the class attribute robot.")
    known = _REGISTRY.get(id)
    if known is not None and known.task.__qualname__ != task.__qualname__:
        raise ValueError(f"'{id}' is registered already, for {known.task.__name__}.")
    _REGISTRY[id] = Registered(id, task, max_episode_steps)
    if known is None:
        gym.register(
            id,
            entry_point=f"robolearn_envs.entry_points:single {id}",
            vector_entry_point=f"robolearn_envs.entry_points:vector {id}",
            max_episode_steps=max_episode_steps_of(id),
            disable_env_checker=False,
        )


def registered_ids() -> tuple[str, ...]:
    """Return the ids of all registered tasks, in the order of their registration."""
    return tuple(_REGISTRY)


def bare_id(env_id: str) -> str:
    """Return an id without ``module:``, whose module is imported.

    Raises:
        ValueError: There is no such module.
    """
    module, colon, rest = env_id.partition(":")
    if not colon:
        return env_id
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as problem:
        if problem.name is not None and module.startswith(problem.name):
            raise ValueError(
                f"No module '{module}' for environment '{env_id}' (looked in the current folder "
                "and where Python looks for modules)."
            ) from problem
        raise
    return rest


def is_registered(env_id: str) -> bool:
    """Return whether an id is of a registered task; a ``module:`` before it is imported."""
    return bare_id(env_id) in _REGISTRY


def task_of(env_id: str) -> type[Task]:
    """Return the task of an id.

    Raises:
        ValueError: No such id.
    """
    return pick("environment", bare_id(env_id), _REGISTRY).task


def max_episode_steps_of(env_id: str) -> int:
    """Return the time limit that an id is registered with, in control steps."""
    known = pick("environment", bare_id(env_id), _REGISTRY)
    steps = known.max_episode_steps
    return known.task.max_episode_steps if steps is None else steps


def supported_engines(task: Task | type[Task]) -> tuple[str, ...]:
    """Return the engines a task runs on, its default first."""
    if task.engines:
        return task.engines
    names = {**ENGINES, **DEVICE_ENGINES}
    return tuple(name for name in names if unsupported(name, task.robot) is None)


def check_engine(env_id: str, task: Task, engine: str) -> None:
    """Refuse an engine that the task does not run on.

    Raises:
        ValueError: Says why, and on which engines it runs.
    """
    pick("engine", engine, {**ENGINES, **DEVICE_ENGINES})
    there = supported_engines(task)
    if engine not in there and engine not in ENGINES.keys() - _BUILT_IN_ENGINES:
        reason = unsupported(engine, task.robot) or "it is defined on those only."
        raise ValueError(
            f"{env_id} does not run on engine '{engine}', but on {' and '.join(there)}: {reason} "
            f"Use engine='{there[0]}'."
        )


_BUILT_IN_ENGINES = frozenset(ENGINES)


def make_task(
    env_id: str,
    options: Mapping[str, Any],
    *,
    timestep: float | None = None,
    frame_skip: int | None = None,
    max_episode_steps: int | None = None,
) -> Task:
    """Return the task of an id with some of its options set.

    Args:
        env_id: A registered id.
        options: Keyword arguments of the task.
        timestep: Physics step in s; None for the task's.
        frame_skip: Physics steps in a control step; None for the task's.
        max_episode_steps: Time limit in control steps; None for the one registered.

    Raises:
        ValueError: No such id, or an option that cannot be.
        TypeError: No such option.
    """
    cls = task_of(env_id)
    known = keyword_names(cls)
    for option in options:
        if option not in known:
            hint = suggestion(option, known + _COMMON)
            raise TypeError(f"{env_id} got an unexpected keyword argument '{option}'.{hint}")
    task = cls(**options)
    task.timestep = _checked("timestep", timestep, task.timestep, 1e-5, 1.0)
    task.frame_skip = int(_checked("frame_skip", frame_skip, task.frame_skip, 1, 10_000))
    limit = max_episode_steps_of(env_id) if max_episode_steps is None else max_episode_steps
    task.max_episode_steps = int(_checked("max_episode_steps", limit, limit, 1, 2**40))
    return task


_COMMON = [
    "action",
    "action_delay",
    "autoreset_mode",
    "bullet_damping",
    "ctrl_limit",
    "domain_randomization",
    "engine",
    "frame_skip",
    "max_episode_steps",
    "num_threads",
    "on_divergence",
    "render_mode",
    "reward_weights",
    "timestep",
]
"""Keyword arguments of all environments."""


def keyword_names(task: type[Task]) -> list[str]:
    """Return the keyword arguments of a task's constructor."""
    return [name for name in inspect.signature(task.__init__).parameters if name != "self"]


def _checked(name: str, given: Any, usual: float, low: float, high: float) -> float:
    if given is None:
        return usual
    whole = isinstance(low, int)
    number = isinstance(given, numbers.Integral if whole else numbers.Real)
    if isinstance(given, bool) or not number or not low <= float(given) <= high:
        kind = "an integer" if whole else "a number"
        raise ValueError(f"{name} must be {kind} in {low:g}..{high:g}, got {given!r}.")
    return float(given)


def action_kind(task: Task, asked: str | None) -> ActionKind:
    """Return the action kind to use.

    Raises:
        ValueError: Neither 'continuous' nor 'discrete' was asked for, or there are no discrete
            actions.
    """
    kind = task.default_action if asked is None else asked
    if kind == "continuous":
        return "continuous"
    if kind != "discrete":
        raise ValueError(f"action must be 'continuous' or 'discrete', got {kind!r}.")
    if not task.discrete_actions:
        raise ValueError(
            f"{type(task).__name__} has no discrete actions: set discrete_actions, or use "
            "action='continuous'."
        )
    return "discrete"
