"""Masks of tensors on a device; see :mod:`robolearn_envs.core.backend`."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from robolearn_envs import torch_arrays
from robolearn_envs.core.backend import ALL, EnvIndex


class TorchBackend:
    """Masked rows of tensors; buffers stay in the same storage."""

    xp = torch_arrays
    on_host = False

    def __init__(self, device: torch.device) -> None:
        """Compute on a device."""
        self.device = device

    def any(self, mask: Tensor) -> bool:
        """Return True: looking would wait for the device."""
        return True

    def rows(self, mask: Tensor) -> Tensor:
        """Return the mask."""
        return mask

    def take(self, buffer: Tensor, rows: EnvIndex) -> Tensor:
        """Return all rows."""
        return buffer

    def put(self, buffer: Tensor, rows: EnvIndex, values: Any) -> None:
        """Write the masked rows."""
        if isinstance(rows, slice):
            assert rows == ALL
            buffer.copy_(torch.as_tensor(values, device=self.device))
            return
        mask = rows.view(-1, *([1] * (buffer.ndim - 1)))
        if isinstance(values, Tensor):
            values = values.to(buffer.dtype)
        buffer.copy_(torch.where(mask, values, buffer))

    def assign(self, buffer: Tensor, values: Tensor) -> Tensor:
        """Return the buffer, its values replaced in place."""
        return buffer.copy_(values)

    def to_space(self, values: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Return new float32 values within bounds."""
        return values.to(torch.float32).clamp(low, high)

    def array(self, values: np.ndarray) -> Tensor:
        """Return a tensor on the device."""
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device)

    def to_numpy(self, values: Tensor) -> np.ndarray:
        """Return a copy on the host."""
        return values.cpu().numpy().copy()
