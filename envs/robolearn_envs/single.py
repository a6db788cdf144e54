"""The single environment: a vector of one, seen through ``gymnasium.Env``."""

from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode

from robolearn_envs.tasks.base import ActionKind
from robolearn_envs.vector import RoboVectorEnv


class RoboEnv(gym.Env[np.ndarray, Any]):
    """Env 0 of a :class:`RoboVectorEnv` of one. It has no rule of its own."""

    metadata = RoboVectorEnv.metadata

    def __init__(
        self,
        task: str,
        *,
        engine: str | None = None,
        action: ActionKind | None = None,
        randomize: float = 0.0,
        render_mode: str | None = None,
        width: int = 640,
        height: int = 480,
    ) -> None:
        """Build the environment; the arguments are those of :class:`RoboVectorEnv`."""
        self.vector = RoboVectorEnv(
            task,
            1,
            engine=engine,
            action=action,
            randomize=randomize,
            autoreset_mode=AutoresetMode.DISABLED,
            render_mode=render_mode,
            width=width,
            height=height,
            threads=1,
        )
        fps = self.vector.metadata["render_fps"]
        self.metadata = {**type(self).metadata, "render_fps": fps}
        self.render_mode = render_mode
        self.observation_space = self.vector.single_observation_space
        self.action_space = self.vector.single_action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode; see :meth:`RoboVectorEnv.reset`."""
        super().reset(seed=seed)
        observations, _ = self.vector.reset(seed=seed)
        return observations[0], {}

    def step(self, action: Any) -> tuple[np.ndarray, SupportsFloat, bool, bool, dict[str, Any]]:
        """Advance one step; the info of the last one holds ``success``."""
        observations, rewards, terminated, truncated, info = self.vector.step(
            np.asarray(action)[None]
        )
        details = {"success": bool(info["success"][0])} if info else {}
        return observations[0], float(rewards[0]), bool(terminated[0]), bool(truncated[0]), details

    def render(self) -> np.ndarray | None:
        """Return a frame, or show it in the window in mode 'human'."""
        frames = self.vector.render()
        return None if frames is None else frames[0]

    def close(self) -> None:
        """Release the engine and the renderer; safe to call twice."""
        self.vector.close()
