"""What a gallery tells of a run: read from its folder, whoever wrote it and whatever is damaged."""

import contextlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from robolearn.config_yaml import read_yaml
from robolearn.errors import RobolearnError
from robolearn.files import read_bytes, read_json, shown
from robolearn_envs.registry import is_registered, supported_engines, task_of

VIDEOS = (".mp4", ".webm")
_LARGEST_LOG = 64 * 2**20  # bytes; a line has some 200
_LARGEST_FACTS = 2**20  # bytes of JSON about a run; ours have some thousand
_LARGEST = 2**53  # what counts steps is a whole number in every browser
_LONGEST = 4000  # characters of text; only commands come near it
_MOST_VERSIONS = 50


class Point(NamedTuple):
    """An evaluation on the way."""

    steps: int
    mean_return: float


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run as its folder tells of it; None is what it does not tell."""

    path: Path
    """Of its folder."""
    agent: str | None
    env: str | None
    """Gymnasium id."""
    engine: str | None
    options: Mapping[str, Any]
    """Further ones of the environment."""
    pretrained: str | None
    """How it learned from demonstrations before."""
    seed: int | None
    steps: int | None
    """Environment steps it has learned from."""
    planned: int | None
    """Environment steps it was to learn from."""
    evaluated: bool
    """Whether it has come to its end."""
    mean_return: float | None
    std_return: float | None
    success: float | None
    """Part of the episodes, in [0, 1]."""
    curve: tuple[Point, ...]
    """In order of steps."""
    video: Path | None
    """The newest."""
    started: datetime | None
    command: str | None
    versions: Mapping[str, str]
    hardware: str | None
    source: str | None
    """Commit of the source."""
    problems: tuple[str, ...]
    """A line for each thing in the folder that is not as it should be."""


def is_run(folder: Path) -> bool:
    """Return whether a folder was made for a run: a config alone may be anybody's.

    Comparisons have a config too, and cells.
    """
    made = (folder / "checkpoints").is_dir() or _is_file(folder / "meta.json")
    return made and _is_file(folder / "config.yaml") and not _is_file(folder / "cells.jsonl")


def read_run(folder: Path) -> Run:
    """Return what a run's folder tells; never a failure, but problems."""
    problems: list[str] = []
    config = _Facts("config.yaml", _read(folder, "config.yaml", problems), problems)
    meta = _Facts("meta.json", _read(folder, "meta.json", problems), problems)
    evaluated = (folder / "eval.json").exists()
    told = _read(folder, "eval.json", problems) if evaluated else {}
    final = _Facts("eval.json", told, problems)
    env = _Facts("config.yaml: env", config.mapping("env"), problems)
    reached, curve = _read_log(folder, problems)
    name = env.text("id")
    return Run(
        path=folder,
        agent=config.text("agent"),
        env=name,
        engine=env.text("engine") or _default_engine(name),
        options=env.mapping("kwargs"),
        pretrained=config.text("pretrained"),
        seed=config.integer("seed"),
        steps=final.integer("steps") or reached,
        planned=config.integer("steps"),
        evaluated=evaluated,
        mean_return=final.number("mean_return"),
        std_return=final.number("std_return"),
        success=final.number("success_rate"),
        curve=curve,
        video=_newest_video(folder),
        started=_moment(meta, problems),
        command=meta.text("command"),
        versions=_versions(meta),
        hardware=meta.text("hardware"),
        source=meta.text("git"),
        problems=tuple(problems),
    )


@dataclass(frozen=True)
class _Facts:
    """What a file says, taken out one by one; what is of another kind is a problem."""

    where: str
    told: Mapping[str, Any]
    problems: list[str]

    def text(self, name: str) -> str | None:
        given = self._known(name, str, "text")
        return None if given is None else given[:_LONGEST]

    def integer(self, name: str) -> int | None:
        return self._known(name, int, "an integer")

    def number(self, name: str) -> float | None:
        given = self._known(name, (int, float), "a number")
        return None if given is None else float(given)

    def mapping(self, name: str) -> dict[Any, Any]:
        return self._known(name, dict, "a mapping") or {}

    def _known(self, name: str, kind: type | tuple[type, ...], expected: str) -> Any:
        given = self.told.get(name)
        large = isinstance(given, int) and abs(given) >= _LARGEST
        if given is None or (isinstance(given, kind) and not isinstance(given, bool) and not large):
            return given
        self.problems.append(f"{self.where}: {name} must be {expected}, got {shown(given)}.")
        return None


