"""Tasks by name."""

from collections.abc import Mapping
from typing import Any

from robolearn_envs.names import did_you_mean, pick
from robolearn_envs.tasks.base import ActionKind, Task
from robolearn_envs.tasks.cartpole import CartPoleBalance, CartPoleDMC, CartPoleSwingUp
from robolearn_envs.tasks.navigation import NavDepth, NavLidar, NavRover

TASKS: dict[str, type[Task]] = {
    "CartPoleBalance-v0": CartPoleBalance,
    "CartPoleSwingUp-v0": CartPoleSwingUp,
    "CartPoleDMC-v0": CartPoleDMC,
    "NavLidar-v0": NavLidar,
    "NavDepth-v0": NavDepth,
    "NavRover-v0": NavRover,
}


def make_task(name: str, options: Mapping[str, Any]) -> Task:
    """Return a task with some of its options set.

    Raises:
        ValueError: No such task or option, or an option that cannot be.
    """
    cls = pick("task", name, TASKS)
    for option in options:
        if option not in cls.options:
            raise ValueError(did_you_mean(f"option of {name}", option, cls.options))
    return cls(**options)


def action_kind(task: Task, asked: str | None) -> ActionKind:
    """Return the action kind to use.

    Raises:
        ValueError: Neither 'continuous' nor 'discrete' was asked for.
    """
    if asked is None:
        return task.default_action
    if asked == "continuous":
        return "continuous"
    if asked == "discrete":
        return "discrete"
    raise ValueError(f"action must be 'continuous' or 'discrete', got {asked!r}.")
