"""The parent's side of one worker: a process, a pipe, and what became of it."""

import multiprocessing
import os
import pickle
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.connection import wait
from typing import Any, NamedTuple

from robolearn.workers.child import WHICHEVER, Command, Raised, serve

PRELOAD = ["robolearn_envs", "robolearn.workers.child"]
"""What the server that workers are forked from has imported; neither imports torch."""
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables that limit how many threads a worker computes on, where the user has not."""

SIGNALS = {int(number): number.name for number in signal.Signals}


class Loss(NamedTuple):
    """Why the environments of a worker are lost."""

    why: str
    """A clause about the environments as 'they'."""
    raised: Raised | None = None


_STALE = object()


class Worker:
    """A process with a slice of the environments."""

    def __init__(self, rows: slice, seconds: float) -> None:
        """Start the process; it has no environments yet.

        Args:
            rows: Which environments of the batch.
            seconds: After which a write to or a read from it that does not go on is given up.

        Raises:
            OSError: No process can be started.
        """
        self.rows = rows
        self.num_envs = rows.stop - rows.start
        self.stuck = False  # the last request was not read in time
        self._serial = 0  # of the last request
        context = _context()
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(
            target=serve, args=(theirs, self.num_envs), name=self.name, daemon=True
        )
        _limit(self.pipe.fileno(), seconds)
        try:
            with _one_thread():
                self.process.start()
        except EOFError as error:  # of the server that was to fork it
            raise OSError("the server of processes ended") from error
        finally:
            theirs.close()

    @property
    def name(self) -> str:
        """Its environments in words: 'env 3' or 'envs 4 to 7'."""
        first, last = self.rows.start, self.rows.stop - 1
        return f"env {first}" if first == last else f"envs {first} to {last}"

    def ask(self, command: Command, argument: Any) -> None:
        """Send a request; that its reader is dead shows when no answer comes."""
        self._serial += 1
        request = pickle.dumps((self._serial, command, argument), pickle.HIGHEST_PROTOCOL)
        self.stuck = False
        try:
            self.pipe.send_bytes(request)
        except BlockingIOError:
            self.stuck = True
        except OSError:
            pass

    def receive(self) -> Any:
        """Return the answer that has arrived, or the Loss if there will be none.

        Returns:
            ``_STALE`` for the answer to an earlier request, whose asker was interrupted.
        """
        try:
            data = self.pipe.recv_bytes()
        except BlockingIOError:
            return Loss("their worker stopped in the middle of an answer")
        except (EOFError, OSError):
            return self.death()
        try:
            serial, answer = pickle.loads(data)
        except Exception as error:
            return Loss(f"their answer cannot be read: {_one_line(error)}")
        if serial not in (self._serial, WHICHEVER):
            return _STALE
        if isinstance(answer, Raised):
            return Loss(f"they raised {answer.kind}: {_one_line(answer.message)}", answer)
        return answer

    def death(self) -> Loss:
        """Return how the process ended."""
        self.process.join(1.0)  # its pipe may close a moment before it ends
        code = self.process.exitcode
        if code is None:
            return Loss("their worker closed its pipe")
        if code < 0:
            return Loss(f"their worker was killed by {SIGNALS.get(-code, f'signal {-code}')}")
        return Loss(f"their worker ended with exit code {code}")


def gather(workers: Sequence[Worker], what: str, seconds: float) -> list[Any]:
    """Return the answer of each worker to its last request, or its Loss.

    Args:
        workers: Each has been asked something.
        what: They make, for the message when they do not.
        seconds: How long they have for it.
    """
    until = time.monotonic() + seconds
    late = Loss(f"they made no {what} in {seconds:g} s")
    answers: dict[int, Any] = {k: late for k, worker in enumerate(workers) if worker.stuck}
    # A pipe is closed where somebody was interrupted before putting another in its place.
    answers |= {k: worker.death() for k, worker in enumerate(workers) if worker.pipe.closed}
    while len(answers) < len(workers):
        waiting = {k: worker for k, worker in enumerate(workers) if k not in answers}
        handles = [h for worker in waiting.values() for h in (worker.pipe, worker.process.sentinel)]
        ready = set(wait(handles, max(0.0, until - time.monotonic())))
        for k, worker in waiting.items():
            if not ready:
                answers[k] = late
            elif worker.pipe in ready:
                answer = worker.receive()
                if answer is not _STALE:
                    answers[k] = answer
            elif worker.process.sentinel in ready and not worker.pipe.poll():
                answers[k] = worker.death()
    return [answers[k] for k in range(len(workers))]


def stop(workers: Sequence[Worker], patience: float = 1.0) -> None:
    """End processes: by asking, and after ``patience`` seconds by killing them."""
    for worker in workers:
        worker.pipe.close()
    until = time.monotonic() + patience
    for worker in workers:
        worker.process.join(max(0.0, until - time.monotonic()))
    for worker in workers:
        if worker.process.is_alive():
            worker.process.kill()
    for worker in workers:
        worker.process.join(1.0)


def _context() -> Any:
    """Return how processes start: forked from a clean server, or anew where there is none."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    _start_server()
    return context


def _start_server() -> None:
    """Start the server that workers are forked from, deaf to a SIGTERM to the whole group.

    If it died of one, all its workers would count as dead. It ends with this process.
    """
    if threading.current_thread() is not threading.main_thread():
        return  # where no signal can be ignored; the first process started will start it
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with _one_thread():
            forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGTERM, before)


def _limit(descriptor: int, seconds: float) -> None:
    """Let reads and writes of a pipe fail with BlockingIOError when they do not go on.

    A process that is stopped in the middle of a message would else stop its partner too.
    """
    if os.name != "posix":
        return
    limit = struct.pack("ll", int(seconds), int(seconds % 1 * 1_000_000))  # s, us
    with socket.socket(fileno=os.dup(descriptor)) as end:  # the copy shares the settings
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Limit the threads of processes started meanwhile: workers compute side by side."""
    ours = [name for name in ONE_THREAD if name not in os.environ]
    os.environ.update(dict.fromkeys(ours, "1"))
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)


def _one_line(text: object) -> str:
    return " ".join(str(text).split())
