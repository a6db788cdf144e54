"""What agents see and do: any Gymnasium observation as a flat vector, actions in [-1, 1]."""

from collections.abc import Iterator, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import iterate

from robolearn.errors import RobolearnError

ActionSpace = spaces.Discrete | spaces.Box


def flat_size(space: gym.Space) -> int:
    """Return the width of a flattened observation.

    Raises:
        RobolearnError: Observations of no fixed width.
    """
    if not space.is_np_flattenable:
        raise RobolearnError(f"Observations must have a fixed size, got {space}.")
    return spaces.flatdim(space)


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


def require_action_space(
    space: gym.Space, agent: str, *, discrete_only: bool = False, hint: str = ""
) -> ActionSpace:
    """Return the space if an agent can serve it.

    Args:
        space: Of single actions.
        agent: The agent's name, for the message.
        discrete_only: It serves no continuous actions.
        hint: How to come by discrete actions, where they can be had; ends in 'or '.

    Raises:
        RobolearnError: Neither discrete nor a box, or a box where only discrete actions serve.
    """
    if isinstance(space, spaces.Discrete):
        return space
    if discrete_only:
        raise RobolearnError(f"{agent} needs discrete actions, got {space}. Use {hint}PPO.")
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
        return space
    raise RobolearnError(
        f"{agent} serves Discrete and continuous Box actions, got {space}. "
        "Wrap the environment so that its actions are one of these."
    )


def to_env_action(space: ActionSpace, action: np.ndarray) -> np.ndarray:
    """Return the environment's actions for a policy's.

    A box with finite bounds is spanned by [-1, 1], beyond which actions are clipped; an
    unbounded one is left as it is. A discrete space's first action may be other than 0.

    Args:
        space: Single action space.
        action: Shape (N,) integer or (N, A).

    Returns:
        Shape (N,) or (N, *space.shape).
    """
    if isinstance(space, spaces.Discrete):
        return action + space.start
    if space.is_bounded():
        span = (space.high - space.low) / 2
        action = space.low.reshape(-1) + (np.clip(action, -1.0, 1.0) + 1.0) * span.reshape(-1)
    return action.reshape(len(action), *space.shape).astype(space.dtype)


def action_width(space: ActionSpace) -> int:
    """Return the number of discrete actions, or of continuous coordinates."""
    return int(space.n) if isinstance(space, spaces.Discrete) else int(np.prod(space.shape))


def from_env_action(space: ActionSpace, action: np.ndarray) -> np.ndarray:
    """Return a policy's actions for the environment's: what ``to_env_action`` maps to them.

    Args:
        space: Single action space.
        action: Shape (N,) or (N, *space.shape).

    Returns:
        Shape (N,) int64 or (N, A) float32; of a bounded box in [-1, 1].
    """
    if isinstance(space, spaces.Discrete):
        return np.asarray(action - space.start, dtype=np.int64)
    flat = np.asarray(action, dtype=np.float64).reshape(len(action), -1)
    if space.is_bounded():
        low, high = space.low.reshape(-1), space.high.reshape(-1)
        span = np.where(high > low, high - low, 1.0)  # where there is one action, any will do
        flat = np.clip(2 * (flat - low) / span - 1, -1.0, 1.0)
    return flat.astype(np.float32)
