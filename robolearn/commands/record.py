"""``robolearn record RUN --out x.mp4``."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import gymnasium as gym
import tyro

from robolearn.agents.base import greedy
from robolearn.agents.load import load_agent
from robolearn.commands.common import parse, print_json
from robolearn.commands.filming import frame_size, refusals
from robolearn.dumps import read_dump
from robolearn.environments import HELD_OUT, EnvConfig, check_seed
from robolearn.errors import RobolearnError
from robolearn.files import fitting
from robolearn.runs.meta import comment
from robolearn.video.breakdown import record_dump
from robolearn.video.rollout import Recording, record


@dataclass(frozen=True, kw_only=True)
class RecordOptions:
    """Write a video of a trained agent."""

    run: Annotated[Path | None, tyro.conf.Positional] = None
    """Run folder (its best checkpoint) or checkpoint folder."""
    from_dump: Path | None = None
    """Instead of a run: the dump of an environment that broke down, in RUN/dumps."""
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
    if (options.run is None) == (options.from_dump is None):
        raise RobolearnError("Say what to record: a run, or --from-dump DUMP.")
    if options.from_dump is not None:
        dump = read_dump(options.from_dump)
        with fitting(options.from_dump), _made(dump.env, options) as env, refusals():
            how: dict[str, Any] = {"comment": comment(), "overwrite": options.overwrite}
            film = record_dump(dump, env, options.out, **how)
        return _tell(film, dump.env, options)
    assert options.run is not None
    agent = load_agent(options.run)
    asked = {"level": options.level, "split": options.split}
    changes = {name: value for name, value in asked.items() if value is not None}
    config = agent.envs.elsewhere(options.env, options.engine, changes)
    with _made(config, options) as env, refusals():
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
    return _tell(film, config, options)


@contextmanager
def _made(config: EnvConfig, options: RecordOptions) -> Iterator[gym.Env]:
    """Make an environment to be filmed as asked, and close it."""
    picture = {} if options.size is None or not config.native else frame_size(options.size)
    view = {} if options.view is None else {"view": options.view}
    env = config.make(render_mode="rgb_array", **picture, **view)
    try:
        yield env
    finally:
        env.close()


def _tell(film: Recording, config: EnvConfig, options: RecordOptions) -> int:
    if options.json:
        figures = {"video": str(film.path), "frames": film.frames, "steps": film.steps}
        print_json({**figures, "returns": list(film.returns), "renderer": film.renderer})
        return 0
    returns = ", ".join(f"{total:.1f}" for total in film.returns)
    print(f"{film.path}: {film.frames} frames by {film.renderer or config.id}, return {returns}.")
    return 0
