"""Put an environment into the states of a recorded episode, to render them.

This runs in rendering processes and imports no torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec

from robolearn.errors import RobolearnError
from robolearn.making import refusals
from robolearn.spaces import flatten_batch
from robolearn_envs.single import RoboEnv
from robolearn_envs.vector import RoboVectorEnv

_TOLERANCE = 1e-4
"""Allowed difference of a replayed observation, absolute and relative."""


@dataclass(frozen=True, kw_only=True)
class EpisodeData:
    """The parts of a ``Rollout`` that are rendered, with the same shapes."""

    title: str
    env: str | EnvSpec
    """An id with a module, ``module:Id-v0``, which is imported where it is made; else the spec."""
    env_kwargs: Mapping[str, Any]
    """Keyword arguments of the environment, including camera and size."""
    seed: int
    render_states: Mapping[str, np.ndarray]
    actions: np.ndarray
    rewards: np.ndarray
    observations: np.ndarray | None
    policy_outputs: Mapping[str, np.ndarray]
    end_reason: str

    def __len__(self) -> int:
        """Return the number of steps T."""
        return len(self.rewards)

    @property
    def env_id(self) -> str:
        """Gymnasium id."""
        return self.env if isinstance(self.env, str) else self.env.id


class EpisodePlayer:
    """An environment that can be put into any step of an episode.

    Environments with render states are set to them; others replay the actions.
    """

    def __init__(self, episode: EpisodeData) -> None:
        """Make the environment.

        Raises:
            RobolearnError: It cannot be made.
        """
        self.episode = episode
        with refusals():
            self.env = gym.make(episode.env, render_mode="rgb_array", **episode.env_kwargs)
        base = self.env.unwrapped
        self._vector = base.vector_env if isinstance(base, RoboEnv) else None
        if episode.render_states and self._vector is None:
            raise RobolearnError(
                f"{episode.title}: {episode.env_id} has no states that can be set."
            )
        self._step = -1  # not reset yet
        self._obs = np.zeros(0)
        self._frame: np.ndarray | None = None

    def frame(self, step: int) -> np.ndarray:
        """Return the picture after some steps. Shape (height, width, 3), uint8, read-only.

        Raises:
            RobolearnError: The episode is of another environment.
        """
        if step != self._step or self._frame is None:
            self._seek(step)
            self._frame = np.asarray(self.env.render())
        return self._frame

    def state(self) -> np.ndarray:
        """Return positions and velocities, or the flat observation of a third-party environment."""
        if self._vector is None:
            return self._obs
        return np.concatenate([part[0] for part in self._vector.qpos_qvel()])

    def _seek(self, step: int) -> None:
        if step < self._step or self._step < 0:
            self._reset()
        while self._step < step:
            self._step += 1
            if self._vector is not None and self.episode.render_states:
                self._set_state(self._vector)
            else:
                observation, *_ = self.env.step(self.episode.actions[self._step - 1])
                self._check_obs(observation)

    def _reset(self) -> None:
        observation, _ = self.env.reset(seed=self.episode.seed)
        self._step = 0
        if self._vector is None or not self.episode.render_states:
            self._check_obs(observation)
            return
        current, first = self._vector.get_render_state(), self._render_state()
        if current.keys() != first.keys() or not all(
            np.array_equal(current[name], first[name]) for name in first
        ):  # the episode is not the first one of its seed
            self._set_state(self._vector, begin=True)

    def _render_state(self) -> dict[str, np.ndarray]:
        return {
            name: rows[[min(self._step, len(rows) - 1)]]
            for name, rows in self.episode.render_states.items()
        }

    def _set_state(self, vector: RoboVectorEnv, *, begin: bool = False) -> None:
        state, current = self._render_state(), vector.get_render_state()
        for name in state.keys() | current.keys():
            # Layouts may differ in the number of obstacles, but not in the numbers of each.
            ours, theirs = (rows[name].shape if name in rows else () for rows in (state, current))
            if len(ours) != len(theirs) or ours[-1:] != theirs[-1:]:
                raise RobolearnError(
                    f"{self.episode.title}: {name} has shape {ours[1:]}, in "
                    f"{self.episode.env_id} it has {theirs[1:]}."
                )
        vector.set_render_state(state, new_episode=begin)

    def _check_obs(self, observation: Any) -> None:
        """Keep the observation, and compare it with the recorded one."""
        space = self.env.observation_space
        if not space.is_np_flattenable:
            return
        self._obs = flatten_batch(space, observation, None)
        if self.episode.observations is None:
            return
        recorded = self.episode.observations[self._step]
        if self._obs.shape != recorded.shape or not np.allclose(
            self._obs, recorded, rtol=_TOLERANCE, atol=_TOLERANCE
        ):
            raise RobolearnError(
                f"{self.episode.title} cannot be rendered: replayed in {self.episode.env_id}, it "
                f"has other observations at step {self._step}."
            )

    @property
    def renderer(self) -> str | None:
        """Name of the renderer; None for third-party environments."""
        return None if self._vector is None else self._vector.renderer_name

    @property
    def backend(self) -> str:
        """The physics engine, or the id of a third-party environment."""
        return self.episode.env_id if self._vector is None else self._vector.engine_name

    @property
    def overlay_left(self) -> int:
        """Free space at the upper edge begins here, in pixels from the left."""
        return 0 if self._vector is None else self._vector.caption_x

    @property
    def is_map_only(self) -> bool:
        """Whether nothing but a map is shown, most of which a panel would hide."""
        return self.episode.env_kwargs.get("view") == "top"

    def close(self) -> None:
        """Close the environment."""
        self.env.close()
