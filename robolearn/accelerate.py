"""Device and threads."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

from robolearn.errors import RobolearnError


def choose_device(name: str) -> torch.device:
    """Return the device of that name.

    'auto' is the CPU: networks as small as these, fed by simulation on the CPU, learn faster
    there than on a GPU.

    Raises:
        RobolearnError: Unknown name, or CUDA where there is none.
    """
    if name in ("auto", "cpu"):
        return torch.device("cpu")
    if name != "cuda" and not name.startswith("cuda:"):
        raise RobolearnError(f"device must be 'auto', 'cpu' or 'cuda', got '{name}'.")
    if not torch.cuda.is_available():
        raise RobolearnError(
            f"device '{name}' asked for, but torch {torch.__version__} finds no CUDA device. "
            "Use --device cpu."
        )
    return torch.device(name)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute on ``count`` CPU threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def one_thread() -> AbstractContextManager[None]:
    """Compute on one CPU thread: on small networks that is several times faster than on all."""
    return threads(1)
