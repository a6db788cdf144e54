"""Spaces as JSON, which may come from a stranger: what is declared is bounded before it is made."""

import math
from collections import OrderedDict
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from robolearn.errors import RobolearnError
from robolearn.files import shown

MOST_ELEMENTS = 10_000_000
"""Width of the largest flat observation that is described."""
MOST_CHOICES = 1_000_000
"""The most values of something discrete that is described."""
MOST_PARTS = 1_000
"""The most spaces in a description."""
_DEEPEST = 16  # levels of spaces in spaces
_MOST_AXES = 16
_FARTHEST = 2**62  # of the first of discrete values from 0
_DTYPES = (
    *("float16", "float32", "float64", "bool"),
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
)


def space_to_json(space: gym.Space) -> dict[str, Any]:
    """Return a description ``space_from_json`` reads back.

    Raises:
        RobolearnError: A kind of space that has no description here.
    """
    if isinstance(space, spaces.Box):
        bounds = {"low": _bound_to_json(space.low), "high": _bound_to_json(space.high)}
        return {"kind": "Box", "dtype": str(space.dtype), "shape": list(space.shape), **bounds}
    if isinstance(space, spaces.Discrete):
        return {"kind": "Discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.Dict):
        return {"kind": "Dict", "spaces": [[k, space_to_json(s)] for k, s in space.items()]}
    if isinstance(space, spaces.Tuple):
        return {"kind": "Tuple", "spaces": [space_to_json(s) for s in space]}
    if isinstance(space, spaces.MultiDiscrete):
        start = space.start.tolist()
        return {"kind": "MultiDiscrete", "nvec": space.nvec.tolist(), "start": start}
    if isinstance(space, spaces.MultiBinary):
        return {"kind": "MultiBinary", "n": np.asarray(space.n).tolist()}
    raise RobolearnError(f"Observations of kind {type(space).__name__} cannot be saved.")


def _bound_to_json(bound: np.ndarray) -> Any:
    """Return one number for a bound that is the same everywhere, as that of an image."""
    return bound.flat[0].item() if (bound == bound.flat[0]).all() else bound.tolist()


class _Room:
    """How much a space and all its parts may hold yet."""

    def __init__(self) -> None:
        self._elements, self._parts = MOST_ELEMENTS, MOST_PARTS

    def take(self, elements: int, where: str) -> None:
        """Refuse a part that is too much, before anything is made of it."""
        self._elements -= elements
        self._parts -= 1
        if self._elements < 0 or self._parts < 0:
            most = f"{MOST_ELEMENTS:,} numbers in {MOST_PARTS:,} parts"
            raise RobolearnError(f"{where} is too large: a space has at most {most}.")


def space_from_json(data: Any, where: str = "space") -> gym.Space:
    """Return the space a description names.

    Args:
        data: What ``space_to_json`` made, or what a stranger did.
        where: What the names of keys in messages begin with.

    Raises:
        RobolearnError: No description, an unknown kind, or a space that is too large.
    """
    return _read_space(data, where, _DEEPEST, _Room())


def _read_space(data: Any, where: str, levels: int, room: _Room) -> gym.Space:
    """Return a space with at most ``levels`` of others inside."""
    kind = _entry(data, "kind", where)
    if levels < 0:
        raise RobolearnError(f"{where} lies too deep: a space has at most {_DEEPEST} levels.")
    if kind == "Box":
        return _read_box(data, where, room)
    if kind == "Discrete":
        n = _whole(_entry(data, "n", where), f"{where}.n", 1, MOST_CHOICES)
        start = _whole(_entry(data, "start", where), f"{where}.start", -_FARTHEST, _FARTHEST)
        room.take(n, where)
        return spaces.Discrete(n, start=start)
    if kind in ("Dict", "Tuple"):
        listed, inside = _entry(data, "spaces", where), f"{where}.spaces"
        room.take(0, where)
        if not isinstance(listed, list):
            raise _unexpected(inside, "a list", listed)
        if kind == "Tuple":
            parts = [
                _read_space(s, f"{inside}[{k}]", levels - 1, room) for k, s in enumerate(listed)
            ]
            return spaces.Tuple(parts)
        named: OrderedDict[str, gym.Space] = OrderedDict()  # a plain dict would be sorted
        for k, pair in enumerate(listed):
            here = f"{inside}[{k}]"
            if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[0], str):
                raise _unexpected(here, "a name and a space", pair)
            if pair[0] in named:
                raise _unexpected(here, "a name not used yet", pair[0])
            named[pair[0]] = _read_space(pair[1], here, levels - 1, room)
        return spaces.Dict(named)
    if kind == "MultiDiscrete":
        nvec = _table(_entry(data, "nvec", where), f"{where}.nvec", 1, MOST_CHOICES)
        start = _table(_entry(data, "start", where), f"{where}.start", -_FARTHEST, _FARTHEST)
        if start.shape != nvec.shape:
            raise _unexpected(f"{where}.start", f"numbers of shape {nvec.shape}", data["start"])
        room.take(int(nvec.sum()), where)
        return spaces.MultiDiscrete(nvec, start=start)
    if kind == "MultiBinary":
        n = _entry(data, "n", where)
        shape = _shape(n if isinstance(n, list) else [n], f"{where}.n")
        room.take(math.prod(shape), where)
        return spaces.MultiBinary(shape if isinstance(n, list) else shape[0])
    raise RobolearnError(f"Unknown kind of space {shown(kind)} at {where}.")


