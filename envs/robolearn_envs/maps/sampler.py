"""Sampling layouts for environments: from the datasets, or the one a user gives."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from robolearn_envs.arrays import Array
from robolearn_envs.core.backend import EnvIndex
from robolearn_envs.maps.custom import check_start, layout_from_json
from robolearn_envs.maps.dataset import SPLIT_SIZES, check_level, layout_dataset
from robolearn_envs.maps.generate import (
    GOAL_TOLERANCE,
    LEVELS,
    STARTS_PER_LAYOUT,
    Layout,
    build_layout,
)
from robolearn_envs.maps.grid import GRID_SIZE, interpolate_distance
from robolearn_envs.maps.obstacles import PAD_POSITION, pad_obstacles

CUSTOM = -1
"""Id of a layout that a user gave."""


class LayoutBatch(NamedTuple):
    """The layouts of n environments."""

    layout_id: Array
    """Place in the dataset of its level and split, or ``CUSTOM``. Shape (n,), int64."""
    goal: Array
    """Shape (n, 2), m."""
    cylinders: Array
    """See :class:`Layout`. Shape (n, K, 7)."""
    boxes: Array
    """Shape (n, B, 4), m."""
    xy: Array
    """One of the layout's starts. Shape (n, 2), m."""
    start: np.ndarray | None
    """x, y and heading where episodes begin instead, if a user gave them. Shape (3,)."""
    maps: Array
    """Distance maps. Shape (M, GRID_SIZE, GRID_SIZE), m."""
    map_index: Array | None
    """The map of each environment, shape (n,); None for one each."""

    def distance(self, xy: Array) -> Array:
        """Return the shortest way to the goal. Shape (n,), m.

        Args:
            xy: Shape (n, 2), m.
        """
        return interpolate_distance(self.maps, xy, self.map_index)


