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


def frames(path: Path) -> np.ndarray:
    """All frames. Shape (frames, height, width, 3), int64, so that differences do not wrap."""
    command = [
        *(imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-i", str(path)),
        *("-f", "rawvideo", "-pix_fmt", "rgb24", "-fps_mode", "passthrough", "pipe:"),
    ]
    content = subprocess.run(command, capture_output=True, check=True).stdout
    size = properties(path)
    shape = (-1, size.height, size.width, 3)
    return np.frombuffer(content, dtype=np.uint8).reshape(shape).astype(np.int64)


def picture(path: Path) -> np.ndarray:
    """A PNG. Shape (height, width, 3), int64."""
    return iio.imread(path).astype(np.int64)
