"""Dealing layouts to environments: from the banks, or the one a user wishes for."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from robolearn_envs.arenas.bank import SIZES, bank, check_level
from robolearn_envs.arenas.custom import check_start, layout_from_json
from robolearn_envs.arenas.grid import lookup
from robolearn_envs.arenas.layouts import ARRIVED, LEVELS, STARTS, Layout, parked
from robolearn_envs.arrays import Array


class Hand(NamedTuple):
    """What is dealt to n environments."""

    goal: Array
    """Shape (n, 2), m."""
    cylinders: Array
    """See :class:`Layout`. Shape (n, K, 7)."""
    boxes: Array
    """Shape (n, B, 4), m."""
    field: Array
    """What ``distance`` looks distances up by. Shape (n, ...)."""
    xy: Array
    """One of the layout's starts. Shape (n, 2), m."""
    start: np.ndarray | None
    """x, y and heading where episodes begin instead, if that was wished for. Shape (3,)."""


class Deck:
    """Deals layouts of one level, or of all up to it, out of one split."""

    def __init__(self, level: int, split: str, *, climbs: bool) -> None:
        """Prepare to deal.

        Args:
            level: The level, or the highest one.
            split: 'train', 'val' or 'test'.
            climbs: Whether lower levels are dealt as well.

        Raises:
            ValueError: No such level or split.
        """
        check_level(level, split)
        self._split = split
        levels = LEVELS[: level + 1] if climbs else (LEVELS[level],)
        self._room = (max(k.cylinders for k in levels), max(k.boxes for k in levels))
        self.moving = any(k.movers for k in levels)
        """Whether anything dealt so far, or to be dealt out of the banks, moves."""

    def deal(self, level: np.ndarray, draws: np.ndarray, wishes: Mapping[str, Any]) -> Hand:
        """Return a layout for each environment, and where it starts there.

        All have as many obstacles, some of them parked: as many as any layout dealt so far.

        Args:
            level: Of each environment's layout. Shape (n,), integer.
            draws: Uniform in (0, 1), for the layout and its start. Shape (n, 2).
            wishes: May hold ``layout``, ``layout_index`` and ``start``.

        Raises:
            ValueError: A wish that cannot be granted.
        """
        start = None
        if "layout" in wishes and "layout_index" in wishes:
            raise ValueError("Give 'layout' or 'layout_index', not both.")
        if "layout" in wishes:
            given, start = layout_from_json(wishes["layout"])
            layouts = Layout(*(np.repeat(part[None], len(level), axis=0) for part in given))
            distinct = np.array([0])
        else:
            index = self._indices(draws[:, 0], wishes)
            layouts = self._from_banks(level, index)
            _, distinct = np.unique(level * SIZES[self._split] + index, return_index=True)
        if "start" in wishes:
            for row in distinct:
                start = check_start(wishes["start"], Layout(*(part[row] for part in layouts)))
        if start is not None and (((layouts.goal - start[:2]) ** 2).sum(-1) < ARRIVED**2).any():
            raise ValueError(
                f"start {start.tolist()} is less than {ARRIVED} m from the goal, where "
                "episodes end."
            )
        self.moving |= bool(layouts.cylinders[..., 5].any())
        posts, walls = self._room
        self._room = max(posts, layouts.cylinders.shape[1]), max(walls, layouts.boxes.shape[1])
        wide = self._widened(layouts)
        picked = (draws[:, 1] * STARTS).astype(np.int64)
        xy = wide.starts[np.arange(len(draws)), picked]
        return Hand(wide.goal, wide.cylinders, wide.boxes, wide.field, xy, start)

    def distance(self, field: Array, xy: Array) -> Array:
        """Return the shortest way from each environment's robot to its goal. Shape (n,), m.

        Args:
            field: As dealt.
            xy: Where the robots are. Shape (n, 2), m.
        """
        return lookup(field, xy)

    def _indices(self, draws: np.ndarray, wishes: Mapping[str, Any]) -> np.ndarray:
        """Return which layout of the bank each environment gets. Shape (n,)."""
        size = SIZES[self._split]
        if "layout_index" not in wishes:
            return (draws * size).astype(np.int64)
        index = wishes["layout_index"]
        whole = isinstance(index, int | np.integer) and not isinstance(index, bool)
        if not whole or not 0 <= index < size:
            raise ValueError(
                f"layout_index must be one of 0..{size - 1} in split '{self._split}', "
                f"got {index!r}."
            )
        return np.full(len(draws), index)

    def _from_banks(self, level: np.ndarray, index: np.ndarray) -> Layout:
        """Return layouts by level and place in its bank, stacked."""
        found: Layout | None = None
        for one in np.unique(level).tolist():
            kept = bank(one, self._split)
            rows = np.flatnonzero(level == one)
            part = self._widened(Layout(*(array[index[rows]] for array in kept)))
            if found is None:
                found = Layout(*(np.empty((len(level), *a.shape[1:]), a.dtype) for a in part))
            for whole, piece in zip(found, part, strict=True):
                whole[rows] = piece
        assert found is not None
        return found

    def _widened(self, layouts: Layout) -> Layout:
        """Return stacked layouts with parked obstacles added."""
        posts, walls = self._room
        return layouts._replace(
            cylinders=parked(layouts.cylinders, posts), boxes=parked(layouts.boxes, walls)
        )
