"""The array type of the physics and task code: NumPy or torch through the array API standard."""

from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = Any
"""A NumPy array or a torch tensor. Which one is chosen by the engine; the code is the same."""


def namespace(array: Array) -> ModuleType:
    """Return the array API namespace (``xp``) an array belongs to."""
    if isinstance(array, np.ndarray):
        return np  # NumPy 2 keeps the standard by itself
    from robolearn_envs import torch_arrays  # who has no tensors needs no torch

    return torch_arrays
