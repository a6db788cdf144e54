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
    start: Tensor
    """The observation is the first of an episode. Shape (T + 1, N), bool."""
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
        self._size = (steps, num_envs)
        self._obs = torch.empty((steps + 1, num_envs, width), device=device)
        self._start = torch.empty((steps + 1, num_envs), dtype=torch.bool, device=device)
        self._reward = np.empty((steps, num_envs), np.float32)
        self._terminated = np.empty((steps, num_envs), np.bool_)
        self._done = np.empty((steps, num_envs), np.bool_)
        self._valid = np.empty((steps, num_envs), np.bool_)
        self._action: Tensor | None = None
        self._steps = 0
        self._final: list[np.ndarray] = []

    def see(self, obs: np.ndarray, start: np.ndarray) -> tuple[Tensor, Tensor]:
        """Store what is acted on next; before each step, and once more after the last.

        Args:
            obs: Shape (N, D), float32.
            start: They are the first of an episode. Shape (N,), bool.

        Returns:
            The same on the device, until the next rollout.
        """
        t = self._steps
        self._obs[t].copy_(torch.from_numpy(obs))
        self._start[t].copy_(torch.from_numpy(start))
        return self._obs[t], self._start[t]

    def put(self, step: Step, action: Tensor) -> None:
        """Store the step from what was seen.

        Args:
            step: What happened.
            action: What the policy chose, on the device. Shape (N, ...).
        """
        if self._action is None:
            shape = (*self._size, *action.shape[1:])
            with torch.inference_mode(False):  # gradients will be taken through what it says
                self._action = torch.empty(shape, dtype=action.dtype, device=self._device)
        t = self._steps
        self._action[t] = action
        self._reward[t] = step.reward
        self._terminated[t] = step.terminated
        self._done[t] = step.done
        self._valid[t] = step.valid
        if step.done.any():
            self._final.append(step.next_obs[step.done])
        self._steps += 1

    def finish(self) -> Rollout:
        """Return the stored steps as a rollout and begin the next one."""
        steps, action = self._steps, self._action
        assert action is not None, "finished before it began"
        none = np.empty((0, self._obs.shape[-1]), np.float32)
        rollout = Rollout(
            self._obs[: steps + 1],
            self._start[: steps + 1],
            action[:steps],
            self._on_device(self._reward[:steps]),
            self._on_device(self._terminated[:steps]),
            self._on_device(self._done[:steps]),
            self._on_device(self._valid[:steps]),
            self._on_device(np.concatenate([none, *self._final])),
        )
        self._steps, self._final = 0, []
        return rollout

    def _on_device(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self._device)
