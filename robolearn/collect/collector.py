"""Stepping environments on the host: the only file that handles resets and final observations."""

import math
import time
import warnings
from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from torch import Tensor

from robolearn.buffers.rollout_buffer import Step, Transition
from robolearn.errors import DivergedError, RobolearnWarning
from robolearn.files import require_shape
from robolearn.runs.stopping import check_stop
from robolearn.snapshots import Snapshot, put_back, take
from robolearn.spaces import flat_size, flatten_batch, to_env_action
from robolearn.workers.vector import FaultTolerantVectorEnv
from robolearn_envs.engines.base import SimulationError
from robolearn_envs.vector import OnDivergence, RoboVectorEnv

HISTORY_LENGTH = 100
"""Latest steps kept for a failure dump."""
_ROOM = 64 * 2**20  # most bytes of kept observations, of environments that are not robolearn's
_OWN = ("obs", "starts", "_ended", "_total", "_length", "_cut_at")
_FAILURE_MASKS = ("worker_failed", "diverged")
_SAFE = 1e76  # the square of what float32 can hold, and a little less
_TERM = "reward_terms/"
_REMEDY = "No update was made. Check the environment and its actions."


class Episode(NamedTuple):
    """A finished episode."""

    env: int
    total_reward: float
    """Undiscounted return."""
    length: int
    success: bool | None
    """None where the environment does not report it."""
    info: Mapping[str, float]
    """Other metrics of a robolearn task, by name."""


class StepRecord(NamedTuple):
    """A step as it is kept for a failure dump."""

    start: np.ndarray
    """The observation acted on was the first of an episode. Shape (N,), bool."""
    action: np.ndarray
    """Shape (N, ...)."""
    reward: np.ndarray
    """Shape (N,)."""
    seen: Mapping[str, np.ndarray]
    """Of robolearn environments the state to render after the step; of others ``obs`` and
    ``next_obs``. Shapes (N, ...)."""


