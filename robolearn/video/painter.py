"""What runs in a process that draws: it puts rollouts on stage and sends back pictures.

Messages go to the file that was standard output: a kind and a length, then so many bytes. Libraries
may print what they like, which goes to standard error.
"""

import os
import pickle
import signal
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from robolearn.errors import RobolearnError
from robolearn.video.montage import Sheet
from robolearn.video.panel import Panel
from robolearn.video.readings import Readings
from robolearn.video.scene import Scene, Script
from robolearn.video.schedule import Shot
from robolearn_envs.rendering import believe_egl

HEAD = struct.Struct("<cQ")
"""Kind of a message, and its bytes."""
FACTS, STATES, PICTURE, ERROR = b"H", b"S", b"P", b"E"
"""Kinds: what pictures are like, pickled; where each pane was, pickled; pixels; words."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """Frames to draw."""

    scripts: Sequence[Script]
    labels: Sequence[str]
    """Above each pane."""
    columns: int
    """Panes in a row."""
    overlay: bool
    shots: Sequence[tuple[Shot, ...]]
    """What each frame shows, pane by pane."""
    egl: str | None
    """Why EGL does not work on this machine; None where it does."""


class _Pane:
    """A scene with what is told about it."""

    def __init__(self, script: Script, *, overlay: bool) -> None:
        self.scene = Scene(script)
        self._readings = Readings(self.scene) if overlay else None
        self._drawn: tuple[int, np.ndarray, np.ndarray] | None = None  # the latest: step first
        self._panel: Panel | None = None

    def draw(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the frame after some steps, and where the environment was then."""
        if self._drawn is None or self._drawn[0] != step:
            frame = self.scene.picture(step)
            if self._readings is not None:
                if self._panel is None:
                    scene = self.scene
                    self._panel = Panel(frame.shape[0], scene.column, brief=scene.crowded)
                frame = self._panel.draw(frame, self._readings.at(step))
            self._drawn = step, frame, self.scene.state()
        return self._drawn[1:]


class Painter:
    """Draws frames of a job."""

    def __init__(self, job: Job) -> None:
        """Put the first rollouts on stage."""
        believe_egl(job.egl)
        self._job = job
        self._panes: dict[int, _Pane] = {}
        first = [self._pane(shot).scene.picture(shot.step) for shot in job.shots[0]]
        self.sheet = Sheet(job.labels, job.columns, _shape(first))

    @property
    def renderer(self) -> str | None:
        """What draws."""
        return next(iter(self._panes.values())).scene.renderer

    def _pane(self, shot: Shot) -> _Pane:
        if shot.rollout not in self._panes:
            script = self._job.scripts[shot.rollout]
            self._panes[shot.rollout] = _Pane(script, overlay=self._job.overlay)
        return self._panes[shot.rollout]

    def paint(self, shots: tuple[Shot, ...]) -> tuple[np.ndarray, list[np.ndarray]]:
        """Return a frame, and where the environment of each pane was."""
        wanted = {shot.rollout for shot in shots}
        for rollout in self._panes.keys() - wanted:  # its turn is over
            self._panes.pop(rollout).scene.close()
        drawn = [self._pane(shot).draw(shot.step) for shot in shots]
        frames, states = zip(*drawn, strict=True)
        return self.sheet.lay(frames), list(states)

    def close(self) -> None:
        """Release everything."""
        for pane in self._panes.values():
            pane.scene.close()
        self._panes.clear()


def _shape(frames: Sequence[np.ndarray]) -> tuple[int, int, int]:
    shapes = {frame.shape for frame in frames}
    if len(shapes) > 1:
        raise RobolearnError(f"Panes must have one size, got {sorted(shapes)}.")
    height, width, channels = shapes.pop()
    return height, width, channels


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Draw a job that is pickled in ``source``, and write frames to ``sink`` as they come."""
    job: Job = pickle.load(source)
    try:
        painter = Painter(job)
        height, width, _ = painter.sheet.shape
        _send(sink, FACTS, pickle.dumps((height, width, painter.renderer)))
        for shots in job.shots:
            picture, states = painter.paint(shots)
            _send(sink, STATES, pickle.dumps(states))
            _send(sink, PICTURE, picture.data)
        painter.close()
    except (BrokenPipeError, KeyboardInterrupt):  # nobody wants them any more
        return
    except Exception as error:  # the process's border: environments of others raise anything
        lines = str(error).splitlines() or [""]
        known = isinstance(error, RobolearnError)
        words = lines[0] if known else f"{type(error).__name__}: {lines[0]}"
        _send(sink, ERROR, words.encode())


def _send(sink: BinaryIO, kind: bytes, content: Any) -> None:
    size = memoryview(content).nbytes
    sink.write(HEAD.pack(kind, size))
    sink.write(content)
    sink.flush()


def main() -> None:
    """Serve the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it comes to the whole group: the parent ends us
    sink = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(sys.stdin.buffer, sink)


if __name__ == "__main__":
    main()
