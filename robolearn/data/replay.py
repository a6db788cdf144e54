"""Replay memory of N environments, with n-step returns formed when it is sampled."""

from typing import NamedTuple

import torch
from torch import Tensor

from robolearn.data.rollout import Step


class Batch(NamedTuple):
    """B transitions of up to n steps each."""

    obs: Tensor
    """What was acted on. Shape (B, D)."""
    action: Tensor
    """Shape (B,), int64."""
    reward: Tensor
    """Discounted sum of the rewards of the steps spanned. Shape (B,)."""
    next_obs: Tensor
    """What the last step spanned reached, before any reset. Shape (B, D)."""
    discount: Tensor
    """gamma to the number of steps spanned; 0 where the last one terminated. Shape (B,)."""
    weight: Tensor
    """0 where the environment only reset, else 1. Shape (B,)."""


class Replay:
    """A ring of the latest steps, oldest overwritten first, on the learner's device."""

    def __init__(self, capacity: int, num_envs: int, width: int, device: torch.device) -> None:
        """Hold about ``capacity`` steps of ``num_envs`` environments.

        Args:
            capacity: Environment steps in all; rounded down to whole rows of ``num_envs``.
            num_envs: N.
            width: Width D of an observation.
            device: Where the memory lies.
        """
        self._rows = max(capacity // num_envs, 1)
        self._num_envs = num_envs
        shape = (self._rows, num_envs)
        self._obs = torch.empty(*shape, width, device=device)
        self._next_obs = torch.empty(*shape, width, device=device)
        self._action = torch.empty(shape, dtype=torch.int64, device=device)
        self._reward = torch.empty(shape, device=device)
        self._terminated = torch.empty(shape, dtype=torch.bool, device=device)
        self._done = torch.empty(shape, dtype=torch.bool, device=device)
        self._valid = torch.empty(shape, dtype=torch.bool, device=device)
        self._put = 0  # rows ever written

    @property
    def capacity(self) -> int:
        """How many environment steps it holds when it is full."""
        return self._rows * self._num_envs

    def __len__(self) -> int:
        """Return how many environment steps are stored."""
        return min(self._put, self._rows) * self._num_envs

    def put(self, step: Step, action: Tensor) -> None:
        """Store one step of all environments; ``action`` has shape (N,)."""
        row = self._put % self._rows
        self._obs[row] = torch.from_numpy(step.obs)
        self._next_obs[row] = torch.from_numpy(step.next_obs)
        self._action[row] = action
        self._reward[row] = torch.from_numpy(step.reward)
        self._terminated[row] = torch.from_numpy(step.terminated)
        self._done[row] = torch.from_numpy(step.done)
        self._valid[row] = torch.from_numpy(step.valid)
        self._put += 1

    def sample(self, count: int, n: int, gamma: float, rng: torch.Generator) -> Batch:
        """Draw transitions uniformly and follow each for up to ``n`` steps.

        A transition ends early where its episode does. Where the episode goes on past the
        newest stored step, it spans the steps that are stored.

        Args:
            count: B.
            n: Steps of the return, at least 1.
            gamma: Discount per step.
            rng: Draws the transitions.
        """
        device = self._reward.device
        stored = min(self._put, self._rows)
        oldest = self._put - stored
        age = torch.randint(stored, (count,), generator=rng, device=device)
        env = torch.randint(self._num_envs, (count,), generator=rng, device=device)
        first = oldest + age
        row = first % self._rows
        reward, last = self._reward[row, env], row
        going = ~self._done[row, env]
        discount = torch.full((count,), gamma, device=device)
        for k in range(1, n):
            step = first + k
            going = going & (step < self._put)
            row_k = step % self._rows
            reward = reward + torch.where(going, discount * self._reward[row_k, env], 0.0)
            discount = torch.where(going, discount * gamma, discount)
            last = torch.where(going, row_k, last)
            going = going & ~self._done[row_k, env]
        return Batch(
            self._obs[row, env],
            self._action[row, env],
            reward,
            self._next_obs[last, env],
            discount * ~self._terminated[last, env],
            self._valid[row, env].float(),
        )
