"""Writing frames to a video as they come, in constant memory."""

import contextlib
import os
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import imageio_ffmpeg
import numpy as np

_TO_BT709 = (  # or players guess the colors from the picture's size
    "scale=out_color_matrix=bt709:out_range=tv,setparams=color_primaries=bt709:color_trc=bt709"
)
_PLAYABLE = ("-vf", _TO_BT709, "-pix_fmt", "yuv420p")
_ENCODED = {
    ".mp4": (*_PLAYABLE, "-c:v", "libx264", "-preset", "veryfast", "-crf", "20"),
    ".webm": (
        *(*_PLAYABLE, "-c:v", "libvpx-vp9", "-crf", "30", "-b:v", "0"),
        *("-deadline", "realtime", "-cpu-used", "6", "-row-mt", "1"),
    ),
    ".gif": ("-c:v", "libx264rgb", "-preset", "ultrafast", "-qp", "0"),  # lossless, on the way
}
"""How frames are encoded as they come, by the suffix of the file they are for."""
_PALETTE = ("-vf", "palettegen=stats_mode=diff")
_DITHERED = "paletteuse=dither=bayer:bayer_scale=5:diff_mode=rectangle"
SUFFIXES = (*_ENCODED, ".png")
"""What a video, or one picture of it, can be."""
_FASTEST_GIF = 50  # frames per second that browsers show


class RecordingError(RuntimeError):
    """A video could not be made; the message ends with ffmpeg's own last line."""


