"""Deviations from what an expert wants, so that recovering from them is shown too."""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from robolearn.errors import RobolearnError
from robolearn.spaces import SingleSpace

_AHEAD = 64  # steps whose random numbers are drawn at once
_STREAM = 0x6E6F697365  # keeps these random numbers apart from any others of the same seed


class Noise:
    """Disturbs actions; every episode has random numbers of its own, whoever else is recorded."""

    def __init__(self, space: SingleSpace, amount: float, seeds: Sequence[int]) -> None:
        """Prepare for some episodes.

        Args:
            space: Of single actions.
            amount: Of discrete actions, the part that is drawn at random. Of others, the standard
                deviation of what is added, in halves of their range.
            seeds: Of each episode.

        Raises:
            RobolearnError: An amount that cannot be, or actions without bounds.
        """
        discrete = isinstance(space, spaces.Discrete)
        if not 0.0 <= amount <= (1.0 if discrete else 10.0):
            most = "1, the part of random actions" if discrete else "10 halves of their range"
            raise RobolearnError(f"noise must lie between 0 and {most}, got {amount}.")
        if amount and not discrete and not space.is_bounded():
            raise RobolearnError(
                f"noise is in halves of the actions' range, and {space} has no bounds. Use noise 0."
            )
        self._space, self._amount = space, amount
        self._streams = [np.random.default_rng([_STREAM, seed]) for seed in seeds]
        self._drawn: Any = None
        self._step = 0

    def disturb(self, action: np.ndarray) -> np.ndarray:
        """Return what is done instead of what was wanted. Shapes (N, ...)."""
        if not self._amount:
            return action.copy()
        at = self._step % _AHEAD
        if at == 0:
            self._drawn = [self._draw(stream) for stream in self._streams]
        self._step += 1
        if isinstance(self._space, spaces.Discrete):
            chance = np.array([own[0][at] for own in self._drawn])
            other = np.array([own[1][at] for own in self._drawn], dtype=action.dtype)
            return np.where(chance < self._amount, other, action)
        half = (self._space.high - self._space.low) / 2
        off = self._amount * half * np.stack([own[at] for own in self._drawn])
        return np.clip(action + off, self._space.low, self._space.high).astype(action.dtype)

    def _draw(self, stream: np.random.Generator) -> Any:
        """Return the random numbers of an episode's next steps."""
        if isinstance(self._space, spaces.Discrete):
            return stream.random(_AHEAD), uniform(self._space, _AHEAD, stream)
        return stream.standard_normal((_AHEAD, *self._space.shape))


def uniform(space: gym.Space, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return actions drawn at random. Shape (count, ...).

    Raises:
        RobolearnError: Actions without bounds, or of another kind.
    """
    if isinstance(space, spaces.Discrete):
        return space.start + rng.integers(space.n, size=count)
    if isinstance(space, spaces.Box) and space.is_bounded():
        return rng.uniform(space.low, space.high, (count, *space.shape)).astype(space.dtype)
    raise RobolearnError(f"Random actions need bounds, got {' '.join(str(space).split())}.")
