"""CUDA graphs: work of fixed shape is captured once, and then launched as a whole."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Generic, Literal, TypeVar, get_args

import torch

from robolearn.errors import RobolearnError
from robolearn_envs.names import did_you_mean

Compile = Literal["auto", "off", "graph", "fuse"]
COMPILES: tuple[Compile, ...] = get_args(Compile)
R = TypeVar("R")
NUM_WARMUP = 3
"""Calls that are made eagerly before the next one is captured."""


def resolve_cuda_graphs(asked: str, device: torch.device, blocker: str | None) -> tuple[bool, str]:
    """Return whether to capture CUDA graphs, and why or why not.

    ``asked`` is one of ``COMPILES``; 'auto' and 'fuse' capture where possible. ``blocker`` says why
    the agent cannot be captured, None where it can.

    Raises:
        RobolearnError: An unknown word, or graphs were asked for where there can be none.
    """
    if asked not in COMPILES:
        raise RobolearnError(did_you_mean("compile", asked, COMPILES))
    if asked == "off":
        return False, "eager, as asked for"
    if device.type != "cuda":
        blocker = f"CUDA graphs need device cuda, this is {device.type}"
    if blocker is None:
        return True, "captured as CUDA graphs"
    if asked == "graph":
        raise RobolearnError(f"Nothing can be captured: {blocker}. Use --compile auto.")
    return False, f"eager: {blocker}"


class CudaGraph(Generic[R]):
    """A function of static buffers, captured as a CUDA graph after some eager calls.

    The function must not read a tensor on the host, nor change anything but tensors in place. What
    it returns is overwritten by the next call. Other arguments make another graph. The first
    ``NUM_WARMUP`` calls of each, and all where nothing is captured, are eager, with the same
    results and random numbers.
    """

    def __init__(
        self,
        function: Callable[..., R],
        *,
        capture: bool,
        generators: Sequence[torch.Generator] = (),
    ) -> None:
        """Wrap a function of hashable arguments, which draws from no other ``generators``."""
        self._function, self.capture, self._generators = function, capture, generators
        self._calls: dict[Hashable, int] = {}
        self._graphs: dict[Hashable, tuple[torch.cuda.CUDAGraph, R]] = {}
        self._stream = torch.cuda.Stream() if capture else None  # of calls before a capture

    def __call__(self, *arguments: Any) -> R:
        """Call the function, or launch what was captured of it."""
        if not self.capture:
            return self._function(*arguments)
        if arguments in self._graphs:
            graph, result = self._graphs[arguments]
            graph.replay()
            return result
        calls = self._calls[arguments] = self._calls.get(arguments, 0) + 1
        if calls <= NUM_WARMUP:
            stream, current = self._stream, torch.cuda.current_stream()
            assert stream is not None
            stream.wait_stream(current)
            with torch.cuda.stream(stream):  # as is required before a capture
                result = self._function(*arguments)
            current.wait_stream(stream)
            return result
        graph = torch.cuda.CUDAGraph()
        for generator in self._generators:
            graph.register_generator_state(generator)
        with torch.cuda.graph(graph):
            result = self._function(*arguments)
        self._graphs[arguments] = graph, result
        graph.replay()  # capturing did nothing yet
        return result

    def reset(self) -> None:
        """Drop all graphs, as where the function works on other buffers from now on."""
        self._graphs.clear()
        self._calls.clear()
