"""On-policy storage: T steps of N environments."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Step(NamedTuple):
    """One step of N environments."""

    obs: np.ndarray
    """What was acted on. Shape (N, D), float32."""
    reward: np.ndarray
    """Shape (N,), float32."""
    next_obs: np.ndarray
    """What the step *reached*, before any reset. Shape (N, D), float32."""
    terminated: np.ndarray
    """The step entered an absorbing state. Shape (N,), bool."""
    done: np.ndarray
    """The step ended the episode for any reason. Shape (N,), bool."""
    valid: np.ndarray
    """False where the step was only a reset (NEXT_STEP environments). Shape (N,), bool."""


class Rollout(NamedTuple):
    """T steps of N environments, on the device they are learned from."""

    obs: Tensor
    """What was acted on, and the observation after the last step. Shape (T + 1, N, D)."""
    action: Tensor
    """Shape (T, N) int64 or (T, N, A) float32."""
    reward: Tensor
    """Shape (T, N)."""
    terminated: Tensor
    """Shape (T, N), bool."""
    done: Tensor
    """Shape (T, N), bool."""
    valid: Tensor
    """Shape (T, N), bool."""
    final_obs: Tensor
    """What the K steps that ended an episode reached. Shape (K, D)."""

    def next_value(self, value: Tensor, final_value: Tensor) -> Tensor:
        """Return V of the state each step *reached*, never that of a reset observation.

        Args:
            value: V of ``obs``. Shape (T + 1, N).
            final_value: V of ``final_obs``. Shape (K,).

        Returns:
            Shape (T, N).
        """
        return value[1:].masked_scatter(self.done, final_value)


class RolloutBuffer:
    """Fills a :class:`Rollout` step by step; its memory is used again for the next one."""

    def __init__(self, steps: int, num_envs: int, width: int, device: torch.device) -> None:
        """Hold up to ``steps`` steps of ``num_envs`` environments, observations of ``width``."""
        self._device = device
        self._obs = np.empty((steps + 1, num_envs, width), np.float32)
        self._reward = np.empty((steps, num_envs), np.float32)
        self._terminated = np.empty((steps, num_envs), np.bool_)
        self._done = np.empty((steps, num_envs), np.bool_)
        self._valid = np.empty((steps, num_envs), np.bool_)
        self._actions: list[Tensor] = []
        self._final: list[np.ndarray] = []

    def put(self, step: Step, action: Tensor) -> None:
        """Store the next step.

        Args:
            step: What happened.
            action: What the policy chose, on the device. Shape (N, ...).
        """
        t = len(self._actions)
        self._actions.append(action)
        self._obs[t] = step.obs
        self._reward[t] = step.reward
        self._terminated[t] = step.terminated
        self._done[t] = step.done
        self._valid[t] = step.valid
        if step.done.any():
            self._final.append(step.next_obs[step.done])

    def finish(self, obs: np.ndarray) -> Rollout:
        """Return the stored steps as a rollout and begin the next one.

        Args:
            obs: Observations after the last step. Shape (N, D).
        """
        steps = len(self._actions)
        self._obs[steps] = obs
        final = np.concatenate(self._final) if self._final else self._obs[0, :0]
        rollout = Rollout(
            self._on_device(self._obs[: steps + 1]),
            torch.stack(self._actions),
            self._on_device(self._reward[:steps]),
            self._on_device(self._terminated[:steps]),
            self._on_device(self._done[:steps]),
            self._on_device(self._valid[:steps]),
            self._on_device(final),
        )
        self._actions, self._final = [], []
        return rollout

    def _on_device(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self._device)
