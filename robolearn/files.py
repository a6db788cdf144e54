"""Reading files a stranger may have made: every size is checked before memory is asked for.

Nothing here runs what it reads. What is not as expected is a ``RobolearnError`` of one line that
says in which file, what was found and what was expected.
"""

import errno
import json
import math
import os
import re
import reprlib
import stat
import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from robolearn.errors import RobolearnError

_ZIP_ERRORS = (
    zipfile.BadZipFile,
    struct.error,
    EOFError,
    IndexError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
)
"""What ``zipfile`` raises for archives that are damaged, encrypted or made to break it."""

_CHUNK = 2**20  # bytes read at once
_MAGIC = b"\x93NUMPY\x01\x00"
_LONGEST_HEADER = 1024  # bytes; NumPy's are 118 but for arrays of a great many axes
_HEADER = re.compile(
    r"\{'descr': '([<>|][biufc]\d{1,2})', 'fortran_order': (True|False), "
    r"'shape': \(((?:\d{1,18}, )*\d{1,18},?)?\), \} *\n",
    re.ASCII,
)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
_ZIP64_TAIL = 56 + 20 + 22  # bytes: end of a large zip's directory, where that is, end of a zip
_LONGEST_DIRECTORY = 2**20  # bytes; some 50 for each member
_LONGEST_SHOWN = 80  # characters of a value in a message


class _Header(NamedTuple):
    """What an array in an archive says of itself."""

    dtype: np.dtype
    shape: tuple[int, ...]
    fortran: bool

    @property
    def size(self) -> int:
        """Bytes of the numbers."""
        return math.prod(self.shape) * self.dtype.itemsize


def shown(value: Any) -> str:
    """Return a value as a message shows it: on one line, and not all of it if it is long."""
    short = reprlib.Repr()
    short.maxlevel, short.maxstring, short.maxother = 2, _LONGEST_SHOWN, _LONGEST_SHOWN
    try:
        text = short.repr(value)
    except ValueError:  # an int of more digits than Python prints
        return f"a number of {value.bit_length()} bits" if isinstance(value, int) else "numbers"
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 3]}..."


@contextmanager
def open_regular(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """Open a file for reading and tell its size; never a link, and never something that waits.

    Raises:
        RobolearnError: No such file, not a regular one, or unreadable.
    """
    try:
        # A pipe without a writer would wait at O_RDONLY alone.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        link = error.errno == errno.ELOOP
        why = "it is a symbolic link, expected a regular file" if link else error.strerror
        raise RobolearnError(f"Cannot read {path}: {why}.") from error
    except ValueError as error:  # a NUL in the name
        raise RobolearnError(f"Cannot read {shown(str(path))}: {error}.") from error
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise RobolearnError(f"Cannot read {path}: it is no regular file.")
    except BaseException:
        os.close(descriptor)
        raise
    with os.fdopen(descriptor, "rb") as file:
        yield file, facts.st_size


def read_bytes(path: Path, limit: int) -> bytes:
    """Return what a file holds.

    Args:
        path: A regular file; symbolic links to one are refused.
        limit: The most bytes it may hold.

    Raises:
        RobolearnError: No such file, not a regular one, too large, or unreadable.
    """
    with open_regular(path) as (file, size):
        try:
            data = b"" if size > limit else file.read(limit + 1)
        except OSError as error:
            raise RobolearnError(f"Cannot read {path}: {error.strerror}.") from error
    found = max(size, len(data))
    if found > limit:
        raise RobolearnError(f"{path} is too large: {found:,} bytes, expected {limit:,} at most.")
    return data


def read_json(path: Path, limit: int = 64 * 2**20) -> dict[str, Any]:
    """Return the JSON object a file holds; ``NaN`` and ``Infinity`` are numbers.

    Args:
        path: A regular file.
        limit: The most bytes it may hold.

    Raises:
        RobolearnError: Unreadable, not JSON, or not an object.
    """
    text = read_bytes(path, limit)
    try:
        data = json.loads(text.decode("utf-8"))
    except RecursionError as error:
        raise RobolearnError(f"{path} is damaged: it nests too deeply to be read.") from error
    except ValueError as error:  # not UTF-8, not JSON, or a number of thousands of digits
        raise RobolearnError(f"{path} is damaged: expected JSON, but {error}.") from error
    if not isinstance(data, dict):
        raise RobolearnError(f"{path} must hold a JSON object, got {shown(data)}.")
    return data


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays as ``np.savez`` does; the same arrays make the same bytes.

    Args:
        path: Where to; a file already there is replaced.
        arrays: Numbers or truth values, by a name of letters, digits, ``_``, ``.`` and ``-``.

    Raises:
        TypeError: Something else than numbers or truth values.
        ValueError: Another name.
    """
    for name, array in arrays.items():
        if array.dtype.kind not in "biufc":
            raise TypeError(f"'{name}' must hold numbers or truth values, got {array.dtype}.")
        if not _is_plain(name):
            raise ValueError(f"A name is letters, digits, '_', '.' and '-', got {name!r}.")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, version=(1, 0), allow_pickle=False)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return what ``write_arrays`` or ``np.savez`` wrote; nothing is unpickled or inflated.

    Raises:
        RobolearnError: Unreadable, damaged, compressed, or other things than numbers in it.
    """
    with open_regular(path) as (file, size), open_zip(file, size, str(path)) as (archive, members):
        for name in members:
            if not name.endswith(".npy") or not _is_plain(name.removesuffix(".npy")):
                raise RobolearnError(
                    f"{path} holds {shown(name)}, expected plain names like 'obs.npy'."
                )
        return {
            name.removesuffix(".npy"): _read(f"'{name}' in {path}", archive, member)
            for name, member in members.items()
        }


@contextmanager
def open_zip(
    file: BinaryIO, size: int, where: str
) -> Iterator[tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]]:
    """Open a zip whose members lie there as they are, and tell them by name.

    Args:
        file: The zip, with nothing after it.
        size: Its bytes.
        where: What it is called in messages.

    Raises:
        RobolearnError: No zip, a damaged one, or one with members that are compressed, encrypted,
            there twice or larger than the file; while it is open, also of what is read from it.
    """
    _check_directory(file, size, where)
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            for member in members:
                if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 0x1:
                    raise RobolearnError(
                        f"{shown(member.filename)} in {where} is compressed or encrypted, "
                        "expected it stored as it is."
                    )
            declared = sum(max(member.file_size, member.compress_size) for member in members)
            if declared > size:
                raise RobolearnError(
                    f"{where} is damaged: its members declare {declared:,} bytes, the file has "
                    f"{size:,}."
                )
            named = {member.filename: member for member in members}
            if len(named) < len(members):
                raise RobolearnError(f"{where} holds a name twice, expected each once.")
            yield archive, named
    except _ZIP_ERRORS as error:
        raise RobolearnError(f"{where} is damaged: {shown(str(error))}.") from error


