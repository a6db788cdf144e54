"""The main loop of a worker process: make a slice of the environments and answer requests."""

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any, Literal, NamedTuple, TypeAlias

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec
from gymnasium.error import ResetNeeded
from gymnasium.vector import SyncVectorEnv, VectorEnv

import robolearn_envs  # noqa: F401  # registers our environments by name

Command: TypeAlias = Literal["make", "reset", "step", "call"]
"""A request. Messages are pickled: (serial, command, argument), answered by (serial, result)."""
CALLER_ERRORS = (ValueError, TypeError, ResetNeeded)
"""Exceptions of exactly these types are the caller's mistake, such as a bad option or action."""
UNKNOWN_REQUEST = -1
"""Serial of the answer to a request that could not be unpickled."""


class EnvDescription(NamedTuple):
    """Properties of a worker's environments; all workers must have the same."""

    single_observation_space: gym.Space
    single_action_space: gym.Space
    metadata: dict[str, Any]
    spec: EnvSpec | None
    """Without the number of environments."""
    render_mode: str | None
    is_sync: bool
    """Whether they are a SyncVectorEnv, whose ``final_obs`` is an object array, not a batch."""


class RemoteError(NamedTuple):
    """An exception raised in a worker, as text, because not every exception can be pickled."""

    type_name: str
    message: str
    traceback: str
    caller_error: type[Exception] | None
    """Its type, if that is one of ``CALLER_ERRORS``."""


def worker_main(pipe: Connection, num_envs: int) -> None:
    """Answer requests until the parent closes its end of the pipe or exits."""
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to the whole process group: the parent
        signal.signal(number, signal.SIG_IGN)  # saves a checkpoint, then ends its workers
    exit_with_parent()
    envs = _WorkerEnvs(num_envs)
    with suppress(EOFError, ConnectionError):
        while True:
            pipe.send_bytes(envs.answer(pipe.recv_bytes()))
    envs.close()


def exit_with_parent() -> None:
    """End this process when its parent ends, even in the middle of a step."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


class _WorkerEnvs:
    """The environments of one worker."""

    def __init__(self, num_envs: int) -> None:
        self._num_envs = num_envs
        self._envs: VectorEnv | None = None

    def answer(self, request: bytes) -> bytes:
        """Return the pickled answer to a pickled request."""
        serial = UNKNOWN_REQUEST
        try:
            serial, command, argument = pickle.loads(request)
            return pickle.dumps((serial, self._run(command, argument)), pickle.HIGHEST_PROTOCOL)
        except Exception as error:
            kind = type(error)
            caller_error = kind if kind in CALLER_ERRORS else None
            trace = traceback.format_exc()
            return pickle.dumps(
                (serial, RemoteError(kind.__name__, str(error), trace, caller_error))
            )

    def _run(self, command: Command, argument: Any) -> Any:
        if command == "make":
            return self._make(argument)
        envs = self._envs
        assert envs is not None, "the first request must be 'make'"
        if command == "step":
            return envs.step(argument)
        if command == "reset":
            seed, options = argument
            return envs.reset(seed=seed, options=options)
        function, own_argument = argument
        return function(envs, own_argument)

    def _make(self, make: Callable[[int], VectorEnv]) -> EnvDescription:
        envs = self._envs = make(self._num_envs)
        if envs.num_envs != self._num_envs:
            raise ValueError(f"make({self._num_envs}) returned {envs.num_envs} environments.")
        return EnvDescription(
            envs.single_observation_space,
            envs.single_action_space,
            envs.metadata,
            _without_num_envs(envs.spec),
            envs.render_mode,
            isinstance(envs.unwrapped, SyncVectorEnv),
        )

    def close(self) -> None:
        """Close the environments, if they were made."""
        if self._envs is not None:
            self._envs.close()


def _without_num_envs(spec: EnvSpec | None) -> EnvSpec | None:
    if spec is None:
        return None
    kwargs = {name: value for name, value in spec.kwargs.items() if name != "num_envs"}
    return replace(spec, kwargs=kwargs)