class LayoutSampler:
    """Samples layouts of one level, or of all up to it, out of one split; on the host."""

    def __init__(self, level: int, split: str, *, curriculum: bool) -> None:
        """Prepare to sample.

        Args:
            level: The level, or the highest one.
            split: 'train', 'val' or 'test'.
            curriculum: Whether lower levels are sampled as well.

        Raises:
            ValueError: No such level or split.
        """
        check_level(level, split)
        self._split = split
        levels = LEVELS[: level + 1] if curriculum else (LEVELS[level],)
        self._cylinders, self._boxes = (
            max(one.cylinders for one in levels),
            max(one.boxes for one in levels),
        )
        self.maps: np.ndarray | None = None
        """Distance maps of all environments. Shape (N, GRID_SIZE, GRID_SIZE), m."""
        self._rebuilt: tuple[tuple[bytes, ...], np.ndarray] | None = None

    def sample(
        self, level: np.ndarray, draws: np.ndarray, options: Mapping[str, Any]
    ) -> LayoutBatch:
        """Return a layout for each environment, and where it starts there.

        Args:
            level: Of each environment's layout. Shape (n,), integer.
            draws: Uniform in (0, 1), for the layout and its start. Shape (n, 2).
            options: May hold ``layout``, ``layout_id`` and ``start``.

        Raises:
            ValueError: An option that cannot be granted.
        """
        start = None
        if "layout" in options and "layout_id" in options:
            raise ValueError("Give 'layout' or 'layout_id', not both.")
        if "layout" in options:
            given, start = layout_from_json(options["layout"])
            layouts = Layout(*(np.repeat(part[None], len(level), axis=0) for part in given))
            layout_id, distinct = np.full(len(level), CUSTOM), np.array([0])
        else:
            layout_id = self._ids(draws[:, 0], options)
            layouts = self._from_datasets(level, layout_id)
            size = SPLIT_SIZES[self._split]
            _, distinct = np.unique(level * size + layout_id, return_index=True)
        if "start" in options:
            for row in distinct:
                start = check_start(options["start"], Layout(*(part[row] for part in layouts)))
        if (
            start is not None
            and (((layouts.goal - start[:2]) ** 2).sum(-1) < GOAL_TOLERANCE**2).any()
        ):
            raise ValueError(
                f"start {start.tolist()} is less than {GOAL_TOLERANCE} m from the goal, where "
                "episodes end."
            )
        picked = (draws[:, 1] * STARTS_PER_LAYOUT).astype(np.int64)
        return LayoutBatch(
            layout_id,
            layouts.goal,
            layouts.cylinders,
            layouts.boxes,
            layouts.starts[np.arange(len(draws)), picked],
            start,
            layouts.distance_map,
            None,
        )

    def _ids(self, draws: np.ndarray, options: Mapping[str, Any]) -> np.ndarray:
        """Return which layout of the dataset each environment gets. Shape (n,)."""
        size = SPLIT_SIZES[self._split]
        if "layout_id" not in options:
            return (draws * size).astype(np.int64)
        index = options["layout_id"]
        whole = isinstance(index, int | np.integer) and not isinstance(index, bool)
        if not whole or not 0 <= index < size:
            raise ValueError(
                f"layout_id must be one of 0..{size - 1} in split '{self._split}', got {index!r}."
            )
        return np.full(len(draws), index)

    def _from_datasets(self, level: np.ndarray, layout_id: np.ndarray) -> Layout:
        """Return layouts by level and place in its dataset, stacked and padded alike."""
        found: Layout | None = None
        for one in np.unique(level).tolist():
            dataset = layout_dataset(one, self._split)
            rows = np.flatnonzero(level == one)
            dataset.build(layout_id[rows])
            part = Layout(*(array[layout_id[rows]] for array in dataset.layouts))
            part = part._replace(
                cylinders=pad_obstacles(part.cylinders, self._cylinders),
                boxes=pad_obstacles(part.boxes, self._boxes),
            )
            if len(rows) == len(level):
                return part
            if found is None:
                found = Layout(*(np.empty((len(level), *a.shape[1:]), a.dtype) for a in part))
            for whole, piece in zip(found, part, strict=True):
                whole[rows] = piece
        assert found is not None
        return found

    def keep_maps(self, rows: EnvIndex, num_envs: int, state: Mapping[str, Array]) -> None:
        """Keep the distance maps of the layouts that some environments have now.

        Args:
            rows: Which environments.
            num_envs: How many there are in all.
            state: Of theirs "layout_id", "level", "goal", "cylinders" and "boxes".
        """
        if self.maps is None:
            self.maps = np.zeros((num_envs, GRID_SIZE, GRID_SIZE), dtype=np.float32)
        for row, env in enumerate(np.arange(num_envs)[rows].tolist()):
            layout_id, level = int(state["layout_id"][row]), int(state["level"][row])
            if layout_id == CUSTOM:
                obstacles = (state[name][row] for name in ("goal", "cylinders", "boxes"))
                self.maps[env] = self._rebuild(*obstacles)
            else:
                dataset = layout_dataset(level, self._split)
                dataset.build(np.array([layout_id]))
                self.maps[env] = dataset.layouts.distance_map[layout_id]

    def _rebuild(self, goal: np.ndarray, cylinders: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Return the distance map of a layout that a user gave."""
        key = goal.tobytes(), cylinders.tobytes(), boxes.tobytes()
        if self._rebuilt is None or self._rebuilt[0] != key:
            cylinders = cylinders[cylinders[:, 0] != PAD_POSITION]
            boxes = boxes[boxes[:, 0] != PAD_POSITION]
            layout = build_layout(goal, cylinders, boxes, block_moving=True)
            assert layout is not None
            self._rebuilt = key, layout.distance_map
        return self._rebuilt[1]

    def distance(self, layout_id: np.ndarray, level: np.ndarray, xy: np.ndarray) -> np.ndarray:
        """Return the shortest way from each environment's robot to its goal. Shape (N,), m.

        Args:
            layout_id: Unused: the maps of all environments are kept.
            level: Unused.
            xy: Where the robots are. Shape (N, 2), m.
        """
        assert self.maps is not None
        return interpolate_distance(self.maps, xy)


class DeviceLayoutSampler:
    """Samples what :class:`LayoutSampler` does, from whole datasets on a device."""

    def __init__(self, level: int, split: str, *, curriculum: bool, backend: Any) -> None:
        """Bring the datasets to the device: 50 MB a level.

        Args:
            level: The level, or the highest one.
            split: 'train', 'val' or 'test'.
            curriculum: Whether lower levels are sampled as well.
            backend: A :class:`~robolearn_envs.core.torch_backend.TorchBackend`.
        """
        levels = range(level + 1) if curriculum else (level,)
        kinds = [LEVELS[one] for one in levels]
        posts, walls = max(k.cylinders for k in kinds), max(k.boxes for k in kinds)
        self._first, self._size, self._xp = levels[0], SPLIT_SIZES[split], backend.xp
        datasets = [layout_dataset(one, split) for one in levels]
        for dataset in datasets:
            dataset.build_all()
        parts = [dataset.layouts for dataset in datasets]

        def joined(arrays: list[np.ndarray]) -> Array:
            return backend.array(np.concatenate(arrays))

        self._goal = joined([one.goal for one in parts])
        self._cylinders = joined([pad_obstacles(one.cylinders, posts) for one in parts])
        self._boxes = joined([pad_obstacles(one.boxes, walls) for one in parts])
        self._starts = joined([one.starts for one in parts])
        self._maps = joined([one.distance_map for one in parts])

    def sample(self, level: Array, draws: Array, options: Mapping[str, Any]) -> LayoutBatch:
        """Return a layout for each environment, and where it starts there.

        Args:
            level: Of each environment's layout. Shape (n,), integer.
            draws: Uniform in (0, 1), for the layout and its start, float64. Shape (n, 2).
            options: Must be empty: there are only the layouts of the datasets.

        Raises:
            ValueError: There is an option.
        """
        for name in options:
            raise ValueError(
                f"On a device a reset has no option '{name}'; use engine='analytic' for that."
            )
        xp = self._xp
        layout_id = xp.astype(draws[:, 0] * self._size, xp.int64)
        place = self._place(layout_id, level)
        xy = self._starts[place, xp.astype(draws[:, 1] * STARTS_PER_LAYOUT, xp.int64)]
        return LayoutBatch(
            layout_id,
            self._goal[place],
            self._cylinders[place],
            self._boxes[place],
            xy,
            None,
            self._maps,
            place,
        )

    def _place(self, layout_id: Array, level: Array) -> Array:
        return (level - self._first) * self._size + layout_id

    def keep_maps(self, rows: EnvIndex, num_envs: int, state: Mapping[str, Array]) -> None:
        """Nothing to keep: all maps lie on the device."""

    def distance(self, layout_id: Array, level: Array, xy: Array) -> Array:
        """Return the shortest way from each environment's robot to its goal. Shape (N,), m.

        Args:
            layout_id: Shape (N,), int64.
            level: Shape (N,), int64.
            xy: Where the robots are. Shape (N, 2), m.
        """
        return interpolate_distance(self._maps, xy, self._place(layout_id, level))
