# pyright: reportAttributeAccessIssue=false
"""Metrics of a run: one JSON object a line, and TensorBoard beside it."""

import errno
import json
import os
import time
import warnings
from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

from robolearn.errors import RobolearnWarning

_VERSION = "brain.Event:2"  # of TensorBoard's event files


class MetricsLog:
    """Appends figures to ``metrics.jsonl`` and ``tb/`` of a run folder.

    While the disk is full figures wait in memory, and a half-written one is taken back.
    """

    def __init__(self, folder: Path, offsets: Mapping[str, int] | None = None) -> None:
        """Open the files.

        Args:
            folder: Of the run.
            offsets: What ``offsets`` returned at the checkpoint the run goes on from: what was
                written later is cut off. None begins anew.
        """
        (folder / "tb").mkdir(exist_ok=True)
        known = offsets or {}
        self._lines = _Appended(folder / "metrics.jsonl", known.get("metrics", 0))
        self._events = _Appended(folder / "tb" / "events.out.tfevents", known.get("events", 0))
        self._warned = False
        if not self._events.size:
            self._events.append(_record(Event(wall_time=time.time(), file_version=_VERSION)))

    @property
    def offsets(self) -> dict[str, int]:
        """How many bytes each file has, for a checkpoint."""
        return {"metrics": self._lines.size, "events": self._events.size}

    def write(self, steps: int, figures: Mapping[str, float | None]) -> None:
        """Log figures that belong to a number of environment steps; None is left out."""
        known = {name: figure for name, figure in figures.items() if figure is not None}
        self._lines.append((json.dumps({"steps": steps, **known}) + "\n").encode())
        values = [Summary.Value(tag=name, simple_value=figure) for name, figure in known.items()]
        event = Event(wall_time=time.time(), step=steps, summary=Summary(value=values))
        self._events.append(_record(event))
        self.flush()

    def flush(self) -> bool:
        """Write what waits, if there is room, and return whether nothing waits any more."""
        try:
            self._lines.flush()
            self._events.flush()
        except OSError as error:
            if not self._warned:
                warnings.warn(
                    f"Cannot write to {self._lines.path} ({error.strerror}): training goes on, "
                    "and figures are written when they can be.",
                    RobolearnWarning,
                    stacklevel=3,
                )
            self._warned = True
            return False
        self._warned = False
        return True


class _Appended:
    """A file that only grows, by whole pieces."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self._waiting = bytearray()
        with path.open("ab") as file:
            self.size = min(size, file.tell())
            """Bytes written."""
            file.truncate(self.size)

    def append(self, piece: bytes) -> None:
        self._waiting += piece

    def flush(self) -> None:
        """Write all that waits.

        Raises:
            OSError: There is no room; the file is as it was.
        """
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            if os.write(descriptor, self._waiting) < len(self._waiting):
                os.ftruncate(descriptor, self.size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(descriptor)
        self.size += len(self._waiting)
        self._waiting.clear()


def _record(event: Event) -> bytes:
    """Return an event as a record of an event file: length, checksum, data, checksum."""
    data = event.SerializeToString()
    length = len(data).to_bytes(8, "little")
    return length + _checksum(length) + data + _checksum(data)


def _checksum(data: bytes) -> bytes:
    return masked_crc32c(data).to_bytes(4, "little")
