"""What commands that write videos share."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from robolearn.errors import RobolearnError, SaveError
from robolearn.video.writer import RecordingError


def frame_size(text: str) -> dict[str, int]:
    """Return width and height from ``640x480``.

    Raises:
        RobolearnError: Not two even positive numbers.
    """
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None or any(int(n) % 2 or int(n) == 0 for n in match.groups()):
        raise RobolearnError(f"size must be two even numbers such as 640x480, got '{text}'.")
    return {"width": int(match[1]), "height": int(match[2])}


_MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EIO}
"""Errors that are the disk's, not the user's."""


@contextmanager
def refusals() -> Iterator[None]:
    """Turn what recording raises on bad input or a full disk into our errors."""
    try:
        yield
    except RobolearnError:
        raise
    except ValueError as error:
        raise RobolearnError(str(error)) from error
    except OSError as error:
        kind = SaveError if error.errno in _MACHINE else RobolearnError
        raise kind(error.strerror or str(error)) from error
    except RecordingError as error:
        raise SaveError(str(error)) from error
