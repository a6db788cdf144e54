"""The parent's side of processes that draw: frames come in order, and few of them wait."""

import contextlib
import os
import pickle
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from types import TracebackType
from typing import IO, Any, NamedTuple, Self

import numpy as np

from robolearn.errors import RobolearnError
from robolearn.runs.stopping import check_stop
from robolearn.video.painter import ERROR, FACTS, HEAD, PICTURE, STATES, Job
from robolearn.video.recorder import RecordingError

_WAITING = 3  # frames of each process that wait to be fetched
_ALONE = ("LP_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables that limit threads, where the user has not: the processes share the cores already."""
_COMMAND = "from robolearn.video.painter import main; main()"


class Painted(NamedTuple):
    """A frame."""

    picture: np.ndarray
    """Shape (height, width, 3), uint8."""
    states: list[np.ndarray]
    """Where the environment of each pane was when it was drawn."""


class Painters:
    """Processes that draw every n-th frame of a job each; use it as a context manager."""

    def __init__(self, job: Job, jobs: int) -> None:
        """Start the processes, and wait until they know what pictures are like.

        Args:
            job: What to draw.
            jobs: Processes; no more are started than there are frames.

        Raises:
            RobolearnError: The job cannot be drawn, or sent to another process.
            RecordingError: A process ended.
        """
        if jobs < 1:
            raise ValueError(f"jobs must be at least 1, got {jobs}.")
        count = min(jobs, len(job.shots))
        self._frames = len(job.shots)
        parts = [replace(job, shots=job.shots[k::count]) for k in range(count)]
        self._painters: list[_Painter] = []
        try:
            for part in parts:
                self._painters.append(_Painter(part))
            facts = {painter.facts() for painter in self._painters}
            if len(facts) > 1:
                raise RecordingError(f"Pictures are not the same everywhere: {sorted(facts)}.")
            self.height, self.width, self.renderer = facts.pop()
        except BaseException:
            self.close()
            raise

    def frames(self) -> Iterator[Painted]:
        """Yield all frames, in order.

        Raises:
            RobolearnError: One cannot be drawn.
            RecordingError: A process ended.
            Stopped: On request.
        """
        for k in range(self._frames):
            painter = self._painters[k % len(self._painters)]
            yield painter.frame((self.height, self.width, 3))

    def close(self) -> None:
        """End the processes; safe to call twice."""
        for painter in self._painters:
            painter.close()

    def __enter__(self) -> Self:
        """Return the painters themselves."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the processes."""
        self.close()


class _Painter:
    """One process, and a thread that fetches what it draws."""

    def __init__(self, job: Job) -> None:
        try:
            message = pickle.dumps(job, pickle.HIGHEST_PROTOCOL)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise RobolearnError(
                f"{job.scripts[0].spec.id} cannot be drawn in another process: {error}."
            ) from error
        own = {name: "0" if name.startswith("LP") else "1" for name in _ALONE}
        paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
        self._complaints: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _COMMAND],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            env={**own, **os.environ, "PYTHONPATH": paths},
        )
        self._queue: queue.Queue[tuple[bytes, Any] | None] = queue.Queue(_WAITING)
        self._over = False
        self._thread = threading.Thread(target=self._fetch, args=(message,), daemon=True)
        self._thread.start()

    def _fetch(self, message: bytes) -> None:
        """Send the job, and put messages into the queue; at last None, whatever happens."""
        try:
            self._converse(message)
        except BaseException:
            self._process.kill()  # or it would wait for us, as others do for its end
            raise
        finally:
            self._put(None)

    def _converse(self, message: bytes) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(message)
            self._process.stdin.close()
        states: Any = None
        while not self._over:
            head = self._process.stdout.read(HEAD.size)
            if len(head) < HEAD.size:
                break
            kind, size = HEAD.unpack(head)
            content = bytearray(size)
            if self._process.stdout.readinto(content) < size:  # type: ignore[attr-defined]
                break
            if kind == STATES:
                states = pickle.loads(content)
            elif kind == PICTURE:
                self._put((kind, (content, states)))
            else:
                self._put((kind, content))

    def _put(self, item: tuple[bytes, Any] | None) -> None:
        while not self._over:
            try:
                return self._queue.put(item, timeout=0.1)
            except queue.Full:
                continue

    def _get(self, wanted: bytes) -> Any:
        while True:
            check_stop()
            try:
                item = self._queue.get(timeout=0.1)
            except queue.Empty:
                continue
            if item is None:
                raise RecordingError(f"A process that draws ended: {self._last_words()}.")
            kind, content = item
            if kind == ERROR:
                raise RobolearnError(content.decode())
            assert kind == wanted
            return content

    def _last_words(self) -> str:
        status = self._process.wait()
        self._complaints.seek(0)
        said = self._complaints.read().decode(errors="replace").strip().splitlines()
        return said[-1] if said else f"exit status {status}"

    def facts(self) -> tuple[int, int, str | None]:
        """Return height, width and renderer of the pictures."""
        return pickle.loads(self._get(FACTS))

    def frame(self, shape: tuple[int, int, int]) -> Painted:
        """Return the next frame."""
        content, states = self._get(PICTURE)
        return Painted(np.frombuffer(content, np.uint8).reshape(shape), states)

    def close(self) -> None:
        """End the process."""
        self._over = True
        self._process.kill()
        self._process.wait()
        self._thread.join()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None and not stream.closed:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        self._complaints.close()