def _check_directory(file: BinaryIO, size: int, where: str) -> None:
    """Refuse a zip whose list of members is long: ``zipfile`` reads all of it at once."""
    file.seek(max(size - _ZIP64_TAIL, 0))
    tail = file.read(_ZIP64_TAIL)
    end = tail[-22:]
    if len(end) < 22 or not end.startswith(b"PK\5\6") or end[-2:] != b"\0\0":
        raise RobolearnError(f"{where} is no zip, or damaged: it does not end as one.")
    length = int.from_bytes(end[12:16], "little")
    if len(tail) == _ZIP64_TAIL and tail[-42:].startswith(b"PK\6\7"):
        length = int.from_bytes(tail[40:48], "little")
    if length > _LONGEST_DIRECTORY:
        raise RobolearnError(
            f"{where} has a list of members of {length:,} bytes, expected {_LONGEST_DIRECTORY:,} "
            "at most."
        )


def _is_plain(name: str) -> bool:
    return _NAME.fullmatch(name) is not None and ".." not in name


def _read(where: str, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """Return one array, having held what it declares against the bytes that are there."""
    with archive.open(member) as stream:
        header, length = _read_header(where, stream)
        there = member.file_size - length
        if header.size != there:
            raise RobolearnError(
                f"{where} is damaged: it declares {header.dtype} of shape {shown(header.shape)}, "
                f"{header.size:,} bytes, but holds {there:,}."
            )
        flat = np.empty(math.prod(header.shape), header.dtype)
        raw, filled = flat.view(np.uint8), 0
        while chunk := stream.read(_CHUNK):  # the last one has zipfile check the CRC
            raw[filled : filled + len(chunk)] = np.frombuffer(chunk, np.uint8)
            filled += len(chunk)
    return flat.reshape(header.shape, order="F" if header.fortran else "C")


def _read_header(where: str, stream: Any) -> tuple[_Header, int]:
    """Return what an array says of itself, and after how many bytes its numbers begin.

    NumPy has Python's parser read this; a pattern of what NumPy writes can do less.
    """
    start = stream.read(len(_MAGIC) + 2)
    if len(start) < len(_MAGIC) + 2 or not start.startswith(_MAGIC):
        raise RobolearnError(f"{where} is no array: it begins with {start[:8]!r}, not {_MAGIC!r}.")
    length = int.from_bytes(start[-2:], "little")
    if length > _LONGEST_HEADER:
        raise RobolearnError(
            f"{where} has a header of {length:,} bytes, expected {_LONGEST_HEADER:,} at most."
        )
    text = stream.read(length).decode("latin-1")
    found = _HEADER.fullmatch(text)
    if found is None:
        raise RobolearnError(
            f"{where} must hold numbers or truth values and say so as NumPy does, "
            f"got the header {shown(text.strip())}."
        )
    descr, fortran, shape = found.groups()
    try:
        dtype = np.dtype(descr)
    except TypeError as error:
        raise RobolearnError(f"{where} has the unknown dtype '{descr}'.") from error
    numbers = tuple(int(number) for number in (shape or "").replace(",", " ").split())
    if len(numbers) > 32:
        raise RobolearnError(f"{where} has {len(numbers)} axes, expected 32 at most.")
    return _Header(dtype, numbers, fortran == "True"), len(start) + length


_MISFITS = (
    ArithmeticError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    RuntimeError,
    MemoryError,
)


@contextmanager
def fitting(folder: Path) -> Iterator[None]:
    """Turn what goes wrong when parts of a checkpoint do not fit together into our error."""
    try:
        yield
    except _MISFITS as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise RobolearnError(f"{folder} does not fit its config: {lines[-1].strip()}.") from error


def require_shape(name: str, array: Any, shape: tuple[int, ...]) -> None:
    """Make sure that an array, or tensor, is not broadcast to what it was expected to be.

    Raises:
        ValueError: It has another shape.
    """
    if tuple(array.shape) != shape:
        raise ValueError(f"{name} has shape {tuple(array.shape)}, expected {shape}")


def run_of(checkpoint: Path) -> Path:
    """Return the folder of the run a checkpoint is of; itself if it lies in none."""
    checkpoint = checkpoint.resolve()
    return checkpoint.parents[1] if checkpoint.parent.name == "checkpoints" else checkpoint
