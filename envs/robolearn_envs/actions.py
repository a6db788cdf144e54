"""What actions ask of actuators: ctrl in [-1, 1], or a choice of such."""

import gymnasium as gym
import numpy as np

from robolearn_envs.tasks.base import ActionKind, Task


class Actions:
    """Translates between a batch of actions and ctrl."""

    def __init__(self, task: Task, kind: ActionKind) -> None:
        """Let actions be ctrl of a task, or choose among its discrete actions."""
        self._choices = np.array(task.discrete_actions) if kind == "discrete" else None
        self._mirror = task.mirror_ctrl
        self.space = gym.spaces.Box(-1.0, 1.0, (task.num_ctrl,), np.float32)
        """Of single actions."""
        if self._choices is not None:
            self.space = gym.spaces.Discrete(len(self._choices))

    def ctrl(self, actions: np.ndarray, num_envs: int) -> np.ndarray:
        """Return what actions ask for, in [-1, 1]. Shape (N, num_ctrl), float64.

        Raises:
            ValueError: Actions of another shape or type, outside the space or not finite.
        """
        actions = np.asarray(actions)
        expected = (num_envs, *(self.space.shape or ()))
        if actions.shape != expected:
            raise ValueError(f"Actions must have shape {expected}, got {actions.shape}.")
        if self._choices is None:
            if not np.isfinite(actions).all():
                env, joint = np.argwhere(~np.isfinite(actions))[0]
                raise ValueError(
                    f"Actions must be finite, got {actions[env, joint]} for env {env}."
                )
            return np.minimum(np.maximum(actions.astype(np.float64), -1.0), 1.0)
        if actions.dtype.kind not in "iu":
            raise ValueError(f"Discrete actions must be integers, got {actions.dtype}.")
        if actions.min() < 0 or actions.max() >= len(self._choices):
            raise ValueError(
                f"Discrete actions must lie in 0..{len(self._choices) - 1}, "
                f"got {actions.min()}..{actions.max()}."
            )
        return self._choices[actions]

    def nearest(self, ctrl: np.ndarray) -> np.ndarray:
        """Return the actions that ask for ctrl, or for the nearest there are to choose.

        Args:
            ctrl: In [-1, 1]. Shape (N, num_ctrl).
        """
        if self._choices is None:
            return ctrl.astype(np.float32)
        away = np.linalg.norm(ctrl[:, None] - self._choices, axis=-1)
        return away.argmin(axis=1)

    def mirrored(self, actions: np.ndarray) -> np.ndarray:
        """Return the actions that do in a mirror what these do here, of choices the nearest.

        Args:
            actions: Shape (N, ...).
        """
        return self.nearest(self._mirror(self.ctrl(actions, len(actions))))
