"""Render frames in other processes: in order, with only a few frames waiting.

OpenGL must not share a process with CUDA. The processes are plain subprocesses, because
multiprocessing would run an unguarded user script again in each of them. A process reads its job
from standard input and writes RenderedFrames, or a RobolearnError, to standard output, all pickled.
What libraries print goes to standard error. No torch is imported.
"""

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import IO, Any, NamedTuple

import numpy as np

from robolearn.errors import RobolearnError
from robolearn.making import import_path
from robolearn.runs.stopping import check_stop
from robolearn.video.episode_player import EpisodeData, EpisodePlayer
from robolearn.video.grid import FrameGrid
from robolearn.video.overlay import Overlay
from robolearn.video.overlay_data import OverlayBuilder
from robolearn.video.schedule import FrameRef
from robolearn.video.writer import RecordingError
from robolearn_envs.rendering import set_egl_error

_PREFETCH = 3  # frames of each process that are read ahead
_THREADS = {
    "LP_NUM_THREADS": "0",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
"""Environment variables for the processes, which share the cores, unless the user has set them."""
_COMMAND = "from robolearn.video.render_worker import main; main()"


@dataclass(frozen=True, kw_only=True)
class RenderJob:
    """Frames to render."""

    episodes: Sequence[EpisodeData]
    titles: Sequence[str]
    """Titles of the panes."""
    columns: int
    """Panes in a row."""
    overlay: bool
    """Whether to draw values and bars into each pane."""
    frames: Sequence[tuple[FrameRef, ...]]
    """What each frame shows, pane by pane."""
    egl_error: str | None
    """Why EGL does not work on this machine; None where it does."""


class FrameSource(NamedTuple):
    """The state that one pane of a frame shows."""

    rollout: int
    """Index of the rollout."""
    step: int
    """Number of steps before this state."""
    state: np.ndarray
    """Positions, then velocities, of the environment when it was rendered; of a third-party
    environment the flat observation."""


class RenderedFrame(NamedTuple):
    """A frame of all panes."""

    picture: np.ndarray
    """Shape (height, width, 3), uint8."""
    sources: tuple[FrameSource, ...]
    """What it shows, pane by pane."""
    renderer: str | None
    """Name of the renderer; None for third-party environments."""


def render_frames(job: RenderJob, num_workers: int) -> Generator[RenderedFrame]:
    """Yield the frames of a job, in order. Closing the generator ends the processes.

    Args:
        job: The frames.
        num_workers: Processes, each of which renders every n-th frame; at most one per frame.

    Raises:
        ValueError: Fewer than one process.
        RobolearnError: A frame cannot be rendered, or the job cannot be pickled.
        RecordingError: A process ended.
        Stopped: On request.
    """
    if num_workers < 1:
        raise ValueError(f"num_workers must be at least 1, got {num_workers}.")
    count = min(num_workers, len(job.frames))
    processes: list[_RenderProcess] = []
    try:
        for k in range(count):
            processes.append(_RenderProcess(replace(job, frames=job.frames[k::count])))
        for k in range(len(job.frames)):
            yield processes[k % count].receive()
    finally:
        for process in processes:
            process.close()


class _RenderProcess:
    """One process, and a thread that sends its job and reads its replies."""

    def __init__(self, job: RenderJob) -> None:
        try:
            message = pickle.dumps(job, pickle.HIGHEST_PROTOCOL)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise RobolearnError(
                f"{job.episodes[0].env_id} cannot be rendered in another process: {error}."
            ) from error
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _COMMAND],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env={**_THREADS, **os.environ, "PYTHONPATH": import_path()},
        )
        self._thread = ThreadPoolExecutor(1)
        self._thread.submit(self._send, message)
        self._replies = deque(self._read_later() for _ in range(_PREFETCH))

    def _send(self, message: bytes) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(message)
            self._process.stdin.close()

    def _read_later(self) -> Future[Any]:
        assert self._process.stdout is not None
        return self._thread.submit(pickle.load, self._process.stdout)

    def receive(self) -> RenderedFrame:
        """Return the next frame.

        Raises:
            RobolearnError: The process says why it cannot go on.
            RecordingError: The process ended.
            Stopped: On request.
        """
        future = self._replies.popleft()
        self._replies.append(self._read_later())
        while True:
            check_stop()
            try:
                reply = future.result(timeout=0.1)
            except TimeoutError:
                continue
            except (EOFError, OSError, MemoryError, pickle.UnpicklingError) as error:
                raise RecordingError(f"A rendering process {self._exit_reason()}.") from error
            if isinstance(reply, RobolearnError):
                raise reply
            return reply

    def _exit_reason(self) -> str:
        try:
            status = self._process.wait(1.0)  # its pipe closes a moment before it ends
        except subprocess.TimeoutExpired:
            return "sent no readable reply"
        how = f"exited with status {status}"
        if status < 0:
            how = f"was killed by {signal.Signals(-status).name}"
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        return f"{how}: {lines[-1].rstrip('.')}" if lines else how

    def close(self) -> None:
        """End the process and the thread."""
        self._process.kill()
        self._process.wait()
        self._thread.shutdown(cancel_futures=True)
        for stream in (self._process.stdin, self._process.stdout, self._stderr):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()


