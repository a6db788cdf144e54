"""Dealing layouts on a device: whole banks lie there, and environments hold places in them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robolearn_envs.arenas.bank import SIZES, bank
from robolearn_envs.arenas.deck import Hand
from robolearn_envs.arenas.grid import lookup
from robolearn_envs.arenas.layouts import LEVELS, STARTS, parked


class TorchDeck:
    """Deals what :class:`~robolearn_envs.arenas.deck.Deck` does, from banks on a device."""

    def __init__(self, level: int, split: str, *, climbs: bool, device: torch.device) -> None:
        """Bring the banks to the device: 50 MB a level.

        Args:
            level: The level, or the highest one.
            split: 'train', 'val' or 'test'.
            climbs: Whether lower levels are dealt as well.
            device: Where environments are.
        """
        dealt = range(level + 1) if climbs else (level,)
        kinds = [LEVELS[one] for one in dealt]
        posts, walls = max(k.cylinders for k in kinds), max(k.boxes for k in kinds)
        self._first, self._size = dealt[0], SIZES[split]
        self.moving = any(kind.movers for kind in kinds)
        """Whether anything moves."""
        banks = [bank(one, split) for one in dealt]

        def joined(parts: list[np.ndarray]) -> Tensor:
            return torch.from_numpy(np.concatenate(parts)).to(device)

        self._goal = joined([one.goal for one in banks])
        self._cylinders = joined([parked(one.cylinders, posts) for one in banks])
        self._boxes = joined([parked(one.boxes, walls) for one in banks])
        self._starts = joined([one.starts for one in banks])
        self._field = joined([one.field for one in banks])

    def deal(self, level: Tensor, draws: Tensor, wishes: Mapping[str, Any]) -> Hand:
        """Return a layout for each environment, and where it starts there.

        Args:
            level: Of each environment's layout. Shape (n,), integer.
            draws: Uniform in (0, 1), for the layout and its start, float64. Shape (n, 2).
            wishes: Must be empty: there are only the layouts of the banks.

        Raises:
            ValueError: There is a wish.
        """
        for wish in wishes:
            raise ValueError(
                f"On a device a reset has no option '{wish}'; use engine='analytic' for that."
            )
        place = (level - self._first) * self._size + (draws[:, 0] * self._size).to(torch.int64)
        xy = self._starts[place, (draws[:, 1] * STARTS).to(torch.int64)]
        return Hand(self._goal[place], self._cylinders[place], self._boxes[place], place, xy, None)

    def distance(self, field: Tensor, xy: Tensor) -> Tensor:
        """Return the shortest way from each environment's robot to its goal. Shape (n,), m.

        Args:
            field: As dealt: places in the banks. Shape (n,), int64.
            xy: Where the robots are. Shape (n, 2), m.
        """
        return lookup(self._field, xy, field)
