"""Checkpoints: folders of JSON and safetensors with a manifest; nothing in them can run code."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import load_file, save
from torch import Tensor

from robolearn.errors import RobolearnError

SCHEMA = 1
"""Version of the folder layout; raised whenever an older one can no longer be read."""

_MANIFEST = "manifest.json"
_STATE = "state.json"


def write_checkpoint(
    folder: Path, state: Mapping[str, Any], tensors: Mapping[str, Mapping[str, Tensor]]
) -> None:
    """Write a checkpoint so that it is either there whole or not at all.

    Replacing an older one takes two renames; a kill between them leaves the old one as
    ``.NAME.PID.old`` beside it.

    The files go into a temporary sibling, are flushed to disk, listed in a manifest with their
    size and sha256, and the folder is renamed into place.

    Args:
        folder: Where; an existing checkpoint there is replaced.
        state: Anything JSON can hold, written as ``state.json``.
        tensors: Tensors by file name (without suffix) and key.

    Raises:
        RobolearnError: The folder exists and is no checkpoint.
        OSError: Disk full or not writable; what was there before is untouched.
    """
    if folder.exists() and not (folder / _MANIFEST).is_file():
        raise RobolearnError(f"{folder} exists and is no checkpoint; choose another folder.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        (temporary / _STATE).write_text(json.dumps({"schema": SCHEMA, **state}, indent=2))
        for name, group in tensors.items():
            contiguous = {key: tensor.detach().contiguous() for key, tensor in group.items()}
            (temporary / f"{name}.safetensors").write_bytes(save(contiguous))
        manifest = {path.name: _describe(path) for path in sorted(temporary.iterdir())}
        (temporary / _MANIFEST).write_text(json.dumps(manifest, indent=2))
        for path in (*temporary.iterdir(), temporary):
            _sync(path)
        _replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _sync(folder.parent)


def _describe(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replace(source: Path, target: Path) -> None:
    """Rename a folder over another, which no single rename can if that one is not empty."""
    if not target.exists():
        source.rename(target)
        return
    old = target.with_name(f".{target.name}.{os.getpid()}.old")
    target.rename(old)
    try:
        source.rename(target)
    except BaseException:
        old.rename(target)
        raise
    shutil.rmtree(old)


def read_checkpoint(folder: Path) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    """Read a checkpoint back, checking every file against the manifest first.

    Returns:
        The state and the tensors by file name and key.

    Raises:
        RobolearnError: No checkpoint there, a damaged file, or another schema.
    """
    manifest_path = folder / _MANIFEST
    if not manifest_path.is_file():
        raise RobolearnError(f"{folder} holds no checkpoint (no {_MANIFEST} in it).")
    try:
        manifest = json.loads(manifest_path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RobolearnError(f"{manifest_path} is damaged: {error}.") from error
    if not isinstance(manifest, dict) or _STATE not in manifest:
        raise RobolearnError(f"{manifest_path} is damaged: it does not list {_STATE}.")
    for name, expected in manifest.items():
        _verify(folder, name, expected)
    state = json.loads((folder / _STATE).read_text())
    if state.get("schema") != SCHEMA:
        raise RobolearnError(
            f"{folder} has schema {state.get('schema')}, expected {SCHEMA}. "
            "Use the version of robolearn that wrote it."
        )
    files = [folder / name for name in manifest if name.endswith(".safetensors")]
    try:
        return state, {path.stem: load_file(path) for path in files}
    except safetensors.SafetensorError as error:
        raise RobolearnError(f"{folder} is damaged: {error}.") from error


def _verify(folder: Path, name: str, expected: Any) -> None:
    path = folder / name
    if Path(name).name != name or path.is_symlink() or not path.is_file():
        raise RobolearnError(f"{folder} lacks the file '{name}' its manifest lists.")
    found = _describe(path)
    if found != expected:
        raise RobolearnError(
            f"{path} is damaged: {found['size']} bytes, sha256 {found['sha256'][:12]}; the "
            f"manifest says {expected}."
        )
