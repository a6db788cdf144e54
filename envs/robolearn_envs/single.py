"""The single environment: a vector of one, seen through ``gymnasium.Env``."""

from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode

from robolearn_envs.vector import RoboVectorEnv

_NO_LIMIT = 2**40  # steps


class RoboEnv(gym.Env[Any, Any]):
    """Env 0 of a :class:`RoboVectorEnv` of one. It has no rule of its own.

    As everywhere in Gymnasium the time limit is a wrapper's, which ``gymnasium.make`` adds; without
    it episodes are truncated only where ``max_episode_steps`` is given.
    """

    metadata = RoboVectorEnv.metadata

    def __init__(self, env_id: str, *, render_mode: str | None = None, **options: Any) -> None:
        """Build the environment.

        Args:
            env_id: Id of a registered task.
            render_mode: 'rgb_array', 'human' or None.
            **options: As of :class:`RoboVectorEnv`, but for ``num_envs`` and ``autoreset_mode``.

        Raises:
            ValueError: An unknown name, or a combination that cannot be.
            TypeError: No such keyword.
        """
        for name in ("num_envs", "autoreset_mode"):
            if name in options:
                raise TypeError(
                    f"{env_id} got an unexpected keyword argument '{name}': it is for "
                    "gymnasium.make_vec."
                )
        options.setdefault("num_threads", 1)
        options.setdefault("max_episode_steps", _NO_LIMIT)  # gymnasium.make wraps a TimeLimit
        self.vector_env = RoboVectorEnv(
            env_id,
            1,
            autoreset_mode=AutoresetMode.DISABLED,
            render_mode=render_mode,
            **options,
        )
        fps = self.vector_env.metadata["render_fps"]
        self.metadata = {**type(self).metadata, "render_fps": fps}
        self.render_mode = render_mode
        self.observation_space = self.vector_env.single_observation_space
        self.action_space = self.vector_env.single_action_space
        self._drawn: dict[str, Any] = {}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode; see :meth:`RoboVectorEnv.reset`.

        The info has the keys of ``step``.
        """
        vector_env = self.vector_env
        observations, info = vector_env.reset(seed=seed, options=options)
        self._np_random, self._np_random_seed = vector_env.np_random, vector_env.np_random_seed
        self._drawn = _scalars(info.get("domain_randomization", {}))
        terms = dict.fromkeys(vector_env.reward_term_names(), np.zeros(1))
        return _first(observations), self._info(False, terms)

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Advance one step; the info holds the task's metrics, valid where the episode ends."""
        observations, rewards, terminated, truncated, info = self.vector_env.step(
            np.asarray(action)[None]
        )
        diverged = bool(info["diverged"][0]) if "diverged" in info else False
        ended = bool(terminated[0]), bool(truncated[0])
        details = self._info(diverged, info.get("reward_terms", {}))
        return _first(observations), float(rewards[0]), *ended, details

    def _info(self, diverged: bool, terms: dict[str, np.ndarray]) -> dict[str, Any]:
        """Return metrics, terms of the reward and parameters of the episode."""
        if diverged:
            info = {name: 0 * v[0].item() for name, v in self.vector_env.current_metrics().items()}
            info["success"] = False
        else:
            info = {name: v[0].item() for name, v in self.vector_env.current_metrics().items()}
        info["is_success"], info["diverged"] = info["success"], diverged
        if terms:
            info["reward_terms"] = _scalars(terms)
        if self._drawn:
            info["domain_randomization"] = dict(self._drawn)
        return info

    def render(self) -> np.ndarray | None:
        """Return a frame, or show it in the window in mode 'human'."""
        frames = self.vector_env.render()
        return None if frames is None else frames[0]

    def close(self) -> None:
        """Release the engine and the renderer; safe to call twice."""
        self.vector_env.close()


def _scalars(info: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return the numbers of a batch of one, without their masks."""
    return {name: part[0].item() for name, part in info.items() if not name.startswith("_")}


def _first(observations: Any) -> Any:
    """Return the one observation of a batch of one."""
    if isinstance(observations, dict):
        return {name: part[0] for name, part in observations.items()}
    return observations[0]
