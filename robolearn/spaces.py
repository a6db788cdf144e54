"""What agents see and do: any Gymnasium observation as a flat vector, actions in [-1, 1]."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, overload

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import iterate

from robolearn.errors import RobolearnError

MultiSpace = spaces.MultiDiscrete | spaces.MultiBinary
"""Several discrete actions at once."""
SingleSpace = spaces.Discrete | spaces.Box
ActionSpace = SingleSpace | MultiSpace


def flat_size(space: gym.Space) -> int:
    """Return the width of a flattened observation.

    Raises:
        RobolearnError: Observations of no fixed width.
    """
    if not space.is_np_flattenable:
        raise RobolearnError(f"Observations must have a fixed size, got {space}.")
    return spaces.flatdim(space)


def is_uint8(space: gym.Space) -> bool:
    """Return whether all parts of a flat observation are boxes of uint8, as images are."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        parts = space.values() if isinstance(space, spaces.Dict) else space
        return all(is_uint8(part) for part in parts)
    return isinstance(space, spaces.Box) and space.dtype == np.uint8


def flatten_batch(space: gym.Space, observation: Any, count: int | None) -> np.ndarray:
    """Return observations as vectors: boxes unrolled, discrete ones one-hot, the rest joined.

    Args:
        space: Space of a single observation.
        observation: A batch of ``count``, or one observation where ``count`` is None.
        count: Batch size.

    Returns:
        Shape (count, D) or (D,), float32; a copy, as environments may use their memory again.
    """
    if isinstance(space, spaces.Box):
        array = np.array(observation, dtype=np.float32)
        return array.reshape(-1) if count is None else array.reshape(count, -1)
    if count is None:
        return np.asarray(spaces.flatten(space, observation), dtype=np.float32)
    columns = list(_columns(space, observation, count))
    return np.concatenate(columns, axis=1, dtype=np.float32, casting="unsafe")


def _columns(space: gym.Space, observation: Any, count: int) -> Iterator[np.ndarray]:
    """Yield what Gymnasium's ``flatten`` joins, for a batch. Shapes (count, ...)."""
    if isinstance(space, spaces.Box):
        yield np.asarray(observation, dtype=space.dtype).reshape(count, -1)
    elif isinstance(space, spaces.Dict):
        for key, part in space.items():
            yield from _columns(part, observation[key], count)
    elif isinstance(space, spaces.Tuple):
        for part, item in zip(space, observation, strict=True):
            yield from _columns(part, item, count)
    else:
        batched = gym.vector.utils.batch_space(space, count)
        yield np.asarray([spaces.flatten(space, item) for item in iterate(batched, observation)])


def flatten_any(space: gym.Space, observation: Any) -> tuple[np.ndarray, bool]:
    """Return observations as vectors, shape (N, D), and whether it was a single one (N = 1).

    Raises:
        RobolearnError: Neither an observation of the space nor a batch of them.
    """
    if _fits(space, observation):
        return flatten_batch(space, observation, None)[None], True
    first = observation
    while isinstance(first, Mapping | tuple):
        first = next(iter(first.values())) if isinstance(first, Mapping) else first[0]
    count = len(first) if np.ndim(first) else 0
    if isinstance(space, spaces.Box) and np.shape(observation)[1:] != space.shape:
        raise RobolearnError(
            f"Observations must have shape {space.shape} or (N, *{space.shape}), "
            f"got {np.shape(observation)}."
        )
    return flatten_batch(space, observation, count), False


def _fits(space: gym.Space, observation: Any) -> bool:
    """Return whether this is a single observation; boxes go by shape, not by bounds."""
    if isinstance(space, spaces.Box):
        return np.shape(observation) == space.shape
    if isinstance(space, spaces.Dict) and isinstance(observation, Mapping):
        return all(_fits(part, observation[key]) for key, part in space.items())
    if isinstance(space, spaces.Tuple) and isinstance(observation, tuple):
        return all(_fits(part, item) for part, item in zip(space, observation, strict=True))
    return space.contains(observation)


def magnitudes(space: gym.Space) -> np.ndarray:
    """Return the largest magnitude of each entry that cannot be negative, and 0 for the others.

    Returns:
        In the order of a flat observation. Shape (D,), float32.
    """
    flat = spaces.flatten_space(space)
    assert isinstance(flat, spaces.Box)
    known = (flat.low == 0) & (flat.high > 0) & np.isfinite(flat.high)
    return np.where(known, flat.high, 0.0).astype(np.float32)


