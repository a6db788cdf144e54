"""Videos of a training run, recorded by a child process so that training does not wait."""

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
from robolearn.making import import_path
from robolearn.runs.stopping import check_stop
from robolearn.video.rollout import Rollout

_LOWEST_PRIORITY = 19  # niceness
_GRACE_S = 2.0  # for a canceled recording to clean up
TIME_SHARE = 0.05
"""Share of the training's time in which videos are recorded; the others wait for its end."""
_INITIAL_ESTIMATE_S = 10.0  # duration of the first recording
_COMMAND = """\
import {modules}
from robolearn.cli import main
sys.argv[0] = "robolearn"
sys.exit(main())
"""


class _Job(NamedTuple):
    agent: Path | None  # a saved copy, deleted afterwards; None: the rollout is recorded already
    rollout: Path
    video: Path

    @property
    def arguments(self) -> list[str]:
        """Arguments of ``robolearn record``."""
        if self.agent is None:
            return [str(self.rollout)]
        return [str(self.agent), "--keep", str(self.rollout)]

    def delete_agent(self) -> None:
        if self.agent is not None:
            shutil.rmtree(self.agent)


class _Recording(NamedTuple):
    job: _Job
    process: subprocess.Popen[bytes]
    stderr_file: IO[bytes]  # a full pipe would block the process
    start: float  # s, of the monotonic clock


class BackgroundVideoRecorder:
    """Runs ``robolearn record`` in a child process for one agent or rollout after the other.

    The child records an episode, keeps the rollout and renders it, or renders a rollout that was
    recorded in training. It has the lowest priority, but still slows the training down, because
    both share caches and memory. So recording takes at most ``TIME_SHARE`` of the training's time.
    Videos that would exceed it are recorded after the training.
    """

    def __init__(self, folder: Path, env_id: str = "") -> None:
        """Write videos into ``folder``, and rollouts into ``rollouts`` beside it.

        Args:
            folder: Folder of the videos.
            env_id: Id of the environment. Its module, as in ``module:Id-v0``, is imported by the
                child before it reads any file.
        """
        self._videos, self._rollouts = folder, folder.with_name("rollouts")
        module, colon, _ = env_id.partition(":")
        self._command = _COMMAND.format(modules=f"sys, {module}" if colon else "sys")
        self._requested: set[int] = set()
        self._niceness = _LOWEST_PRIORITY
        self._start = time.monotonic()
        self._spent = 0.0  # s of recording
        self._num_recorded = 0
        self._queue: deque[_Job] = deque()
        self._running: _Recording | None = None
        self.failures: list[str] = []
        """One line for each video that could not be recorded."""

    def request(self, agent: Agent, steps: int) -> None:
        """Request a video of the agent as it is now; its number of steps names the file."""
        job = self._new_job(steps, save_agent=True)
        if job is not None and job.agent is not None:
            self._enqueue(job, partial(agent.save, job.agent))

    def request_rollout(self, rollout: Rollout, steps: int) -> None:
        """Request a video of an episode of the training; its number of steps names the file."""
        job = self._new_job(steps, save_agent=False)
        if job is not None:
            self._enqueue(job, partial(rollout.save, job.rollout))

    def _new_job(self, steps: int, *, save_agent: bool) -> _Job | None:
        """Return a job, or None if there is one or the video exists already."""
        if steps in self._requested:
            return None
        self._requested.add(steps)
        name = f"{steps:09d}"
        job = _Job(
            agent=self._videos / f".{name}" if save_agent else None,
            rollout=self._rollouts / f"{name}.npz",
            video=self._videos / f"{name}.mp4",
        )
        return None if job.video.exists() else job  # recorded before the run was resumed

    def _enqueue(self, job: _Job, save: Callable[[], None]) -> None:
        try:
            save()
        except OSError as error:
            self._fail(job.video, error.strerror or str(error))
            return
        self._queue.append(job)
        self.poll()

    def poll(self) -> None:
        """Handle a finished recording and start the next; returns at once."""
        if self._running is not None and self._running.process.poll() is not None:
            self._finish_running()
        if self._running is None and self._queue and self._has_time:
            job = self._queue.popleft()
            stderr_file = tempfile.TemporaryFile()  # noqa: SIM115 - closed in _finish_running()
            command = [sys.executable, "-P", "-c", self._command, "record", *job.arguments]
            process = subprocess.Popen(
                [
                    *(*command, "--out", str(job.video), "--jobs", "1"),
                    "--overwrite",  # a rollout that a killed process left
                ],
                stdout=subprocess.DEVNULL,
                stderr=stderr_file,
                process_group=0,
                env={**os.environ, "PYTHONPATH": import_path()},
            )
            _set_niceness(process.pid, self._niceness)
            self._running = _Recording(job, process, stderr_file, time.monotonic())

    @property
    def _has_time(self) -> bool:
        """Whether another recording would stay within ``TIME_SHARE`` of the time."""
        if self._niceness != _LOWEST_PRIORITY:  # training is over
            return True
        estimate = self._spent / self._num_recorded if self._num_recorded else _INITIAL_ESTIMATE_S
        return self._spent + estimate <= TIME_SHARE * (time.monotonic() - self._start)

    def _finish_running(self, *, canceled: bool = False) -> None:
        assert self._running is not None
        job, process, stderr_file, start = self._running
        self._spent += time.monotonic() - start
        self._num_recorded += 1
        if process.wait() and not canceled:
            stderr_file.seek(0)
            lines = stderr_file.read().decode(errors="replace").strip().splitlines()
            self._fail(job.video, lines[-1] if lines else f"exit status {process.returncode}")
        stderr_file.close()
        job.delete_agent()
        self._running = None

    def _fail(self, video: Path, reason: str) -> None:
        if not self.failures:
            warnings.warn(
                f"No video {video}: {reason.rstrip('.')}. Training continues.",
                RobolearnWarning,
                stacklevel=3,
            )
        self.failures.append(f"{video}: {reason}")

    def finish(self) -> None:
        """Wait until every requested video is recorded.

        Raises:
            Stopped: On request.
        """
        self._niceness = os.getpriority(os.PRIO_PROCESS, 0)  # no training is slowed down now
        if self._running is not None:
            _set_niceness(self._running.process.pid, self._niceness)
        while self._running is not None or self._queue:
            check_stop()
            if self._running is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._running.process.wait(timeout=0.2)
            self.poll()

    def cancel(self) -> None:
        """Drop every requested video that is not finished."""
        if self._running is not None:
            job = self._running.job
            self._running.process.terminate()
            try:
                self._running.process.wait(_GRACE_S)
            except subprocess.TimeoutExpired:
                self._running.process.kill()
            self._finish_running(canceled=True)
            for part in (".part.mkv", ".part.mp4"):
                job.video.with_suffix(part).unlink(missing_ok=True)
            job.rollout.with_name(f".{job.rollout.name}.tmp").unlink(missing_ok=True)
        while self._queue:
            self._queue.popleft().delete_agent()


def _set_niceness(process_group: int, niceness: int) -> None:
    """Set the niceness of a process group, as far as that is allowed."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PGRP, process_group, niceness)
