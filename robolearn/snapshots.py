"""Putting environments away in the middle of episodes, and taking them up again in another process.

Ours tell their whole state. Of foreign ones Gymnasium promises one thing: the same random numbers
and the same actions lead to the same place. So theirs is how the episode began, and what was done.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.vector import SyncVectorEnv, VectorEnv

from robolearn.workers.batches import concatenate_batches
from robolearn.workers.pool import WorkerError
from robolearn.workers.vector import FaultTolerantVectorEnv
from robolearn_envs.vector import RoboVectorEnv

LONGEST = 100_000
"""Steps of an episode of a foreign environment beyond which it is not remembered."""


class Snapshot(NamedTuple):
    """Environments as they were."""

    facts: list[Any]
    """What JSON can hold, of each environment."""
    arrays: dict[str, np.ndarray]


class Rewindable(gym.Wrapper):
    """A single environment that remembers how its episode began and what was done since."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self._start: dict[str, Any] | None = None
        self._actions: list[Any] = []
        self._previous: tuple[dict[str, Any] | None, list[Any]] = None, []
        self._awaited: tuple[dict[str, Any], np.ndarray] | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode, or take up the one that ``rewind`` named."""
        if self._awaited is not None:
            return self._take_up(*self._awaited)
        self._previous = self._start, self._actions
        self._start = {"seed": seed} if seed is not None else self._random()
        self._actions = []
        return self.env.reset(seed=seed, options=options)

    def _random(self) -> dict[str, Any] | None:
        """Return where the random numbers are, if they are of the usual kind."""
        bits = getattr(self.unwrapped.np_random, "bit_generator", None)
        return {"random": bits.state} if isinstance(bits, np.random.PCG64) else None

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step, and remember the action."""
        if len(self._actions) <= LONGEST:
            self._actions.append(np.array(action))
        return self.env.step(action)

    def snapshot(self) -> tuple[dict[str, Any], np.ndarray] | None:
        """Return how the episode began, as JSON can hold it, and the actions, shape (T, ...).

        None of an episode of more than ``LONGEST`` steps, or of random numbers of another kind
        than Gymnasium's.
        """
        return self._told(self._start, self._actions)

    def latest(self) -> tuple[dict[str, Any], np.ndarray] | None:
        """Return the same of the last episode that has a step."""
        return self.snapshot() if self._actions else self._told(*self._previous)

    def _told(
        self, start: dict[str, Any] | None, actions: list[Any]
    ) -> tuple[dict[str, Any], np.ndarray] | None:
        if start is None or len(actions) > LONGEST:
            return None
        space = self.action_space
        shape = (len(actions), *(space.shape or ()))
        return start, np.array(actions, dtype=space.dtype).reshape(shape)

    def rewind(self, start: dict[str, Any], actions: np.ndarray) -> None:
        """Let the next ``reset`` return where an episode was."""
        self._awaited = start, actions

    def _take_up(self, start: dict[str, Any], actions: np.ndarray) -> tuple[Any, dict[str, Any]]:
        self._awaited = None
        if "random" in start:
            generator = np.random.Generator(np.random.PCG64())
            generator.bit_generator.state = start["random"]
            self.unwrapped.np_random = generator
        self._start, self._actions = start, list(actions)
        observation, info = self.env.reset(seed=start.get("seed"))
        for action in actions:
            observation, _, _, _, info = self.env.step(action)
        return observation, info


def take(envs: VectorEnv) -> Snapshot | None:
    """Return a snapshot of environments made by ``EnvConfig.make_vec``; None of any others."""
    base = envs.unwrapped
    if isinstance(base, RoboVectorEnv):
        return Snapshot([], base.get_state())
    if isinstance(base, FaultTolerantVectorEnv):
        try:
            return _joined(base.call(_take_in_worker))
        except WorkerError:  # the next step replaces it
            return None
    parts = _rewindables(base)
    if parts is None:
        return None
    told = [env.snapshot() for env in parts]
    starts, actions = zip(*filter(None, told), strict=True) if all(told) else ((), ())
    if not starts:
        return None
    return Snapshot(list(starts), {str(i): array for i, array in enumerate(actions)})


def put_back(envs: VectorEnv, snapshot: Snapshot) -> Any:
    """Take up the episodes of a snapshot.

    Args:
        envs: Made as those it was taken of.
        snapshot: Of ``take``.

    Returns:
        The observations there were, as ``reset`` returns them; None of our own environments,
        whose state is restored to the bit. In others something may be random that they do not
        tell of: then these are other ones.
    """
    base = envs.unwrapped
    if isinstance(base, RoboVectorEnv):
        base.set_state(snapshot.arrays)
        return None
    if isinstance(base, FaultTolerantVectorEnv):
        parts = base.call(_put_back_in_worker, *_split(snapshot, len(base.env_slices)))
        known = all(part is not None for part in parts)
        return concatenate_batches(envs.single_observation_space, parts) if known else None
    for i, env in enumerate(_rewindables(base) or ()):
        env.rewind(snapshot.facts[i], snapshot.arrays[str(i)])
    return envs.reset()[0]


def rewindable(envs: VectorEnv, env: int) -> Rewindable | None:
    """Return one of foreign environments, None of any others."""
    parts = _rewindables(envs.unwrapped)
    return None if parts is None else parts[env]


def _rewindables(envs: VectorEnv) -> Sequence[Rewindable] | None:
    if not isinstance(envs, SyncVectorEnv):
        return None
    found = [env for env in envs.envs if isinstance(env, Rewindable)]
    return found if len(found) == envs.num_envs else None


def _take_in_worker(envs: VectorEnv, _: None) -> Snapshot | None:
    return take(envs)


def _put_back_in_worker(envs: VectorEnv, snapshot: Snapshot) -> Any:
    return put_back(envs, snapshot)


def _joined(parts: Sequence[Snapshot | None]) -> Snapshot | None:
    """Return the snapshots of workers as one."""
    arrays: dict[str, np.ndarray] = {}
    for w, part in enumerate(parts):
        if part is None:
            return None
        arrays |= {f"{w}/{name}": array for name, array in part.arrays.items()}
    return Snapshot([part.facts for part in parts if part], arrays)


def _split(snapshot: Snapshot, workers: int) -> list[Snapshot]:
    """Return what ``_joined`` joined."""
    arrays: list[dict[str, np.ndarray]] = [{} for _ in range(workers)]
    for name, array in snapshot.arrays.items():
        worker, _, rest = name.partition("/")
        arrays[int(worker)][rest] = array
    return [Snapshot(facts, own) for facts, own in zip(snapshot.facts, arrays, strict=True)]