class RenderWorker:
    """Renders the frames of a job, in a process of its own."""

    def __init__(self, job: RenderJob) -> None:
        """Prepare to render; environments are made when a frame shows them."""
        set_egl_error(job.egl_error)
        self._job = job
        self._players: dict[int, EpisodePlayer] = {}
        self._overlays: dict[int, tuple[Overlay, OverlayBuilder]] = {}
        self._panes: dict[FrameRef, tuple[np.ndarray, FrameSource]] = {}  # of the latest frame
        self._grid: FrameGrid | None = None

    def render(self, refs: tuple[FrameRef, ...]) -> RenderedFrame:
        """Return a frame of all panes."""
        for rollout in self._players.keys() - {ref.rollout for ref in refs}:  # shown to its end
            self._players.pop(rollout).close()
        self._panes = {ref: self._panes.get(ref) or self._render_pane(ref) for ref in refs}
        pictures, sources = zip(*(self._panes[ref] for ref in refs), strict=True)
        if self._grid is None:
            self._grid = FrameGrid(self._job.titles, self._job.columns, pictures[0].shape)
        renderer = self._players[refs[0].rollout].renderer
        return RenderedFrame(self._grid.compose(pictures), sources, renderer)

    def _render_pane(self, ref: FrameRef) -> tuple[np.ndarray, FrameSource]:
        if ref.rollout not in self._players:
            self._players[ref.rollout] = EpisodePlayer(self._job.episodes[ref.rollout])
        player = self._players[ref.rollout]
        picture = player.frame(ref.step)
        if self._job.overlay:
            if ref.rollout not in self._overlays:
                left, compact = player.overlay_left, player.is_map_only
                overlay = Overlay(picture.shape[0], left, compact=compact)
                self._overlays[ref.rollout] = overlay, OverlayBuilder(player)
            overlay, builder = self._overlays[ref.rollout]
            picture = overlay.draw(picture, builder.at(ref.step))
        return picture, FrameSource(*ref, player.state())

    def close(self) -> None:
        """Close the environments."""
        for player in self._players.values():
            player.close()


def main() -> None:
    """Render the job from standard input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # sent to the whole group: the parent ends us
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def reply(message: Any) -> None:
        pickle.dump(message, replies, pickle.HIGHEST_PROTOCOL)
        replies.flush()

    try:
        job: RenderJob = pickle.load(sys.stdin.buffer)
        worker = RenderWorker(job)
        for refs in job.frames:
            reply(worker.render(refs))
        worker.close()
    except BrokenPipeError:  # the parent reads no more
        return
    except Exception as error:  # environments raise anything
        first = (str(error).splitlines() or [""])[0]
        known = isinstance(error, RobolearnError)
        reply(RobolearnError(first if known else f"{type(error).__name__}: {first}"))
