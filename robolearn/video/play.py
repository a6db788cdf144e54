"""Playing an episode, and taping it as it goes on."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from robolearn.agents.protocols import Policy
from robolearn.environments import HELD_OUT, EnvConfig
from robolearn.errors import RobolearnError
from robolearn.runs.stopping import check_stop
from robolearn.spaces import flatten_any
from robolearn.video.rollout import Rollout
from robolearn.video.stored import LONGEST
from robolearn.video.thoughts import thoughts_of
from robolearn_envs.vector import RoboVectorEnv

STAGES = (0.0, 0.1, 0.3, 1.0)
"""Parts of a training after which a montage of its progress shows the agent."""
_OUTCOMES = ("success", "collision")


def play(
    agent: Policy,
    env: EnvConfig,
    *,
    label: str,
    seed: int = HELD_OUT,
    max_steps: int | None = None,
) -> Rollout:
    """Play one episode of an agent's best actions, its memory carried from step to step.

    Args:
        agent: Who acts.
        env: Where.
        label: What to call it.
        seed: Of the episode.
        max_steps: After which it is cut short; None for never.

    Raises:
        RobolearnError: The environment cannot be made, or no steps are asked for.
        Stopped: On request.
    """
    return play_made(lambda _: agent, env, label=label, seed=seed, max_steps=max_steps)


def play_made(
    make: Callable[[VectorEnv], Policy],
    env: EnvConfig,
    *,
    label: str,
    seed: int = HELD_OUT,
    max_steps: int | None = None,
) -> Rollout:
    """Play one episode of a controller that is made for the very environment, as experts are.

    Args:
        make: Returns the controller of a batch of one environment.
        env: See :func:`play`.
        label: See :func:`play`.
        seed: See :func:`play`.
        max_steps: See :func:`play`.

    Raises:
        RobolearnError: The environment cannot be made, or no steps are asked for.
        Stopped: On request.
    """
    if max_steps is not None and max_steps < 1:
        raise RobolearnError(f"max_steps must be at least 1, got {max_steps}.")
    envs = replace(env, workers=0, on_nan="stop").make_vec(1, AutoresetMode.DISABLED)
    try:
        return _played(make(envs), envs, env, label, seed, max_steps or LONGEST)
    finally:
        envs.close()


def _played(
    agent: Policy, envs: VectorEnv, env: EnvConfig, label: str, seed: int, most: int
) -> Rollout:
    base = envs.unwrapped
    native = base if isinstance(base, RoboVectorEnv) else None
    tape = Tape(envs.single_observation_space, envs.metadata, native)
    observation, _ = envs.reset(seed=seed)
    tape.begin(observation)
    state: Any = None
    for t in range(most):
        check_stop()
        told = thoughts_of(agent, observation, state)
        action, state = agent.predict(observation, state, np.array([t == 0]), deterministic=True)
        observation, reward, terminated, truncated, info = envs.step(action)
        ended = bool(terminated[0]), bool(truncated[0])
        tape.step(np.asarray(action)[0], observation, float(reward[0]), told)
        if any(ended):
            outcome = {
                name: bool(info[name][0]) for name in ("success", "collision") if name in info
            }
            return tape.rollout(label, env, seed, ended, outcome)
    return tape.rollout(label, env, seed, (False, False), {})


class Tape:
    """Records an episode as it goes on."""

    def __init__(
        self, space: gym.Space, metadata: Mapping[str, Any], native: RoboVectorEnv | None
    ) -> None:
        """Record an environment, which others step.

        Args:
            space: Of its observations.
            metadata: Its own.
            native: The batch of one that it is; None of a foreign one.
        """
        self._space, self._native = space, native
        self._fps = float(metadata.get("render_fps", 30))
        self._seen: list[np.ndarray] = []
        self._states: list[dict[str, np.ndarray]] = []
        self._actions: list[np.ndarray] = []
        self._rewards: list[float] = []
        self._thoughts: list[dict[str, np.ndarray]] = []

    def begin(self, observation: Any) -> None:
        """Note how the episode begins."""
        self._note(observation)

    def step(
        self, action: np.ndarray, observation: Any, reward: float, told: dict[str, np.ndarray]
    ) -> None:
        """Note a step.

        Args:
            action: As the environment takes it.
            observation: What it led to, or a batch of one.
            reward: For it.
            told: What was thought before it, as ``thoughts_of`` returns it.
        """
        self._actions.append(np.array(action))
        self._rewards.append(reward)
        self._thoughts.append({name: np.array(thought) for name, thought in told.items()})
        self._note(observation)

    def _note(self, observation: Any) -> None:
        if self._native is not None:
            pictured = self._native.pictured()
            self._states.append({name: rows[0].copy() for name, rows in pictured.items()})
        elif self._space.is_np_flattenable:
            self._seen.append(flatten_any(self._space, observation)[0][0])

    def rollout(
        self,
        label: str,
        env: EnvConfig,
        seed: int,
        ended: tuple[bool, bool],
        outcome: Mapping[str, bool],
    ) -> Rollout:
        """Return what was recorded.

        Args:
            label: What to call it.
            env: Where it was.
            seed: The environment was reset with.
            ended: Whether the last step terminated and truncated the episode.
            outcome: What the environment told of the end: ``success``, ``collision``.
        """
        first = self._thoughts[0] if self._thoughts else {}
        return Rollout(
            label=label,
            env=env,
            seed=seed,
            fps=self._fps,
            actions=np.array(self._actions),
            rewards=np.array(self._rewards, dtype=np.float64),
            states={
                name: once(np.array([state[name] for state in self._states]))
                for name in (self._states[0] if self._states else ())
            },
            observations=np.array(self._seen) if self._seen else None,
            terminated=ended[0],
            truncated=ended[1],
            success=outcome.get("success"),
            ending=ending_of(*ended, outcome, native=self._native is not None),
            thoughts={name: np.array([told[name] for told in self._thoughts]) for name in first},
        )


def once(rows: np.ndarray) -> np.ndarray:
    """Return the first row alone where all are the same."""
    return rows[:1] if (rows == rows[:1]).all() else rows


def ending_of(
    terminated: bool, truncated: bool, outcome: Mapping[str, bool], *, native: bool
) -> str:
    """Return in words how an episode ended."""
    for name in _OUTCOMES:
        if outcome.get(name):
            return name
    if terminated:
        return "fell" if native else "over"
    return "time is up" if truncated else ""
