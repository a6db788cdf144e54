"""A guard against looking at tensors, for which the host would wait for a device."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
LOOKS = {
    aten._local_scalar_dense,
    aten.is_nonzero,
    aten.equal,
    aten.nonzero,
    aten.nonzero_numpy,
    aten.argwhere,
    aten.masked_select,
    aten.unique_dim,
    aten.unique_consecutive,
    aten._unique,
    aten._unique2,
    aten.repeat_interleave,
    aten.lift_fresh,
}
"""Operations whose result, or its size, the host waits for; the last one brings its numbers in."""
INDEXED = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}
COPIES = {torch.from_numpy, torch.Tensor.numpy, torch.Tensor.tolist, torch.Tensor.cpu}
"""What would copy between the host and a device, and on the CPU copies nothing."""


class Looked(AssertionError):
    """The host looked at a tensor, or gave it numbers of its own."""


class _NoOperation(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None) -> Any:
        if func.overloadpacket in LOOKS:
            raise Looked(str(func))
        if func.overloadpacket in INDEXED:
            indices = [index for index in args[1] if index is not None]
            if any(index.dtype in (torch.bool, torch.uint8) for index in indices):
                raise Looked(f"{func} by a mask")
        return func(*args, **(kwargs or {}))


class _NoCopy(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None) -> Any:
        if func in COPIES:
            raise Looked(str(func))
        return func(*args, **(kwargs or {}))


@contextmanager
def unseen() -> Iterator[None]:
    """Let nothing pass that could not be captured in a CUDA graph."""
    with _NoCopy(), _NoOperation():
        yield
