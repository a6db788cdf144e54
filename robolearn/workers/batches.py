"""Split batches of observations, actions and infos between workers, and concatenate them again."""

from collections.abc import Mapping, Sequence
from itertools import chain, pairwise
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import batch_space, create_empty_array, iterate

_ABSENT = object()


def split_evenly(num_items: int, num_parts: int) -> list[slice]:
    """Return contiguous slices of ``num_items`` items; sizes differ by at most 1, larger first."""
    size, remainder = divmod(num_items, num_parts)
    edges = [k * size + min(k, remainder) for k in range(num_parts + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges)]


def slice_batch(space: gym.Space, batch: Any, rows: slice) -> Any:
    """Return views of some rows of a batch of elements of ``space``."""
    if isinstance(space, gym.spaces.Dict):
        return {name: slice_batch(part, batch[name], rows) for name, part in space.items()}
    if isinstance(space, gym.spaces.Tuple):
        return tuple(slice_batch(part, item, rows) for part, item in zip(space, batch, strict=True))
    return batch[rows]


def concatenate_batches(space: gym.Space, batches: Sequence[Any]) -> Any:
    """Return batches of elements of ``space`` concatenated into new arrays."""
    if isinstance(space, gym.spaces.Dict):
        return {
            name: concatenate_batches(part, [batch[name] for batch in batches])
            for name, part in space.items()
        }
    if isinstance(space, gym.spaces.Tuple):
        parts = zip(space, *batches, strict=True)
        return tuple(concatenate_batches(part, items) for part, *items in parts)
    if isinstance(batches[0], tuple):  # elements that fit no array, such as texts and graphs
        return tuple(chain.from_iterable(batches))
    return np.concatenate(batches)


def to_object_array(space: gym.Space, batch: Any, num_envs: int) -> np.ndarray:
    """Return the elements of a batch of ``space`` as an object array. Shape (num_envs,)."""
    if _is_objects(batch):
        return batch
    objects = np.full(num_envs, None, dtype=object)
    for i, element in enumerate(iterate(batch_space(space, num_envs), batch)):
        objects[i] = element
    return objects


def merge_infos(
    infos: Sequence[Mapping[str, Any]], num_envs: Sequence[int], space: gym.Space
) -> dict[str, Any]:
    """Return the info of a whole batch, concatenated from the infos of its slices.

    Where a slice has no value, the merged value is 0 or, among objects, None, and the mask
    ``_name`` is False, as in Gymnasium. A value that a slice has once for all its environments,
    such as a number, is repeated for each.

    Args:
        infos: Infos of the slices, in order.
        num_envs: Number of environments of each slice.
        space: Single observation space. It gives the shape of ``final_obs`` where that is a batch.
    """
    merged: dict[str, Any] = {}
    names = {name: None for info in infos for name in info}  # in order, and each once
    for name in names:
        if name[:1] == "_" and name[1:] in names:
            continue  # a mask, merged with its value
        values = [info.get(name, _ABSENT) for info in infos]
        if name == "final_obs":
            merged[name] = _merge_final_obs(values, num_envs, space)
        elif any(isinstance(value, Mapping) for value in values):
            inner = [{} if value is _ABSENT else value for value in values]
            merged[name] = merge_infos(inner, num_envs, space)
        else:
            merged[name] = _merge_values(values, num_envs)
        masks = [
            info.get(f"_{name}", np.full(count, name in info))
            for info, count in zip(infos, num_envs, strict=True)
        ]
        merged[f"_{name}"] = np.concatenate(masks)
    return merged


def _merge_final_obs(values: Sequence[Any], num_envs: Sequence[int], space: gym.Space) -> Any:
    """Return final observations: an object array if a slice has one, else a batch."""
    pairs = list(zip(values, num_envs, strict=True))
    if any(_is_objects(value) for value in values):
        objects = [v if v is _ABSENT else to_object_array(space, v, n) for v, n in pairs]
        return _merge_values(objects, num_envs)
    filled = [create_empty_array(space, n) if v is _ABSENT else v for v, n in pairs]
    return concatenate_batches(space, filled)


def _is_objects(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == object


def _merge_values(values: Sequence[Any], num_envs: Sequence[int]) -> np.ndarray:
    pairs = list(zip(values, num_envs, strict=True))
    present = [_as_rows(value, count) for value, count in pairs if value is not _ABSENT]
    shape, dtype = present[0].shape[1:], present[0].dtype
    fill = None if dtype.hasobject else np.zeros((), dtype)
    rows = iter(present)
    return np.concatenate(
        [
            np.full((count, *shape), fill, dtype) if value is _ABSENT else next(rows)
            for value, count in pairs
        ]
    )


def _as_rows(value: Any, num_envs: int) -> np.ndarray:
    """Return a value as one row per environment, repeated where it has no such rows."""
    if isinstance(value, np.ndarray) and value.shape[:1] == (num_envs,):
        return value
    if np.isscalar(value):
        return np.repeat(np.asarray(value), num_envs)
    rows = np.full(num_envs, None, dtype=object)
    for i in range(num_envs):
        rows[i] = value
    return rows
