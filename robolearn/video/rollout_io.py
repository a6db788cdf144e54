"""Read and write rollouts: one npz file of arrays, with metadata as JSON in it; no pickle."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robolearn.errors import RobolearnError
from robolearn.files import read_arrays, shown, write_arrays

MAX_STEPS = 1_000_000
"""Steps of a rollout at most."""
_METADATA = "metadata"
_MAX_METADATA = 64 * 1024  # bytes of JSON


def write_rollout(
    path: Path, metadata: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> None:
    """Write a rollout atomically.

    Args:
        path: The file; its folder is made, and an existing file is replaced.
        metadata: What JSON can hold.
        arrays: Arrays by name.

    Raises:
        OSError: Disk full or not writable.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    text = np.frombuffer(json.dumps(metadata).encode(), np.uint8)
    try:
        write_arrays(temporary, {_METADATA: text, **arrays})
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_rollout(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return metadata and arrays of a rollout.

    Raises:
        RobolearnError: Unreadable, damaged, of an older version, or not a rollout.
    """
    arrays = read_arrays(path)
    if {"facts", "actions", "rewards"} <= arrays.keys():
        raise RobolearnError(
            f"{path} is a rollout of an older version of robolearn. Record it again, or render it "
            "with the version that wrote it."
        )
    if not {_METADATA, "actions", "rewards"} <= arrays.keys():
        raise RobolearnError(f"{path} is no rollout: it holds {shown(sorted(arrays))}.")
    text = arrays.pop(_METADATA)
    if text.dtype != np.uint8 or text.ndim != 1 or len(text) > _MAX_METADATA:
        raise RobolearnError(
            f"{path} is damaged: its metadata is no text of up to {_MAX_METADATA:,} bytes."
        )
    try:
        metadata = json.loads(text.tobytes().decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise RobolearnError(f"{path} is damaged: its metadata is no JSON.") from error
    if not isinstance(metadata, dict):
        raise RobolearnError(f"{path} must hold a JSON object, got {shown(metadata)}.")
    return metadata, arrays


def prefix_keys(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return arrays with ``prefix`` before their names."""
    return {f"{prefix}{name}": array for name, array in arrays.items()}


def read_prefixed(
    path: Path,
    arrays: Mapping[str, np.ndarray],
    prefix: str,
    names: Sequence[str] | None,
    lengths: tuple[int, ...],
) -> dict[str, np.ndarray]:
    """Return the arrays of a rollout whose names begin with ``prefix``, under the rest of these.

    Raises:
        RobolearnError: A name that is not one of ``names`` (None: identifiers with dots), a number
            of rows that is not one of
            ``lengths``, or numbers that are not finite.
    """
    found = {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}
    for name, rows in found.items():
        known = name.replace(".", "_").isidentifier() if names is None else name in names
        if not known:
            raise RobolearnError(f"{path} has the unknown array {shown(prefix + name)}.")
        _check_rows(path, prefix + name, rows, lengths)
    return found


def read_array(
    path: Path, arrays: Mapping[str, np.ndarray], name: str, rows: int, ndim: int | None = None
) -> np.ndarray:
    """Return an array of a rollout, checked for its number of rows and, unless None, axes.

    Raises:
        RobolearnError: Another shape, or numbers that are not finite.
    """
    array = arrays[name]
    if ndim is not None and array.ndim != ndim:
        raise RobolearnError(f"{path} is damaged: {name} has shape {array.shape}.")
    _check_rows(path, name, array, (rows,))
    return array


def _check_rows(path: Path, what: str, array: np.ndarray, lengths: tuple[int, ...]) -> None:
    if array.ndim < 1 or len(array) not in lengths:
        raise RobolearnError(
            f"{path} is damaged: {what} has shape {array.shape}, expected {lengths[0]} rows."
        )
    if array.dtype.kind in "fc" and not np.isfinite(array).all():
        raise RobolearnError(f"{path}: {what} holds numbers that are not finite.")
