"""Observations of any kind, part by part: the arrays that a nested one is made of."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
from gymnasium import spaces


def on_leaves(space: gym.Space, of: Callable[..., Any], *nested: Any) -> Any:
    """Return what a function makes of each array of nested observations, nested alike.

    Args:
        space: Of the observations.
        of: Takes the space of the array, and the array in each of ``nested``.
        *nested: Observations, or whatever is nested alike.
    """
    if isinstance(space, spaces.Dict):
        return {
            name: on_leaves(part, of, *(one[name] for one in nested))
            for name, part in space.items()
        }
    if isinstance(space, spaces.Tuple):
        return tuple(
            on_leaves(part, of, *(one[k] for one in nested)) for k, part in enumerate(space)
        )
    return of(space, *nested)
