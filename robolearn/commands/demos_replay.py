"""``robolearn demos replay SET``."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from robolearn.commands.common import parse, print_json
from robolearn.commands.filming import refusals
from robolearn.errors import RobolearnError
from robolearn.imitation.demos.replay import TOLERANCE, Divergence, Replayed, replay
from robolearn.imitation.demos.storage import read_demos


@dataclass(frozen=True, kw_only=True)
class ReplayOptions:
    """Live through recorded episodes again, and tell how far that leads from the record."""

    demos: Annotated[Path, tyro.conf.Positional]
    """Folder of the set."""
    episode: int | None = None
    """This one alone, counted from 0."""
    episodes: int | None = None
    """The first so many; without it, and without --episode, all."""
    engine: str | None = None
    """Another engine than it was recorded on: mujoco, bullet or analytic."""
    out: Path | None = None
    """A video to write, *.mp4."""
    overwrite: bool = False
    """Replace an existing video."""
    json: bool = False
    """Print one JSON object instead of words."""


def main(arguments: Sequence[str]) -> int:
    """Replay."""
    options = parse(ReplayOptions, arguments, "demos replay")
    if options.episode is not None and options.episodes is not None:
        raise RobolearnError("Say --episode K for one or --episodes N for the first N, not both.")
    demos = read_demos(options.demos, episodes=options.episodes)
    if demos.env is None:
        raise RobolearnError(
            f"{options.demos} does not say which environment it was recorded in, or it is one that "
            "is not known here."
        )
    env = demos.env if options.engine is None else replace(demos.env, engine=options.engine)
    numbers = range(len(demos.episodes)) if options.episode is None else [options.episode]
    with refusals():
        again = replay(demos, numbers, env, out=options.out, overwrite=options.overwrite)
    if options.json:
        told = [{**asdict(one), "exact": one.exact} for one in again.episodes]
        film = again.film and {"video": str(again.film.path), "frames": again.film.frames}
        print_json({"env": env.id, "engine": env.engine, "episodes": told, "film": film})
    else:
        _tell(again)
    return 0


def _tell(again: Replayed) -> None:
    for one in again.episodes:
        print(_line(one))
    exact = sum(one.exact for one in again.episodes)
    alike = sum(one.first is None for one in again.episodes)
    print(
        f"{again.env.id} on {again.env.engine or 'its usual engine'}: {exact} of "
        f"{len(again.episodes)} bit for bit, {alike} within {TOLERANCE:g}."
    )
    if again.film is not None:
        print(f"{again.film.path}: {again.film.frames} frames by {again.film.renderer}.")


def _line(one: Divergence) -> str:
    """Return a line about an episode."""
    if one.exact:
        told = "bit for bit as recorded"
    else:
        off = "" if one.state is None else f", states {one.state:.2g}"
        since = "within" if one.first is None else f"from step {one.first} on beyond"
        told = (
            f"observations {one.observation:.2g}{off} and rewards {one.reward:.2g} off at most, "
            f"{since} {TOLERANCE:g}"
        )
    then, now = (_outcome(won) for won in (one.recorded_success, one.success))
    return (
        f"episode {one.episode}: {one.steps} of {one.recorded_steps} steps, {told}; "
        f"return {one.recorded_return:.4g}{then}, now {one.total:.4g}{now}"
    )


def _outcome(success: bool | None) -> str:
    return "" if success is None else " (success)" if success else " (no success)"
