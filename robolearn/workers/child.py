"""What runs in a worker: it makes a slice of the environments and does what it is asked."""

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
from gymnasium.vector import SyncVectorEnv, VectorEnv

import robolearn_envs  # noqa: F401  # registers our environments by name

Command: TypeAlias = Literal["make", "reset", "step", "call"]
"""What can be asked. Messages are pickled: (serial, command, argument), back (serial, answer)."""
WHICHEVER = -1
"""Serial of the answer to a request that could not be read."""


class Description(NamedTuple):
    """What a worker's environments are; that of all workers must be the same."""

    single_observation_space: gym.Space
    single_action_space: gym.Space
    metadata: dict[str, Any]
    spec: EnvSpec | None
    """Without the number of environments."""
    render_mode: str | None
    one_by_one: bool
    """Whether last observations come as objects, as from Gymnasium, or else as a batch."""


class Raised(NamedTuple):
    """An exception of an environment, in words: not every exception can be pickled."""

    kind: str
    message: str
    traceback: str


def serve(pipe: Connection, num_envs: int) -> None:
    """Answer requests until the parent closes its end of the pipe, or is no more."""
    for number in (signal.SIGINT, signal.SIGTERM):  # they come to the whole group: the parent
        signal.signal(number, signal.SIG_IGN)  # saves, and then ends us
    leave_with_parent()
    hand = _Slice(num_envs)
    with suppress(EOFError, ConnectionError):
        while True:
            pipe.send_bytes(hand.answer(pipe.recv_bytes()))
    hand.close()


def leave_with_parent() -> None:
    """Let this process end when its parent's ends, even in the middle of a step."""
    threading.Thread(target=_await_parents_end, daemon=True).start()


def _await_parents_end() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


class _Slice:
    """The environments of one worker."""

    def __init__(self, num_envs: int) -> None:
        self._num_envs = num_envs
        self._envs: VectorEnv | None = None

    def answer(self, request: bytes) -> bytes:
        """Return the pickled answer to a pickled request."""
        serial = WHICHEVER
        try:
            serial, command, argument = pickle.loads(request)
            return pickle.dumps((serial, self._do(command, argument)), pickle.HIGHEST_PROTOCOL)
        except Exception as error:
            raised = Raised(type(error).__name__, str(error), traceback.format_exc())
            return pickle.dumps((serial, raised))

    def _do(self, command: Command, argument: Any) -> Any:
        if command == "make":
            return self._make(argument)
        envs = self._envs
        assert envs is not None, "asked before there were environments"
        if command == "step":
            return envs.step(argument)
        if command == "reset":
            seed, options = argument
            return envs.reset(seed=seed, options=options)
        function, own = argument
        return function(envs, own)

    def _make(self, make: Callable[[int], VectorEnv]) -> Description:
        envs = self._envs = make(self._num_envs)
        if envs.num_envs != self._num_envs:
            raise ValueError(f"make({self._num_envs}) returned {envs.num_envs} environments.")
        return Description(
            envs.single_observation_space,
            envs.single_action_space,
            envs.metadata,
            _without_number(envs.spec),
            envs.render_mode,
            isinstance(envs.unwrapped, SyncVectorEnv),
        )

    def close(self) -> None:
        """Close the environments, if there are any."""
        if self._envs is not None:
            self._envs.close()


def _without_number(spec: EnvSpec | None) -> EnvSpec | None:
    if spec is None:
        return None
    kept = {name: value for name, value in spec.kwargs.items() if name != "num_envs"}
    return replace(spec, kwargs=kept)
