"""Reading pictures with imageio, and videos with ffmpeg.

imageio's own ffmpeg reader leaves pipes open, which the tests forbid.
"""

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import imageio.v3 as iio
import imageio_ffmpeg
import numpy as np


class Properties(NamedTuple):
    codec: str
    pixels: str
    width: int
    height: int
    fps: float
    seconds: float
    comment: str | None


def properties(path: Path) -> Properties:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path)]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    stream = re.search(r"Video: (\w+).*?, (\w+\(.*?\)), (\d+)x(\d+).*?, ([\d.]+) fps", said)
    length = re.search(r"Duration: (\d+):(\d+):([\d.]+)", said)
    comment = re.search(r"(?i:comment)\s*: (.*)", said)
    assert stream is not None, said
    assert length is not None, said
    hours, minutes, seconds = map(float, length.groups())
    return Properties(
        codec=stream[1],
        pixels=stream[2],
        width=int(stream[3]),
        height=int(stream[4]),
        fps=float(stream[5]),
        seconds=3600 * hours + 60 * minutes + seconds,
        comment=comment[1] if comment else None,
    )


def _decode(path: Path, *output: str) -> bytes:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-i", str(path)]
    command += ["-fps_mode", "passthrough", *output, "pipe:"]
    return subprocess.run(command, capture_output=True, check=True).stdout


def frames(path: Path) -> np.ndarray:
    """All frames. Shape (frames, height, width, 3), int16, so that differences do not wrap."""
    content = _decode(path, "-f", "rawvideo", "-pix_fmt", "rgb24")
    size = properties(path)
    shape = (-1, size.height, size.width, 3)
    return np.frombuffer(content, dtype=np.uint8).reshape(shape).astype(np.int16)


def number_of_frames(path: Path) -> int:
    """As many as ``frames`` returns, without holding them in memory."""
    checksums = _decode(path, "-f", "framecrc").decode().splitlines()
    return sum(not line.startswith("#") for line in checksums)


def picture(path: Path) -> np.ndarray:
    """A PNG. Shape (height, width, 3), int64."""
    return iio.imread(path).astype(np.int64)
