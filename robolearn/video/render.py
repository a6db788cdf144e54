"""Render rollouts in other processes and write them into one video or picture."""

import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import gymnasium as gym
import imageio.v3 as iio
import numpy as np
from PIL.PngImagePlugin import PngInfo

from robolearn.video.episode_player import EpisodeData
from robolearn.video.render_worker import FrameSource, RenderJob, render_frames
from robolearn.video.rollout import Rollout
from robolearn.video.schedule import frame_schedule, frame_stride_and_fps, still_frame
from robolearn.video.writer import VideoWriter, check_size, check_target
from robolearn_envs.registry import task_of
from robolearn_envs.rendering import egl_error
from robolearn_envs.rendering.frames import usual_size

FREEZE_END_S = 1.0
"""Seconds for which the last picture stays, by default."""
_MAX_WIDTH = 1280  # pixels, of a row of panes of default size


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """A finished video."""

    path: Path
    """The file."""
    frames: int
    """Number of frames."""
    steps: int
    """Environment steps shown; of panes side by side those of the longest."""
    returns: tuple[float, ...]
    """Undiscounted return of each rollout."""
    renderer: str | None
    """Name of the renderer; None for third-party environments."""
    sources: tuple[tuple[FrameSource, ...], ...] = ()
    """What each frame shows, pane by pane."""


def render_video(
    rollouts: Sequence[Rollout],
    path: Path,
    *,
    grid_columns: int | None = None,
    stride: int = 1,
    fps: int | None = None,
    playback_speed: float = 1.0,
    size: tuple[int, int] | None = None,
    camera: str | None = None,
    overlay: bool = True,
    num_workers: int = 2,
    comment: str = "",
    overwrite: bool = False,
    concatenate: bool = False,
    freeze_end_s: float = FREEZE_END_S,
    at_step: int | None = None,
) -> VideoInfo:
    """Render rollouts into a video: one alone, or several side by side and in step.

    Every frame shows all rollouts after the same number of steps, from their first state to the
    end of the longest. A shorter one keeps its last picture. The frames do not depend on
    ``num_workers``.

    Args:
        rollouts: The rollouts.
        path: The video, ``*.mp4``, ``*.webm`` or ``*.gif``, or one picture, ``*.png``.
        grid_columns: Panes in a row; None for all.
        stride: Steps per frame, at playback speed 1.
        fps: Frames per second; None derives it from ``stride``, in real time. With a given rate
            each frame shows the step nearest in time.
        playback_speed: Simulated seconds per second of video.
        size: Width and height of a pane in pixels, of robolearn environments; None for the default,
            which is smaller where there are many panes.
        camera: Camera of navigation: 'top', 'chase' or 'both'; None for the default.
        overlay: Whether to draw values and bars into each pane.
        num_workers: Rendering processes.
        comment: Stored in the file.
        overwrite: Whether an existing file may be replaced.
        concatenate: Show the rollouts one after the other instead of side by side.
        freeze_end_s: Seconds for which the last picture stays.
        at_step: Step that a picture shows; None for the end.

    Raises:
        RobolearnError: A rollout that cannot be rendered.
        ValueError: A bad argument.
        OSError: The file cannot be written, or exists already.
        RecordingError: ffmpeg or a rendering process failed.
        Stopped: On request.
    """
    if not rollouts:
        raise ValueError("There is nothing to render: expected at least one rollout.")
    is_picture = path.suffix == ".png"
    if is_picture and concatenate:
        raise ValueError("A picture shows one step: concatenate needs a video.")
    if at_step is not None and not is_picture:
        raise ValueError(f"at_step is for pictures, *.png, got '{path}'.")
    if grid_columns is not None and grid_columns < 1:
        raise ValueError(f"grid_columns must be at least 1, got {grid_columns}.")
    if freeze_end_s < 0:
        raise ValueError(f"freeze_end_s must not be negative, got {freeze_end_s}.")
    frame_stride, rate = frame_stride_and_fps(rollouts[0].fps, stride, fps, playback_speed)
    if len({rollout.fps for rollout in rollouts}) > 1 and not concatenate:
        raise ValueError("Rollouts side by side must have the same number of steps per second.")
    check_target(path, overwrite=overwrite)
    panes = 1 if concatenate else len(rollouts)
    columns = min(panes, grid_columns or panes)
    lengths = [len(rollout) for rollout in rollouts]
    if is_picture:
        schedule = [still_frame(lengths, at_step)]
    else:
        freeze = round(freeze_end_s * rate)
        schedule = frame_schedule(lengths, frame_stride, freeze, concatenate=concatenate)
    job = RenderJob(
        episodes=[_episode(rollout, size, camera, columns) for rollout in rollouts],
        titles=[rollout.title for rollout in rollouts] if panes > 1 else [""],
        columns=columns,
        overlay=overlay,
        frames=schedule,
        egl_error=egl_error(),  # looked for once, and here
    )
    with closing(render_frames(job, num_workers)) as frames:
        first = next(frames)
        if is_picture:
            _save_picture(first.picture, path, comment)
            sources = [first.sources]
        else:
            height, width, _ = first.picture.shape
            how: dict[str, Any] = {"comment": comment, "overwrite": overwrite}
            sources = []
            with VideoWriter(path, width, height, rate, **how) as video:
                for frame in chain([first], frames):
                    video.add(frame.picture)
                    sources.append(frame.sources)
    return VideoInfo(
        path=path,
        frames=len(sources),
        steps=sum(lengths) if concatenate else max(lengths),
        returns=tuple(rollout.episode_return for rollout in rollouts),
        renderer=first.renderer,
        sources=tuple(sources),
    )


def _episode(
    rollout: Rollout, size: tuple[int, int] | None, camera: str | None, columns: int
) -> EpisodeData:
    """Return the parts of a rollout that a rendering process needs."""
    env_id = rollout.env.id
    return EpisodeData(
        title=rollout.title,
        env=env_id if ":" in env_id else gym.spec(env_id),
        env_kwargs={**rollout.env.arguments(), **_render_kwargs(rollout, size, camera, columns)},
        seed=rollout.seed,
        render_states=rollout.render_states,
        actions=rollout.actions,
        rewards=rollout.rewards,
        observations=rollout.observations,
        policy_outputs=rollout.policy_outputs,
        end_reason=rollout.end_reason,
    )


def _render_kwargs(
    rollout: Rollout, size: tuple[int, int] | None, camera: str | None, columns: int
) -> dict[str, Any]:
    """Return the environment's keyword arguments for camera and size.

    Raises:
        ValueError: A bad size or camera.
    """
    if not rollout.env.native:
        if camera is not None:
            raise ValueError(f"'{rollout.env.id}' has no cameras to choose from, got '{camera}'.")
        return {}
    kind = task_of(rollout.env.id).scene_type
    if camera is not None and kind == "side":
        raise ValueError(
            f"Only navigation has cameras to choose from, got '{camera}' for {rollout.env.id}."
        )
    width, height = usual_size(kind, camera) if size is None else size
    if size is None:
        scale = min(1.0, _MAX_WIDTH / (columns * width))
        width, height = (2 * int(side * scale / 2) for side in (width, height))
    check_size(width, height)
    view = {} if camera is None else {"view": camera}
    return {**view, "width": width, "height": height}


def _save_picture(picture: np.ndarray, path: Path, comment: str) -> None:
    """Write a picture atomically."""
    part = path.with_suffix(".part.png")
    info = PngInfo()
    info.add_itxt("comment", comment)
    try:
        iio.imwrite(part, picture, plugin="pillow", optimize=True, pnginfo=info)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
