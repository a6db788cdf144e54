"""Living through recorded episodes again, on any engine, and how far that leads from the record."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import batch_space, iterate

from robolearn.environments import EnvConfig
from robolearn.errors import RobolearnError
from robolearn.imitation.demos.episodes import Demonstrations
from robolearn.imitation.demos.findings import observed
from robolearn.runs.meta import comment
from robolearn.runs.stopping import check_stop
from robolearn.video.recording import EpisodeRecorder
from robolearn.video.render import VideoInfo, render_video
from robolearn.video.rollout import Rollout
from robolearn.video.writer import check_target
from robolearn_envs.robots import CartPole, DMControlCartPole
from robolearn_envs.single import RoboEnv

TOLERANCE = 1e-6
"""Differences of more than this are a divergence."""
_STATE = ("qpos", "qvel")


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """How far an episode lived through again is from the one recorded."""

    episode: int
    """Its number."""
    recorded_steps: int
    steps: int
    """Steps made again: fewer where the environment ended the episode earlier."""
    observation: float
    """Greatest difference of an entry of an observation."""
    state: float | None
    """Greatest difference of a position or velocity, m, rad or per s; None where none is stored."""
    reward: float
    """Greatest difference of a reward."""
    first: int | None
    """After how many steps one of them is first more than ``TOLERANCE``, or one of the two episodes
    ends and the other does not; None for never."""
    recorded_return: float
    total: float
    """Return now."""
    recorded_success: bool | None
    success: bool | None
    """None where the episode did not come to its end, or the environment does not say."""

    @property
    def exact(self) -> bool:
        """Whether every number is the same, bit for bit."""
        return self.first is None and not (self.observation or self.state or self.reward)


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """Episodes lived through again."""

    env: EnvConfig
    """Where."""
    episodes: tuple[Divergence, ...]
    film: VideoInfo | None
    """None where none was asked for."""


def replay(
    demos: Demonstrations,
    numbers: Sequence[int],
    env: EnvConfig,
    *,
    out: Path | None = None,
    overwrite: bool = False,
) -> Replayed:
    """Begin recorded episodes as they began, and do what was done in them.

    Args:
        demos: The recorded ones.
        numbers: Which of them.
        env: Where: their own environment, or that on another engine.
        out: A video to write, as ``render_video`` does; None for none.
        overwrite: Whether an existing video may be replaced.

    Raises:
        RobolearnError: No such episode, an environment with other spaces, or an episode that cannot
            be begun as it began.
        ValueError: A bad argument.
        OSError: The video cannot be written there, or exists already.
        RecordingError: ffmpeg failed.
    """
    count = len(demos.episodes)
    for k in numbers:
        if not 0 <= k < count:
            raise RobolearnError(f"{demos.name} has episodes 0..{count - 1}, got {k}.")
    if out is not None:
        check_target(out, overwrite=overwrite)
    made = env.make()
    try:
        _require_spaces(demos, env, made)
        again = _Again(made, demos, numbers, env)
        for _ in numbers:
            again.live_through(recorded=out is not None)
    finally:
        made.close()
    recording = None
    if out is not None:
        how: dict[str, Any] = {"comment": comment(), "overwrite": overwrite}
        recording = render_video(again.rollouts, out, concatenate=True, **how)
    return Replayed(env=env, episodes=tuple(again.lived), film=recording)


def _require_spaces(demos: Demonstrations, env: EnvConfig, made: gym.Env) -> None:
    for name in ("observation_space", "action_space"):
        theirs, ours = getattr(demos, name), getattr(made, name)
        if theirs != ours:
            raise RobolearnError(
                f"{demos.name} does not fit {env.id}: its {name} is {theirs}, there it is {ours}."
            )


class _Again(gym.Wrapper):
    """An environment whose every reset begins the next recorded episode, whatever the seed."""

    def __init__(
        self, env: gym.Env, demos: Demonstrations, numbers: Sequence[int], config: EnvConfig
    ) -> None:
        super().__init__(env)
        self._demos, self._coming, self._config = demos, iter(numbers), config
        self._nominal = not config.kwargs.get("domain_randomization")
        base = env.unwrapped
        self._vector = base.vector_env if isinstance(base, RoboEnv) else None
        self.lived: list[Divergence] = []
        self.rollouts: list[Rollout] = []

    def live_through(self, *, recorded: bool) -> None:
        """Live through the next episode, and keep it to be drawn if it is to be recorded."""
        observation, _ = self.reset()
        recorder = (
            EpisodeRecorder(self.observation_space, self.metadata, self._vector)
            if recorded
            else None
        )
        if recorder is not None:
            recorder.begin(observation)
        terminated = truncated = False
        told: dict[str, Any] = {}
        while not terminated and not truncated:
            check_stop()
            action = self._one.action[self._t]
            observation, reward, terminated, truncated, told = self.step(action)
            if recorder is not None:
                recorder.step(action, observation, float(reward), {})
        if recorder is not None:
            label, seed = f"episode {self._k}", self._one.seed or 0
            self.rollouts.append(recorder.rollout(label, self._config, seed, self._ends, told))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin the next episode as it began."""
        self._k = next(self._coming)
        self._one = self._demos.episodes[self._k]
        self._t = 0
        self._rewards: list[float] = []
        self._worst = np.zeros(3)
        self._first: int | None = None
        if self._one.seed is None:
            return self._begin_from_state(), {}
        observation, info = self.env.reset(seed=self._one.seed)
        away = self._away(observation, 0.0)
        moved = away[0] if self._vector is None or not self._stored() else away[1]
        if moved > TOLERANCE:
            raise RobolearnError(
                f"Episode {self._k} of {self._demos.name} cannot be lived through here: "
                f"reset(seed={self._one.seed}) begins {moved:.3g} off its start. It is of another "
                "version of the environment, or of one with other options."
            )
        self._note(away, ends_differ=False)
        return observation, info

    def _begin_from_state(self) -> Any:
        """Begin a cart-pole's episode in its first state, and return its first observation."""
        vector = self._vector
        known = vector is not None and isinstance(vector.task.robot, CartPole | DMControlCartPole)
        if not known or not self._nominal or not self._stored():
            raise RobolearnError(
                f"Episode {self._k} of {self._demos.name} cannot be begun again: it has no seed, "
                "and only cart-poles without randomize begin from a stored state. "
                "Record episodes with their seeds."
            )
        assert vector is not None
        self.env.reset(seed=0)  # nobody has held the pole yet
        start = {name: self._one.state[name][:1] for name in _STATE}
        vector.set_render_state(start | dict(vector.task_state))
        batched = batch_space(self._demos.observation_space, len(self._one) + 1)
        return next(iterate(batched, self._one.observation))

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Make a step, and note how far off the record it leads."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        one, t = self._one, self._t
        self._ends = bool(terminated), bool(truncated)
        over = any(self._ends)
        self._t += 1
        self._rewards.append(float(reward))
        away = self._away(observation, _distance(reward, one.reward[t]))
        self._note(away, ends_differ=over != bool(one.terminated[t] or one.truncated[t]))
        ended = over or self._t == len(one)
        if ended:
            success = bool(info["success"]) if over and "success" in info else None
            self.lived.append(self._divergence(success))
        return observation, reward, bool(terminated), ended and not terminated, info

    def _stored(self) -> bool:
        """Return whether the record says where the robot was."""
        return all(name in self._one.state for name in _STATE)

    def _away(self, observation: Any, reward: float) -> np.ndarray:
        """Return how far observation, state and reward are off the record. Shape (3,)."""
        space, t = self._demos.observation_space, self._t
        then, now = observed(space, self._one.observation), observed(space, observation)
        seen = max(_distance(b.array, a.array[t]) for a, b in zip(then, now, strict=True))
        state = 0.0
        if self._vector is not None and self._stored():
            rows = dict(zip(_STATE, self._vector.qpos_qvel(), strict=True))
            state = max(_distance(rows[name][0], self._one.state[name][t]) for name in _STATE)
        return np.array([seen, state, reward])

    def _note(self, away: np.ndarray, *, ends_differ: bool) -> None:
        self._worst = np.maximum(self._worst, away)
        if self._first is None and (ends_differ or away.max() > TOLERANCE):
            self._first = self._t

    def _divergence(self, success: bool | None) -> Divergence:
        observation, state, reward = (float(worst) for worst in self._worst)
        return Divergence(
            episode=self._k,
            recorded_steps=len(self._one),
            steps=self._t,
            observation=observation,
            state=state if self._vector is not None and self._stored() else None,
            reward=reward,
            first=self._first,
            recorded_return=self._one.total,
            total=float(np.sum(self._rewards)),
            recorded_success=self._one.success,
            success=success,
        )


def _distance(now: Any, then: Any) -> float:
    """Return the greatest difference of two arrays; infinite where they cannot be compared."""
    now, then = np.asarray(now, dtype=np.float64), np.asarray(then, dtype=np.float64)
    if now.shape != then.shape:
        return math.inf
    away = np.abs(now - then).max(initial=0.0)
    return float(away) if np.isfinite(away) else math.inf
