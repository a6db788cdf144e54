"""What environments on the host and on a device are made of alike."""

import json
import math
import numbers
from collections.abc import Mapping
from typing import Any, NamedTuple

from robolearn_envs.config import (
    ACTION_DELAY,
    MAX_ACTION_DELAY,
    MOTOR,
    DomainRandomization,
    Parameter,
    ParameterSampler,
    make_sampler,
)
from robolearn_envs.registry import check_engine, make_task, supported_engines
from robolearn_envs.tasks.base import Task


class Setup(NamedTuple):
    """A task, and how its episodes vary."""

    task: Task
    engine_name: str
    sampler: ParameterSampler
    reward_weights: dict[str, float]
    ctrl_limit: float
    description: str
    """The task and its options, as text: environments of one text can exchange their state."""


def set_up(
    env_id: str,
    num_envs: int,
    task_options: Mapping[str, Any],
    *,
    engine: str | None,
    domain_randomization: DomainRandomization,
    action_delay: int,
    reward_weights: Mapping[str, float] | None,
    ctrl_limit: float,
    timestep: float | None,
    frame_skip: int | None,
    max_episode_steps: int | None,
) -> Setup:
    """Check what environments are to be, and return what they are made of.

    Raises:
        ValueError: An unknown name, or a combination that cannot be.
        TypeError: No such keyword.
    """
    task = make_task(
        env_id,
        task_options,
        timestep=timestep,
        frame_skip=frame_skip,
        max_episode_steps=max_episode_steps,
    )
    if isinstance(num_envs, bool) or not isinstance(num_envs, int) or num_envs < 1:
        raise ValueError(f"num_envs must be at least 1, got {num_envs}.")
    engine_name = engine or supported_engines(task)[0]
    check_engine(env_id, task, engine_name)
    if isinstance(action_delay, bool) or not isinstance(action_delay, int) or action_delay < 0:
        raise ValueError(
            f"action_delay counts control steps and must be whole, got {action_delay}."
        )
    number = isinstance(ctrl_limit, numbers.Real) and not isinstance(ctrl_limit, bool)
    if not number or not 0.0 < ctrl_limit <= 1.0:
        raise ValueError(f"ctrl_limit must lie in (0, 1], got {ctrl_limit!r}.")
    weights = dict(reward_weights or {})
    for name, weight in weights.items():
        if not isinstance(weight, numbers.Real) or not math.isfinite(weight):
            raise ValueError(f"reward_weights['{name}'] must be a finite number, got {weight!r}.")
    sampler = make_sampler(domain_randomization, _parameters(task, action_delay), env_id)
    options = {name: _described(value) for name, value in sorted(task_options.items())}
    description = json.dumps([type(task).__name__, options], default=_described)
    return Setup(task, engine_name, sampler, weights, float(ctrl_limit), description)


def _described(value: Any) -> Any:
    """Return what JSON can hold of an option: of an object its class."""
    plain = isinstance(value, str | int | float | bool | Mapping | list | tuple | None)
    return value if plain else type(value).__name__


def _parameters(task: Task, action_delay: int) -> list[Parameter]:
    """Return all parameters that episodes of a task may have of their own."""
    known = [Parameter(MOTOR, 1.0, 0.0, is_factor=True)]
    known += [Parameter(name, 1.0, 0.0, is_factor=True) for name in task.robot.randomizable]
    for sensor in task.sensors:
        known += sensor.parameters
    delay = Parameter(ACTION_DELAY, action_delay, 0.0, False, True, MAX_ACTION_DELAY)
    known.append(delay)
    return known
