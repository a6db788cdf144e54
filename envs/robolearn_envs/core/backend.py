"""The one difference between host and device: index rows against masks.

On the host a mask may be looked at, so that only its rows are computed. On a device nothing waits
for a mask: all rows are computed, and written where the mask is true; so every step has one shape
and can be captured in a CUDA graph.
"""

from types import ModuleType
from typing import Any, Protocol, TypeAlias

import gymnasium as gym
import numpy as np

from robolearn_envs.arrays import Array

EnvIndex: TypeAlias = Any
"""Which environments: integers of shape (n,), a mask of shape (N,), or a slice."""

ALL = slice(None)
"""All environments, as an :data:`EnvIndex`."""


class Backend(Protocol):
    """Writes and reads rows of arrays of shape (N, ...)."""

    xp: ModuleType
    """NumPy, or ``robolearn_envs.torch_arrays``."""
    on_host: bool

    def any(self, mask: Array) -> bool:
        """Return whether a mask is true somewhere, or may be."""
        ...

    def rows(self, mask: Array) -> EnvIndex:
        """Return the environments of a mask. Shape (N,), bool."""
        ...

    def take(self, buffer: Array, rows: EnvIndex) -> Array:
        """Return the values of some environments; on a device of all."""
        ...

    def put(self, buffer: Array, rows: EnvIndex, values: Array) -> None:
        """Write values, as ``take`` returns them, into some environments' rows, in place."""
        ...

    def assign(self, buffer: Array, values: Array) -> Array:
        """Return the buffer with all its values replaced."""
        ...

    def to_space(self, values: Array, low: Array, high: Array) -> Array:
        """Return new float32 values within bounds."""
        ...

    def array(self, values: np.ndarray) -> Array:
        """Return an array of this backend."""
        ...

    def to_numpy(self, values: Array) -> np.ndarray:
        """Return a copy on the host."""
        ...


class NumpyBackend:
    """Index rows of NumPy arrays."""

    xp = np
    on_host = True

    def any(self, mask: np.ndarray) -> bool:
        """Return whether a mask is true somewhere."""
        return bool(mask.any())

    def rows(self, mask: np.ndarray) -> np.ndarray:
        """Return the indices where a mask is true. Shape (n,)."""
        return np.flatnonzero(mask)

    def take(self, buffer: np.ndarray, rows: EnvIndex) -> np.ndarray:
        """Return some rows."""
        return buffer[rows]

    def put(self, buffer: np.ndarray, rows: EnvIndex, values: Any) -> None:
        """Write some rows."""
        buffer[rows] = values

    def assign(self, buffer: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Return the values: on the host a buffer is rebound."""
        return values

    def to_space(self, values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Return new float32 values within bounds; a third of the time of ``np.clip``."""
        bounded = np.asarray(values).astype(np.float32)
        np.maximum(bounded, low, out=bounded)
        return np.minimum(bounded, high, out=bounded)

    def array(self, values: np.ndarray) -> np.ndarray:
        """Return the values."""
        return values

    def to_numpy(self, values: np.ndarray) -> np.ndarray:
        """Return a copy."""
        return np.array(values)


def tree_map(function: Any, tree: Any, *others: Any) -> Any:
    """Apply a function to an array, or to each array of a dict."""
    if isinstance(tree, dict):
        return {
            name: tree_map(function, part, *(other[name] for other in others))
            for name, part in tree.items()
        }
    return function(tree, *others)


def space_bounds(space: gym.Space, backend: Backend) -> tuple[Any, Any]:
    """Return the least and the greatest observation, as arrays or dicts of arrays."""
    if isinstance(space, gym.spaces.Dict):
        pairs = {name: space_bounds(part, backend) for name, part in space.items()}
        return {n: low for n, (low, _) in pairs.items()}, {
            n: high for n, (_, high) in pairs.items()
        }
    assert isinstance(space, gym.spaces.Box)
    return backend.array(space.low), backend.array(space.high)
