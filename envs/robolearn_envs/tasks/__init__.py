"""Tasks by name."""

from robolearn_envs.tasks.base import ActionKind, Task
from robolearn_envs.tasks.cartpole import CartPoleBalance, CartPoleDMC, CartPoleSwingUp

TASKS: dict[str, Task] = {
    "CartPoleBalance-v0": CartPoleBalance(),
    "CartPoleSwingUp-v0": CartPoleSwingUp(),
    "CartPoleDMC-v0": CartPoleDMC(),
}


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
