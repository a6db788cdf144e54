"""Domain randomization: the parameters that are drawn at the start of each episode."""

import math
import numbers
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

from robolearn_envs.arrays import Array, namespace
from robolearn_envs.names import did_you_mean

DomainRandomization: TypeAlias = float | Mapping[str, float | Sequence[float]]
"""A number r for all fields, or a range for each: ``{"pole_mass": (0.8, 1.2), "motor": 0.3}``.

Fields of the robot and "motor" (what actuators are commanded) are factors of their nominal value: a
pair is their range, a number r means (1 - r, 1 + r). Parameters of sensors, such as "lidar_noise",
and "action_delay" (control steps) are values: a pair is their range, a number the value itself. The
number r alone means (1 - r, 1 + r) for all factors, and r times the largest noise of each sensor.
"""

MOTOR, ACTION_DELAY = "motor", "action_delay"
MAX_ACTION_DELAY = 20
"""Control steps."""


class Parameter(NamedTuple):
    """A number that an episode may have of its own."""

    name: str
    nominal: float
    """Its value without randomization; 1 for factors."""
    at_full: float
    """Of a sensor's noise: its value where all fields are randomized by r = 1. Of others unused."""
    is_factor: bool
    is_integer: bool = False
    at_most: float = math.inf
    """The largest value there can be."""


class ParameterSampler:
    """Draws the parameters of episodes, each uniform in its range."""

    def __init__(
        self, ranges: Mapping[str, tuple[float, float]], known: Sequence[Parameter]
    ) -> None:
        """Take the ranges of some of the known parameters."""
        self.ranges = {p.name: ranges[p.name] for p in known if p.name in ranges}
        """Least and greatest value of each parameter that is not nominal."""
        self._columns = {p.name: k for k, p in enumerate(known)}
        self._integer = {p.name for p in known if p.is_integer}
        self.num_draws = len(known) if ranges else 0
        """Uniform numbers that an episode's parameters take."""

    def sample(self, draws: Array) -> dict[str, Array]:
        """Return the parameters of some episodes, shapes (n,).

        Args:
            draws: Uniform in (0, 1). Shape (n, num_draws).
        """
        values = {}
        for name, (low, high) in self.ranges.items():
            draw = draws[:, self._columns[name]]
            if name in self._integer:
                xp = namespace(draw)
                values[name] = xp.astype(low + xp.floor((high - low + 1) * draw), xp.int64)
            else:
                values[name] = low + (high - low) * draw
        return values


def make_sampler(
    randomization: DomainRandomization, known: Sequence[Parameter], owner: str
) -> ParameterSampler:
    """Return what draws the parameters of episodes.

    Args:
        randomization: As the caller gave it.
        known: All parameters of the environment.
        owner: Name of the task, for messages.

    Raises:
        ValueError: No such field, or a range that cannot be.
    """
    ranges = {}
    for parameter in known:
        if not parameter.is_factor and parameter.nominal:
            ranges[parameter.name] = _range(parameter, parameter.nominal, parameter.name)
    if isinstance(randomization, Mapping):
        names = {parameter.name: parameter for parameter in known}
        for name, given in randomization.items():
            if name not in names:
                raise ValueError(
                    did_you_mean(f"domain_randomization field of {owner}", str(name), names)
                )
            what = f"domain_randomization['{name}']"
            ranges[name] = _range(names[name], given, what)
        return ParameterSampler(ranges, known)
    strength = _number("domain_randomization", randomization)
    if not 0.0 <= strength < 1.0:
        raise ValueError(f"domain_randomization must lie in [0, 1), got {randomization!r}.")
    if strength:
        factors = [p for p in known if p.is_factor and p.name != MOTOR]
        if not factors:
            raise ValueError(
                f"{owner} is a fixed public definition and cannot be randomized, got "
                f"domain_randomization={randomization}. Use CartPoleSwingUp-v0."
            )
        for parameter in known:
            if parameter.is_factor:
                ranges[parameter.name] = (1 - strength, 1 + strength)
            elif parameter.at_full:
                value = strength * parameter.at_full
                ranges[parameter.name] = (value, value)
    return ParameterSampler(ranges, known)


def _range(parameter: Parameter, given: float | Sequence[float], name: str) -> tuple[float, float]:
    if isinstance(given, numbers.Real):
        number = _number(name, given)
        low, high = (1 - number, 1 + number) if parameter.is_factor else (number, number)
    else:
        pair = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else []
        if len(pair) != 2:
            raise ValueError(f"{name} must be a number or a pair (low, high), got {given!r}.")
        low, high = (_number(name, bound) for bound in pair)
    if low > high:
        raise ValueError(f"{name} must be a pair (low, high) with low <= high, got {given!r}.")
    if parameter.is_factor and low <= 0:
        raise ValueError(
            f"{name} multiplies the nominal value and must stay above 0, got {given!r}."
        )
    if low < 0:
        raise ValueError(f"{name} must be at least 0, got {given!r}.")
    if parameter.is_integer and not (float(low).is_integer() and float(high).is_integer()):
        raise ValueError(f"{name} counts control steps and must be whole, got {given!r}.")
    if high > parameter.at_most:
        raise ValueError(f"{name} is at most {parameter.at_most:g}, got {given!r}.")
    return low, high


def _number(name: str, given: object) -> float:
    if isinstance(given, bool) or not isinstance(given, numbers.Real) or not math.isfinite(given):
        raise ValueError(f"{name} must be a finite number, got {given!r}.")
    return float(given)
