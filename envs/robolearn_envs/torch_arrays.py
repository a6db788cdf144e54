"""The part of the Python array API standard that our physics and tasks use, on torch.

Most functions of torch are as the standard has them (2024.12, data-apis.org/array-api); those that
are not are written out here. So a task is written once and runs on NumPy and on torch, there also
compiled and within CUDA graphs.
"""

import torch
from torch import (
    Tensor,
    abs,
    arange,
    asarray,
    atan2,
    bool,
    broadcast_to,
    clip,
    concat,
    cos,
    exp,
    float32,
    float64,
    floor,
    int64,
    isfinite,
    log,
    ones,
    ones_like,
    reshape,
    sign,
    sin,
    sqrt,
    stack,
    sum,
    where,
    zeros,
    zeros_like,
)

__all__ = [
    "abs",
    "arange",
    "asarray",
    "astype",
    "atan2",
    "bool",
    "broadcast_to",
    "clip",
    "concat",
    "cos",
    "exp",
    "flip",
    "float32",
    "float64",
    "floor",
    "int64",
    "isfinite",
    "log",
    "max",
    "maximum",
    "min",
    "minimum",
    "ones",
    "ones_like",
    "reshape",
    "sign",
    "sin",
    "sqrt",
    "stack",
    "sum",
    "where",
    "zeros",
    "zeros_like",
]


def astype(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return ``x`` in another type."""
    return x.to(dtype)


def flip(x: Tensor, *, axis: int) -> Tensor:
    """Return ``x`` with the order of one axis turned round."""
    return torch.flip(x, (axis,))


def max(x: Tensor, *, axis: int) -> Tensor:
    """Return the largest entries along an axis."""
    return torch.amax(x, dim=axis)


def maximum(x: Tensor, y: Tensor | float) -> Tensor:
    """Return the larger of two numbers, element by element."""
    return torch.maximum(x, y) if isinstance(y, Tensor) else torch.clamp(x, min=y)


def minimum(x: Tensor, y: Tensor | float) -> Tensor:
    """Return the smaller of two numbers, element by element."""
    return torch.minimum(x, y) if isinstance(y, Tensor) else torch.clamp(x, max=y)


def min(x: Tensor, *, axis: int) -> Tensor:
    """Return the smallest entries along an axis."""
    return torch.amin(x, dim=axis)
