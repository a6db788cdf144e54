"""On-policy storage: T steps of N environments."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from robolearn.files import require_shape


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


class DeviceStep(NamedTuple):
    """One step of N environments on a device: a :class:`Step` of tensors."""

    obs: Tensor
    reward: Tensor
    next_obs: Tensor
    terminated: Tensor
    done: Tensor
    valid: Tensor
    """True everywhere."""


Steps: TypeAlias = Sequence[Step] | Sequence[DeviceStep]
"""What happened, in order."""


def stacked(steps: Steps, name: str, device: torch.device) -> Tensor:
    """Return one field of several steps as one tensor on a device. Shape (T, N, ...)."""
    fields: list[Any] = [getattr(step, name) for step in steps]
    if isinstance(steps[0], DeviceStep):
        return torch.stack(fields)
    return torch.from_numpy(np.stack(fields)).to(device)


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
    valid: Tensor | None
    """Shape (T, N), bool; None where all are, which need not be looked at."""
    final_obs: Tensor
    """What the K steps that ended an episode reached, or what all T * N did. Shape (K, D)."""

    def counted(self, each: Tensor) -> Tensor:
        """Return what there is of each valid step, one after the other. Shape (B, ...).

        Args:
            each: Shape (T, N, ...).
        """
        return each.flatten(0, 1) if self.valid is None else each[self.valid]

    def next_value(self, value: Tensor, final_value: Tensor) -> Tensor:
        """Return V of the state each step *reached*, never that of a reset observation.

        Args:
            value: V of ``obs``. Shape (T + 1, N).
            final_value: V of ``final_obs``. Shape (K,).

        Returns:
            Shape (T, N).
        """
        if len(final_value) == self.done.numel():
            return torch.where(self.done, final_value.view_as(self.done), value[1:])
        return value[1:].masked_scatter(self.done, final_value)


class RolloutBuffer:
    """Gathers a :class:`Rollout` step by step; it can be put away in the middle of one."""

    def __init__(self, num_envs: int, width: int, device: torch.device) -> None:
        """Gather for a learner on ``device`` that remembers ``width`` numbers of an environment."""
        self._device = device
        self.latent = torch.zeros(num_envs, width, device=device)
        """What the learner made of the latest observations it acted on. Shape (N, width)."""
        self._clear()

    def _clear(self) -> None:
        self.noise = torch.empty(0)
        """What actions are drawn with, one row a step; none between two rollouts."""
        self._seen: list[tuple[np.ndarray, np.ndarray]] = []
        self.latents: list[Tensor] = []
        """Of the observations acted on so far. Shapes (N, width)."""
        self._steps: list[Step] = []
        self._actions: list[Tensor] = []

    def __len__(self) -> int:
        """Return how many steps there are so far."""
        return len(self._steps)

    @property
    def length(self) -> int:
        """Steps of the rollout under way at most; 0 between two rollouts."""
        return len(self.noise)

    def begin(self, noise: Tensor) -> None:
        """Begin a rollout of at most as many steps as there are rows of noise."""
        self.noise, self.before = noise, self.latent.clone()  # or they could not both be written
        self.playing = np.ones(len(self.latent), dtype=np.bool_)
        """Environments whose steps count. Shape (N,), bool."""

    def on_device(self, *arrays: np.ndarray) -> tuple[Tensor, ...]:
        """Return arrays on the learner's device."""
        return tuple(self._on_device(array) for array in arrays)

    def put(self, start: np.ndarray, latent: Tensor, action: Tensor, step: Step) -> None:
        """Take note of a step.

        Its arrays are kept as they are: they must not change afterwards.

        Args:
            start: What was acted on is the first of an episode. Shape (N,), bool.
            latent: What the learner made of it. Shape (N, width).
            action: What it chose, on the device. Shape (N, ...).
            step: What happened.
        """
        self._seen.append((step.obs, start))
        self.latents.append(latent)
        self._actions.append(action)
        self._steps.append(step)
        self.latent = latent

    def finish(self, obs: np.ndarray, start: np.ndarray) -> Rollout:
        """Return all of it as a rollout and be ready for the next one.

        Args:
            obs: What the last step led to. Shape (N, D).
            start: It is the first of an episode. Shape (N,), bool.
        """
        seen = zip(*self._seen, (obs, start), strict=True)
        every_obs, starts = (np.stack(arrays) for arrays in seen)
        final = [step.next_obs[step.done] for step in self._steps if step.done.any()]
        none = np.empty((0, obs.shape[-1]), np.float32)
        with torch.inference_mode(False):  # gradients will be taken through what it says
            rollout = Rollout(
                self._on_device(every_obs),
                self._on_device(starts),
                torch.stack(self._actions),
                self._stacked("reward"),
                self._stacked("terminated"),
                self._stacked("done"),
                self._stacked("valid"),
                self._on_device(np.concatenate([none, *final])),
            )
        self._clear()
        return rollout

    def _stacked(self, field: str) -> Tensor:
        return self._on_device(np.stack([getattr(step, field) for step in self._steps]))

    def _on_device(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self._device)

    def state(self) -> dict[str, Tensor]:
        """Return all of it, by name."""
        told = {"latent": self.latent}
        if not self.length:
            return told
        told |= {"noise": self.noise, "before": self.before}
        told["playing"] = torch.from_numpy(self.playing.copy())
        if self._steps:
            told["latents"], told["actions"] = torch.stack(self.latents), torch.stack(self._actions)
            told["starts"] = torch.from_numpy(np.stack([start for _, start in self._seen]))
            told |= {f"step.{name}": self._stacked(name) for name in Step._fields}
        return told

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go back to what ``state`` returned."""
        self._clear()
        require_shape("latent", state["latent"], tuple(self.latent.shape))
        self.latent = state["latent"].to(self._device)
        if "noise" not in state:
            return
        self.noise, self.before = (state[name].to(self._device) for name in ("noise", "before"))
        self.playing = state["playing"].numpy()
        if "latents" not in state:
            return
        self.latents = list(state["latents"].to(self._device))
        self._actions = list(state["actions"].to(self._device))
        fields = (state[f"step.{name}"].cpu().numpy() for name in Step._fields)
        self._steps = [Step(*arrays) for arrays in zip(*fields, strict=True)]
        starts = state["starts"].numpy()
        self._seen = [(step.obs, start) for step, start in zip(self._steps, starts, strict=True)]
