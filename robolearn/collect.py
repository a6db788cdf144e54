"""Stepping environments: the only file that knows about resets and final observations."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from robolearn.data.rollout import Step
from robolearn.errors import DivergedError
from robolearn.spaces import flat_size, flatten_batch
from robolearn_envs.vector import RoboVectorEnv


class Episode(NamedTuple):
    """A finished episode."""

    env: int
    total: float
    """Undiscounted return."""
    length: int
    success: bool | None
    """None where the environment does not say."""
    details: Mapping[str, float]
    """What else the task of a robolearn environment tells of it, by name."""


class Collector:
    """Steps a vector environment in any autoreset mode and hands out clean transitions."""

    def __init__(self, envs: VectorEnv, seed: int | None, *, stagger: int = 0) -> None:
        """Reset the environments.

        Args:
            envs: What to step.
            seed: Of the environments.
            stagger: Cut the first episode of each environment at a random step before this one,
                as a time limit would; 0 for none. Environments that begin together and have
                episodes of one length would else all be at the same stage of it for ever, and
                every rollout would show a learner that stage alone.
        """
        self.envs = envs
        self.num_envs = envs.num_envs
        self._mode = AutoresetMode(envs.metadata["autoreset_mode"])
        base = envs.unwrapped
        self._outcomes = base.task.outcomes if isinstance(base, RoboVectorEnv) else ()
        self._space = envs.single_observation_space
        self.width = flat_size(self._space)
        self._steps = 0  # of each environment
        self._episodes: list[Episode] = []
        self.restart(seed)
        if stagger > 1:
            self._cut_at = np.random.default_rng(seed).integers(1, stagger, self.num_envs)

    def restart(self, seed: int | None = None) -> None:
        """Begin a new episode in every environment; what they were in the middle of is lost.

        Args:
            seed: Of the environments; None goes on with their random streams.
        """
        self.raw, _ = self.envs.reset(seed=seed)
        """Observations as the environments gave them."""
        self.obs = self._flatten(self.raw)
        """Observations as vectors. Shape (N, width), float32."""
        require_finite("observation", self.obs, self._steps)
        self.starts = np.ones(self.num_envs, dtype=np.bool_)
        """The observations that are the first of an episode. Shape (N,), bool."""
        self._ended = np.zeros(self.num_envs, dtype=np.bool_)
        self._total = np.zeros(self.num_envs)
        self._length = np.zeros(self.num_envs, dtype=np.int64)
        self._cut_at = np.full(self.num_envs, -1)  # length to cut an episode at, -1 for never

    def _flatten(self, observation: Any) -> np.ndarray:
        return flatten_batch(self._space, observation, self.num_envs)

    def step(self, actions: np.ndarray) -> Step:
        """Advance all environments; an ended one begins its next episode.

        Args:
            actions: As the environments take them. Shape (N, ...).

        Returns:
            Arrays of their own, whatever the environments do with theirs.

        Raises:
            DivergedError: A reward or an observation that is not finite.
        """
        obs, valid = self.obs, ~self._ended
        self.raw, reward, terminated, truncated, info = self.envs.step(actions)
        reached = self._flatten(self.raw)
        self._steps += 1
        require_finite("reward", reward, self._steps)
        require_finite("observation", reached, self._steps)
        done = terminated | truncated
        self._total += reward
        self._length += valid
        next_obs = reached
        cut = (self._length == self._cut_at) & ~done
        restart = cut | done if self._mode is AutoresetMode.DISABLED else cut
        if done.any():
            if self._mode is AutoresetMode.SAME_STEP:
                next_obs = self._final(reached, done, info)
                require_finite("final observation", next_obs, self._steps)
            self._record(done, info)
        if restart.any():
            self.raw, _ = self.envs.reset(options={"reset_mask": restart})
            reached = self._flatten(self.raw)
            require_finite("observation", reached, self._steps)
        self.obs = reached
        if self._mode is AutoresetMode.NEXT_STEP:
            self._ended = done
        over = done | cut
        self.starts = ~valid | (over & ~self._ended)
        self._total[over] = 0.0
        self._length[over] = 0
        self._cut_at[over] = -1
        return Step(obs, reward.astype(np.float32), next_obs, terminated.copy(), over, valid)

    def _final(self, reached: np.ndarray, done: np.ndarray, info: Mapping[str, Any]) -> np.ndarray:
        """Return ``reached`` with the last observations of ended episodes put back."""
        final = info["final_obs"]
        next_obs = reached.copy()
        if isinstance(final, Mapping | tuple):  # of a whole batch, as observations are
            next_obs[done] = self._flatten(final)[done]
            return next_obs
        for i in np.flatnonzero(done):
            next_obs[i] = flatten_batch(self._space, final[i], None)
        return next_obs

    def _record(self, done: np.ndarray, info: Mapping[str, Any]) -> None:
        source = info.get("final_info", info)
        success = source.get("success")
        for i in np.flatnonzero(done):
            won = None if success is None else bool(success[i])
            told = {name: float(source[name][i]) for name in self._outcomes if name != "success"}
            total, length = float(self._total[i]), int(self._length[i])
            self._episodes.append(Episode(int(i), total, length, won, told))

    def pop_episodes(self) -> list[Episode]:
        """Return the episodes finished since the last call, in order."""
        episodes, self._episodes = self._episodes, []
        return episodes


def require_finite(what: str, array: np.ndarray, step: int) -> None:
    """Check what environments gave.

    Args:
        what: Name of the array, for the message.
        array: Shape (N, ...).
        step: How many steps each environment has made.

    Raises:
        DivergedError: A number is infinite or none; it names step, environment and number.
    """
    finite = np.isfinite(array)
    if finite.all():
        return
    env, *place = (int(i) for i in np.argwhere(~finite)[0])
    entry = f" in entry {place[0]}" if place else ""
    raise DivergedError(
        f"The {what} of environment {env} is {array[(env, *place)]}{entry} after step {step}; "
        "nothing was learned from it. Mend the environment, or see whether its actions are sane."
    )