def _read_box(data: Any, where: str, room: _Room) -> gym.Space:
    dtype, shape = _entry(data, "dtype", where), _entry(data, "shape", where)
    if dtype not in _DTYPES:
        raise _unexpected(f"{where}.dtype", f"one of {', '.join(_DTYPES)}", dtype)
    shape = _shape(shape, f"{where}.shape")
    room.take(math.prod(shape), where)
    low, high = (
        _bound(_entry(data, bound, where), f"{where}.{bound}", np.dtype(dtype), shape)
        for bound in ("low", "high")
    )
    if (low > high).any() or (low == np.inf).any() or (high == -np.inf).any():
        raise RobolearnError(f"{where}.low must lie below {where}.high, got nothing in between.")
    return spaces.Box(low, high, dtype=np.dtype(dtype).type)


def _bound(given: Any, key: str, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """Return a bound given as one number, or as a list of lists. Shape ``shape``."""
    rows = [given]
    for size in shape if isinstance(given, list) else ():
        for row in rows:
            if not isinstance(row, list) or len(row) != size:
                raise _unexpected(key, f"a number or numbers of shape {shape}", row)
        rows = [number for row in rows for number in row]
    kinds = (int, float) if dtype.kind == "f" else bool if dtype.kind == "b" else int
    for number in rows:
        right = isinstance(number, kinds) and isinstance(number, bool) is (kinds is bool)
        if not right or number != number:
            raise _unexpected(key, f"numbers of {dtype}", number)
    try:
        with np.errstate(over="ignore"):
            array = np.array(rows, dtype)
    except OverflowError as error:
        raise _unexpected(key, f"numbers of {dtype}", max(rows, key=abs)) from error
    return array.reshape(shape) if isinstance(given, list) else np.broadcast_to(array[0], shape)


def _table(given: Any, key: str, low: int, high: int) -> np.ndarray:
    """Return whole numbers given as a list of lists. Shape (...), int64."""
    rows, shape = [given], []
    while isinstance(rows[0], list):
        width = len(rows[0])
        if len(shape) == _MOST_AXES or not width:
            raise _unexpected(key, "a list of whole numbers", given)
        for row in rows:
            if not isinstance(row, list) or len(row) != width:
                raise _unexpected(key, f"lists of {width}", row)
        shape.append(width)
        rows = [item for row in rows for item in row]
    if not shape:
        raise _unexpected(key, "a list of whole numbers", given)
    return np.array([_whole(item, key, low, high) for item in rows], np.int64).reshape(shape)


def _shape(given: Any, key: str) -> tuple[int, ...]:
    if not isinstance(given, list) or len(given) > _MOST_AXES:
        raise _unexpected(key, f"a list of at most {_MOST_AXES} whole numbers", given)
    return tuple(_whole(size, key, 1, MOST_ELEMENTS) for size in given)


def _whole(given: Any, key: str, low: int, high: int) -> int:
    if not isinstance(given, int) or isinstance(given, bool) or not low <= given <= high:
        raise _unexpected(key, f"a whole number in [{low}, {high}]", given)
    return given


def _entry(data: Any, key: str, where: str) -> Any:
    if not isinstance(data, dict) or key not in data:
        raise _unexpected(where, f"a space with its '{key}'", data)
    return data[key]


def _unexpected(key: str, expected: str, given: Any) -> RobolearnError:
    return RobolearnError(f"{key} must be {expected}, got {shown(given)}.")
