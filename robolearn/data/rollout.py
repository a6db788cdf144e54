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
    """Gathers a :class:`Rollout` step by step."""

    def __init__(self, device: torch.device) -> None:
        """Gather for a learner on ``device``."""
        self._device = device
        self._begin()

    def _begin(self) -> None:
        self._seen: list[tuple[np.ndarray, np.ndarray]] = []
        self._steps: list[Step] = []
        self._actions: list[Tensor] = []

    def see(self, obs: np.ndarray, start: np.ndarray) -> tuple[Tensor, Tensor]:
        """Take note of what is acted on next; before each step, and once more after the last.

        Its arrays, and those of steps, are kept as they are: they must not change afterwards.

        Args:
            obs: Shape (N, D), float32.
            start: They are the first of an episode. Shape (N,), bool.

        Returns:
            The same on the device.
        """
        self._seen.append((obs, start))
        return self._on_device(obs), self._on_device(start)

    def put(self, step: Step, action: Tensor) -> None:
        """Take note of the step from what was seen.

        Args:
            step: What happened.
            action: What the policy chose, on the device. Shape (N, ...).
        """
        self._steps.append(step)
        self._actions.append(action)

    def finish(self) -> Rollout:
        """Return all of it as a rollout and begin the next one."""
        obs, start = (np.stack(arrays) for arrays in zip(*self._seen, strict=True))
        final = [step.next_obs[step.done] for step in self._steps if step.done.any()]
        none = np.empty((0, obs.shape[-1]), np.float32)
        with torch.inference_mode(False):  # gradients will be taken through what it says
            rollout = Rollout(
                self._on_device(obs),
                self._on_device(start),
                torch.stack(self._actions),
                self._stacked("reward"),
                self._stacked("terminated"),
                self._stacked("done"),
                self._stacked("valid"),
                self._on_device(np.concatenate([none, *final])),
            )
        self._begin()
        return rollout

    def _stacked(self, field: str) -> Tensor:
        return self._on_device(np.stack([getattr(step, field) for step in self._steps]))

    def _on_device(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self._device)
