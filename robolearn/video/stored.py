"""Rollouts on disk: one npz of numbers, with the rest as JSON in it; nothing is pickled."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from robolearn.errors import RobolearnError
from robolearn.files import read_arrays, shown, write_arrays
from robolearn.video.thoughts import THOUGHTS
from robolearn_envs.rendering.situation import DRAWN

LONGEST = 1_000_000
"""Steps of a rollout at most."""
_FACTS = "facts"
_MOST_FACTS = 64 * 1024  # bytes of JSON
_STATE, _THOUGHT = "state.", "thought."
STATES = ("qpos", "qvel", *DRAWN)
"""Names of what a state consists of."""


def write_rollout(path: Path, facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write a rollout so that it is there whole or not at all.

    Args:
        path: Where to; its folder is made if need be, a file already there is replaced.
        facts: What JSON can hold.
        arrays: Numbers by name.

    Raises:
        OSError: Disk full or not writable.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    text = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    try:
        write_arrays(temporary, {_FACTS: text, **arrays})
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_rollout(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return facts and arrays of a rollout.

    Raises:
        RobolearnError: Unreadable, damaged, or not a rollout.
    """
    arrays = read_arrays(path)
    if _FACTS not in arrays or not {"actions", "rewards"} <= arrays.keys():
        raise RobolearnError(f"{path} is no rollout: it holds {shown(sorted(arrays))}.")
    text = arrays.pop(_FACTS)
    if text.dtype != np.uint8 or text.ndim != 1 or len(text) > _MOST_FACTS:
        raise RobolearnError(f"{path} is damaged: its facts are no text of {_MOST_FACTS:,} bytes.")
    try:
        facts = json.loads(text.tobytes().decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise RobolearnError(f"{path} is damaged: its facts are no JSON.") from error
    if not isinstance(facts, dict):
        raise RobolearnError(f"{path} must hold a JSON object, got {shown(facts)}.")
    return facts, arrays


def named(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return arrays under names that begin with ``prefix``."""
    return {f"{prefix}{name}": array for name, array in arrays.items()}


def states_in(path: Path, arrays: Mapping[str, np.ndarray], steps: int) -> dict[str, np.ndarray]:
    """Return the states of a rollout, if they can be.

    Raises:
        RobolearnError: Unknown names, other lengths, or numbers nobody can draw.
    """
    states = _under(_STATE, arrays)
    for name, rows in states.items():
        if name not in STATES:
            raise RobolearnError(f"{path} has the unknown state {shown(name)}.")
        _check_rows(path, f"state {name}", rows, (steps + 1, 1))
    if states and not {"qpos", "qvel"} <= states.keys():
        raise RobolearnError(f"{path} has states without qpos and qvel.")
    return states


def thoughts_in(path: Path, arrays: Mapping[str, np.ndarray], steps: int) -> dict[str, np.ndarray]:
    """Return the thoughts of a rollout, if they can be.

    Raises:
        RobolearnError: Unknown names, other shapes, or numbers that are not finite.
    """
    thoughts = _under(_THOUGHT, arrays)
    for name, rows in thoughts.items():
        if name not in THOUGHTS or rows.ndim != 1 + (name != "value"):
            raise RobolearnError(f"{path} has no thought {shown(name)} of shape {rows.shape}.")
        _check_rows(path, f"thought {name}", rows, (steps,))
    return thoughts


def numbers_in(
    path: Path, arrays: Mapping[str, np.ndarray], name: str, rows: int, axes: int | None = None
) -> np.ndarray:
    """Return an array of a rollout, if it has so many rows and, unless None, axes.

    Raises:
        RobolearnError: It has not, or holds numbers that are not finite.
    """
    array = arrays[name]
    if axes is not None and array.ndim != axes:
        raise RobolearnError(f"{path} is damaged: {name} has shape {array.shape}.")
    _check_rows(path, name, array, (rows,))
    return array


def number_in(path: Path, facts: Mapping[str, Any], name: str, low: float, high: float) -> Any:
    """Return a number of a rollout's facts, if it is one and lies between ``low`` and ``high``.

    Raises:
        RobolearnError: It does not.
    """
    number = facts.get(name)
    plain = isinstance(number, int | float) and not isinstance(number, bool)
    if not plain or not low <= number <= high:  # type: ignore[operator]
        allowed = f"lie in [{low:g}, {high:g}]"
        raise RobolearnError(f"{path}: {name} must {allowed}, got {shown(number)}.")
    return number


def choice_in(path: Path, facts: Mapping[str, Any], name: str, choices: tuple[Any, ...]) -> Any:
    """Return one of some choices from a rollout's facts.

    Raises:
        RobolearnError: It is none of them.
    """
    choice = facts.get(name)
    if not any(type(choice) is type(known) and choice == known for known in choices):
        raise RobolearnError(f"{path}: {name} must be one of {choices}, got {shown(choice)}.")
    return choice


def _under(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def _check_rows(path: Path, what: str, array: np.ndarray, lengths: tuple[int, ...]) -> None:
    if array.ndim < 1 or len(array) not in lengths:
        raise RobolearnError(
            f"{path} is damaged: {what} has shape {array.shape}, expected {lengths[0]} rows."
        )
    if array.dtype.kind in "fc" and not np.isfinite(array).all():
        raise RobolearnError(f"{path}: {what} holds numbers that are not finite.")
