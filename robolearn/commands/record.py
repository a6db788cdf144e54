"""``robolearn record RUN [RUN ...] --out x.mp4``."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from robolearn.commands.common import parse, print_json
from robolearn.commands.filming import frame_size, refusals
from robolearn.commands.record_sources import (
    ROLLOUTS,
    Where,
    episodes_of,
    progress_of,
    side_by_side,
)
from robolearn.dumps import read_dump
from robolearn.environments import check_seed
from robolearn.errors import RobolearnError
from robolearn.files import fitting
from robolearn.runs.meta import comment
from robolearn.video.failure import render_failure
from robolearn.video.grid import MAX_PANES
from robolearn.video.render import VideoInfo, render_video
from robolearn.video.rollout import Rollout
from robolearn.video.writer import check_target

_PLAYED = ("env", "engine", "level", "split", "seed")
"""Options that say where agents are to act."""
_DRAWN = ("stride", "fps", "speed", "at", "overlay", "jobs")
"""Options that say how rollouts are drawn."""


@dataclass(frozen=True, kw_only=True)
class RecordOptions:
    """Write a video of trained agents; several are shown side by side, from the same start."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Run folders (their best checkpoints), checkpoint folders, the word expert, or rollouts kept
    before, *.npz."""
    from_dump: Path | None = None
    """Instead of a run: the dump of an environment that broke down, in RUN/dumps."""
    out: Path
    """The video to write, *.mp4, *.webm or *.gif, or one picture, *.png."""
    grid: int | None = None
    """Show one run on so many seeds at once."""
    progress: bool = False
    """Show one run as it was at about 0, 10, 30 and 100 % of its training, as far as
    --video-every kept it."""
    episodes: int = 1
    """Episodes to show, one after the other."""
    env: str | None = None
    """Another environment than the one it was trained in."""
    engine: str | None = None
    """Another engine: mujoco, bullet or analytic."""
    level: int | None = None
    """Of navigation: another level than it was trained on."""
    split: str | None = None
    """Of navigation: layouts for train, val or test; without it test."""
    camera: str | None = None
    """Of navigation: top, chase or both; without it both."""
    seed: int = 0
    """Of the episodes, which are those of `robolearn eval` with the same seed."""
    size: str | None = None
    """Width and height of a pane in pixels, e.g. 640x480; of robolearn environments, which have
    their own."""
    stride: int = 1
    """Environment steps between frames."""
    fps: int | None = None
    """Frames per second; without it as many as there are steps, over the stride."""
    speed: float = 1.0
    """Simulated seconds per second of video."""
    at: int | None = None
    """Of a picture: after how many steps; without it the end."""
    overlay: bool = True
    """Write figures and bars into the picture."""
    keep: Path | None = None
    """Also keep the rollout that is shown, *.npz, to be drawn again later."""
    jobs: int = 2
    """Processes that draw."""
    overwrite: bool = False
    """Replace an existing video or kept rollout."""
    json: bool = False
    """Print one JSON object instead of words."""


def main(arguments: Sequence[str]) -> int:
    """Record."""
    options = parse(RecordOptions, arguments, "record")
    check_seed(options.seed)
    _check(options)
    with refusals():
        check_target(options.out, overwrite=options.overwrite)
    if options.from_dump is not None:
        return _tell(_of_dump(options, options.from_dump), options)
    rollouts = _rollouts(options)
    with refusals():
        if options.keep is not None:
            rollouts[0].save(options.keep)
        return _tell(_film(rollouts, options), options)


def _check(options: RecordOptions) -> None:
    """Refuse what does not go together, before anything is played.

    Raises:
        RobolearnError: Something does not.
    """
    if bool(options.runs) == (options.from_dump is not None):
        raise RobolearnError("Say what to record: a run, or --from-dump DUMP.")
    for name in ("grid", "episodes"):
        count = getattr(options, name)
        if count is not None and count < 1:
            raise RobolearnError(f"{name} must be at least 1, got {count}.")
    asked = {
        "several runs": len(options.runs) > 1,
        "--grid": options.grid is not None,
        "--progress": options.progress,
        "--episodes": options.episodes > 1,
        "--from-dump": options.from_dump is not None,
    }
    together = [name for name, given in asked.items() if given]
    if len(together) > 1:
        raise RobolearnError(f"{' and '.join(together[:2])} do not go together: choose one.")
    panes = max(len(options.runs), options.grid or 1)
    if panes > MAX_PANES:
        raise RobolearnError(f"A picture has at most {MAX_PANES} panes, got {panes}.")
    if options.keep is not None:
        _check_keep(options.keep, together, overwrite=options.overwrite)
    _check_heeded(options)


def _check_keep(keep: Path, together: Sequence[str], *, overwrite: bool) -> None:
    """Refuse to keep a rollout where there are several, or where another one is."""
    if together or keep.suffix != ROLLOUTS:
        raise RobolearnError(
            f"--keep keeps the one rollout that is shown as *.npz, got '{keep}'"
            f"{f' with {together[0]}' if together else ''}."
        )
    if keep.exists() and not overwrite:
        raise RobolearnError(f"{keep} exists; choose another --keep or pass --overwrite.")


def _check_heeded(options: RecordOptions) -> None:
    """Refuse options that nothing would come of."""
    if options.from_dump is not None:
        words = _given(options, (*_PLAYED, *_DRAWN))
        if words:
            raise RobolearnError(f"A dump is shown as it was, in real time: leave out {words}.")
        return
    kept = [run.endswith(ROLLOUTS) for run in options.runs]
    words = ""
    if options.progress or all(kept):
        words = _given(options, (*_PLAYED, "grid", "episodes"))
    elif any(kept):
        words = _given(options, _PLAYED[:-1])  # the seed is of those that are played
    if words:
        raise RobolearnError(
            f"Rollouts that were kept are shown where they were: leave out {words}."
        )


def _given(options: RecordOptions, names: Sequence[str]) -> str:
    """Return those of some options that are not as they are by default, in words."""
    return " and ".join(
        f"--no-{name}" if getattr(options, name) is False else f"--{name}"
        for name in names
        if getattr(options, name) != getattr(RecordOptions, name)
    )


def _rollouts(options: RecordOptions) -> list[Rollout]:
    """Return what to show."""
    where = Where(options.env, options.engine, options.level, options.split, options.seed)
    if options.progress:
        return progress_of(Path(options.runs[0]))
    if len(options.runs) > 1:
        return side_by_side(options.runs, where)
    run = next(iter(options.runs))
    if run.endswith(ROLLOUTS):
        return [Rollout.load(Path(run))]
    return episodes_of(run, where, options.grid or options.episodes)


def _film(rollouts: Sequence[Rollout], options: RecordOptions) -> VideoInfo:
    """Draw rollouts as asked."""
    columns = None
    if options.grid is not None or options.progress:
        columns = math.ceil(math.sqrt(len(rollouts)))
    size = None
    if options.size is not None:
        size = (frame_size(options.size)["width"], frame_size(options.size)["height"])
    return render_video(
        rollouts,
        options.out,
        grid_columns=columns,
        stride=options.stride,
        fps=options.fps,
        playback_speed=options.speed,
        size=size,
        camera=options.camera,
        overlay=options.overlay,
        num_workers=options.jobs,
        comment=comment(),
        overwrite=options.overwrite,
        concatenate=options.episodes > 1,
        at_step=options.at,
    )


def _of_dump(options: RecordOptions, folder: Path) -> VideoInfo:
    """Film the last steps of an environment that broke down."""
    dump = read_dump(folder)
    picture = {}
    if options.size is not None and dump.env.native:
        picture = frame_size(options.size)
    view = {} if options.camera is None else {"view": options.camera}
    env = dump.env.make(render_mode="rgb_array", **picture, **view)
    how: dict[str, Any] = {"comment": comment(), "overwrite": options.overwrite}
    try:
        with fitting(folder), refusals():
            return render_failure(dump, env, options.out, **how)
    finally:
        env.close()


def _tell(shown: VideoInfo, options: RecordOptions) -> int:
    if options.json:
        figures = {"video": str(shown.path), "frames": shown.frames, "steps": shown.steps}
        print_json({**figures, "returns": list(shown.returns), "renderer": shown.renderer})
        return 0
    returns = ", ".join(f"{total:.1f}" for total in shown.returns)
    drawn = f" by {shown.renderer}" if shown.renderer else ""
    print(f"{shown.path}: {shown.frames} frames{drawn}, return {returns}.")
    return 0