def _versions(meta: _Facts) -> dict[str, str]:
    told = list(meta.mapping("versions").items())[:_MOST_VERSIONS]
    return {str(name)[:_LONGEST]: str(version)[:_LONGEST] for name, version in told}


def _read(folder: Path, name: str, problems: list[str]) -> dict[str, Any]:
    """Return what a file holds, nothing if it cannot be read, which is a problem."""
    path = folder / name
    try:
        return read_yaml(path) if path.suffix == ".yaml" else read_json(path, _LARGEST_FACTS)
    except RobolearnError as error:
        problems.append(_here(error, folder))
        return {}


def _here(error: RobolearnError, folder: Path) -> str:
    """Return a message with files called as they are in the folder: a page goes elsewhere."""
    return str(error).replace(f"{folder}{os.sep}", "")


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _default_engine(env: str | None) -> str | None:
    if env is None or ":" in env or not is_registered(env):
        return None  # the page of a run imports no module
    return supported_engines(task_of(env))[0]


def _moment(meta: _Facts, problems: list[str]) -> datetime | None:
    """Return when a run began; without a time zone it is taken to be UTC."""
    text = meta.text("started")
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        problems.append(f"meta.json: started must be a date, got {shown(text)}.")
        return None


def _read_log(folder: Path, problems: list[str]) -> tuple[int | None, tuple[Point, ...]]:
    """Return the steps a log has come to and the evaluations in it."""
    path = folder / "metrics.jsonl"
    if not path.exists():
        return None, ()
    try:
        text = read_bytes(path, _LARGEST_LOG)
    except RobolearnError as error:
        problems.append(_here(error, folder))
        return None, ()
    lines = text.split(b"\n")[:-1]  # what comes after the last line's end is being written
    found = {
        k: _read_line(line) for k, line in enumerate(lines, 1) if _matters(line, k, len(lines))
    }
    damaged = [k for k, told in found.items() if told is None]
    if damaged:
        more = f" and {len(damaged) - 1} others" * (len(damaged) > 1)
        problems.append(f"metrics.jsonl: line {damaged[0]}{more} cannot be read.")
    told = [each for each in found.values() if each is not None]
    points = sorted(Point(steps, score) for steps, score in told if score is not None)
    return max((steps for steps, _ in told), default=None), tuple(points)


def _matters(line: bytes, number: int, last: int) -> bool:
    """Return whether a line tells of an evaluation, or of the steps at last."""
    return b'"eval/mean_reward"' in line or number == last


def _read_line(line: bytes) -> tuple[int, float | None] | None:
    """Return steps and an evaluation's return where there is one; None of a damaged line."""
    try:
        row = json.loads(line)
        steps, score = int(row["steps"]), row.get("eval/mean_reward")
        score = None if score is None else float(score)
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError):
        return None
    sound = 0 <= steps < _LARGEST and (score is None or math.isfinite(score))
    return (steps, score) if sound else None


def _newest_video(folder: Path) -> Path | None:
    """Return the video written last, in the run's folder or its ``videos``."""
    places = [folder, folder / "videos"]
    found = [video for place in places if not place.is_symlink() for video in _videos(place)]
    return max(found)[-1] if found else None


def _videos(place: Path) -> Iterator[tuple[float, str, Path]]:
    """Yield when finished videos were written, with names; half-written ones are ``*.part.mp4``."""
    with contextlib.suppress(OSError):  # no such folder, or gone meanwhile
        for path in place.iterdir():
            finished = ".part." not in path.name and not path.name.startswith(".")
            if path.suffix.lower() in VIDEOS and finished and _is_file(path):
                yield path.stat().st_mtime, path.name, path
