"""Stopping on request: Ctrl-C and SIGTERM are obeyed where nothing is half done."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_requested: list[int] = []  # signals are the process's, so is what was heard of them


class Stopped(BaseException):
    """What was going on was asked to stop; like KeyboardInterrupt, no error to get over."""


def check_stop() -> None:
    """Stop here if that was asked for.

    Raises:
        Stopped: It was.
    """
    if _requested:
        raise Stopped(signal.Signals(_requested[0]).name)


@contextmanager
def stoppable() -> Iterator[None]:
    """Let the first signal be heard by ``check_stop`` alone; the second interrupts at once.

    In a thread other than the main one, where Python takes no signals, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _hear) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _requested.clear()


def _hear(number: int, frame: FrameType | None) -> None:
    _requested.append(number)
    if len(_requested) > 1:
        raise KeyboardInterrupt
