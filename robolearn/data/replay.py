"""Replay memory of N environments, with n-step returns formed when it is read."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from robolearn.data.rollout import Steps, stacked
from robolearn.files import require_shape


class Batch(NamedTuple):
    """Transitions of up to n steps each; their shape (...) is that of what was asked for."""

    obs: Tensor
    """What was acted on. Shape (..., D)."""
    action: Tensor
    """Shape (...), int64."""
    reward: Tensor
    """Discounted sum of the rewards of the steps spanned. Shape (...)."""
    next_obs: Tensor
    """What the last step spanned reached, before any reset. Shape (..., D)."""
    discount: Tensor
    """gamma to the number of steps spanned; 0 where the last one terminated. Shape (...)."""
    weight: Tensor
    """0 where the environment only reset, else 1. Shape (...)."""


_STORED = ("obs", "action", "reward", "next_obs", "terminated", "done", "valid")
"""Attributes of a replay memory that hold a number for each step."""


class Replay:
    """A ring of the latest steps, oldest overwritten first, on the learner's device.

    A step of environment i lies at ``row * num_envs + i``, the next one ``num_envs`` further on.
    """

    def __init__(self, capacity: int, num_envs: int, width: int, device: torch.device) -> None:
        """Hold about ``capacity`` steps of ``num_envs`` environments.

        Args:
            capacity: Environment steps in all; rounded down to whole rows of ``num_envs``.
            num_envs: N.
            width: Width D of an observation.
            device: Where the memory lies.
        """
        self._rows = max(capacity // num_envs, 1)
        self._num_envs, self._width, self._device = num_envs, width, device
        self._put = 0  # rows ever written
        self._newest = torch.zeros((), dtype=torch.int64, device=device)  # of them, on the device

    def _allocate(self) -> None:
        """Take the memory; not before there is something to store."""
        size, device = self.capacity, self._device
        self._obs = torch.empty(size, self._width, device=device)
        self._next_obs = torch.empty(size, self._width, device=device)
        self._action = torch.empty(size, dtype=torch.int64, device=device)
        self._reward = torch.empty(size, device=device)
        self._terminated = torch.empty(size, dtype=torch.bool, device=device)
        self._done = torch.empty(size, dtype=torch.bool, device=device)
        self._valid = torch.empty(size, device=device)

    def state(self) -> dict[str, Tensor]:
        """Return all that is stored, by name."""
        told = {"put": torch.tensor(self._put)}
        if self._put:
            told |= {name: getattr(self, f"_{name}")[: len(self)] for name in _STORED}
        return told

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go back to what ``state`` returned."""
        self._put = int(state["put"])
        self._newest.fill_(self._put - 1)
        if not self._put:
            return
        for name in _STORED:
            seen = (self._width,) if name in ("obs", "next_obs") else ()
            require_shape(name, state[name], (len(self), *seen))
        self._allocate()
        for name in _STORED:
            memory: Tensor = getattr(self, f"_{name}")
            memory[: len(self)] = state[name].to(memory)

    @property
    def capacity(self) -> int:
        """How many environment steps it holds when it is full."""
        return self._rows * self._num_envs

    def __len__(self) -> int:
        """Return how many environment steps are stored."""
        return min(self._put, self._rows) * self._num_envs

    def put(self, steps: Steps, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Store T steps of all environments.

        Args:
            steps: What happened, in order.
            actions: What was done. Shape (T, N), int64.

        Returns:
            Where they lie, and 0 for those that were only a reset, else 1; each of shape (T * N,),
            T being no more than the ring has rows.
        """
        if not self._put:
            self._allocate()
        steps, actions = steps[-self._rows :], actions[-self._rows :]
        device = self._device
        rows = (self._put + torch.arange(len(steps), device=device)) % self._rows
        envs = torch.arange(self._num_envs, device=device)
        where = (rows[:, None] * self._num_envs + envs).flatten()
        for name in ("obs", "next_obs", "reward", "terminated", "done", "valid"):
            told = stacked(steps, name, device).flatten(0, 1)
            memory: Tensor = getattr(self, f"_{name}")
            memory[where] = told.to(memory)
        self._action[where] = actions.flatten()
        self._put += len(steps)
        self._newest.fill_(self._put - 1)
        return where, self._valid[where]

    def draw(self, *shape: int, rng: torch.Generator) -> Tensor:
        """Draw stored steps uniformly and return where they lie. Shape as asked for, int64."""
        return torch.randint(len(self), shape, generator=rng, device=self._device)

    def reward_bounds(self) -> tuple[float, float]:
        """Return the least and greatest reward of the stored steps."""
        stored = self._reward[: len(self)]
        return stored.min().item(), stored.max().item()

    def reward_scale(self) -> float:
        """Return the mean magnitude of the rewards of the stored steps."""
        return self._reward[: len(self)].abs().mean().item()

    def read(self, where: Tensor, n: int, gamma: float) -> Batch:
        """Return the transitions that begin at stored steps, each followed for up to ``n`` steps.

        A transition ends early where its episode does. Where the episode goes on past the
        newest stored step, it spans the steps that are stored.

        Args:
            where: Where the steps lie. Shape (...), int64.
            n: Steps of the return, at least 1.
            gamma: Discount per step.
        """
        newer = (self._newest - where // self._num_envs) % self._rows  # steps stored after each
        reward, last = self._reward[where], where
        going = ~self._done[where]
        discount = torch.full_like(reward, gamma)
        for k in range(1, n):
            going = going & (newer >= k)
            step = (where + k * self._num_envs) % self.capacity
            reward = reward + torch.where(going, discount * self._reward[step], 0.0)
            discount = torch.where(going, discount * gamma, discount)
            last = torch.where(going, step, last)
            going = going & ~self._done[step]
        return Batch(
            self._obs[where],
            self._action[where],
            reward,
            self._next_obs[last],
            discount * ~self._terminated[last],
            self._valid[where],
        )
