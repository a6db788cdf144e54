"""Videos of a training run, made by another process so that training does not wait."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

from robolearn.agents.protocols import Agent
from robolearn.errors import RobolearnWarning
from robolearn.runs.stopping import check_stop
from robolearn.video.rollout import Rollout

_LAST = 19  # niceness of who yields to everybody
_PATIENCE = 2.0  # s, for a film to clean up after itself
SHARE = 0.05
"""Part of the time of a training in which films are made; the others wait for its end."""
_GUESS = 10.0  # s that the first film will take


class _Job(NamedTuple):
    agent: Path | None  # a copy of it as it was, deleted when the video is done; None: it has acted
    rollout: Path
    video: Path

    @property
    def arguments(self) -> list[str]:
        """Of ``robolearn record``."""
        if self.agent is None:
            return [str(self.rollout)]
        return [str(self.agent), "--keep", str(self.rollout)]

    def clear(self) -> None:
        """Delete what nobody needs any more."""
        if self.agent is not None:
            shutil.rmtree(self.agent)


class _Film(NamedTuple):
    job: _Job
    process: subprocess.Popen[bytes]
    complaints: IO[bytes]  # a file, not a pipe: a full pipe would stop the process for ever
    began: float  # s, of a clock that only runs forward


class BackgroundFilms:
    """Records agents one after the other with ``robolearn record`` in a child process.

    It plays, keeps the rollout and draws it, or draws one that was watched in the training, and
    gets what time nobody else has a use for. Even so it slows a training down that goes on beside
    it, as they share the machine's caches and memory, so films are made in a twentieth of its time
    at most; those that would take more wait for its end, and a training of few minutes gets all of
    them then.
    """

    def __init__(self, folder: Path) -> None:
        """Write videos into ``folder``, and what they show into ``rollouts`` beside it."""
        self._videos, self._rollouts = folder, folder.with_name("rollouts")
        self._asked: set[int] = set()
        self._niceness = _LAST
        self._began = time.monotonic()
        self._spent = 0.0  # s that films took while training went on
        self._made = 0
        self._waiting: deque[_Job] = deque()
        self._running: _Film | None = None
        self.failures: list[str] = []
        """One line for each video that could not be made."""

    def ask(self, agent: Agent, steps: int) -> None:
        """Ask for a video of the agent as it is now, called by its number of steps."""
        job = self._new(steps, played=True)
        if job is not None and job.agent is not None:
            self._prepare(job, partial(agent.save, job.agent))

    def show(self, rollout: Rollout, steps: int) -> None:
        """Ask for a video of what happened in the training, called by its number of steps."""
        job = self._new(steps, played=False)
        if job is not None:
            self._prepare(job, partial(rollout.save, job.rollout))

    def _new(self, steps: int, *, played: bool) -> _Job | None:
        """Return what there is to do; None if it has been done or asked for."""
        if steps in self._asked:
            return None
        self._asked.add(steps)
        name = f"{steps:09d}"
        job = _Job(
            agent=self._videos / f".{name}" if played else None,
            rollout=self._rollouts / f"{name}.npz",
            video=self._videos / f"{name}.mp4",
        )
        return None if job.video.exists() else job  # by the run before it was resumed

    def _prepare(self, job: _Job, write: Callable[[], None]) -> None:
        """Write what is to be filmed, and queue up."""
        try:
            write()
        except OSError as error:
            self._fail(job.video, error.strerror or str(error))
            return
        self._waiting.append(job)
        self.poll()

    def poll(self) -> None:
        """Note a finished video and begin the next; returns at once."""
        if self._running is not None and self._running.process.poll() is not None:
            self._reap()
        if self._running is None and self._waiting and self._has_time:
            job = self._waiting.popleft()
            complaints = tempfile.TemporaryFile()  # noqa: SIM115 - closed in _reap()
            command = [sys.executable, "-m", "robolearn", "record", *job.arguments]
            process = subprocess.Popen(
                [
                    *(*command, "--out", str(job.video), "--jobs", "1"),
                    "--overwrite",  # a rollout that a killed one left
                ],
                stdout=subprocess.DEVNULL,
                stderr=complaints,
                process_group=0,
            )
            _prioritise(process.pid, self._niceness)
            self._running = _Film(job, process, complaints, time.monotonic())

    @property
    def _has_time(self) -> bool:
        """Whether another film would still be within ``SHARE`` of the time."""
        if self._niceness != _LAST:  # training is over
            return True
        usual = self._spent / self._made if self._made else _GUESS
        return self._spent + usual <= SHARE * (time.monotonic() - self._began)

    def _reap(self, *, canceled: bool = False) -> None:
        assert self._running is not None
        job, process, complaints, began = self._running
        self._spent += time.monotonic() - began
        self._made += 1
        if process.wait() and not canceled:
            complaints.seek(0)
            reason = complaints.read().decode(errors="replace").strip().splitlines()
            self._fail(job.video, reason[-1] if reason else f"exit status {process.returncode}")
        complaints.close()
        job.clear()
        self._running = None

    def _fail(self, video: Path, reason: str) -> None:
        if not self.failures:
            warnings.warn(
                f"No video {video}: {reason.rstrip('.')}. Training goes on.",
                RobolearnWarning,
                stacklevel=3,
            )
        self.failures.append(f"{video}: {reason}")

    def finish(self) -> None:
        """Wait until every video asked for is done.

        Raises:
            Stopped: On request.
        """
        self._niceness = os.getpriority(os.PRIO_PROCESS, 0)  # there is no training to slow down
        if self._running is not None:
            _prioritise(self._running.process.pid, self._niceness)
        while self._running is not None or self._waiting:
            check_stop()
            if self._running is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._running.process.wait(timeout=0.2)
            self.poll()

    def cancel(self) -> None:
        """Give up on every video that is not done."""
        if self._running is not None:
            job = self._running.job
            self._running.process.terminate()
            try:
                self._running.process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                self._running.process.kill()
            self._reap(canceled=True)
            for half in (".part.mkv", ".part.mp4"):
                job.video.with_suffix(half).unlink(missing_ok=True)
            job.rollout.with_name(f".{job.rollout.name}.tmp").unlink(missing_ok=True)
        while self._waiting:
            self._waiting.popleft().clear()


def _prioritise(group: int, niceness: int) -> None:
    """Let the processes of a group yield to others, or no longer, as far as that is allowed."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PGRP, group, niceness)
