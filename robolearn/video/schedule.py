"""Which step of which rollout each frame of a video shows."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import gymnasium as gym

from robolearn.errors import RobolearnError

MAX_FRAMES = 200_000
"""Frames of a video at most: more than an hour at 50 per second."""


class FrameRef(NamedTuple):
    """The state that one pane of a frame shows."""

    rollout: int
    """Index of the rollout."""
    step: int
    """Number of steps before this state."""


def frame_stride_and_fps(
    steps_per_second: float, stride: int, fps: int | None, playback_speed: float
) -> tuple[float, int]:
    """Return the steps between two frames, which need not be whole, and the frames per second.

    Args:
        steps_per_second: Environment steps per second of simulated time.
        stride: Steps per frame at playback speed 1, up to rounding of the frame rate; 1 where
            ``fps`` is given.
        fps: Frames per second; None derives it from ``stride`` at real time.
        playback_speed: Simulated seconds per second of video.

    Raises:
        ValueError: A number out of range, or both stride and fps.
    """
    if stride < 1:
        raise ValueError(f"stride must be at least 1, got {stride}.")
    if not 0 < playback_speed < math.inf:
        raise ValueError(f"playback_speed must be positive, got {playback_speed}.")
    if stride > max(1.0, steps_per_second):
        raise ValueError(
            f"A video needs at least 1 frame per second: stride must be at most the "
            f"{steps_per_second:g} steps of a second, got {stride}. Raise playback_speed instead."
        )
    if fps is not None and fps < 1:
        raise ValueError(f"A video needs at least 1 frame per second, got {fps}.")
    if fps is not None and stride != 1:
        raise ValueError(f"Give stride or fps, not both, got {stride} and {fps}.")
    rate = max(1, round(steps_per_second / stride)) if fps is None else fps
    return steps_per_second * playback_speed / rate, rate


def realtime_fps(env: gym.Env) -> int:
    """Return the frames per second that show every step of an environment in real time."""
    return frame_stride_and_fps(env.metadata.get("render_fps", 30), 1, None, 1.0)[1]


def frame_schedule(
    lengths: Sequence[int], stride: float, freeze_frames: int, *, concatenate: bool = False
) -> list[tuple[FrameRef, ...]]:
    """Return the state each frame shows, pane by pane.

    Frame k shows all rollouts after ``k * stride`` steps, rounded. A shorter rollout keeps its last
    state. The last frame shows the ends.

    Args:
        lengths: Steps of each rollout.
        stride: Steps between two frames.
        freeze_frames: Further frames that show an end.
        concatenate: Show the rollouts one after the other in one pane, not side by side.

    Raises:
        ValueError: More than ``MAX_FRAMES``.
    """
    repeats = len(lengths) if concatenate else 1
    steps, frozen = sum(lengths) if concatenate else max(lengths), freeze_frames * repeats
    if steps > stride * (MAX_FRAMES - frozen):
        raise ValueError(
            f"A video has at most {MAX_FRAMES:,} frames; {steps:,} steps at {stride:.3g} per frame "
            f"and {frozen:,} frames for the end are more. Raise playback_speed or stride, or "
            "lower fps."
        )
    if concatenate:
        return [
            (FrameRef(k, ref.step),)
            for k, length in enumerate(lengths)
            for (ref,) in frame_schedule([length], stride, freeze_frames)
        ]
    last = math.ceil(steps / stride)
    shown = [int(k * stride + 0.5) for k in range(last)] + [steps] * (1 + freeze_frames)
    return [_frame(lengths, step) for step in shown]


def still_frame(lengths: Sequence[int], at_step: int | None) -> tuple[FrameRef, ...]:
    """Return the states a picture after ``at_step`` steps shows, pane by pane; None for the ends.

    Raises:
        RobolearnError: No rollout is that long.
    """
    longest = max(lengths)
    if at_step is not None and not 0 <= at_step <= longest:
        raise RobolearnError(f"at_step must lie in 0..{longest}, got {at_step}.")
    return _frame(lengths, longest if at_step is None else at_step)


def _frame(lengths: Sequence[int], step: int) -> tuple[FrameRef, ...]:
    return tuple(FrameRef(k, min(step, length)) for k, length in enumerate(lengths))
