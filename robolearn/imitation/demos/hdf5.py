"""HDF5 files, which may come from a stranger: only plain numbers that lie in the file are read.

The HDF5 library finds where they lie and what they are; the bytes themselves are read, and
inflated, here, where every size is checked before memory is asked for.
"""

import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import h5py
import numpy as np

from robolearn.errors import RobolearnError
from robolearn.files import open_regular, shown

LARGEST = 4 * 2**30
"""The most bytes of numbers that are read from one file."""
_RATIO = 1100  # deflate makes at most 1032 bytes of one
_LARGEST_CHUNK = 64 * 2**20  # bytes
_MOST_AXES = 16

_low: Any = h5py  # its lower layer has no types
_MISFITS = (
    ArithmeticError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    RuntimeError,
    OSError,
    MemoryError,
)
"""What h5py raises of damaged files."""


class _Chunk(NamedTuple):
    """Where a block of an array lies."""

    start: tuple[int, ...]
    offset: int
    size: int
    unfiltered: int
    """Bit k is set where filter k was left out."""


class Stored:
    """An HDF5 file that is open for reading."""

    def __init__(self, path: Path, file: BinaryIO, size: int, top: h5py.File) -> None:
        self.path = path
        self._file, self._size = file, size
        self.top: h5py.Group = top
        """The group that holds the others."""
        self._room = min(LARGEST, _RATIO * size)

    def names(self, group: h5py.Group, most: int) -> list[str]:
        """Return the names in a group.

        Raises:
            RobolearnError: More than ``most``.
        """
        count = len(group)
        if count > most:
            raise self._error(f"{group.name} holds {count:,} things, expected {most:,} at most")
        return list(group)

    def has(self, group: h5py.Group, name: str) -> bool:
        """Return whether a group holds something of that name."""
        return bool(name) and "/" not in name and group.id.links.exists(name.encode())

    def group(self, parent: h5py.Group, name: str) -> h5py.Group:
        """Return a group inside another one.

        Raises:
            RobolearnError: Nothing of that name, no group, or a link to elsewhere.
        """
        found = self._open(parent, name)
        if not isinstance(found, h5py.Group):
            raise self._error(f"{found.name} must be a group, got an array")
        return found

    def is_group(self, parent: h5py.Group, name: str) -> bool:
        """Return whether a group holds another one of that name."""
        return self.has(parent, name) and isinstance(self._open(parent, name), h5py.Group)

    def array(self, parent: h5py.Group, name: str) -> np.ndarray:
        """Return the numbers or truth values of an array.

        Raises:
            RobolearnError: None of that name, something else than numbers, numbers that lie
                elsewhere or are not all there, or too many.
        """
        data: Any = self._open(parent, name)
        if not isinstance(data, h5py.Dataset) or data.shape is None:
            raise self._error(f"{parent.name}/{name} must be an array")
        dtype, where = self._dtype(data), str(data.name)
        wanted = math.prod(data.shape) * dtype.itemsize
        if len(data.shape) > _MOST_AXES or wanted > self._room:
            raise self._error(
                f"{where} declares shape {shown(data.shape)} of {dtype}, too much for a file of "
                f"{self._size:,} bytes"
            )
        self._room -= wanted
        recipe = data.id.get_create_plist()
        if recipe.get_external_count() or recipe.get_layout() == _low.h5d.VIRTUAL:
            raise self._error(f"the numbers of {where} lie in other files, expected them in it")
        if not wanted:
            return np.zeros(data.shape, dtype)
        if recipe.get_layout() == _low.h5d.CHUNKED:
            found = self._from_chunks(where, data, dtype, self._filters(where, recipe))
        elif recipe.get_layout() == _low.h5d.CONTIGUOUS:
            raw = self._bytes(where, data.id.get_offset(), wanted)
            found = np.frombuffer(raw, dtype).reshape(data.shape)
        else:  # the few bytes in the array's own description
            found = np.asarray(data[()])
        return self._plain(where, found)

    def whole(self, group: h5py.Group, name: str) -> int | None:
        """Return an attribute that is a whole number; None where there is none.

        Raises:
            RobolearnError: It is something else.
        """
        if not _low.h5a.exists(group.id, name.encode()):
            return None
        told = _low.h5a.open(group.id, name.encode())
        if told.shape != () or told.dtype.kind not in "iu":
            raise self._error(f"the attribute {name} of {group.name} must be a whole number")
        number = np.empty((), told.dtype)
        told.read(number)
        return int(number)

    def _open(self, parent: h5py.Group, name: str) -> Any:
        if not self.has(parent, name):
            raise self._error(f"{parent.name} has no {shown(name)}")
        if parent.id.links.get_info(name.encode()).type != _low.h5l.TYPE_HARD:
            raise self._error(
                f"{shown(name)} in {parent.name} is a link, and links are not followed"
            )
        return parent[name]

    def _dtype(self, data: Any) -> np.dtype:
        kind, dtype = data.id.get_type(), data.dtype
        if dtype.kind not in "biuf" or dtype.itemsize > 8:
            raise self._error(f"{data.name} must hold numbers or truth values, got {dtype}")
        if kind != _low.h5t.py_create(dtype, logical=True):
            raise self._error(f"{data.name} holds numbers of an unusual kind, expected {dtype}")
        return dtype

    def _filters(self, where: str, recipe: Any) -> list[int]:
        filters = [recipe.get_filter(k)[0] for k in range(recipe.get_nfilters())]
        if not {*filters} <= {_low.h5z.FILTER_DEFLATE, _low.h5z.FILTER_SHUFFLE}:
            raise self._error(f"{where} is not compressed by gzip and shuffle but by others")
        return filters

    def _bytes(self, where: str, offset: int | None, size: int) -> bytes:
        if offset is None or offset + size > self._size:
            raise self._error(f"{where} declares more numbers than the file holds")
        self._file.seek(offset)
        raw = self._file.read(size)
        if len(raw) != size:
            raise self._error(f"{where} ends early")
        return raw

    def _from_chunks(
        self, where: str, data: Any, dtype: np.dtype, filters: list[int]
    ) -> np.ndarray:
        grid = data.chunks
        size = math.prod(grid) * dtype.itemsize
        if size > _LARGEST_CHUNK:
            raise self._error(f"{where} is stored in blocks of {size:,} bytes, too large")
        expected = math.prod(-(-n // c) for n, c in zip(data.shape, grid, strict=True))
        chunks = self._chunks(where, data, expected)
        array = np.empty(data.shape, dtype)
        for chunk in chunks:
            largest = size + size // 100 + 64 if filters else size  # what cannot be compressed
            if chunk.size > largest:
                raise self._error(f"a block of {where} is of {chunk.size:,} bytes, too large")
            raw = self._bytes(where, chunk.offset, chunk.size)
            for k in reversed(range(len(filters))):
                if not chunk.unfiltered >> k & 1:
                    raw = self._unfiltered(where, filters[k], raw, dtype.itemsize, size)
            if len(raw) != size:
                raise self._error(f"a block of {where} has {len(raw)} bytes, expected {size}")
            block = np.frombuffer(raw, dtype).reshape(grid)
            place = tuple(slice(s, s + c) for s, c in zip(chunk.start, grid, strict=True))
            part = array[place]
            part[...] = block[tuple(slice(n) for n in part.shape)]
        return array

    def _chunks(self, where: str, data: Any, expected: int) -> list[_Chunk]:
        """Return where all blocks of an array lie, each once."""
        chunks: list[_Chunk] = []

        def note(told: Any) -> bool | None:
            chunks.append(_Chunk(told.chunk_offset, told.byte_offset, told.size, told.filter_mask))
            return True if len(chunks) > expected else None  # True is for enough

        data.id.chunk_iter(note)
        fits = all(
            at % c == 0 and at < n
            for chunk in chunks
            for at, c, n in zip(chunk.start, data.chunks, data.shape, strict=True)
        )
        if (
            len({chunk.start for chunk in chunks}) != expected
            or len(chunks) != expected
            or not fits
        ):
            raise self._error(f"{where} has {len(chunks)} of its {expected} blocks in their places")
        return chunks

    def _unfiltered(self, where: str, kind: int, raw: bytes, width: int, size: int) -> bytes:
        """Undo a filter; never to more than ``size`` bytes."""
        if kind == _low.h5z.FILTER_SHUFFLE:
            if len(raw) % width:
                raise self._error(f"a block of {where} is cut off")
            return np.frombuffer(raw, np.uint8).reshape(width, -1).T.tobytes()
        inflater = zlib.decompressobj()
        try:
            plain = inflater.decompress(raw, size + 1)
        except zlib.error as error:
            raise self._error(f"{where} is no sound gzip: {error}") from error
        if len(plain) != size or not inflater.eof:
            raise self._error(f"a block of {where} does not inflate to {size} bytes")
        return plain

    def _plain(self, where: str, array: np.ndarray) -> np.ndarray:
        """Return numbers in this machine's byte order, and truth values that are 0 or 1."""
        if array.dtype.kind == "b":
            if array.size and array.view(np.uint8).max() > 1:
                raise self._error(f"{where} must hold truth values, got other bytes than 0 and 1")
            return array
        return array.astype(array.dtype.newbyteorder("="), copy=False)

    def _error(self, what: str) -> RobolearnError:
        said = " ".join(what.split())  # a stranger's names may have lines
        return RobolearnError(f"{self.path} is damaged or no set of demonstrations: {said}.")


@contextmanager
def open_stored(path: Path) -> Iterator[Stored]:
    """Open an HDF5 file for reading.

    Raises:
        RobolearnError: No such file, a link, no HDF5, or a damaged one; while it is open, also of
            what is read from it.
    """
    with open_regular(path) as (file, size):
        try:
            with h5py.File(file, "r") as top:
                if top.userblock_size:
                    raise RobolearnError(f"{path} begins with something else than HDF5.")
                yield Stored(path, file, size, top)
        except _MISFITS as error:
            raise RobolearnError(f"{path} is damaged or no HDF5: {_first_line(error)}.") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip("'\"").splitlines() or [type(error).__name__])[0][:200]
