"""The workers together: asking all of them, and putting new ones in the place of lost ones."""

import pickle
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
from gymnasium.vector import VectorEnv

from robolearn.errors import RobolearnError
from robolearn.workers.batches import deal
from robolearn.workers.child import Command, Description
from robolearn.workers.process import Loss, Worker, gather, stop

Make = Callable[[int], VectorEnv]

MOST_LOSSES = 5
"""Losses within ``WINDOW`` at which the environments are given up."""
WINDOW = 60.0  # s
START_SECONDS = 60.0
"""How long making environments may take, at the least."""
FRESH_SEEDS = 1_000_000_000
"""Environments that replace lost ones are seeded below; seeds from there on are for evaluation."""


class WorkerError(RobolearnError):
    """Environments in worker processes fail again and again, or cannot be asked something."""

    exit_code: ClassVar[int] = 4


class Crew:
    """Processes with a slice of the environments each."""

    def __init__(self, make: Make, num_envs: int, workers: int, seconds: float) -> None:
        """Describe the crew; ``start`` starts it.

        Args:
            make: Returns n environments.
            num_envs: Of all workers together.
            workers: At most one per environment is started.
            seconds: After which a worker that does not answer counts as hung.

        Raises:
            RobolearnError: ``make`` cannot be sent to another process.
        """
        _require_picklable(make)
        self.workers: list[Worker] = []
        self._make = make
        self._slices = deal(num_envs, min(workers, num_envs))
        self._seconds = seconds
        self._fresh = np.random.default_rng()
        self._lost_at: list[float] = []  # s, of the monotonic clock
        self._losses = 0

    def start(self) -> Description:
        """Start the workers, let them make their environments and return what those are.

        Raises:
            RobolearnError: They cannot be made, or are not the same everywhere.
        """
        for rows in self._slices:
            self.workers.append(Worker(rows, self._seconds))
        first, *others = (
            _described(worker, answer)
            for worker, answer in zip(self.workers, self._made(self.workers), strict=True)
        )
        for worker, other in zip(self.workers[1:], others, strict=True):
            for what, ours, theirs in zip(Description._fields, first, other, strict=True):
                if ours != theirs:
                    raise RobolearnError(
                        f"make must return the same environments in every worker: {what} of "
                        f"{self.workers[0].name} is {ours}, of {worker.name} {theirs}."
                    )
        return first

    def seed(self, seed: int | list[int]) -> None:
        """Decide the seeds of environments that take the place of lost ones."""
        self._fresh = np.random.default_rng(seed)

    def exchange(
        self, command: Command, requests: Sequence[Any], workers: Sequence[Worker] | None = None
    ) -> list[Any]:
        """Ask each worker something, all of them by default; return their answers or losses."""
        workers = self.workers if workers is None else workers
        for worker, request in zip(workers, requests, strict=True):
            worker.ask(command, request)
        return gather(workers, command, self._seconds)

    def _made(self, workers: Sequence[Worker]) -> list[Description | Loss]:
        for worker in workers:
            worker.ask("make", self._make)
        return gather(workers, "environments", max(START_SECONDS, self._seconds))

    def replace(self, k: int, loss: Loss, wishes: dict[str, Any] | None) -> Any:
        """Let the environments of worker k begin anew in another process, and warn of it.

        Args:
            k: Which worker.
            loss: Why.
            wishes: Options of their reset.

        Returns:
            Observations and info of that reset.

        Raises:
            WorkerError: Too many losses.
        """
        while True:
            self._count(self.workers[k], loss)
            stop([self.workers[k]], patience=0.0)
            answer = self._begin(k, wishes)
            if not isinstance(answer, Loss):
                return answer
            loss = answer

    def _begin(self, k: int, wishes: dict[str, Any] | None) -> Any:
        """Start worker k anew; return the answer to its reset, or the loss."""
        rows = self._slices[k]
        seed = int(self._fresh.integers(FRESH_SEEDS - (rows.stop - rows.start)))
        try:
            worker = self.workers[k] = Worker(rows, self._seconds)
        except OSError as error:
            return Loss(f"no process could be started for them: {error}")
        made = self._made([worker])[0]
        if isinstance(made, Loss):
            return made
        return self.exchange("reset", [(seed, wishes)], [worker])[0]

    def _count(self, worker: Worker, loss: Loss) -> None:
        """Warn of a loss, or give up."""
        now = time.monotonic()
        self._lost_at = [*(then for then in self._lost_at if now - then < WINDOW), now]
        self._losses += 1
        if len(self._lost_at) >= MOST_LOSSES:
            raise WorkerError(
                f"Environments were lost {MOST_LOSSES} times within {WINDOW:g} s, the last time "
                f"{worker.name}: {loss.why}. Check the environment.{origin(loss)}"
            )
        # Numbered, because Python shows a warning of the same words only once.
        warnings.warn(
            f"Lost {worker.name} (loss {self._losses}): {loss.why}. Their episodes count as "
            "truncated, and new ones begin in a new process.",
            RuntimeWarning,
            stacklevel=5,  # whoever called step or reset
        )


def origin(loss: Loss) -> str:
    """Return the traceback in the worker as a paragraph, if there is one."""
    return f"\n\nIn the worker:\n{loss.raised.traceback}" if loss.raised else ""


def _require_picklable(make: Make) -> None:
    try:
        pickle.dumps(make)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise RobolearnError(
            f"make must be picklable, such as a functools.partial of a function of a module: "
            f"{error}."
        ) from error


def _described(worker: Worker, answer: Description | Loss) -> Description:
    """Return what a worker made, or raise why it could not."""
    if not isinstance(answer, Loss):
        return answer
    if answer.raised is None:
        raise RobolearnError(
            f"{worker.name} could not be made: {answer.why}. See what it printed; a script must "
            "do its work under if __name__ == '__main__'."
        )
    error = RobolearnError(answer.raised.message or answer.raised.kind)
    error.add_note(origin(answer).strip())
    raise error