class VideoWriter:
    """Pipes frames to ffmpeg; use it as a context manager.

    While frames come they go to ``<name>.part.mkv``, which can be watched even if this process
    is killed. At the end that is made an mp4 (H.264, yuv420p, playable while it loads), a webm
    (VP9) or a GIF (with a palette of its own), which takes its name in one go. An exception in the
    ``with`` block leaves no file behind.
    """

    def __init__(
        self,
        path: Path,
        width: int,
        height: int,
        fps: int,
        *,
        comment: str = "",
        overwrite: bool = False,
    ) -> None:
        """Check that the video can be written, and start ffmpeg.

        Args:
            path: The video, ``*.mp4``, ``*.webm`` or ``*.gif``; its folder is made if need be.
            width: Of the frames, in pixels; even.
            height: Of the frames, in pixels; even.
            fps: Frames per second.
            comment: Stored in the file: where it came from.
            overwrite: Whether an existing video may be replaced.

        Raises:
            ValueError: A bad size, rate or name.
            FileExistsError: There is such a video already.
            OSError: The folder cannot be written to.
        """
        check_size(width, height)
        check_target(path, overwrite=overwrite)
        if path.suffix not in _ENCODED:
            raise ValueError(f"'{path}' is no video, but one picture.")
        _check_rate(path, fps)
        self.frames = 0
        self._path, self._shape, self._comment = path, (height, width, 3), comment
        self._part = path.with_suffix(".part.mkv")
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in abort()
        self._ffmpeg: subprocess.Popen[bytes] | None = subprocess.Popen(
            [
                *(imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-y"),
                *("-f", "rawvideo", "-pix_fmt", "rgb24"),
                *("-video_size", f"{width}x{height}", "-framerate", str(fps), "-i", "pipe:"),
                *(*_ENCODED[path.suffix], f"file:{self._part}"),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            start_new_session=True,  # Ctrl-C is for us to handle, not for ffmpeg
        )

    def add(self, frame: np.ndarray) -> None:
        """Append a frame.

        Args:
            frame: Shape (height, width, 3), uint8.

        Raises:
            ValueError: A frame of another shape or type, or the writer is closed.
            RecordingError: ffmpeg has given up.
        """
        if frame.shape != self._shape or frame.dtype != np.uint8:
            raise ValueError(
                f"Frames of this video are uint8 of shape {self._shape}, "
                f"got {frame.dtype} of shape {frame.shape}."
            )
        if self._ffmpeg is None or self._ffmpeg.stdin is None:
            raise ValueError(f"The video {self._path} is closed.")
        try:
            self._ffmpeg.stdin.write(np.ascontiguousarray(frame).data)
        except BrokenPipeError:
            self._finish_encoding()  # raises what ffmpeg said
        self.frames += 1

    def close(self) -> None:
        """Finish the video; safe to call twice.

        Raises:
            RecordingError: No frame was added, or ffmpeg failed; no file is left behind.
            OSError: The finished video cannot be put in its place.
        """
        if self._ffmpeg is None:
            return
        try:
            if not self.frames:
                raise RecordingError(f"There are no frames for {self._path}.")
            self._finish_encoding()
            self._convert()
            os.replace(self._unnamed, self._path)
        finally:
            self.abort()

    def abort(self) -> None:
        """Stop and delete what was written; the target is left as it was."""
        if self._ffmpeg is None:
            return
        self._ffmpeg.kill()
        if self._ffmpeg.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # a buffered frame nobody will read
                self._ffmpeg.stdin.close()
        self._ffmpeg.wait()
        self._ffmpeg = None
        self._errors.close()
        self._part.unlink(missing_ok=True)
        self._unnamed.unlink(missing_ok=True)
        self._palette.unlink(missing_ok=True)

    @property
    def _unnamed(self) -> Path:
        return self._path.with_suffix(f".part{self._path.suffix}")

    @property
    def _palette(self) -> Path:
        return self._path.with_suffix(".part.png")

    def _finish_encoding(self) -> None:
        assert self._ffmpeg is not None
        assert self._ffmpeg.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # if ffmpeg is gone, its exit status will tell
            self._ffmpeg.stdin.close()
        self._check(self._ffmpeg.wait())

    def _convert(self) -> None:
        """Make the file that was asked for of the frames."""
        source = ("-i", f"file:{self._part}")
        if self._path.suffix == ".gif":
            self._run(*source, *_PALETTE, "-update", "1", f"file:{self._palette}")
            palette = ("-i", f"file:{self._palette}", "-lavfi", _DITHERED)
            self._run(*source, *palette, f"file:{self._unnamed}")
            return
        whole = ("-movflags", "+faststart") if self._path.suffix == ".mp4" else ()
        told = ("-metadata", f"comment={self._comment}")
        self._run(*source, "-c", "copy", *whole, *told, f"file:{self._unnamed}")

    def _run(self, *arguments: str) -> None:
        done = subprocess.run(
            [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-y", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            check=False,
        )
        self._check(done.returncode)

    def _check(self, status: int) -> None:
        if status == 0:
            return
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip().splitlines()
        reason = said[-1] if said else f"exit status {status}"
        raise RecordingError(f"ffmpeg could not write {self._path}: {reason}")

    def __enter__(self) -> Self:
        """Return the writer itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Finish the video, or delete it if the block raised."""
        if kind is None:
            self.close()
        else:
            self.abort()


def check_size(width: int, height: int) -> None:
    """Refuse sizes that videos cannot have.

    Raises:
        ValueError: It is such a size.
    """
    if width < 2 or height < 2 or width % 2 or height % 2:
        raise ValueError(
            f"H.264 video needs even width and height, got {width} x {height}. "
            f"Render {max(2, width + width % 2)} x {max(2, height + height % 2)} instead."
        )


def _check_rate(path: Path, fps: int) -> None:
    if fps < 1:
        raise ValueError(f"A video needs at least 1 frame per second, got {fps}.")
    if path.suffix == ".gif" and fps > _FASTEST_GIF:
        raise ValueError(
            f"A GIF shows at most {_FASTEST_GIF} frames per second, got {fps}. Use a lower --fps."
        )


def check_target(path: Path, *, overwrite: bool) -> None:
    """Make sure, before anything is simulated, that a video can be written there.

    Raises:
        ValueError: No suffix we write.
        FileExistsError: There is such a video already.
        OSError: The folder cannot be made or written to.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(
            f"Videos are {', '.join(SUFFIXES)} files, got '{path}'. "
            f"Use '{path.with_suffix('.mp4')}'."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise OSError(
            error.errno,
            f"Cannot write to the folder of {path} ({error.strerror}); choose another --out",
        ) from error
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; choose another --out or pass --overwrite")
