"""Checkpoints: folders of JSON and safetensors with a manifest; nothing in them can run code."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from robolearn.errors import RobolearnError
from robolearn.files import read_bytes, read_json, shown

SCHEMA = 3
"""Version of the folder layout; raised whenever an older one can no longer be read."""

MANIFEST = "manifest.json"
_STATE = "state.json"
_LARGEST_MANIFEST, _LARGEST_STATE = 2**20, 2**24  # bytes


def write_checkpoint(
    folder: Path, state: Mapping[str, Any], tensors: Mapping[str, Mapping[str, Tensor]]
) -> None:
    """Write a checkpoint so that it is either there whole or not at all.

    The files go into a temporary sibling and are flushed to disk, the manifest with their sizes
    and sha256 last; then the folder is renamed into place. Replacing an older one takes two
    renames: a kill between them leaves the old one as ``.NAME.PID.old`` beside it.

    Args:
        folder: Where; an existing checkpoint there is replaced.
        state: Anything JSON can hold, written as ``state.json``.
        tensors: Tensors by file name (without suffix) and key.

    Raises:
        RobolearnError: The folder exists and is no checkpoint.
        OSError: Disk full or not writable; what was there before is untouched.
    """
    if folder.exists() and not (folder / MANIFEST).is_file():
        raise RobolearnError(f"{folder} exists and is no checkpoint; choose another folder.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        (temporary / _STATE).write_text(json.dumps(state, indent=2))
        for name, group in tensors.items():
            _write_tensors(temporary / f"{name}.safetensors", group)
        files = sorted(temporary.iterdir())
        for path in files:
            _sync(path)
        manifest = {path.name: _describe(path) for path in files}
        (temporary / MANIFEST).write_text(_manifest_text(manifest))
        for path in (temporary / MANIFEST, temporary):
            _sync(path)
        _replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _sync(folder.parent)


_DTYPES = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int64: "I64",
    torch.float32: "F32",
    torch.float64: "F64",
}
"""Types of tensors in the words of safetensors."""


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file, tensor by tensor.

    ``safetensors.torch.save`` would hold all of it in memory once more, ``save_file`` would hide
    the ``OSError`` of a full disk.
    """
    largest_first = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    header: dict[str, Any] = {}
    end = 0
    for name, tensor in largest_first:  # so that each lies at a multiple of its element's size
        start, end = end, end + tensor.numel() * tensor.element_size()
        kind = _DTYPES[tensor.dtype]
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8 bytes
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, tensor in largest_first:
            if tensor.numel():
                flat = tensor.detach().cpu().contiguous().view(-1).numpy()
                file.write(flat.data.cast("B"))


def _manifest_text(files: Mapping[str, Any]) -> str:
    """Return the only text a manifest of these files may have, so that no bit of it is free."""
    return json.dumps({"schema": SCHEMA, "files": files}, indent=2, sort_keys=True) + "\n"


def _describe(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"size": path.stat().st_size, "sha256": digest}


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
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    files = _verified(folder)
    state = read_json(folder / _STATE, _LARGEST_STATE)
    tensors: dict[str, dict[str, Tensor]] = {}
    for name in files:
        path = folder / name
        if path.suffix == ".safetensors":
            try:
                tensors[path.stem] = load_file(path)
            except SafetensorError as error:
                raise RobolearnError(f"{path} is damaged: {error}.") from error
    return state, tensors


def read_state(folder: Path) -> dict[str, Any]:
    """Return the state alone of a checkpoint, whose files are checked all the same.

    Raises:
        RobolearnError: As ``read_checkpoint``.
    """
    _verified(folder)
    return read_json(folder / _STATE, _LARGEST_STATE)


def _verified(folder: Path) -> list[str]:
    """Return the names of a checkpoint's files once all of them are as they were written."""
    path = folder / MANIFEST
    if not path.is_file():
        raise RobolearnError(f"{folder} holds no checkpoint (no {MANIFEST} in it).")
    text = read_bytes(path, _LARGEST_MANIFEST)
    manifest = read_json(path, _LARGEST_MANIFEST)
    if manifest.get("schema") != SCHEMA:
        raise RobolearnError(
            f"{path} has schema {manifest.get('schema')!r}, expected {SCHEMA}. "
            "Use the version of robolearn that wrote it."
        )
    files = manifest.get("files")
    if not isinstance(files, dict) or _STATE not in files:
        raise RobolearnError(f"{path} is damaged: it does not list {_STATE}.")
    if text != _manifest_text(files).encode():
        raise RobolearnError(f"{path} is damaged: it is not what was written.")
    for name, expected in files.items():
        _verify(folder, name, expected)
    return list(files)


def _verify(folder: Path, name: str, expected: Any) -> None:
    path = folder / name
    if Path(name).name != name or path.is_symlink() or not path.is_file():
        raise RobolearnError(f"{folder} lacks the file {shown(name)} its manifest lists.")
    found = _describe(path)
    if found != expected:
        raise RobolearnError(
            f"{path} is damaged: {found['size']} bytes, sha256 {found['sha256'][:12]}; the "
            f"manifest says {shown(expected)}."
        )
