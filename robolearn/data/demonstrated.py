"""Replay memory beside which demonstrations are kept for good (Hester et al., 2018)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from robolearn.data.replay import Batch, Replay
from robolearn.data.rollout import Step, Steps
from robolearn.files import require_shape


class DemonstratedReplay:
    """A replay memory of N environments, and S steps of demonstrations that are never overwritten.

    Demonstrated step k lies at ``capacity + k``, behind what the environments' own steps take.
    """

    def __init__(
        self, capacity: int, num_envs: int, width: int, shown: int, device: torch.device
    ) -> None:
        """Hold about ``capacity`` steps of ``num_envs`` environments, and ``shown`` of an expert.

        Args:
            capacity: Environment steps in all; rounded down to whole rows of ``num_envs``.
            num_envs: N.
            width: Width D of an observation.
            shown: S.
            device: Where the memory lies.
        """
        self._own = Replay(capacity, num_envs, width, device)
        self._shown = Replay(shown, 1, width, device)
        self._room, self._device = shown, device
        self._wanted = torch.empty(0, dtype=torch.int64, device=device)
        self.capacity = self._own.capacity
        """How many environment steps it holds when it is full, without demonstrations."""

    def __len__(self) -> int:
        """Return how many steps are stored, demonstrations among them."""
        return len(self._own) + self.shown

    @property
    def collected(self) -> int:
        """How many steps of the environments are stored."""
        return len(self._own)

    @property
    def shown(self) -> int:
        """How many demonstrated steps are stored: all or none."""
        return len(self._shown) if self._room else 0

    def show(self, steps: Step, action: Tensor, wanted: Tensor) -> Tensor:
        """Store the demonstrations.

        Args:
            steps: All of them, one after the other. Fields (S, ...).
            action: What was done. Shape (S,), int64.
            wanted: What the expert wanted. Shape (S,), int64.

        Returns:
            Where they lie. Shape (S,).

        Raises:
            ValueError: Not as many as there is room for.
        """
        if len(action) != self._room:
            raise ValueError(f"there is room for {self._room} steps, got {len(action)}")
        rows = [Step(*(field[k : k + 1] for field in steps)) for k in range(self._room)]
        where, _ = self._shown.put(rows, action[:, None])
        self._wanted = wanted.to(self._device)
        return where + self.capacity

    def wanted(self, where: Tensor) -> Tensor:
        """Return what the expert wanted; anything where nobody showed it. Shape as ``where``."""
        return self._wanted[torch.where(self.demonstrated(where), where - self.capacity, 0)]

    def put(self, steps: Steps, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Store T steps of all environments; see :meth:`Replay.put`."""
        return self._own.put(steps, actions)

    def demonstrated(self, where: Tensor) -> Tensor:
        """Return which stored steps are demonstrated. Shape as ``where``, bool."""
        return where >= self.capacity

    def draw(self, *shape: int, rng: torch.Generator) -> Tensor:
        """Draw stored steps uniformly and return where they lie. Shape as asked for, int64."""
        drawn = torch.randint(len(self), shape, generator=rng, device=self._device)
        own = len(self._own)
        return torch.where(drawn < own, drawn, drawn - own + self.capacity) if self.shown else drawn

    def draw_mixed(self, *shape: int, share: float, rng: torch.Generator) -> Tensor:
        """Draw steps of which the part ``share`` of the last dimension is demonstrated, uniformly.

        All of them are while nothing else is stored.
        """
        *leading, size = shape
        shown = size if not len(self._own) else round(share * size)
        device = self._device
        told = torch.randint(self.shown, (*leading, shown), generator=rng, device=device)
        if shown == size:
            return told + self.capacity
        own = torch.randint(len(self._own), (*leading, size - shown), generator=rng, device=device)
        return torch.cat([told + self.capacity, own], dim=-1)

    def reward_bounds(self) -> tuple[float, float]:
        """Return the least and greatest reward of the stored steps."""
        parts = [part.reward_bounds() for part in (self._own, self._shown) if len(part)]
        return min(low for low, _ in parts), max(high for _, high in parts)

    def reward_scale(self) -> float:
        """Return the mean magnitude of demonstrated rewards."""
        return self._shown.reward_scale()

    def read(self, where: Tensor, n: int, gamma: float) -> Batch:
        """Return the transitions that begin at stored steps; see :meth:`Replay.read`."""
        if not self.shown:
            return self._own.read(where, n, gamma)
        shown = self.demonstrated(where)
        told = self._shown.read(torch.where(shown, where - self.capacity, 0), n, gamma)
        if not len(self._own):
            return told
        own = self._own.read(torch.where(shown, 0, where), n, gamma)
        return Batch(
            *(
                torch.where(shown[..., None] if a.ndim > shown.ndim else shown, a, b)
                for a, b in zip(told, own, strict=True)
            )
        )

    def state(self) -> dict[str, Tensor]:
        """Return all that is stored, by name."""
        if not self._room:
            return self._own.state()
        told = {f"shown.{name}": tensor for name, tensor in self._shown.state().items()}
        return {**self._own.state(), **told, "wanted": self._wanted}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go back to what ``state`` returned."""
        prefix = "shown."
        self._own.restore({k: v for k, v in state.items() if not k.startswith(prefix)})
        if not self._room:
            return
        told = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        if told["put"].item() not in (0, self._room):
            raise ValueError(f"{told['put'].item()} steps are shown, expected {self._room} or none")
        self._shown.restore(told)
        require_shape("wanted", state["wanted"], (self.shown,))
        self._wanted = state["wanted"].to(self._wanted)
