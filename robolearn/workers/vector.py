"""A vector environment stepped in worker processes, which are replaced when they fail."""

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from robolearn.errors import RobolearnError
from robolearn.workers.batches import (
    concatenate_batches,
    merge_infos,
    slice_batch,
    to_object_array,
)
from robolearn.workers.pool import (
    EnvFactory,
    WorkerError,
    WorkerPool,
    raise_caller_error,
    remote_traceback,
)
from robolearn.workers.process import WorkerFailure, terminate
from robolearn_envs.engines.base import SimulationError

Info = dict[str, Any]


class FaultTolerantVectorEnv(VectorEnv[Any, np.ndarray, np.ndarray]):
    """Environments stepped by worker processes, in autoreset mode SAME_STEP.

    Env i of a batch seeded ``seed`` behaves as in ``make(num_envs)``. When a worker dies, hangs or
    raises, a warning says so, and its environments start new episodes in another process. In that
    step their reward is 0 and they are truncated. ``info["final_obs"]`` has their observations
    before the step, and ``info["worker_failed"]``, bool of shape (N,), marks them. They have no
    other info, such as ``success``. After five failures within a minute a WorkerError is raised.

    A ValueError, TypeError or ResetNeeded of an environment is the caller's mistake. It is raised
    again here, no process is replaced, and running episodes continue.
    """

    def __init__(
        self, make: EnvFactory, num_envs: int, num_workers: int, *, step_timeout: float = 60.0
    ) -> None:
        """Start the workers and make their environments.

        Args:
            make: Returns n environments in autoreset mode SAME_STEP. It must be picklable, such as
                a ``functools.partial`` of a function of a module.
            num_envs: Number of environments N.
            num_workers: Processes; at most one per environment is started.
            step_timeout: Seconds without an answer after which a worker counts as hung.

        Raises:
            RobolearnError: A number out of range, or environments that cannot be made.
        """
        if num_envs < 1 or num_workers < 1:
            raise RobolearnError(
                f"num_envs and num_workers must be at least 1, got {num_envs} and {num_workers}."
            )
        if not step_timeout > 0:
            raise RobolearnError(f"step_timeout must be above 0 seconds, got {step_timeout}.")
        self.num_envs = num_envs
        self._pool = WorkerPool(make, num_envs, num_workers, step_timeout)
        self._last_obs: list[Any] | None = None  # of each worker; None before the first reset
        self._terminate = weakref.finalize(self, terminate, self._pool.workers)
        try:
            made = self._pool.start()
            self.single_observation_space = made.single_observation_space
            self.single_action_space = made.single_action_space
            self.metadata, self.spec, self.render_mode = made.metadata, made.spec, made.render_mode
            if self.spec is not None:
                self.spec.kwargs["num_envs"] = num_envs
            self._is_sync = made.is_sync
            _require_same_step(made.metadata)
            self.observation_space = batch_space(self.single_observation_space, num_envs)
            self.action_space = batch_space(self.single_action_space, num_envs)
        except BaseException:
            self.close()
            raise

    @property
    def env_slices(self) -> list[slice]:
        """The environments of each worker."""
        return [worker.env_slice for worker in self._pool.workers]

    @property
    def worker_pids(self) -> list[int]:
        """The process id of each worker, which changes when it is replaced."""
        return [worker.process.pid or 0 for worker in self._pool.workers]

    def reset(
        self, *, seed: int | list[int] | None = None, options: Info | None = None
    ) -> tuple[Any, Info]:
        """Start new episodes in all environments, or in those of ``options["reset_mask"]``.

        Args:
            seed: Env i is seeded ``seed + i``, or ``seed[i]``; None continues the random streams.
            options: ``"reset_mask"``, bool of shape (N,), resets only some environments; other
                options are passed on.

        Returns:
            Observations of all environments, and the info. Environments of a failed worker are
            marked by the mask ``worker_failed`` of the info. They have all started new episodes,
            whether or not the mask includes them, with other seeds.

        Raises:
            WorkerError: The fifth failure within a minute.
            ValueError: A mask or a list of seeds of another shape, or an option that the
                environments refuse.
        """
        self._require_open()
        mask = self._reset_mask(options)
        task_options = options and {k: v for k, v in options.items() if k != "reset_mask"}
        if isinstance(seed, list) and len(seed) != self.num_envs:
            raise ValueError(f"seed must list {self.num_envs} seeds, got {len(seed)}.")
        if seed is not None:
            self._pool.seed(seed)
        asked = [k for k, rows in enumerate(self.env_slices) if mask is None or mask[rows].any()]
        arguments = [
            (
                _slice_seed(rows, seed),
                task_options
                if mask is None
                else {**(task_options or {}), "reset_mask": mask[rows]},
            )
            for rows in (self.env_slices[k] for k in asked)
        ]
        workers = [self._pool.workers[k] for k in asked]
        answers = self._pool.request_all("reset", arguments, workers)
        self._remember_obs(asked, answers)
        raise_caller_error(answers)
        last_obs = list(self._last_obs or [None] * len(self.env_slices))
        infos: list[Info] = [{} for _ in last_obs]
        failed = np.zeros(self.num_envs, dtype=np.bool_)
        for k, answer in zip(asked, answers, strict=True):
            if isinstance(answer, WorkerFailure):
                failed[self.env_slices[k]] = True
                answer = self._replace(k, answer, task_options)
            last_obs[k], infos[k] = answer
        self._last_obs = last_obs
        return self._concatenate(last_obs), self._merge_infos(infos, failed)

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, Info]:
        """Advance every environment by one step.

        Args:
            actions: Shape (N, ...).

        Returns:
            Observations (N, ...), rewards (N,), terminated (N,), truncated (N,), info.

        Raises:
            WorkerError: The fifth failure within a minute.
            SimulationError: A simulation diverged, and its environments are configured to raise.
            ResetNeeded: Before the first reset.
            ValueError: Actions of another shape or not finite; then no environment is stepped. Or
                an action that an environment refuses; then the other workers have made the step.
        """
        self._require_open()
        if self._last_obs is None:
            raise ResetNeeded("No episode is running: call reset() first.")
        shape = self.action_space.shape
        if shape is not None and np.shape(actions) != shape:
            raise ValueError(f"Actions must have shape {shape}, got {np.shape(actions)}.")
        _require_finite(actions)
        slices = [slice_batch(self.single_action_space, actions, rows) for rows in self.env_slices]
        answers = self._pool.request_all("step", slices)
        self._remember_obs(range(len(answers)), answers)
        raise_caller_error(answers)
        failed = np.zeros(self.num_envs, dtype=np.bool_)
        for k, answer in enumerate(answers):
            if isinstance(answer, WorkerFailure):
                if answer.error is not None and answer.error.type_name == SimulationError.__name__:
                    first = self.env_slices[k].start
                    raise SimulationError(
                        f"In the worker of env {first} on: {answer.error.message}"
                    )
                failed[self.env_slices[k]] = True
                answers[k] = self._truncated_step(k, *self._replace(k, answer, None))
        observations, rewards, terminated, truncated, infos = zip(*answers, strict=True)
        self._last_obs = list(observations)
        return (
            self._concatenate(observations),
            np.concatenate(rewards),
            np.concatenate(terminated),
            np.concatenate(truncated),
            self._merge_infos(infos, failed),
        )

    def call(self, function: Callable[[VectorEnv, Any], Any], *arguments: Any) -> list[Any]:
        """Call ``function(envs, argument)`` in every worker, on its environments.

        Args:
            function: A function of a module, so that it can be pickled.
            *arguments: One per worker; without any it is called with None.

        Returns:
            The result of each worker.

        Raises:
            WorkerError: A worker is dead or hangs, or the function raised another error.
            ValueError: The number of arguments is not that of the workers, or the function raised
                it; likewise TypeError and ResetNeeded.
        """
        self._require_open()
        workers = self._pool.workers
        arguments = arguments or (None,) * len(workers)
        if len(arguments) != len(workers):
            raise ValueError(
                f"Give one argument for each of {len(workers)} workers, got {len(arguments)}."
            )
        answers = self._pool.request_all("call", [(function, argument) for argument in arguments])
        raise_caller_error(answers)
        for worker, answer in zip(workers, answers, strict=True):
            if isinstance(answer, WorkerFailure):
                raise WorkerError(
                    f"{function.__name__} failed in the worker of {worker.name}: {answer.reason}."
                    f"{remote_traceback(answer)}"
                )
        return answers

    def _remember_obs(self, asked: Sequence[int], answers: Sequence[Any]) -> None:
        """Keep the observations of the workers that answered, in case another one raises."""
        if self._last_obs is not None:
            for k, answer in zip(asked, answers, strict=True):
                if not isinstance(answer, WorkerFailure):
                    self._last_obs[k] = answer[0]

    def _replace(self, k: int, failure: WorkerFailure, options: Info | None) -> tuple[Any, Info]:
        """Replace worker k and return its reset; close everything after too many failures."""
        try:
            return self._pool.replace(k, failure, options)
        except WorkerError:
            self.close()
            raise

    def _truncated_step(self, k: int, first_obs: Any, info: Info) -> tuple[Any, ...]:
        """Return the step in which worker k failed, in the form of an answer.

        Args:
            k: Index of the worker.
            first_obs: First observations of the new episodes.
            info: Info of their reset.
        """
        assert self._last_obs is not None
        count = self._pool.workers[k].num_envs
        final_obs = self._last_obs[k]
        if self._is_sync:
            final_obs = to_object_array(self.single_observation_space, final_obs, count)
        truncated = np.ones(count, dtype=np.bool_)
        info = {**info, "final_obs": final_obs, "_final_obs": truncated.copy()}
        return first_obs, np.zeros(count), np.zeros(count, dtype=np.bool_), truncated, info

    def _concatenate(self, observations: Sequence[Any]) -> Any:
        return concatenate_batches(self.single_observation_space, observations)

    def _merge_infos(self, infos: Sequence[Info], failed: np.ndarray) -> Info:
        counts = [worker.num_envs for worker in self._pool.workers]
        info = merge_infos(infos, counts, self.single_observation_space)
        if failed.any():
            info |= {"worker_failed": failed, "_worker_failed": failed.copy()}
        return info

    def _reset_mask(self, options: Info | None) -> np.ndarray | None:
        if not options or "reset_mask" not in options:
            return None
        mask = np.asarray(options["reset_mask"])
        if mask.shape != (self.num_envs,) or mask.dtype != np.bool_ or not mask.any():
            raise ValueError(
                f"options['reset_mask'] must be bool of shape ({self.num_envs},) and true "
                f"somewhere, got {mask.dtype} of shape {mask.shape}."
            )
        if self._last_obs is None:
            raise ValueError("The first reset must be of all environments: leave out reset_mask.")
        return mask

    def _require_open(self) -> None:
        if self.closed:
            raise ClosedEnvironmentError("The environments are closed: make new ones.")

    def close_extras(self) -> None:
        """End all worker processes."""
        self._terminate()


def _require_same_step(metadata: Info) -> None:
    mode = metadata.get("autoreset_mode")
    if mode not in (AutoresetMode.SAME_STEP, AutoresetMode.SAME_STEP.value):
        raise RobolearnError(
            f"make must return environments with autoreset_mode {AutoresetMode.SAME_STEP}, "
            f"got {mode}."
        )


def _require_finite(actions: Any) -> None:
    """Refuse actions that are not finite before any worker makes the step."""
    if not isinstance(actions, np.ndarray) or actions.dtype.kind != "f":
        return
    finite = np.isfinite(actions)
    if not finite.all():
        env, *place = np.argwhere(~finite)[0]
        raise ValueError(f"Actions must be finite, got {actions[(env, *place)]} for env {env}.")


def _slice_seed(rows: slice, seed: int | list[int] | None) -> int | list[int] | None:
    """Return the seed of a slice: that of its first environment, or a list."""
    if isinstance(seed, list):
        return seed[rows]
    return None if seed is None else seed + rows.start
