"""Drawing rollouts in other processes and writing them into one video or picture."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import imageio.v3 as iio
import numpy as np
from PIL.PngImagePlugin import PngInfo

from robolearn.video.painter import Job
from robolearn.video.painters import Painted, Painters
from robolearn.video.recorder import VideoWriter, check_size, check_target
from robolearn.video.rollout import Rollout
from robolearn.video.scene import Script
from robolearn.video.schedule import Shot, pace, schedule, still
from robolearn_envs.rendering import egl_problem
from robolearn_envs.rendering.pictures import usual_size
from robolearn_envs.tasks import TASKS

HOLD = 1.0
"""Seconds for which the end stays."""
_WIDEST = 1280  # pixels, of a row of panes whose size nobody chose


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What one pane of a frame shows, as the process that drew it tells."""

    rollout: int
    """Which of the rollouts."""
    step: int
    """After how many steps."""
    state: np.ndarray
    """Where the environment was when it was drawn: positions, then velocities; of a foreign one
    its observation, flat."""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A finished video."""

    path: Path
    """The file."""
    frames: int
    """Frames in it."""
    steps: int
    """Environment steps shown: of panes side by side, of the longest."""
    returns: tuple[float, ...]
    """Undiscounted return of each rollout."""
    renderer: str | None
    """What drew it; None for environments that are not ours."""
    shown: tuple[tuple[Shown, ...], ...] = ()
    """What each frame shows, pane by pane."""


def film(
    rollouts: Sequence[Rollout],
    path: Path,
    *,
    columns: int | None = None,
    stride: int = 1,
    fps: int | None = None,
    speed: float = 1.0,
    size: tuple[int, int] | None = None,
    camera: str | None = None,
    overlay: bool = True,
    jobs: int = 2,
    comment: str = "",
    overwrite: bool = False,
    sequence: bool = False,
    hold: float = HOLD,
    at: int | None = None,
) -> Recording:
    """Draw rollouts into a video: one alone, or several next to each other and in step.

    Frame k shows all rollouts after as many steps, from the state they begin in to the end of the
    longest; one that is over before holds its last picture. The frames do not depend on ``jobs``.

    Args:
        rollouts: What to show.
        path: The video, ``*.mp4``, ``*.webm`` or ``*.gif``, or one picture, ``*.png``.
        columns: Panes in a row; None for all of them.
        stride: Steps per frame, at speed 1.
        fps: Frames per second; None for as many as show a state every ``stride`` steps, as fast as
            it is. With it, the states nearest in time are shown.
        speed: Simulated seconds per second of video.
        size: Width and height of a pane in pixels; of robolearn environments, None for their own,
            smaller where there are many panes.
        camera: Of navigation 'top', 'chase' or 'both'; None for the usual.
        overlay: Whether to write figures and bars into each pane.
        jobs: Processes that draw.
        comment: Stored in the file.
        overwrite: Whether an existing file may be replaced.
        sequence: Show the rollouts one after the other instead.
        hold: Seconds for which the end stays.
        at: Of a picture: after how many steps; None for the end.

    Raises:
        RobolearnError: A rollout that cannot be drawn.
        ValueError: A bad argument.
        OSError: The file cannot be written there, or exists already.
        RecordingError: ffmpeg or a process that draws failed.
        Stopped: On request.
    """
    if not rollouts:
        raise ValueError("There is nothing to show: expected at least one rollout.")
    picture = path.suffix == ".png"
    if picture and sequence:
        raise ValueError("A picture shows one moment: no sequence of rollouts.")
    if at is not None and not picture:
        raise ValueError(f"at is for pictures, *.png, got '{path}'.")
    if columns is not None and columns < 1:
        raise ValueError(f"columns must be at least 1, got {columns}.")
    if hold < 0:
        raise ValueError(f"hold must not be negative, got {hold}.")
    advance, rate = pace(rollouts[0].fps, stride, fps, speed)
    if len({rollout.fps for rollout in rollouts}) > 1 and not sequence:
        raise ValueError("Rollouts side by side must have as many steps per second as each other.")
    check_target(path, overwrite=overwrite)
    panes = 1 if sequence else len(rollouts)
    lengths = [len(rollout) for rollout in rollouts]
    if picture:
        shots = [still(lengths, at)]
    else:
        shots = schedule(lengths, advance, round(hold * rate), sequence=sequence)
    columns = min(panes, columns or panes)
    scripts = [_script(rollout, _picture(rollout, size, camera, columns)) for rollout in rollouts]
    labels = [rollout.label for rollout in rollouts] if panes > 1 else [""]
    job = Job(
        scripts=scripts,
        labels=labels,
        columns=columns,
        overlay=overlay,
        shots=shots,
        egl=egl_problem(),  # tried here, once
    )
    with Painters(job, jobs) as painters:
        if picture:
            (painted,) = painters.frames()
            _save(painted.picture, path, comment)
            shown = (_shown(shots[0], painted),)
        else:
            how: dict[str, Any] = {"comment": comment, "overwrite": overwrite}
            with VideoWriter(path, painters.width, painters.height, rate, **how) as video:
                shown = tuple(_written(video, shots, painters.frames()))
    return Recording(
        path=path,
        frames=len(shown),
        steps=sum(lengths) if sequence else max(lengths),
        returns=tuple(rollout.total for rollout in rollouts),
        renderer=painters.renderer,
        shown=shown,
    )


def _written(
    video: VideoWriter, shots: Sequence[tuple[Shot, ...]], frames: Iterator[Painted]
) -> Iterator[tuple[Shown, ...]]:
    """Write frames as they come, and tell what each shows."""
    for shot, painted in zip(shots, frames, strict=True):
        video.add(painted.picture)
        yield _shown(shot, painted)


def _shown(shots: tuple[Shot, ...], painted: Painted) -> tuple[Shown, ...]:
    return tuple(
        Shown(rollout=shot.rollout, step=shot.step, state=state)
        for shot, state in zip(shots, painted.states, strict=True)
    )


def _script(rollout: Rollout, picture: Mapping[str, Any]) -> Script:
    """Return what a process that draws needs of a rollout."""
    return Script(
        label=rollout.label,
        spec=gym.spec(rollout.env.id),
        options={**rollout.env.arguments(), **picture},
        seed=rollout.seed,
        states=rollout.states,
        actions=rollout.actions,
        rewards=rollout.rewards,
        observations=rollout.observations,
        thoughts=rollout.thoughts,
        ending=rollout.ending,
    )


def _picture(
    rollout: Rollout, size: tuple[int, int] | None, camera: str | None, columns: int
) -> dict[str, Any]:
    """Return the keyword arguments that say what an environment's pictures are like.

    Raises:
        ValueError: A bad size or camera.
    """
    if not rollout.env.native:
        if camera is not None:
            raise ValueError(f"'{rollout.env.id}' has no cameras to choose from, got '{camera}'.")
        return {}
    kind = TASKS[rollout.env.id.split("/")[-1]].picture
    if camera is not None and kind == "side":
        raise ValueError(
            f"Only navigation has cameras to choose from, got '{camera}' for {rollout.env.id}."
        )
    width, height = usual_size(kind, camera) if size is None else size
    if size is None:
        scale = min(1.0, _WIDEST / (columns * width))
        width, height = (2 * int(side * scale / 2) for side in (width, height))
    check_size(width, height)
    view = {} if camera is None else {"view": camera}
    return {**view, "width": width, "height": height}


def _save(picture: np.ndarray, path: Path, comment: str) -> None:
    """Write a picture, whole or not at all."""
    part = path.with_suffix(".part.png")
    info = PngInfo()
    info.add_itxt("comment", comment)
    try:
        iio.imwrite(part, picture, plugin="pillow", optimize=True, pnginfo=info)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
