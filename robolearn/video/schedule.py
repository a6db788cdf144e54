"""Which steps of which rollouts each frame of a film shows."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import gymnasium as gym

from robolearn.errors import RobolearnError

MOST_FRAMES = 200_000
"""Of a film: more than an hour at 50 per second."""


class Shot(NamedTuple):
    """What one pane of a frame shows."""

    rollout: int
    """Which of the rollouts."""
    step: int
    """The state after so many steps."""


def pace(steps_per_second: float, stride: int, fps: int | None, speed: float) -> tuple[float, int]:
    """Return how many steps a frame is ahead of the one before it, and the frames per second.

    Args:
        steps_per_second: Of simulated time.
        stride: Steps per frame at speed 1, about, as rates are whole; 1 where ``fps`` is given.
        fps: Frames per second; None for as many as ``stride`` makes at real time.
        speed: Simulated seconds per second of video.

    Raises:
        ValueError: Numbers that make no sense, or both stride and rate.
    """
    if stride < 1:
        raise ValueError(f"stride must be at least 1, got {stride}.")
    if not 0 < speed < math.inf:
        raise ValueError(f"speed must be positive, got {speed}.")
    if stride > max(1.0, steps_per_second):
        raise ValueError(
            f"A video needs at least 1 frame per second: stride must be at most "
            f"{steps_per_second:g}, the steps of a second, got {stride}. Use speed to hurry."
        )
    if fps is not None and fps < 1:
        raise ValueError(f"A video needs at least 1 frame per second, got {fps}.")
    if fps is not None and stride != 1:
        raise ValueError(f"Say stride or fps: either decides what is shown, got {stride}, {fps}.")
    rate = max(1, round(steps_per_second / stride)) if fps is None else fps
    return steps_per_second * speed / rate, rate


def real_time(env: gym.Env, stride: int) -> int:
    """Return the frames per second at which an environment is shown as fast as it is."""
    return pace(env.metadata.get("render_fps", 30), stride, None, 1.0)[1]


def schedule(
    lengths: Sequence[int], advance: float, hold: int, *, sequence: bool = False
) -> list[tuple[Shot, ...]]:
    """Return what each frame shows, pane by pane.

    Frame k shows the state after ``k * advance`` steps, rounded, of all rollouts; of one that is
    over before, its last. The last frame shows the ends.

    Args:
        lengths: Steps of each rollout.
        advance: Steps from frame to frame.
        hold: Frames for which an end stays besides.
        sequence: One rollout after the other in one pane, rather than a pane for each.

    Raises:
        ValueError: More than ``MOST_FRAMES``.
    """
    steps, held = (sum(lengths), hold * len(lengths)) if sequence else (max(lengths), hold)
    if steps > advance * (MOST_FRAMES - held):
        raise ValueError(
            f"A film has at most {MOST_FRAMES:,} frames; {steps:,} steps at {advance:.3g} a frame "
            f"are more, with {held:,} for the end. Use a greater speed or stride, or a lower fps."
        )
    if sequence:
        alone = [
            [(Shot(k, shot.step),) for (shot,) in schedule([length], advance, hold)]
            for k, length in enumerate(lengths)
        ]
        return [frame for frames in alone for frame in frames]
    last = math.ceil(max(lengths) / advance)
    shown = [int(k * advance + 0.5) for k in range(last)] + [max(lengths)] * (1 + hold)
    return [tuple(Shot(k, min(step, length)) for k, length in enumerate(lengths)) for step in shown]


def still(lengths: Sequence[int], at: int | None) -> tuple[Shot, ...]:
    """Return what a picture after ``at`` steps shows, pane by pane; None for the ends.

    Raises:
        RobolearnError: No rollout is so long.
    """
    longest = max(lengths)
    if at is not None and not 0 <= at <= longest:
        raise RobolearnError(f"at must be a step in 0..{longest}, got {at}.")
    step = longest if at is None else at
    return tuple(Shot(k, min(step, length)) for k, length in enumerate(lengths))
