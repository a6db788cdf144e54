"""Stepping many environments at once and keeping the first episode of each."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from robolearn.agents.protocols import Policy
from robolearn.environments import EnvConfig
from robolearn.errors import DivergedError, RobolearnError
from robolearn.imitation.demos.episodes import Demonstration
from robolearn.imitation.demos.experts import Expert
from robolearn.imitation.demos.leaves import on_leaves
from robolearn.imitation.demos.noise import Noise
from robolearn.runs.stopping import Stopped, check_stop
from robolearn.spaces import flat_size, require_action_space
from robolearn_envs.engines.base import SimulationError
from robolearn_envs.vector import RoboVectorEnv

WIDEST = 64
"""Environments at most that are stepped together."""
_ROOM = 256 * 2**20  # bytes of observations that are kept meanwhile
_LONGEST = 100_000  # steps after which an episode is taken for endless
USUAL = 1000
"""Steps that are expected of episodes that nobody limits."""
_NOTHING = "Nothing was written."
_STATE = ("qpos", "qvel")  # of our environments

Tell = Callable[[int, float, float | None], None]


class _Tape:
    """Batches of one array, one for each step; told by environment afterwards."""

    def __init__(self, first: np.ndarray) -> None:
        self._rows = np.empty((USUAL // 4, *first.shape), first.dtype)
        self._count = 0
        self.add(first)

    def add(self, batch: np.ndarray) -> None:
        """Copy a batch. Shape (N, ...)."""
        if self._count == len(self._rows):
            self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
        self._rows[self._count] = batch
        self._count += 1

    def of(self, index: int, count: int) -> np.ndarray:
        """Return the first rows of one environment, as an array of its own. Shape (count, ...)."""
        return self._rows[:count, index].copy()


class Waves:
    """Records episodes, as many at once as fit."""

    def __init__(self, expert: Expert, env: EnvConfig, noise: float) -> None:
        """Prepare.

        Args:
            expert: Who acts.
            env: Where.
            noise: How much actions are disturbed; see :class:`Noise`.

        Raises:
            RobolearnError: An environment that cannot be made or recorded, or noise that cannot be.
        """
        self._expert, self._env, self._noise = expert, env, noise
        self._envs = self._made(1)
        base, spec = self._envs.unwrapped, self._envs.spec
        self.native = base if isinstance(base, RoboVectorEnv) else None
        """The environments, if they are ours."""
        self.observation_space = self._envs.single_observation_space
        self.action_space = require_action_space(self._envs.single_action_space, "A recording")
        Noise(self.action_space, noise, ())  # refuses
        limit = spec.max_episode_steps if spec else None
        self.limit = self.native.task.max_episode_steps if self.native else limit
        """Steps of an episode at most; None where nobody says."""
        room = 4 * flat_size(self.observation_space) * ((self.limit or USUAL) + 1)
        self.width = max(min(WIDEST, _ROOM // room), 1)
        """Environments that are stepped together."""
        self.stopped = False
        """It was asked to stop, so not all that was wanted was recorded."""
        self.made = 0
        """Steps of all environments so far, also those after their first episode."""
        self.kept = 0
        """Steps of episodes so far."""

    def _made(self, count: int) -> VectorEnv:
        """Return environments whose last observation and state can be looked at: NEXT_STEP."""
        return self._env.make_vec(count, AutoresetMode.NEXT_STEP)

    def close(self) -> None:
        """Close the environments."""
        self._envs.close()

    def record(self, seeds: Sequence[int], tell: Tell) -> list[Demonstration]:
        """Return an episode of each seed, in their order; fewer if it is asked to stop.

        Args:
            seeds: Of the environments, at most ``width``.
            tell: Called after each step with the steps of episodes so far, steps per second and
                the mean return of episodes that ended.

        Raises:
            DivergedError: The simulation, or a number, is no longer finite.
        """
        if self._envs.num_envs != len(seeds):
            self._envs.close()
            self._envs = self._made(len(seeds))
        policy = self._expert.make(self._envs, seeds[0])
        noise = Noise(self.action_space, self._noise, seeds)
        wave = _Wave(self._envs, policy, noise, seeds)
        start, made = time.perf_counter(), 0
        try:
            while wave.running.any():
                check_stop()
                self.kept += int(wave.running.sum())
                made += len(seeds)
                wave.step()
                tell(self.kept, made / (time.perf_counter() - start), wave.mean_return)
        except Stopped:
            self.stopped = True
        except SimulationError as error:
            raise DivergedError(f"{error} {_NOTHING}", error.env) from error
        self.made += made
        return wave.episodes()


class _Wave:
    """Environments that begin together; each is kept until its first episode has ended."""

    def __init__(self, envs: VectorEnv, policy: Policy, noise: Noise, seeds: Sequence[int]) -> None:
        """Reset the environments."""
        self._envs, self._policy, self._noise, self._seeds = envs, policy, noise, seeds
        self._space, self._actions = envs.single_observation_space, envs.single_action_space
        self.running = np.ones(len(seeds), np.bool_)
        """Whose first episode has not ended. Shape (N,), bool."""
        self._done: dict[int, Demonstration] = {}
        every: Any = list(seeds)  # Gymnasium's types know of one seed only
        self._raw, _ = envs.reset(seed=every)
        self._memory: Any = None  # the policy's
        self._starts, self._ended = np.ones_like(self.running), np.zeros_like(self.running)
        self._seen = on_leaves(self._space, lambda _, first: _Tape(np.asarray(first)), self._raw)
        self._states = [_Tape(part) for part in self._state()]
        self._steps: list[_Tape] = []
        self._length = 0

    @property
    def mean_return(self) -> float | None:
        """Of the episodes that have ended, None of none."""
        totals = [one.total for one in self._done.values()]
        return float(np.mean(totals)) if totals else None

    def episodes(self) -> list[Demonstration]:
        """Return the episodes that have ended, in the order of their seeds."""
        return [self._done[index] for index in sorted(self._done)]

    def _state(self) -> tuple[np.ndarray, ...]:
        """Return the state of our environments; nothing of others."""
        base = self._envs.unwrapped
        return base.qpos_qvel() if isinstance(base, RoboVectorEnv) else ()

    def step(self) -> None:
        """Advance all, and keep the episodes that end."""
        wanted, self._memory = self._policy.predict(
            self._raw, self._memory, self._starts, deterministic=True
        )
        shape = (len(self._seeds), *(self._actions.shape or ()))
        wanted = np.asarray(wanted).astype(self._actions.dtype).reshape(shape)
        executed = self._noise.disturb(wanted)
        self._raw, reward, terminated, truncated, info = self._envs.step(executed)
        self._keep(executed, wanted, np.asarray(reward, np.float64), terminated, truncated)
        ended = terminated | truncated
        self._starts, self._ended = self._ended, ended  # the step after an end is a reset
        for index in np.flatnonzero(ended & self.running):
            self._done[int(index)] = self._episode(int(index), info)
        self.running &= ~ended
        if self._length >= _LONGEST:
            raise RobolearnError(
                f"An episode has not ended after {_LONGEST:,} steps, expected it to. Give the "
                "environment a time limit."
            )

    def _keep(self, *told: np.ndarray) -> None:
        """Write down a step: what was seen of it, and what else there is to tell."""
        on_leaves(self._space, lambda _, tape, batch: tape.add(batch), self._seen, self._raw)
        for tape, part in zip(self._states, self._state(), strict=True):
            tape.add(part)
        if not self._steps:
            self._steps = [_Tape(batch) for batch in told]
        else:
            for tape, batch in zip(self._steps, told, strict=True):
                tape.add(batch)
        self._length += 1

    def _episode(self, index: int, info: Mapping[str, Any]) -> Demonstration:
        """Return the episode of one environment that has just ended."""
        count = self._length
        action, wanted, reward, terminated, truncated = (
            tape.of(index, count) for tape in self._steps
        )
        success = info.get("success")
        state = {
            name: t.of(index, count + 1) for name, t in zip(_STATE, self._states, strict=False)
        }
        episode = Demonstration(
            observation=on_leaves(self._space, lambda _, t: t.of(index, count + 1), self._seen),
            action=action,
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            clean_action=wanted,
            state=state,
            success=None if success is None else bool(success[index]),
            seed=int(self._seeds[index]),
        )
        _require_finite(self._space, episode)
        return episode


def _require_finite(space: gym.Space, episode: Demonstration) -> None:
    def check(_: gym.Space, array: np.ndarray) -> None:
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise DivergedError(
                f"The episode of seed {episode.seed} has numbers that are not finite. {_NOTHING}"
            )

    on_leaves(space, check, episode.observation)
    for array in (episode.reward, episode.action, *episode.state.values()):
        check(space, array)
