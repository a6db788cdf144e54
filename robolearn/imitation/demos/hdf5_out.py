"""Writing HDF5: compressed, without dates, and without falling over a full disk."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import h5py
import numpy as np

from robolearn.errors import SaveError

_CHUNK = 2**20  # bytes of numbers that are compressed together
_LEVEL = 6  # of gzip
_VERSION = "v110"
"""Of the HDF5 library that can read what is written: it takes a third of the room of the oldest."""


class _Sink:
    """A file for h5py that takes everything, and remembers what the disk would not.

    When the HDF5 library cannot write, it can no longer close a file either, and complains without
    end; so it is not told.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: memoryview) -> int:
        """Write as much as there is room for, and say it was all."""
        end, left = self._file.tell() + len(data), memoryview(data)
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            self.error = self.error or error
            self._file.seek(end)
        return len(data)

    def readinto(self, buffer: memoryview) -> int:
        """Read, and fill up with zeros what was never written."""
        count = self._file.readinto(buffer)  # type: ignore[attr-defined]
        buffer[count:] = bytes(len(buffer) - count)
        return len(buffer)

    def read(self, size: int = -1) -> bytes:
        """Read; h5py knows files by this."""
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go somewhere."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return where it is."""
        return self._file.tell()

    def truncate(self, size: int | None = None) -> int:
        """Set the size."""
        try:
            return self._file.truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size or 0

    def flush(self) -> None:
        """Do nothing: nothing is held back."""


class Growing:
    """An HDF5 file that is being written."""

    def __init__(self, path: Path, top: h5py.File, sink: _Sink) -> None:
        self._path, self._sink = path, sink
        self.top = top
        """The group that holds the others."""

    def check(self) -> None:
        """Make sure that all went well so far.

        Raises:
            SaveError: The disk is full.
        """
        _check(self._path, self._sink)


def _check(path: Path, sink: _Sink) -> None:
    if sink.error is not None:
        raise SaveError(f"Cannot write {path}: {sink.error.strerror}.") from sink.error


@contextmanager
def new_file(path: Path) -> Iterator[Growing]:
    """Write an HDF5 file; the same numbers make the same bytes.

    Raises:
        SaveError: The disk is full.
    """
    with path.open("w+b", buffering=0) as file:
        sink = _Sink(file)  # type: ignore[arg-type]
        with h5py.File(sink, "w", libver=(_VERSION, _VERSION)) as top:
            yield Growing(path, top, sink)
        _check(path, sink)


def put(group: h5py.Group, name: str, array: np.ndarray) -> None:
    """Write an array, compressed, without a date.

    Args:
        group: Where.
        name: Without a slash.
        array: Numbers or truth values. Shape (T, ...), T at least 1.
    """
    row = max(math.prod(array.shape[1:]) * array.dtype.itemsize, 1)
    rows = min(len(array), max(_CHUNK // row, 1))
    group.create_dataset(
        name,
        data=array,
        chunks=(rows, *array.shape[1:]),
        compression="gzip",
        compression_opts=_LEVEL,
        shuffle=True,
        track_times=False,
    )
