"""All workers of a vector environment: requests to them, and replacement of failed ones."""

import pickle
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
from gymnasium.vector import VectorEnv

from robolearn.errors import RobolearnError
from robolearn.workers.batches import split_evenly
from robolearn.workers.child import Command, EnvDescription
from robolearn.workers.process import Worker, WorkerFailure, terminate, wait_all

EnvFactory = Callable[[int], VectorEnv]

MAX_FAILURES = 5
"""Failures within ``FAILURE_WINDOW_S`` after which no worker is replaced any more."""
FAILURE_WINDOW_S = 60.0
STARTUP_TIMEOUT_S = 60.0
"""Shortest time limit for making environments."""
RESPAWN_SEEDS = 1_000_000_000
"""Environments of a replaced worker are seeded below; seeds from there on are for evaluation."""


class WorkerError(RobolearnError):
    """Workers fail again and again, or one could not run a function."""

    exit_code: ClassVar[int] = 4


class WorkerPool:
    """Processes with a slice of the environments each."""

    def __init__(self, make: EnvFactory, num_envs: int, num_workers: int, timeout_s: float) -> None:
        """Configure the pool; ``start`` starts the processes.

        Args:
            make: Returns n environments.
            num_envs: Environments of all workers together.
            num_workers: Processes; at most one per environment is started.
            timeout_s: Seconds after which a worker that does not answer counts as hung.

        Raises:
            RobolearnError: ``make`` cannot be pickled.
        """
        _require_picklable(make)
        self.workers: list[Worker] = []
        self._make = make
        self._slices = split_evenly(num_envs, min(num_workers, num_envs))
        self._timeout_s = timeout_s
        self._rng = np.random.default_rng()
        self._failure_times: list[float] = []  # s, of the monotonic clock
        self._num_failures = 0

    def start(self) -> EnvDescription:
        """Start the workers, make their environments and return the properties of these.

        Raises:
            RobolearnError: Environments cannot be made, or differ between workers.
        """
        for env_slice in self._slices:
            self.workers.append(Worker(env_slice, self._timeout_s))
        first, *others = (
            _require_made(worker, answer)
            for worker, answer in zip(self.workers, self._make_envs(self.workers), strict=True)
        )
        for worker, other in zip(self.workers[1:], others, strict=True):
            for name, ours, theirs in zip(EnvDescription._fields, first, other, strict=True):
                if ours != theirs:
                    raise RobolearnError(
                        f"make must return the same environments in every worker: {name} of "
                        f"{self.workers[0].name} is {ours}, of {worker.name} {theirs}."
                    )
        return first

    def seed(self, seed: int | list[int]) -> None:
        """Seed the random generator that draws the seeds of replaced environments."""
        self._rng = np.random.default_rng(seed)

    def request_all(
        self, command: Command, arguments: Sequence[Any], workers: Sequence[Worker] | None = None
    ) -> list[Any]:
        """Send a request to each worker, all of them by default; return answers or failures."""
        workers = self.workers if workers is None else workers
        for worker, argument in zip(workers, arguments, strict=True):
            worker.send(command, argument)
        return wait_all(workers, command, self._timeout_s)

    def _make_envs(self, workers: Sequence[Worker]) -> list[EnvDescription | WorkerFailure]:
        for worker in workers:
            worker.send("make", self._make)
        return wait_all(workers, "make", max(STARTUP_TIMEOUT_S, self._timeout_s))

    def replace(self, k: int, failure: WorkerFailure, options: dict[str, Any] | None) -> Any:
        """Replace worker k by a new process, reset its environments, and warn.

        Args:
            k: Index of the worker.
            failure: Why it is replaced.
            options: Options of the reset.

        Returns:
            Observations and info of the reset.

        Raises:
            WorkerError: Too many failures.
            ValueError: Options that the environments refuse; likewise TypeError and ResetNeeded.
        """
        while True:
            self._count_failure(self.workers[k], failure)
            terminate([self.workers[k]], grace_s=0.0)
            answer = self._respawn(k, options)
            raise_caller_error([answer])
            if not isinstance(answer, WorkerFailure):
                return answer
            failure = answer

    def _respawn(self, k: int, options: dict[str, Any] | None) -> Any:
        """Start worker k in a new process; return the answer to its reset, or the failure."""
        env_slice = self._slices[k]
        seed = int(self._rng.integers(RESPAWN_SEEDS - (env_slice.stop - env_slice.start)))
        try:
            worker = self.workers[k] = Worker(env_slice, self._timeout_s)
        except OSError as error:
            return WorkerFailure(f"no new process could be started: {error}")
        made = self._make_envs([worker])[0]
        if isinstance(made, WorkerFailure):
            return made
        return self.request_all("reset", [(seed, options)], [worker])[0]

    def _count_failure(self, worker: Worker, failure: WorkerFailure) -> None:
        """Warn of a failure, or raise a WorkerError after too many."""
        now = time.monotonic()
        recent = [then for then in self._failure_times if now - then < FAILURE_WINDOW_S]
        self._failure_times = [*recent, now]
        self._num_failures += 1
        if len(self._failure_times) >= MAX_FAILURES:
            raise WorkerError(
                f"Workers failed {MAX_FAILURES} times within {FAILURE_WINDOW_S:g} s, the last time "
                f"that of {worker.name}: {failure.reason}. Check the environment."
                f"{remote_traceback(failure)}"
            )
        # Numbered, because Python shows a warning with the same text only once.
        warnings.warn(
            f"The worker of {worker.name} failed (failure {self._num_failures}): {failure.reason}. "
            "Their episodes are truncated, and new ones start in a new process.",
            RuntimeWarning,
            stacklevel=5,  # the caller of step or reset
        )


def raise_caller_error(answers: Sequence[Any]) -> None:
    """Raise the first exception among the answers that is the caller's mistake, as it was raised.

    Raises:
        ValueError: A bad argument.
        TypeError: A bad argument.
        ResetNeeded: No episode is running.
    """
    for answer in answers:
        if isinstance(answer, WorkerFailure) and answer.error and answer.error.caller_error:
            error = answer.error.caller_error(answer.error.message)
            error.add_note(remote_traceback(answer).strip())
            raise error


def remote_traceback(failure: WorkerFailure) -> str:
    """Return the traceback in the worker as a paragraph; empty if nothing was raised there."""
    return f"\n\nIn the worker:\n{failure.error.traceback}" if failure.error else ""


def _require_picklable(make: EnvFactory) -> None:
    try:
        pickle.dumps(make)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise RobolearnError(
            f"make must be picklable, such as a functools.partial of a function of a module: "
            f"{error}."
        ) from error


def _require_made(worker: Worker, answer: EnvDescription | WorkerFailure) -> EnvDescription:
    """Return the properties of a worker's environments, or raise why they could not be made."""
    if not isinstance(answer, WorkerFailure):
        return answer
    if answer.error is None:
        raise RobolearnError(
            f"The worker of {worker.name} could not make them: {answer.reason}. See what it "
            "printed; a script must do its work under if __name__ == '__main__'."
        )
    error = RobolearnError(answer.error.message or answer.error.type_name)
    error.add_note(remote_traceback(answer).strip())
    raise error
