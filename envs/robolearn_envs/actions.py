"""What actions ask a robot for: commands in [-1, 1], or a choice of such."""

import gymnasium as gym
import numpy as np

from robolearn_envs.tasks.base import ActionKind, Task


class Actions:
    """Translates between a batch of actions and commands."""

    def __init__(self, task: Task, kind: ActionKind) -> None:
        """Let actions be commands of a task, or choose among those it lists."""
        self._choices = np.array(task.choices) if kind == "discrete" else None
        self._mirror = task.mirrored_command
        commands = len(task.choices[0])
        self.space = gym.spaces.Box(-1.0, 1.0, (commands,), np.float32)
        """Of single actions."""
        if self._choices is not None:
            self.space = gym.spaces.Discrete(len(self._choices))

    def command(self, actions: np.ndarray, num_envs: int) -> np.ndarray:
        """Return what actions ask for, in [-1, 1]. Shape (N, commands), float64.

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
            return np.clip(actions.astype(np.float64), -1.0, 1.0)
        if actions.dtype.kind not in "iu":
            raise ValueError(f"Discrete actions must be integers, got {actions.dtype}.")
        if actions.min() < 0 or actions.max() >= len(self._choices):
            raise ValueError(
                f"Discrete actions must lie in 0..{len(self._choices) - 1}, "
                f"got {actions.min()}..{actions.max()}."
            )
        return self._choices[actions]

    def nearest(self, command: np.ndarray) -> np.ndarray:
        """Return the actions that ask for commands, or for the nearest there are to choose.

        Args:
            command: In [-1, 1]. Shape (N, commands).
        """
        if self._choices is None:
            return command.astype(np.float32)
        away = np.linalg.norm(command[:, None] - self._choices, axis=-1)
        return away.argmin(axis=1)

    def mirrored(self, actions: np.ndarray) -> np.ndarray:
        """Return the actions that do in a mirror what these do here, of choices the nearest.

        Args:
            actions: Shape (N, ...).
        """
        return self.nearest(self._mirror(self.command(actions, len(actions))))