class Collector:
    """Steps a vector environment in any autoreset mode and returns transitions without resets."""

    diverged = None
    """None: numbers that are not finite raise at once, or their steps are left out."""

    def __init__(
        self,
        envs: VectorEnv,
        seed: int | None,
        *,
        stagger: int = 0,
        on_divergence: OnDivergence = "raise",
    ) -> None:
        """Reset the environments.

        Args:
            envs: What to step.
            seed: Of the environments.
            stagger: Truncate the first episode of each environment at a random step before this
                one; 0 for none. Else episodes of one length would stay in step, and rollouts show
                one stage of the episode (rsl_rl's ``init_at_random_ep_len``).
            on_divergence: Response to a reward or observation that is not finite: 'raise' raises,
                'truncate' begins a new episode and leaves that step out.
        """
        self.envs = envs
        self.num_envs = envs.num_envs
        self._mode = AutoresetMode(envs.metadata["autoreset_mode"])
        base = envs.unwrapped
        self._native = base if isinstance(base, RoboVectorEnv) else None
        self._reports_dropped = isinstance(base, RoboVectorEnv | FaultTolerantVectorEnv)
        self._metric_names = self._native.task.metric_docs if self._native else ()
        self._space = envs.single_observation_space
        self._on_divergence = on_divergence
        self.width = flat_size(self._space)
        self._steps = 0  # of each environment
        self._episodes: list[Episode] = []
        room = _ROOM // (4 * self.width * self.num_envs)
        self.recent_steps: deque[StepRecord] = deque(
            maxlen=HISTORY_LENGTH if self._native else min(max(room, 1), HISTORY_LENGTH)
        )
        """The latest steps of all environments, oldest first."""
        self.seconds = {"env": 0.0}
        """Seconds spent stepping the environments."""
        self.num_dropped = 0
        """Steps left out, because an environment or its worker process failed."""
        self.restart(seed)
        if stagger > 1:
            self._cut_at = np.random.default_rng(seed).integers(1, stagger, self.num_envs)

    def restart(self, seed: int | None = None) -> None:
        """Begin new episodes; running ones are dropped. No ``seed`` goes on with random streams."""
        self.observations, _ = self.envs.reset(seed=seed)
        """Observations as the environments gave them."""
        self.obs = self._flatten(self.observations)
        """Observations as vectors. Shape (N, width), float32."""
        require_finite("observation", self.obs, self._steps)
        self.starts = np.ones(self.num_envs, dtype=np.bool_)
        """The observations that are the first of an episode. Shape (N,), bool."""
        self._ended = np.zeros(self.num_envs, dtype=np.bool_)
        self._total = np.zeros(self.num_envs)
        self._length = np.zeros(self.num_envs, dtype=np.int64)
        self._terms: dict[str, np.ndarray] = {}  # sums of the reward's terms in running episodes
        self._cut_at = np.full(self.num_envs, -1)  # length to cut an episode at, -1 for never

    @property
    def episode_steps(self) -> np.ndarray:
        """How many steps each running episode has. Shape (N,), int64."""
        return self._length.copy()

    def snapshot(self) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
        """Return what ``resume`` needs to go on from here: what JSON can hold, and arrays.

        None where the state of the environments cannot be saved.
        """
        taken = take(self.envs)
        if taken is None:
            return None
        own = {name: getattr(self, name) for name in _OWN}
        own |= {f"{_TERM}{name}": sums for name, sums in self._terms.items()}
        facts = {
            "steps": self._steps,
            "num_dropped": self.num_dropped,
            "episodes": self._episodes,
            "envs": taken.facts,
        }
        return facts, own | {f"envs/{name}": array for name, array in taken.arrays.items()}

    def resume(self, facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bool:
        """Go on from a snapshot.

        Returns:
            Whether the environments are where they were. If not, all begin a new episode.
        """
        own = {name: np.array(arrays[name]) for name in _OWN}
        for name, array in own.items():
            require_shape(name, array, getattr(self, name).shape)
        terms = {k.removeprefix(_TERM): np.array(v) for k, v in arrays.items() if _TERM in k}
        theirs = {k.removeprefix("envs/"): v for k, v in arrays.items() if k.startswith("envs/")}
        raw = put_back(self.envs, Snapshot(facts["envs"], theirs))
        self._steps, self.num_dropped = int(facts["steps"]), int(facts["num_dropped"])
        self._episodes = [Episode(*fields) for fields in facts["episodes"]]
        if raw is not None and not np.array_equal(self._flatten(raw), own["obs"]):
            self.restart()
            return False
        for name, array in own.items():
            setattr(self, name, array)
        self._terms = terms
        return True

    def _flatten(self, observation: Any) -> np.ndarray:
        return flatten_batch(self._space, observation, self.num_envs)

    def step(self, actions: np.ndarray) -> Step:
        """Step all environments by actions as they take them; return arrays they never change.

        Raises:
            DivergedError: An action, a reward or an observation that is not finite, or a simulation
                that diverged.
        """
        obs, valid = self.obs, ~self._ended
        require_finite("action", actions, self._steps)
        try:
            began = time.perf_counter()
            self.observations, reward, terminated, truncated, info = self.envs.step(actions)
            self.seconds["env"] += time.perf_counter() - began
        except SimulationError as error:
            raise DivergedError(f"{error} {_REMEDY}", error.env) from error
        reached = self._flatten(self.observations)
        self._steps += 1
        done = terminated | truncated
        next_obs = reached
        if self._mode is AutoresetMode.SAME_STEP and done.any():
            next_obs = self._final(reached, done, info)
        seen = (
            self._native.get_render_state() if self._native else {"obs": obs, "next_obs": next_obs}
        )
        self.recent_steps.append(StepRecord(self.starts, actions, reward, seen))
        learned = _to_float32(reward)
        broken = self._non_finite(learned, reached, next_obs)
        self._total += reward
        self._length += valid
        for name, term in info.get("reward_terms", {}).items():
            if not name.startswith("_"):  # Gymnasium's masks
                self._terms[name] = self._terms.get(name, 0.0) + term
        cut = (self._length == self._cut_at) & ~done
        lost = self._dropped(info, broken)
        if lost is not None:
            self.num_dropped += int(lost.sum())
            learned = np.where(lost, np.float32(0), learned)
            next_obs = np.where(lost[:, None], obs, next_obs)
            terminated, valid = terminated & ~lost, valid & ~lost
            cut = cut if broken is None else cut | broken
        restart = cut | done if self._mode is AutoresetMode.DISABLED else cut
        if done.any():
            self._record(done if lost is None else done & ~lost, info)
        if restart.any():
            self.observations, info = self.envs.reset(options={"reset_mask": restart})
            others = self._dropped(info, None)  # which restarted besides those asked to
            cut = cut if others is None else cut | others
            reached = self._flatten(self.observations)
            require_finite("observation", reached, self._steps)
        self.obs = reached
        if self._mode is AutoresetMode.NEXT_STEP:
            self._ended = done & ~cut
        over = done | cut
        self.starts = ~valid | (over & ~self._ended)
        self._total[over] = 0.0
        for sums in self._terms.values():
            sums[over] = 0.0
        self._length[over] = 0
        self._cut_at[over] = -1
        return Step(obs, learned, next_obs, terminated.copy(), over, valid)

    def observe(self) -> tuple[Tensor, Tensor]:
        """Return observations, shape (N, D), and which of them start an episode, (N,), bool."""
        return torch.from_numpy(self.obs), torch.from_numpy(self.starts)

    def advance(self, action: Tensor, *, interruptible: bool = False) -> Transition:
        """Do what ``step`` does, with tensors: actions as ``spaces.to_env_action`` takes them.

        Raises:
            Stopped: On request, if ``interruptible``; nothing was done.
            DivergedError: As ``step``.
        """
        if interruptible:
            check_stop()
        space: Any = self.envs.single_action_space
        step = self.step(to_env_action(space, action.cpu().numpy()))
        return Transition(*map(torch.from_numpy, step))

    def _dropped(self, info: Mapping[str, Any], broken: np.ndarray | None) -> np.ndarray | None:
        """Return which environments failed, as reported in the info or as ``broken``; None if none.

        A worker process reports ``worker_failed``, a simulation ``diverged``.
        """
        masks = [] if broken is None else [broken]
        if self._reports_dropped:
            masks += [info[name] for name in _FAILURE_MASKS if name in info]
        return np.logical_or.reduce(masks) if masks else None

    def _non_finite(
        self, reward: np.ndarray, reached: np.ndarray, next_obs: np.ndarray
    ) -> np.ndarray | None:
        """Return where numbers are not finite, shape (N,); None for nowhere.

        Raises:
            DivergedError: Somewhere, and learning is to stop.
        """
        sound = _finite(reward) and _finite(reached)
        if sound and (next_obs is reached or _finite(next_obs)):
            return None
        given = {"reward": reward, "observation": reached, "final observation": next_obs}
        if self._on_divergence == "raise":
            for what, array in given.items():
                require_finite(what, array, self._steps)
        rows = [np.isfinite(array).reshape(self.num_envs, -1).all(1) for array in given.values()]
        broken = ~np.logical_and.reduce(rows)
        warnings.warn(
            f"After step {self._steps} a reward or observation of environment "
            f"{', '.join(map(str, np.flatnonzero(broken)))} is not finite: reset, and left out.",
            RobolearnWarning,
            stacklevel=3,
        )
        return broken

    def _final(self, reached: np.ndarray, done: np.ndarray, info: Mapping[str, Any]) -> np.ndarray:
        """Return ``reached`` with the last observations of ended episodes put back."""
        final = info["final_obs"]
        next_obs = reached.copy()
        if isinstance(final, Mapping | tuple):  # of a whole batch, as observations are
            next_obs[done] = self._flatten(final)[done]
            return next_obs
        rows = np.flatnonzero(done)
        if isinstance(self._space, spaces.Box):  # at once, which is much faster
            next_obs[rows] = flatten_batch(self._space, np.stack(final[rows].tolist()), len(rows))
            return next_obs
        for i in rows:
            next_obs[i] = flatten_batch(self._space, final[i], None)
        return next_obs

    def _record(self, done: np.ndarray, info: Mapping[str, Any]) -> None:
        source = info.get("final_info", info)
        success = source.get("success", source.get("is_success"))  # SB3's, Gymnasium-Robotics'
        for i in np.flatnonzero(done):
            won = None if success is None else bool(success[i])
            metrics = {
                name: float(source[name][i]) for name in self._metric_names if name != "success"
            }
            metrics |= {f"reward_{name}": float(sums[i]) for name, sums in self._terms.items()}
            total, length = float(self._total[i]), int(self._length[i])
            self._episodes.append(Episode(int(i), total, length, won, metrics))

    def pop_episodes(self) -> list[Episode]:
        """Return the episodes finished since the last call, in order."""
        episodes, self._episodes = self._episodes, []
        return episodes


def _to_float32(reward: np.ndarray) -> np.ndarray:
    """Return rewards as float32; those too large for it are infinite."""
    if float(np.vdot(reward, reward)) < _SAFE:  # as nearly always; np.errstate takes a while
        return reward.astype(np.float32)
    with np.errstate(over="ignore"):
        return reward.astype(np.float32)


def require_finite(what: str, array: np.ndarray, step: int) -> None:
    """Check an array, shape (N, ...), named ``what`` in the message.

    Raises:
        DivergedError: A number is NaN or infinite; it names step, environment and number.
    """
    if _finite(array):
        return
    finite = np.isfinite(array)
    env, *place = (int(i) for i in np.argwhere(~finite)[0])
    entry = f" in entry {place[0]}" if place else ""
    raise DivergedError(
        f"The {what} of environment {env} is {array[(env, *place)]}{entry} after step {step}. "
        f"{_REMEDY}",
        env,
    )


def _finite(array: np.ndarray) -> bool:
    """Return whether no number is NaN or infinite."""
    if array.dtype.kind != "f":
        return True
    if math.isfinite(np.vdot(array, array)):  # a third of the time of np.isfinite
        return True
    return bool(np.isfinite(array).all())  # the squares of finite numbers may be infinite
