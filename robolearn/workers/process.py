"""One worker process as the parent sees it: its pipe, its answers and how it failed."""

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

from robolearn.workers.child import UNKNOWN_REQUEST, Command, RemoteError, worker_main

PRELOAD = ["robolearn_envs", "robolearn.workers.child"]
"""Modules imported by the server that workers are forked from; none imports torch."""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables set to 1 for workers, unless the user has set them."""
SIGNALS = {int(number): number.name for number in signal.Signals}


class WorkerFailure(NamedTuple):
    """Why a worker gave no answer, or an exception instead of one."""

    reason: str
    """A clause about the worker as 'it'."""
    error: RemoteError | None = None


_STALE = object()


class Worker:
    """A process with a slice of the environments."""

    def __init__(self, env_slice: slice, timeout_s: float) -> None:
        """Start the process; its environments are not made yet.

        Args:
            env_slice: Its environments in the batch.
            timeout_s: Seconds after which a blocked write to or read from its pipe fails.

        Raises:
            OSError: No process can be started.
        """
        self.env_slice = env_slice
        self.num_envs = env_slice.stop - env_slice.start
        self.is_blocked = False  # the last request could not be written in time
        self._serial = 0  # of the last request
        context = _start_context()
        self.pipe, child_pipe = context.Pipe()
        self.process = context.Process(
            target=worker_main, args=(child_pipe, self.num_envs), name=self.name, daemon=True
        )
        _set_pipe_timeout(self.pipe.fileno(), timeout_s)
        try:
            with _single_threaded():
                self.process.start()
        except EOFError as error:  # the fork server is gone
            raise OSError("the fork server ended") from error
        finally:
            child_pipe.close()

    @property
    def name(self) -> str:
        """The environments of this worker in words, such as 'env 3' or 'envs 4 to 7'."""
        first, last = self.env_slice.start, self.env_slice.stop - 1
        return f"env {first}" if first == last else f"envs {first} to {last}"

    def send(self, command: Command, argument: Any) -> None:
        """Send a request. That the process is dead shows when no answer comes."""
        self._serial += 1
        request = pickle.dumps((self._serial, command, argument), pickle.HIGHEST_PROTOCOL)
        self.is_blocked = False
        try:
            self.pipe.send_bytes(request)
        except BlockingIOError:
            self.is_blocked = True
        except OSError:
            pass

    def recv(self) -> Any:
        """Return the answer that has arrived, or a WorkerFailure.

        Returns:
            ``_STALE`` for the answer to an earlier request, whose sender was interrupted.
        """
        try:
            data = self.pipe.recv_bytes()
        except BlockingIOError:
            return WorkerFailure("it stopped in the middle of an answer")
        except (EOFError, OSError):
            return self.exit_failure()
        try:
            serial, answer = pickle.loads(data)
        except Exception as error:
            return WorkerFailure(f"its answer cannot be unpickled: {_one_line(error)}")
        if serial not in (self._serial, UNKNOWN_REQUEST):
            return _STALE
        if isinstance(answer, RemoteError):
            message = _one_line(answer.message)
            return WorkerFailure(f"it raised {answer.type_name}: {message}", answer)
        return answer

    def exit_failure(self) -> WorkerFailure:
        """Return how the process ended."""
        self.process.join(1.0)  # its pipe may close a moment before it ends
        code = self.process.exitcode
        if code is None:
            return WorkerFailure("it closed its pipe")
        if code < 0:
            return WorkerFailure(f"it was killed by {SIGNALS.get(-code, f'signal {-code}')}")
        return WorkerFailure(f"it exited with code {code}")


def wait_all(workers: Sequence[Worker], command: Command, timeout_s: float) -> list[Any]:
    """Return the answer of each worker to its last request, or its WorkerFailure.

    Args:
        workers: Each has been sent a request.
        command: The request, for the message of a timeout.
        timeout_s: Seconds until a worker without an answer counts as hung.
    """
    deadline = time.monotonic() + timeout_s
    timeout = WorkerFailure(f"it did not answer '{command}' within {timeout_s:g} s")
    answers: dict[int, Any] = {k: timeout for k, worker in enumerate(workers) if worker.is_blocked}
    # A pipe is closed already if Ctrl-C came between ending a worker and starting another.
    answers |= {k: w.exit_failure() for k, w in enumerate(workers) if w.pipe.closed}
    while len(answers) < len(workers):
        waiting = {k: worker for k, worker in enumerate(workers) if k not in answers}
        handles = [h for worker in waiting.values() for h in (worker.pipe, worker.process.sentinel)]
        ready = set(wait(handles, max(0.0, deadline - time.monotonic())))
        for k, worker in waiting.items():
            if not ready:
                answers[k] = timeout
            elif worker.pipe in ready:
                answer = worker.recv()
                if answer is not _STALE:
                    answers[k] = answer
            elif worker.process.sentinel in ready and not worker.pipe.poll():
                answers[k] = worker.exit_failure()
    return [answers[k] for k in range(len(workers))]


def terminate(workers: Sequence[Worker], grace_s: float = 1.0) -> None:
    """End worker processes: close their pipes, and after ``grace_s`` seconds kill them."""
    for worker in workers:
        worker.pipe.close()
    deadline = time.monotonic() + grace_s
    for worker in workers:
        worker.process.join(max(0.0, deadline - time.monotonic()))
    for worker in workers:
        if worker.process.is_alive():
            worker.process.kill()
    for worker in workers:
        worker.process.join(1.0)


def _start_context() -> Any:
    """Return the start method of processes: a fork server, or spawn where there is none."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    _start_server()
    return context


def _start_server() -> None:
    """Start the fork server with SIGTERM ignored, which may be sent to the whole process group.

    If the server died of it, all workers would count as dead. It ends with this process.
    """
    if threading.current_thread() is not threading.main_thread():
        return  # signal handlers can only be set in the main thread; the first Process starts it
    handler = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with _single_threaded():
            forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGTERM, handler)


def _set_pipe_timeout(descriptor: int, timeout_s: float) -> None:
    """Make reads and writes of a pipe that block for too long raise BlockingIOError.

    A process that is stopped in the middle of a message would otherwise block its partner too.
    """
    if os.name != "posix":
        return
    timeout = struct.pack("ll", int(timeout_s), int(timeout_s % 1 * 1_000_000))  # s, us
    with socket.socket(fileno=os.dup(descriptor)) as end:  # the duplicate shares the settings
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)


@contextmanager
def _single_threaded() -> Iterator[None]:
    """Let processes started meanwhile compute on one thread each, as they share the cores."""
    unset = [name for name in THREAD_VARIABLES if name not in os.environ]
    os.environ.update(dict.fromkeys(unset, "1"))
    try:
        yield
    finally:
        for name in unset:
            os.environ.pop(name, None)


def _one_line(text: object) -> str:
    return " ".join(str(text).split())
