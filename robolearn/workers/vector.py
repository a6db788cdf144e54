"""A vector environment stepped in worker processes, which outlives the death of any of them."""

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from robolearn.errors import RobolearnError
from robolearn.workers.batches import join, merge_infos, one_by_one, take
from robolearn.workers.crew import Crew, WorkerError, origin
from robolearn.workers.process import Loss, stop
from robolearn_envs.engines.base import EngineError

Info = dict[str, Any]


class WorkerVectorEnv(VectorEnv[Any, np.ndarray, np.ndarray]):
    """Environments stepped by worker processes; autoreset happens in the same step.

    Env i of a batch seeded ``seed`` does what it does in ``make(num_envs)``. When a worker dies,
    hangs or raises, a warning says so and its environments begin anew in another process: in that
    step their reward is 0, they are truncated, ``info["final_obs"]`` has their last observations
    from before, and ``info["lost"]``, bool of shape (N,), tells them from others. Nothing else,
    such as ``success``, is told of them. After five losses within a minute it gives up.
    """

    def __init__(
        self,
        make: Callable[[int], VectorEnv],
        num_envs: int,
        workers: int,
        *,
        step_timeout: float = 60.0,
    ) -> None:
        """Start the workers and let them make their environments.

        Args:
            make: Returns n environments that reset in the same step; picklable, such as a
                ``functools.partial`` of a function of a module.
            num_envs: N.
            workers: Processes, at most one per environment.
            step_timeout: After how many seconds without an answer a worker counts as hung.

        Raises:
            RobolearnError: A number out of range, or environments that cannot be made.
        """
        if num_envs < 1 or workers < 1:
            raise RobolearnError(
                f"num_envs and workers must be at least 1, got {num_envs} and {workers}."
            )
        if not step_timeout > 0:
            raise RobolearnError(f"step_timeout must be above 0 seconds, got {step_timeout}.")
        self.num_envs = num_envs
        self._crew = Crew(make, num_envs, workers, step_timeout)
        self._last: list[Any] | None = None  # observations of each worker
        self._stop = weakref.finalize(self, stop, self._crew.workers)
        try:
            made = self._crew.start()
            self.single_observation_space = made.single_observation_space
            self.single_action_space = made.single_action_space
            self.metadata, self.spec, self.render_mode = made.metadata, made.spec, made.render_mode
            if self.spec is not None:
                self.spec.kwargs["num_envs"] = num_envs
            self._one_by_one = made.one_by_one
            _require_same_step(made.metadata)
            self.observation_space = batch_space(self.single_observation_space, num_envs)
            self.action_space = batch_space(self.single_action_space, num_envs)
        except BaseException:
            self.close()
            raise

    @property
    def slices(self) -> list[slice]:
        """Which environments each worker has."""
        return [worker.rows for worker in self._crew.workers]

    @property
    def pids(self) -> list[int]:
        """The process of each worker; another one after a loss."""
        return [worker.process.pid or 0 for worker in self._crew.workers]

    def reset(
        self, *, seed: int | list[int] | None = None, options: Info | None = None
    ) -> tuple[Any, Info]:
        """Start new episodes in all environments, or in those of ``options["reset_mask"]``.

        Args:
            seed: Env i is seeded ``seed + i``, or ``seed[i]``; None goes on with their streams.
            options: ``"reset_mask"``, bool of shape (N,), resets only some; others are passed on.

        Returns:
            Observations of all environments and the info. Of environments that were lost the info
            has the mask ``lost``; all of these have begun a new episode, asked for or not, with
            seeds other than those asked for.

        Raises:
            WorkerError: The fifth loss within a minute.
            ValueError: A mask or a list of seeds of another shape.
        """
        self._require_open()
        mask = self._mask(options)
        wishes = options and {key: w for key, w in options.items() if key != "reset_mask"}
        if isinstance(seed, list) and len(seed) != self.num_envs:
            raise ValueError(f"seed must list {self.num_envs} seeds, got {len(seed)}.")
        if seed is not None:
            self._crew.seed(seed)
        asked = [k for k, rows in enumerate(self.slices) if mask is None or mask[rows].any()]
        requests = [
            (
                _seed_of(rows, seed),
                wishes if mask is None else {**(wishes or {}), "reset_mask": mask[rows]},
            )
            for rows in (self.slices[k] for k in asked)
        ]
        workers = [self._crew.workers[k] for k in asked]
        answers = self._crew.exchange("reset", requests, workers)
        last = list(self._last or [None] * len(self.slices))
        infos: list[Info] = [{} for _ in last]
        lost = np.zeros(self.num_envs, dtype=np.bool_)
        for k, answer in zip(asked, answers, strict=True):
            if isinstance(answer, Loss):
                lost[self.slices[k]] = True
                answer = self._replace(k, answer, wishes)
            last[k], infos[k] = answer
        self._last = last
        return self._joined(last), self._merged(infos, lost)

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, Info]:
        """Advance every environment by one step.

        Args:
            actions: Shape (N, ...).

        Returns:
            Observations (N, ...), rewards (N,), terminated (N,), truncated (N,), info.

        Raises:
            WorkerError: The fifth loss within a minute.
            EngineError: A simulation broke down, and its environments were made to say so.
            ResetNeeded: Before the first reset.
            ValueError: Actions of another shape.
        """
        self._require_open()
        if self._last is None:
            raise ResetNeeded("No episode is running: call reset() first.")
        shape = self.action_space.shape
        if shape is not None and np.shape(actions) != shape:
            raise ValueError(f"Actions must have shape {shape}, got {np.shape(actions)}.")
        parts = [take(self.single_action_space, actions, rows) for rows in self.slices]
        answers = self._crew.exchange("step", parts)
        lost = np.zeros(self.num_envs, dtype=np.bool_)
        for k, answer in enumerate(answers):
            if isinstance(answer, Loss):
                if answer.raised is not None and answer.raised.kind == EngineError.__name__:
                    where = self.slices[k].start
                    raise EngineError(f"In the worker of env {where} on: {answer.raised.message}")
                lost[self.slices[k]] = True
                answers[k] = self._truncated(k, *self._replace(k, answer, None))
        observations, rewards, terminated, truncated, infos = zip(*answers, strict=True)
        self._last = list(observations)
        return (
            self._joined(observations),
            np.concatenate(rewards),
            np.concatenate(terminated),
            np.concatenate(truncated),
            self._merged(infos, lost),
        )

    def each(self, function: Callable[[VectorEnv, Any], Any], *arguments: Any) -> list[Any]:
        """Call ``function(envs, argument)`` in every worker, on its environments.

        Args:
            function: Picklable: of a module.
            *arguments: One per worker; none at all calls it with None.

        Returns:
            What it returned in each.

        Raises:
            WorkerError: A worker is dead, hangs, or the function raised.
            ValueError: Another number of arguments than there are workers.
        """
        self._require_open()
        workers = self._crew.workers
        arguments = arguments or (None,) * len(workers)
        if len(arguments) != len(workers):
            raise ValueError(
                f"Give one argument for each of {len(workers)} workers, got {len(arguments)}."
            )
        requests = [(function, argument) for argument in arguments]
        answers = self._crew.exchange("call", requests)
        for worker, answer in zip(workers, answers, strict=True):
            if isinstance(answer, Loss):
                raise WorkerError(
                    f"{function.__name__} failed for {worker.name}: {answer.why}.{origin(answer)}"
                )
        return answers

    def _replace(self, k: int, loss: Loss, wishes: Info | None) -> tuple[Any, Info]:
        """Begin anew with the environments of worker k, or close everything and give up."""
        try:
            return self._crew.replace(k, loss, wishes)
        except WorkerError:
            self.close()
            raise

    def _truncated(self, k: int, first: Any, info: Info) -> tuple[Any, ...]:
        """Return a step in which the environments of worker k were lost, as it would have told.

        Args:
            k: Which worker.
            first: Observations of their new episodes.
            info: Of those.
        """
        assert self._last is not None
        count = self._crew.workers[k].num_envs
        final = self._last[k]
        if self._one_by_one:
            final = one_by_one(self.single_observation_space, final, count)
        cut = np.ones(count, dtype=np.bool_)
        info = {**info, "final_obs": final, "_final_obs": cut.copy()}
        return first, np.zeros(count), np.zeros(count, dtype=np.bool_), cut, info

    def _joined(self, observations: Sequence[Any]) -> Any:
        return join(self.single_observation_space, observations)

    def _merged(self, infos: Sequence[Info], lost: np.ndarray) -> Info:
        counts = [worker.num_envs for worker in self._crew.workers]
        info = merge_infos(infos, counts, self.single_observation_space)
        return {**info, "lost": lost, "_lost": lost.copy()} if lost.any() else info

    def _mask(self, options: Info | None) -> np.ndarray | None:
        if not options or "reset_mask" not in options:
            return None
        mask = np.asarray(options["reset_mask"])
        if mask.shape != (self.num_envs,) or mask.dtype != np.bool_ or not mask.any():
            raise ValueError(
                f"options['reset_mask'] must be bool of shape ({self.num_envs},) and true "
                f"somewhere, got {mask.dtype} of shape {mask.shape}."
            )
        if self._last is None:
            raise ValueError("The first reset must be of all environments: leave out reset_mask.")
        return mask

    def _require_open(self) -> None:
        if self.closed:
            raise ClosedEnvironmentError("The environments are closed: make new ones.")

    def close_extras(self) -> None:
        """End the workers; none remains."""
        self._stop()


def _require_same_step(metadata: Info) -> None:
    mode = metadata.get("autoreset_mode")
    if mode not in (AutoresetMode.SAME_STEP, AutoresetMode.SAME_STEP.value):
        raise RobolearnError(
            f"make must return environments with autoreset_mode {AutoresetMode.SAME_STEP}, "
            f"got {mode}."
        )


def _seed_of(rows: slice, seed: int | list[int] | None) -> int | list[int] | None:
    """Return the seed of some environments: the first one's, or a list."""
    if isinstance(seed, list):
        return seed[rows]
    return None if seed is None else seed + rows.start
