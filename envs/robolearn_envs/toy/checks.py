"""Refusing arguments that make no sense, in one line."""

from numbers import Integral, Real
from typing import Any

from gymnasium import Space


def whole_number(name: str, given: Any, least: int) -> int:
    """Return an argument that must be a whole number.

    Raises:
        ValueError: Not an integer, or below ``least``.
    """
    if isinstance(given, bool) or not isinstance(given, Integral) or given < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {given!r}.")
    return int(given)


def probability(name: str, given: Any) -> float:
    """Return an argument that must be a probability.

    Raises:
        ValueError: Not a number in [0, 1].
    """
    if isinstance(given, bool) or not isinstance(given, Real) or not 0 <= float(given) <= 1:
        raise ValueError(f"{name} must be a probability in [0, 1], got {given!r}.")
    return float(given)


def chosen(space: Space, action: Any) -> int:
    """Return an action as an int.

    Raises:
        ValueError: Not in the space.
    """
    if not space.contains(action):
        raise ValueError(f"action must lie in {space}, got {action!r}.")
    return int(action)
