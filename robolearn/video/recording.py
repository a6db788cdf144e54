"""Record an episode of a policy, so that it can be rendered later."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from robolearn.agents.protocols import Policy
from robolearn.collect.trajectory_recorder import RecordedTrajectory
from robolearn.environments import HELD_OUT, EnvConfig
from robolearn.errors import RobolearnError
from robolearn.runs.stopping import check_stop
from robolearn.spaces import flatten_any
from robolearn.video.policy_outputs import policy_outputs
from robolearn.video.rollout import EndReason, Rollout
from robolearn.video.rollout_io import MAX_STEPS
from robolearn_envs.vector import RoboVectorEnv

STAGES = (0.0, 0.1, 0.3, 1.0)
"""Fractions of a training at which a video of its progress shows the agent."""
_OUTCOMES = ("success", "collision")


def record_episode(
    policy: Policy,
    env: EnvConfig,
    *,
    title: str,
    seed: int = HELD_OUT,
    max_steps: int | None = None,
) -> Rollout:
    """Record one episode of a policy with deterministic actions.

    Args:
        policy: The policy. Its recurrent state is passed from step to step.
        env: The environment.
        title: Name of the policy in videos.
        seed: Seed of the episode.
        max_steps: Steps after which recording stops; None for the whole episode.

    Raises:
        RobolearnError: The environment cannot be made, or ``max_steps`` is below 1.
        Stopped: On request.
    """
    return record_episode_with(lambda _: policy, env, title=title, seed=seed, max_steps=max_steps)


def record_episode_with(
    make_policy: Callable[[VectorEnv], Policy],
    env: EnvConfig,
    *,
    title: str,
    seed: int = HELD_OUT,
    max_steps: int | None = None,
) -> Rollout:
    """Record one episode of a controller that is made for the environment, such as an expert.

    ``make_policy`` returns the controller of a batch of one environment. All else is as in
    :func:`record_episode`.
    """
    if max_steps is not None and max_steps < 1:
        raise RobolearnError(f"max_steps must be at least 1, got {max_steps}.")
    envs = replace(env, num_workers=0, on_divergence="raise").make_vec(1, AutoresetMode.DISABLED)
    try:
        policy, base = make_policy(envs), envs.unwrapped
        vector = base if isinstance(base, RoboVectorEnv) else None
        recorder = EpisodeRecorder(envs.single_observation_space, envs.metadata, vector)
        observation, _ = envs.reset(seed=seed)
        recorder.begin(observation)
        state: Any = None
        ended, outcome = (False, False), {}
        for t in range(max_steps or MAX_STEPS):
            check_stop()
            outputs, start = policy_outputs(policy, observation, state), np.array([t == 0])
            action, state = policy.predict(observation, state, start, deterministic=True)
            observation, reward, terminated, truncated, info = envs.step(action)
            recorder.step(np.asarray(action)[0], observation, float(reward[0]), outputs)
            ended = bool(terminated[0]), bool(truncated[0])
            if any(ended):
                outcome = {name: bool(info[name][0]) for name in _OUTCOMES if name in info}
                break
        return recorder.rollout(title, env, seed, ended, outcome)
    finally:
        envs.close()


class EpisodeRecorder:
    """Records an episode step by step."""

    def __init__(
        self, space: gym.Space, metadata: Mapping[str, Any], vector: RoboVectorEnv | None
    ) -> None:
        """Record an environment, which the caller steps.

        Args:
            space: Single observation space.
            metadata: The environment's metadata.
            vector: The environment as a batch of one; None for third-party environments.
        """
        self._space, self._vector = space, vector
        self._fps = float(metadata.get("render_fps", 30))
        self._observations: list[np.ndarray] = []
        self._states: list[dict[str, np.ndarray]] = []
        self._actions: list[np.ndarray] = []
        self._rewards: list[float] = []
        self._outputs: list[dict[str, np.ndarray]] = []

    def begin(self, observation: Any) -> None:
        """Record the first state of the episode."""
        self._record_state(observation)

    def step(
        self, action: np.ndarray, observation: Any, reward: float, outputs: dict[str, np.ndarray]
    ) -> None:
        """Record a step.

        Args:
            action: The action as the environment takes it.
            observation: The next observation, or a batch of one.
            reward: The reward.
            outputs: Policy outputs before the step, by name.
        """
        self._actions.append(np.array(action))
        self._rewards.append(reward)
        self._outputs.append({name: np.array(output) for name, output in outputs.items()})
        self._record_state(observation)

    def _record_state(self, observation: Any) -> None:
        if self._vector is not None:
            state = self._vector.get_render_state()
            self._states.append({name: rows[0].copy() for name, rows in state.items()})
        elif self._space.is_np_flattenable:
            self._observations.append(flatten_any(self._space, observation)[0][0])

    def rollout(
        self,
        title: str,
        env: EnvConfig,
        seed: int,
        ended: tuple[bool, bool],
        outcome: Mapping[str, bool],
    ) -> Rollout:
        """Return the recorded episode.

        Args:
            title: Name of the policy in videos.
            env: The environment.
            seed: Seed of the environment's reset.
            ended: Whether the last step terminated and truncated the episode.
            outcome: Entries ``success`` and ``collision`` of the last info, as far as present.
        """
        names = self._states[0] if self._states else ()
        outputs = self._outputs[0] if self._outputs else ()
        return Rollout(
            title=title,
            env=env,
            seed=seed,
            fps=self._fps,
            actions=np.array(self._actions),
            rewards=np.array(self._rewards, dtype=np.float64),
            render_states={
                name: collapse_constant(np.array([state[name] for state in self._states]))
                for name in names
            },
            observations=np.array(self._observations) if self._observations else None,
            terminated=ended[0],
            truncated=ended[1],
            success=outcome.get("success"),
            end_reason=_end_reason(*ended, outcome, is_robolearn=self._vector is not None),
            policy_outputs={
                name: np.array([row[name] for row in self._outputs]) for name in outputs
            },
        )


def rollout_from_trajectory(
    trajectory: RecordedTrajectory, env: EnvConfig, *, seed: int, steps: int
) -> Rollout:
    """Return an episode of the training itself, with exploration and without policy outputs.

    Args:
        trajectory: The episode.
        env: Environment of the training.
        seed: Seed of its first environment.
        steps: Environment steps of the training when it was recorded.
    """
    ended, outcome = (trajectory.terminated, trajectory.truncated), trajectory.outcome
    return Rollout(
        title=f"exploring, about {steps:,} steps into training",
        env=env,
        seed=seed + trajectory.env,
        fps=trajectory.fps,
        actions=trajectory.actions,
        rewards=trajectory.rewards,
        render_states={name: collapse_constant(rows) for name, rows in trajectory.states.items()},
        terminated=trajectory.terminated,
        truncated=trajectory.truncated,
        success=outcome.get("success"),
        end_reason=_end_reason(*ended, outcome, is_robolearn=True),
    )


def collapse_constant(rows: np.ndarray) -> np.ndarray:
    """Return only the first row where all rows are the same."""
    return rows[:1] if (rows == rows[:1]).all() else rows


def _end_reason(
    terminated: bool, truncated: bool, outcome: Mapping[str, bool], *, is_robolearn: bool
) -> EndReason:
    if outcome.get("success"):
        return "success"
    if outcome.get("collision"):
        return "collision"
    if terminated:
        return "out_of_bounds" if is_robolearn else "terminated"
    return "truncated" if truncated else "unfinished"
