"""``robolearn record RUN --out x.mp4``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from robolearn.agents.base import greedy
from robolearn.agents.load import load_agent
from robolearn.commands.common import parse, print_json
from robolearn.commands.filming import frame_size, refusals
from robolearn.environments import HELD_OUT, check_seed
from robolearn.runs.meta import comment
from robolearn.video.rollout import record


@dataclass(frozen=True, kw_only=True)
class RecordOptions:
    """Write a video of a trained agent."""

    run: Annotated[Path, tyro.conf.Positional]
    """Run folder (its best checkpoint) or checkpoint folder."""
    out: Path
    """The video to write, *.mp4."""
    episodes: int = 1
    """Episodes to show."""
    env: str | None = None
    """Another environment than the one it was trained in."""
    engine: str | None = None
    """Another engine: mujoco, bullet or analytic."""
    level: int | None = None
    """Of navigation: another level than it was trained on."""
    split: str | None = None
    """Of navigation: layouts for train, val or test; without it test."""
    view: str | None = None
    """Of navigation: top, chase or both; without it both."""
    seed: int = 0
    """Of the episodes; the first is that of `robolearn eval` with the same seed."""
    size: str | None = None
    """Width and height in pixels, e.g. 640x480; of robolearn environments, which have their own."""
    stride: int = 1
    """Environment steps between frames."""
    fps: int | None = None
    """Frames per second; without it real time."""
    overwrite: bool = False
    """Replace an existing video."""
    json: bool = False
    """Print one JSON object instead of words."""


def main(arguments: Sequence[str]) -> int:
    """Record."""
    options = parse(RecordOptions, arguments, "record")
    check_seed(options.seed)
    agent = load_agent(options.run)
    asked = {"level": options.level, "split": options.split}
    changes = {name: value for name, value in asked.items() if value is not None}
    config = agent.envs.elsewhere(options.env, options.engine, changes)
    picture = {} if options.size is None or not config.native else frame_size(options.size)
    view = {} if options.view is None else {"view": options.view}
    env = config.make(render_mode="rgb_array", **picture, **view)
    try:
        with refusals():
            film = record(
                greedy(agent),
                env,
                options.out,
                seed=HELD_OUT + 1000 * options.seed,
                episodes=options.episodes,
                stride=options.stride,
                fps=options.fps,
                comment=comment(),
                overwrite=options.overwrite,
            )
    finally:
        env.close()
    if options.json:
        figures = {"video": str(film.path), "frames": film.frames, "steps": film.steps}
        print_json({**figures, "returns": list(film.returns), "renderer": film.renderer})
        return 0
    returns = ", ".join(f"{total:.1f}" for total in film.returns)
    print(f"{film.path}: {film.frames} frames by {film.renderer or config.id}, return {returns}.")
    return 0
