"""The single environment: a vector of one, seen through ``gymnasium.Env``."""

from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode

from robolearn_envs.engines import Damping
from robolearn_envs.tasks.base import ActionKind
from robolearn_envs.vector import RoboVectorEnv


class RoboEnv(gym.Env[Any, Any]):
    """Env 0 of a :class:`RoboVectorEnv` of one. It has no rule of its own."""

    metadata = RoboVectorEnv.metadata

    def __init__(
        self,
        task: str,
        *,
        engine: str | None = None,
        action: ActionKind | None = None,
        randomize: float = 0.0,
        damping: Damping = "none",
        render_mode: str | None = None,
        view: str | None = None,
        width: int | None = None,
        height: int | None = None,
        **task_options: Any,
    ) -> None:
        """Build the environment; the arguments are those of :class:`RoboVectorEnv`."""
        self.vector = RoboVectorEnv(
            task,
            1,
            engine=engine,
            action=action,
            randomize=randomize,
            damping=damping,
            autoreset_mode=AutoresetMode.DISABLED,
            render_mode=render_mode,
            view=view,
            width=width,
            height=height,
            threads=1,
            **task_options,
        )
        fps = self.vector.metadata["render_fps"]
        self.metadata = {**type(self).metadata, "render_fps": fps}
        self.render_mode = render_mode
        self.observation_space = self.vector.single_observation_space
        self.action_space = self.vector.single_action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode; see :meth:`RoboVectorEnv.reset`."""
        super().reset(seed=seed)
        observations, _ = self.vector.reset(seed=seed, options=options)
        return _first(observations), {}

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Advance one step; the info of the last one holds the task's outcome."""
        observations, rewards, terminated, truncated, info = self.vector.step(
            np.asarray(action)[None]
        )
        details = {name: info[name][0].item() for name in self.vector.task.outcomes if info}
        ended = bool(terminated[0]), bool(truncated[0])
        return _first(observations), float(rewards[0]), *ended, details

    def render(self) -> np.ndarray | None:
        """Return a frame, or show it in the window in mode 'human'."""
        frames = self.vector.render()
        return None if frames is None else frames[0]

    def close(self) -> None:
        """Release the engine and the renderer; safe to call twice."""
        self.vector.close()


def _first(observations: Any) -> Any:
    """Return the one observation of a batch of one."""
    if isinstance(observations, dict):
        return {name: part[0] for name, part in observations.items()}
    return observations[0]
