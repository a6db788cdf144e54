"""Options that say which environment."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from robolearn.environments import EnvConfig
from robolearn.errors import RobolearnError


def parse_env_kwargs(given: Sequence[str]) -> dict[str, Any]:
    """Return keyword arguments given as NAME=VALUE; NAME.FIELD=VALUE sets a field of a mapping.

    Values are JSON, else text.

    Raises:
        RobolearnError: Not of this form.
    """
    kwargs: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not all(part.isidentifier() for part in name.split(".")):
            raise RobolearnError(f"--env-kwargs takes NAME=VALUE, got '{text}'.")
        *path, last = name.split(".")
        target = kwargs
        for part in path:
            target = target.setdefault(part, {})
            if not isinstance(target, dict):
                raise RobolearnError(f"--env-kwargs gives '{part}' a value and a field of it.")
        target[last] = _value(value)
    return kwargs


def parse_randomization(given: Sequence[str]) -> float | dict[str, Any] | None:
    """Return the domain randomization given as a number, or as FIELD=NUMBER or FIELD=LOW:HIGH.

    Raises:
        RobolearnError: Not of this form.
    """
    if not given:
        return None
    if len(given) == 1 and "=" not in given[0]:
        return _number(given[0]) or None
    fields: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise RobolearnError(
                "--domain-randomization takes one number, or FIELD=LOW:HIGH for each field, got "
                f"'{text}'."
            )
        numbers = [_number(part) for part in value.split(":")]
        fields[name] = numbers[0] if len(numbers) == 1 else numbers
    return fields


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise RobolearnError(f"--domain-randomization: expected a number, got '{text}'.") from None


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


@dataclass(frozen=True, kw_only=True)
class EnvOptions:
    """Which environment."""

    env: str = "robolearn/CartPoleBalance-v0"
    """Gymnasium id; `robolearn list` shows ours."""
    engine: str | None = None
    """mujoco, bullet or analytic; torch (the closed form) or warp (MuJoCo Warp) on the learner's
    device; without it the environment's default."""
    action: str | None = None
    """continuous or discrete; without it the environment's default."""
    num_discrete_actions: int | None = None
    """Of cart-poles with discrete actions: how many forces there are to choose among."""
    domain_randomization: tuple[str, ...] = ()
    """Draw parameters of each episode: a number for all of them, e.g. 0.2, or FIELD=LOW:HIGH, e.g.
    pole_mass=0.8:1.2 motor=0.3 lidar_noise=0:0.05 action_delay=0:2."""
    env_kwargs: tuple[str, ...] = ()
    """Further keyword arguments of the environment as NAME=VALUE, e.g. timestep=0.01
    lidar.num_rays=180 robot.mass=6 reward_weights.progress=2."""
    level: int | None = None
    """Of navigation: 0 empty, 1 four cylinders, 2 eight, 3 twelve of which four move, 4 walls."""
    curriculum: bool = False
    """Of navigation: begin at level 0 and go up to the level asked for, by success."""

    def config(self) -> EnvConfig:
        """Return the environment asked for.

        Raises:
            RobolearnError: Nobody knows it.
        """
        kwargs: dict[str, Any] = {}
        if self.action is not None:
            kwargs["action"] = self.action
        if self.num_discrete_actions is not None:
            kwargs |= {
                "action": "discrete",
                "num_discrete_actions": self.num_discrete_actions,
            }
        if (randomization := parse_randomization(self.domain_randomization)) is not None:
            kwargs["domain_randomization"] = randomization
        if self.level is not None:
            kwargs["level"] = self.level
        if self.curriculum:
            kwargs["curriculum"] = True
        kwargs |= parse_env_kwargs(self.env_kwargs)
        return EnvConfig(id=self.env, engine=self.engine, kwargs=kwargs)
