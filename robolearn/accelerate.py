"""Device and threads."""

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

from robolearn.errors import RobolearnError


def choose_device(name: str) -> torch.device:
    """Return the device of that name.

    'auto' is the CPU: networks as small as these, fed by simulation on the CPU, learn faster
    there than on a GPU. ``robolearn train`` tries both, see ``robolearn.placement``.

    Raises:
        RobolearnError: Unknown name, or CUDA where there is none.
    """
    if name in ("auto", "cpu"):
        return torch.device("cpu")
    if name != "cuda" and not name.startswith("cuda:"):
        raise RobolearnError(f"device must be 'auto', 'cpu' or 'cuda', got '{name}'.")
    problem = cuda_problem()
    if problem is not None:
        raise RobolearnError(f"device '{name}' asked for, but {problem}. Use --device cpu.")
    device = torch.device(name)
    if device.index is not None:
        if device.index >= torch.cuda.device_count():
            raise RobolearnError(
                f"device '{name}' asked for, but there are {torch.cuda.device_count()} CUDA "
                "devices, counted from 0."
            )
        torch.cuda.set_device(device)  # whose streams and graphs are used from now on
    return device


def cuda_problem() -> str | None:
    """Return why nothing can be computed on CUDA here, in words; None where it can be."""
    version = f"torch {torch.__version__}"
    if not torch.backends.cuda.is_built():
        return f"{version} finds no CUDA device: it is built without CUDA"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is said below
        if torch.cuda.is_available():
            return None
    try:
        torch.cuda.init()
    except RuntimeError as error:  # a driver that is missing, or older than what torch needs
        return f"{version} finds no CUDA device: {str(error).splitlines()[0].rstrip('.')}"
    return f"{version} finds no CUDA device"


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
