"""On-policy storage: T steps of N environments."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from robolearn.files import require_shape


class Step(NamedTuple):
    """One step of N environments."""

    obs: np.ndarray
    """Observation before the step. Shape (N, D), float32."""
    reward: np.ndarray
    """Shape (N,), float32."""
    next_obs: np.ndarray
    """Observation the step *reached*, before any reset. Shape (N, D), float32."""
    terminated: np.ndarray
    """The step entered an absorbing state. Shape (N,), bool."""
    done: np.ndarray
    """The step ended the episode for any reason. Shape (N,), bool."""
    valid: np.ndarray
    """False where the step is left out: it was only a reset (NEXT_STEP environments), or the
    environment failed. Shape (N,), bool."""


class Transition(NamedTuple):
    """A :class:`Step` as tensors on the device of the environments, or T steps: (T, N, ...)."""

    obs: Tensor
    reward: Tensor
    next_obs: Tensor
    terminated: Tensor
    done: Tensor
    valid: Tensor | None
    """None where all steps are valid, as always on a device."""


def counted(each: Tensor, valid: Tensor | None) -> Tensor:
    """Return the valid steps of ``each``, shape (T, N, ...), in order. Shape (B, ...).

    ``valid`` has shape (T, N), bool; None where all are.
    """
    return each.flatten(0, 1) if valid is None else each[valid]


class Rollout(NamedTuple):
    """T steps of N environments, on the device they are learned from."""

    obs: Tensor
    """As in :class:`Step`. Shape (T, N, D)."""
    episode_start: Tensor
    """The observation is the first of an episode. Shape (T, N), bool."""
    action: Tensor
    """Shape (T, N, ...): int64 or float32."""
    reward: Tensor
    """Shape (T, N)."""
    next_obs: Tensor
    """Shape (T, N, D)."""
    terminated: Tensor
    """Shape (T, N), bool."""
    done: Tensor
    """Shape (T, N), bool."""
    valid: Tensor | None
    """Shape (T, N), bool; None where all steps are valid."""
    latent: Tensor
    """Input of the policy when it acted. Shape (T, N, W)."""
    initial_latent: Tensor
    """The latent before the first step: the state of a GRU. Shape (N, W)."""

    def mean(self, each: Tensor) -> Tensor:
        """Return the mean over the valid steps. Shape () for ``each`` (T, N)."""
        if self.valid is None:
            return each.mean()
        return (each * (self.valid / self.valid.sum())).sum()


class RolloutBuffer:
    """Storage for T steps of N environments; it can be saved in the middle of a rollout."""

    def __init__(self, num_envs: int, latent_width: int, device: torch.device) -> None:
        """Store for a learner on ``device`` whose latents have width W."""
        self._device = device
        self.latent = torch.zeros(num_envs, latent_width, device=device)
        """The last latent: the state of a GRU. Shape (N, W)."""
        self.initial_latent = torch.zeros_like(self.latent)
        """The same before the rollout's first step. Shape (N, W)."""
        self.noise = torch.empty(0)
        """Noise that actions are sampled with. Shape (T, N, ...)."""
        self.playing = torch.ones(num_envs, dtype=torch.bool)
        """Environments whose steps are still valid. Shape (N,), bool, on the host."""
        self.step = 0
        """Steps stored so far."""
        self.n_steps = 0
        """Steps of the rollout under way; 0 between two rollouts."""
        self._fields: dict[str, Tensor] = {}
        self._rows: dict[str, tuple[Tensor, ...]] = {}  # views of the same

    def begin(self, noise: Tensor) -> None:
        """Begin a rollout of at most as many steps as there are rows of noise."""
        self.noise, self.n_steps, self.step = noise, len(noise), 0
        self.initial_latent.copy_(self.latent)
        self.playing.fill_(True)

    def add(
        self, episode_start: Tensor, latent: Tensor, action: Tensor, transition: Transition
    ) -> None:
        """Store a step; the fields are those of a :class:`Rollout` without T."""
        row = transition._asdict() | {"latent": latent, "action": action}
        row["episode_start"] = episode_start
        if not self._fields or len(self._fields["obs"]) < self.n_steps:
            self._allocate(row)
        for name, field in self._rows.items():
            field[self.step].copy_(row[name])
        self.latent.copy_(latent)
        self.step += 1

    def _allocate(self, row: Mapping[str, Tensor | None]) -> None:
        """Allocate storage for ``n_steps`` rows like this one."""
        self._fields = {
            name: torch.empty((self.n_steps, *each.shape), dtype=each.dtype, device=each.device)
            for name, each in row.items()
            if each is not None
        }
        self._rows = {name: field.unbind() for name, field in self._fields.items()}

    def finish(self) -> Rollout:
        """Return the steps as a rollout, whose storage the next one overwrites."""
        stored = {name: field[: self.step] for name, field in self._fields.items()}
        if "valid" in stored and stored["valid"].all():
            del stored["valid"]
        self.n_steps = 0
        on_device = {name: field.to(self._device) for name, field in stored.items()}
        return Rollout(**{"valid": None, **on_device}, initial_latent=self.initial_latent)

    def state(self) -> dict[str, Tensor]:
        """Return all that is stored, by name."""
        state = {"latent": self.latent.clone()}
        if self.n_steps:
            state |= {"noise": self.noise, "initial_latent": self.initial_latent}
            state["playing"] = self.playing.clone()
            state |= {f"step.{name}": field[: self.step] for name, field in self._fields.items()}
        return state

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Load what ``state`` returned."""
        require_shape("latent", state["latent"], tuple(self.latent.shape))
        self.latent.copy_(state["latent"])
        self.n_steps = self.step = 0
        if "noise" not in state:
            return
        self.begin(state["noise"].to(self._device))
        self.initial_latent.copy_(state["initial_latent"])
        self.playing.copy_(state["playing"])
        prefix = "step."
        rows = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        if rows and len(rows["obs"]):
            self._allocate({name: stored[0] for name, stored in rows.items()})
            self.step = len(rows["obs"])
            for name, stored in rows.items():
                self._fields[name][: self.step] = stored
