"""Write frames to a video file as they come, in constant memory."""

import contextlib
import os
import subprocess
import tempfile
from pathlib import Path
from typing import IO, Self

import imageio_ffmpeg
import numpy as np

_TO_BT709 = (  # or players guess the colors from the picture's size
    "scale=out_color_matrix=bt709:out_range=tv,setparams=color_primaries=bt709:color_trc=bt709"
)
_YUV420P = ("-vf", _TO_BT709, "-pix_fmt", "yuv420p")
_ENCODERS = {
    ".mp4": (*_YUV420P, "-c:v", "libx264", "-preset", "veryfast", "-crf", "20"),
    ".webm": (
        *(*_YUV420P, "-c:v", "libvpx-vp9", "-crf", "30", "-b:v", "0"),
        *("-deadline", "realtime", "-cpu-used", "6", "-row-mt", "1"),
    ),
    ".gif": ("-c:v", "libx264rgb", "-preset", "ultrafast", "-qp", "0"),  # lossless, converted later
}
"""Arguments of ffmpeg for the frames as they come, by suffix of the video."""
_PALETTE = ("-vf", "palettegen=stats_mode=diff")
_DITHER = ("-lavfi", "paletteuse=dither=bayer:bayer_scale=5:diff_mode=rectangle")
SUFFIXES = (*_ENCODERS, ".png")
"""Suffixes of videos, and of single pictures."""
_MAX_GIF_FPS = 50  # that browsers show


class RecordingError(RuntimeError):
    """A video could not be made; the message ends with ffmpeg's own last line."""


class VideoWriter:
    """Pipes frames to ffmpeg; a context manager.

    Frames go to ``<name>.part.mkv``, which can be played even if this process is killed. At the end
    it is converted to mp4 (H.264, yuv420p, playable while it loads), webm (VP9) or GIF (with a
    palette of its own), and renamed atomically. An exception in the ``with`` block leaves no file.
    """

    # imageio_ffmpeg.write_frames() does not report the exit status and the words of ffmpeg, so a
    # full disk would go unnoticed.

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
            path: The video, ``*.mp4``, ``*.webm`` or ``*.gif``; its folder is made.
            width: Of the frames, in pixels; even.
            height: Of the frames, in pixels; even.
            fps: Frames per second.
            comment: Stored in the file, such as the command that made it.
            overwrite: Whether an existing video may be replaced.

        Raises:
            ValueError: A bad size, rate or name.
            FileExistsError: The video exists already.
            OSError: The folder cannot be written to.
        """
        check_size(width, height)
        check_target(path, overwrite=overwrite)
        if path.suffix not in _ENCODERS:
            raise ValueError(f"'{path}' is no video, but one picture.")
        if fps < 1:
            raise ValueError(f"A video needs at least 1 frame per second, got {fps}.")
        if path.suffix == ".gif" and fps > _MAX_GIF_FPS:
            raise ValueError(
                f"A GIF shows at most {_MAX_GIF_FPS} frames per second, got {fps}. "
                "Use a lower --fps."
            )
        self.frames = 0
        """Frames added so far."""
        self._path, self._shape, self._comment = path, (height, width, 3), comment
        self._part = path.with_suffix(".part.mkv")
        self._converted = path.with_suffix(f".part{path.suffix}")
        self._palette = path.with_suffix(".part.png")
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in abort()
        source = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", f"{width}x{height}")
        self._ffmpeg: subprocess.Popen[bytes] | None = subprocess.Popen(
            _command(
                *(*source, "-framerate", str(fps), "-i", "pipe:"),
                *(*_ENCODERS[path.suffix], f"file:{self._part}"),
            ),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._stderr,
            start_new_session=True,  # Ctrl-C is for us to handle, not for ffmpeg
        )

    def add(self, frame: np.ndarray) -> None:
        """Append a frame.

        Args:
            frame: Shape (height, width, 3), uint8.

        Raises:
            ValueError: A frame of another shape or type, or the writer is closed.
            RecordingError: ffmpeg failed.
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
            self._finish_encoding()  # raises what ffmpeg reported
        self.frames += 1

    def close(self) -> None:
        """Finish the video; may be called twice.

        Raises:
            RecordingError: No frame was added, or ffmpeg failed; no file is left behind.
            OSError: The finished video cannot be renamed.
        """
        if self._ffmpeg is None:
            return
        try:
            if not self.frames:
                raise RecordingError(f"There are no frames for {self._path}.")
            self._finish_encoding()
            self._convert()
            os.replace(self._converted, self._path)
        finally:
            self.abort()

    def abort(self) -> None:
        """Stop and delete temporary files; an existing video stays as it was."""
        if self._ffmpeg is None:
            return
        self._ffmpeg.kill()
        if self._ffmpeg.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # a buffered frame that is not needed
                self._ffmpeg.stdin.close()
        self._ffmpeg.wait()
        self._ffmpeg = None
        self._stderr.close()
        for path in (self._part, self._converted, self._palette):
            path.unlink(missing_ok=True)

    def _finish_encoding(self) -> None:
        assert self._ffmpeg is not None
        assert self._ffmpeg.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # a failure of ffmpeg shows in its exit status
            self._ffmpeg.stdin.close()
        self._check(self._ffmpeg.wait())

    def _convert(self) -> None:
        """Convert the frames to the format of the video."""
        source = ("-i", f"file:{self._part}")
        if self._path.suffix == ".gif":
            self._run(*source, *_PALETTE, "-update", "1", f"file:{self._palette}")
            palette = ("-i", f"file:{self._palette}", *_DITHER)
            self._run(*source, *palette, f"file:{self._converted}")
            return
        index_first = ("-movflags", "+faststart") if self._path.suffix == ".mp4" else ()
        metadata = ("-metadata", f"comment={self._comment}")
        self._run(*source, "-c", "copy", *index_first, *metadata, f"file:{self._converted}")

    def _run(self, *arguments: str) -> None:
        done = subprocess.run(
            _command(*arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._stderr,
            check=False,
        )
        self._check(done.returncode)

    def _check(self, status: int) -> None:
        if status == 0:
            return
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        reason = lines[-1] if lines else f"exit status {status}"
        raise RecordingError(f"ffmpeg could not write {self._path}: {reason}")

    def __enter__(self) -> Self:
        """Return the writer itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Finish the video, or delete it if the block raised."""
        if kind is None:
            self.close()
        else:
            self.abort()


def _command(*arguments: str) -> list[str]:
    return [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-y", *arguments]


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


def check_target(path: Path, *, overwrite: bool) -> None:
    """Check, before anything is simulated, that a video can be written.

    Raises:
        ValueError: An unknown suffix.
        FileExistsError: The video exists already.
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