@overload
def require_action_space(
    space: gym.Space, agent: str, *, discrete_only: bool = False, hint: str = ""
) -> SingleSpace: ...
@overload
def require_action_space(
    space: gym.Space, agent: str, *, discrete_only: bool = False, multi: bool, hint: str = ""
) -> ActionSpace: ...
def require_action_space(
    space: gym.Space,
    agent: str,
    *,
    discrete_only: bool = False,
    multi: bool = False,
    hint: str = "",
) -> ActionSpace:
    """Return the space if an agent can serve it.

    Args:
        space: Of single actions.
        agent: The agent's name, for the message.
        discrete_only: It serves one discrete action alone.
        multi: It serves several discrete actions at once.
        hint: How to come by discrete actions, where they can be had; ends in 'or '.

    Raises:
        RobolearnError: The agent cannot serve it.
    """
    if isinstance(space, spaces.Discrete):
        return space
    if discrete_only:
        raise RobolearnError(f"{agent} needs Discrete actions, got {space}. Use {hint}PPO.")
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
        return space
    if multi and isinstance(space, MultiSpace):
        return space
    served = "Discrete, MultiDiscrete, MultiBinary" if multi else "Discrete"
    raise RobolearnError(
        f"{agent} serves {served} and continuous Box actions, got {space}. "
        "Wrap the environment so that its actions are one of these."
    )


def _scaling(space: spaces.Box) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return which coordinates have two finite bounds, and both; -1 and 1 for others. (A,) each."""
    low, high = space.low.reshape(-1), space.high.reshape(-1)
    bounded = np.isfinite(low) & np.isfinite(high)
    one = space.dtype.type(1)  # type: ignore[union-attr]
    return bounded, np.where(bounded, low, -one), np.where(bounded, high, one)


def _rescale(action: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return [-1, 1] mapped to [low, high]; what is beyond is clipped. Shape (N, A)."""
    return low + (action.clip(-1.0, 1.0) + 1.0) * ((high - low) / 2)


def to_env_action(space: ActionSpace, action: np.ndarray) -> np.ndarray:
    """Return the environment's actions for a policy's, which lie in the space.

    A coordinate with two finite bounds is spanned by [-1, 1], beyond which actions are clipped.
    Others are clipped to the bound they have, if any. A discrete space's first action may be other
    than 0.

    Args:
        space: Single action space.
        action: Shape (N,) integer; (N, A); or (N, K) integer of K discrete actions at once.

    Returns:
        Shape (N,) or (N, *space.shape).
    """
    if isinstance(space, spaces.Discrete):
        return action + space.start
    if isinstance(space, MultiSpace):
        rows = action.reshape(len(action), *space.shape)
        return (rows + _first_value(space)).astype(space.dtype)
    low, high = space.low.reshape(-1), space.high.reshape(-1)
    if space.bounded_below.all() and space.bounded_above.all():  # ``predict`` is to be fast
        scaled = _rescale(action, low, high)
    else:
        bounded, finite_low, finite_high = _scaling(space)
        spanned = _rescale(action, finite_low, finite_high)
        scaled = np.where(bounded, spanned, action.clip(low, high))
    return scaled.reshape(len(action), *space.shape).astype(space.dtype)


def action_choices(space: MultiSpace) -> list[int]:
    """Return how many values each of several discrete actions has, in their flat order."""
    if isinstance(space, spaces.MultiBinary):
        return [2] * math.prod(space.shape)
    return space.nvec.reshape(-1).tolist()


def _first_value(space: MultiSpace) -> Any:
    """Return the first value of each of several discrete actions; they may be other than 0."""
    return space.start if isinstance(space, spaces.MultiDiscrete) else 0


def action_width(space: ActionSpace) -> int:
    """Return the number of discrete actions, summed over several; or of continuous coordinates."""
    if isinstance(space, MultiSpace):
        return sum(action_choices(space))
    return int(space.n) if isinstance(space, spaces.Discrete) else int(np.prod(space.shape))


def from_env_action(space: ActionSpace, action: np.ndarray) -> np.ndarray:
    """Return a policy's actions for the environment's: what ``to_env_action`` maps to them.

    Args:
        space: Single action space.
        action: Shape (N,) or (N, *space.shape).

    Returns:
        Shape (N,) int64; (N, A) float32, coordinates with two finite bounds in [-1, 1]; or (N, K)
        int64 of K discrete actions at once.
    """
    if isinstance(space, spaces.Discrete):
        return np.asarray(action - space.start, dtype=np.int64)
    if isinstance(space, MultiSpace):
        return np.asarray(action - _first_value(space), dtype=np.int64).reshape(len(action), -1)
    flat = np.asarray(action, dtype=np.float64).reshape(len(action), -1)
    bounded, low, high = _scaling(space)
    span = np.where(high > low, high - low, 1.0)  # where there is one action, any will do
    scaled = np.clip(2 * (flat - low) / span - 1, -1.0, 1.0)
    return np.where(bounded, scaled, flat).astype(np.float32)
