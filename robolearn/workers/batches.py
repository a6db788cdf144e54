"""Cutting batches into slices and joining them again: pure functions."""

from collections.abc import Mapping, Sequence
from itertools import chain, pairwise
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import batch_space, create_empty_array, iterate

_ABSENT = object()


def deal(count: int, hands: int) -> list[slice]:
    """Return contiguous slices of ``count`` items, as equal as can be, the longer ones first."""
    short, longer = divmod(count, hands)
    edges = [k * short + min(k, longer) for k in range(hands + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges)]


def take(space: gym.Space, batch: Any, rows: slice) -> Any:
    """Return some rows of a batch of elements of ``space``; views, no copies."""
    if isinstance(space, gym.spaces.Dict):
        return {name: take(part, batch[name], rows) for name, part in space.items()}
    if isinstance(space, gym.spaces.Tuple):
        return tuple(take(part, item, rows) for part, item in zip(space, batch, strict=True))
    return batch[rows]


def join(space: gym.Space, batches: Sequence[Any]) -> Any:
    """Return the batches of elements of ``space`` one after the other, in arrays of their own."""
    if isinstance(space, gym.spaces.Dict):
        return {name: join(part, [b[name] for b in batches]) for name, part in space.items()}
    if isinstance(space, gym.spaces.Tuple):
        parts = zip(space, *batches, strict=True)
        return tuple(join(part, items) for part, *items in parts)
    if isinstance(batches[0], tuple):  # of texts, graphs and other things that fit no array
        return tuple(chain.from_iterable(batches))
    return np.concatenate(batches)


def one_by_one(space: gym.Space, batch: Any, count: int) -> np.ndarray:
    """Return a batch of elements of ``space`` as an array of objects. Shape (count,)."""
    objects = np.full(count, None, dtype=object)
    for i, element in enumerate(iterate(batch_space(space, count), batch)):
        objects[i] = element
    return objects


def merge_infos(
    infos: Sequence[Mapping[str, Any]], counts: Sequence[int], space: gym.Space
) -> dict[str, Any]:
    """Return the info of a whole batch.

    What some slices did not tell is zero there, None among objects, and False in the mask
    ``_name`` that Gymnasium pairs with each ``name``. What a slice told of all its environments
    at once, such as a number, is repeated for each of them.

    Args:
        infos: Of the slices, in order.
        counts: Environments of each slice.
        space: Of a single observation: the shape of ``final_obs`` where it is a batch.
    """
    merged: dict[str, Any] = {}
    names = {name: None for info in infos for name in info}  # in order, and each once
    for name in names:
        if name[:1] == "_" and name[1:] in names:
            continue  # a mask, which goes with its name
        told = [info.get(name, _ABSENT) for info in infos]
        if name == "final_obs":
            merged[name] = _merge_final(told, counts, space)
        elif any(isinstance(figures, Mapping) for figures in told):
            inner = [{} if figures is _ABSENT else figures for figures in told]
            merged[name] = merge_infos(inner, counts, space)
        else:
            merged[name] = _merge_figures(told, counts)
        masks = [
            info.get(f"_{name}", np.full(count, name in info))
            for info, count in zip(infos, counts, strict=True)
        ]
        merged[f"_{name}"] = np.concatenate(masks)
    return merged


def _merge_final(told: Sequence[Any], counts: Sequence[int], space: gym.Space) -> Any:
    """Return last observations: objects if the slices gave them one by one, else a batch."""
    if any(isinstance(final, np.ndarray) and final.dtype == object for final in told):
        return _merge_figures(told, counts)
    blanks = (create_empty_array(space, count) for count in counts)
    pairs = zip(told, blanks, strict=True)
    return join(space, [blank if final is _ABSENT else final for final, blank in pairs])


def _merge_figures(told: Sequence[Any], counts: Sequence[int]) -> np.ndarray:
    pairs = zip(told, counts, strict=True)
    rows = [None if figures is _ABSENT else _rows(figures, count) for figures, count in pairs]
    like = next(array for array in rows if array is not None)
    blank = None if like.dtype == object else np.zeros((), like.dtype)
    return np.concatenate(
        [
            np.full((count, *like.shape[1:]), blank, like.dtype) if array is None else array
            for array, count in zip(rows, counts, strict=True)
        ]
    )


def _rows(figures: Any, count: int) -> np.ndarray:
    if isinstance(figures, np.ndarray) and figures.shape[:1] == (count,):
        return figures
    if np.isscalar(figures):
        return np.repeat(np.asarray(figures), count)
    rows = np.full(count, None, dtype=object)
    for i in range(count):
        rows[i] = figures
    return rows
