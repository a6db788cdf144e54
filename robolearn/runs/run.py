"""The run folder: where everything about a training run lies."""

import fcntl
import itertools
import json
import os
import re
import shutil
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robolearn.config_yaml import read_yaml, write_yaml
from robolearn.errors import RobolearnError, RobolearnWarning
from robolearn.files import read_bytes, read_json
from robolearn.runs.checkpoint import MANIFEST, read_state
from robolearn.runs.meta import meta

_KEPT = 2  # checkpoints, besides the best
_NAME = re.compile(r"\d{9,18}")  # of a checkpoint
_LONGEST_NAME = 64  # bytes


@dataclass(frozen=True)
class RunFolder:
    """``config.yaml meta.json metrics.jsonl tb/ checkpoints/ videos/ eval.json``."""

    path: Path

    @classmethod
    def create(cls, path: Path, config: Any) -> "RunFolder":
        """Make a new run folder and write its config and what made it.

        Raises:
            RobolearnError: The folder already holds a run, or cannot be written.
        """
        claim_folder(path, "run")
        run = cls(path)
        run.checkpoints.mkdir()
        write_yaml(path / "config.yaml", config)
        (path / "meta.json").write_text(json.dumps(meta(), indent=2))
        return run

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Return an existing run.

        Raises:
            RobolearnError: No run there.
        """
        if not (path / "config.yaml").is_file():
            raise RobolearnError(
                f"{path} holds no run (no config.yaml in it). Make one with: "
                "robolearn train ppo --env robolearn/CartPoleBalance-v0 --run " + str(path)
            )
        return cls(path)

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def videos(self) -> Path:
        """Folder of the videos."""
        return self.path / "videos"

    def config(self) -> dict[str, Any]:
        """Return the run's configuration as plain data."""
        return read_yaml(self.path / "config.yaml")

    def checkpoint(self, steps: int) -> Path:
        """Return where the checkpoint of a number of steps goes."""
        return self.checkpoints / f"{steps:09d}"

    def point(self, name: str, checkpoint: Path) -> None:
        """Let ``last`` or ``best`` name a checkpoint, and delete those no longer needed.

        Raises:
            OSError: Disk full or not writable; the pointer is as it was.
        """
        write_whole(self.checkpoints / name, checkpoint.name + "\n")
        self._prune()

    def pointed(self, name: str) -> Path | None:
        """Return the checkpoint ``last`` or ``best`` names, None where there is none yet.

        Raises:
            RobolearnError: It names something else.
        """
        pointer = self.checkpoints / name
        if not pointer.is_symlink() and not pointer.is_file():
            return None
        target = read_bytes(pointer, _LONGEST_NAME).decode(errors="replace").strip()
        if not _NAME.fullmatch(target):
            raise RobolearnError(f"{pointer} must name a checkpoint folder, got {target[:40]!r}.")
        return self.checkpoints / target

    def stored(self) -> list[Path]:
        """Return all checkpoints there are, newest first."""
        if not self.checkpoints.is_dir():
            return []
        found = [p for p in self.checkpoints.iterdir() if _NAME.fullmatch(p.name)]
        found = [path for path in found if path.is_dir() and not path.is_symlink()]
        return sorted(found, key=lambda p: int(p.name), reverse=True)

    def forget_after(self, checkpoint: Path) -> None:
        """Delete checkpoints newer than the one training goes on from: they are damaged."""
        for path in self.stored():
            if int(path.name) > int(checkpoint.name):
                shutil.rmtree(path)

    def _prune(self) -> None:
        needed = {*_known(self, "best", "last"), *self.stored()[:_KEPT]}
        for path in self.stored():
            if path not in needed:
                shutil.rmtree(path)

    def sweep(self) -> None:
        """Delete what a killed process left half written."""
        for path in self.checkpoints.glob(".*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def refuse_links(self) -> None:
        """Make sure that nothing in the run is a link, through which others would be written to.

        Raises:
            RobolearnError: Something is.
        """
        for folder, folders, files in os.walk(self.path):
            _refuse_links(*(Path(folder, name) for name in (*folders, *files)))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from training into this run meanwhile; a kill frees it.

        Raises:
            RobolearnError: Another one does so.
        """
        with folder_lock(self.path, "being trained by another process"):
            yield

    def tell(self, what: str, facts: Any) -> None:
        """Add to a list in ``meta.json``."""
        path = self.path / "meta.json"
        told = read_json(path) if path.is_file() else {}
        before = told.get(what)
        told[what] = [*(before if isinstance(before, list) else ()), facts]
        write_whole(path, json.dumps(told, indent=2))

    @property
    def evaluated(self) -> bool:
        """Whether the final evaluation is written."""
        return (self.path / "eval.json").is_file()

    def dump(self, steps: int, env: int) -> Path:
        """Return a new place for the last states of an environment that broke down."""
        dumps = self.path / "dumps"
        names = itertools.chain([""], (f"-{k}" for k in itertools.count(2)))
        places = (dumps / f"{steps:09d}-env{env}{name}" for name in names)
        return next(place for place in places if not place.exists())

    def write_evaluation(self, figures: dict[str, Any]) -> None:
        """Write the final evaluation."""
        write_whole(self.path / "eval.json", json.dumps(figures, indent=2))


@contextmanager
def folder_lock(path: Path, taken: str) -> Iterator[None]:
    """Keep other processes out of a folder meanwhile; a kill frees it.

    Args:
        path: The folder.
        taken: What it is if another one has it.

    Raises:
        RobolearnError: Another one has it.
    """
    with (path / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RobolearnError(f"{path} is {taken}. Wait for it, or stop it.") from error
        yield


def write_whole(path: Path, text: str) -> None:
    """Write a file so that it holds the text, as UTF-8, or what it held before."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", errors="replace") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def claim_folder(path: Path, kind: str) -> None:
    """Make a folder for new results.

    Raises:
        RobolearnError: Something is in it already, or it cannot be made or written.
    """
    try:
        if path.is_file() or (path.is_dir() and any(path.iterdir())):
            raise RobolearnError(
                f"{path} already holds something; nothing was changed. Choose another folder for "
                f"this {kind}, or delete that one."
            )
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise RobolearnError(f"Cannot write to {path}: {error.strerror}.") from error


def find_checkpoint(path: Path) -> Path:
    """Return the checkpoint a user means by a run folder (its best, else its last) or its own.

    A damaged one is passed over for another one of the run, newest first, and that is said.

    Raises:
        RobolearnError: Neither a run with a checkpoint nor a checkpoint, or all are damaged.
    """
    if (path / MANIFEST).is_file():
        read_state(path)
        return path
    run = RunFolder.open(path)
    return first_sound(run, _known(run, "best", "last"))


def first_sound(run: RunFolder, wanted: Iterable[Path]) -> Path:
    """Return the first checkpoint that is as it was written, of those wanted or else the newest.

    Raises:
        RobolearnError: There is none.
    """
    damage: list[str] = []
    for checkpoint in dict.fromkeys([*wanted, *run.stored()]):
        try:
            _refuse_links(checkpoint.parent, checkpoint)
            read_state(checkpoint)
        except RobolearnError as error:
            damage.append(str(error))
            continue
        for one in damage:
            warnings.warn(f"{one} Using {checkpoint} instead.", RobolearnWarning, stacklevel=2)
        return checkpoint
    raise RobolearnError(damage[0] if damage else f"{run.path} has no checkpoint yet.")


def _refuse_links(*paths: Path) -> None:
    """Make sure that what a run holds lies in it.

    Raises:
        RobolearnError: It is a link to somewhere else.
    """
    for path in paths:
        if path.is_symlink():
            raise RobolearnError(f"{path} is a link, and links in a run are not followed.")


def _known(run: RunFolder, *pointers: str) -> Iterator[Path]:
    """Yield what pointers name, where they do; a damaged one is passed over, and that is said."""
    for pointer in pointers:
        try:
            named = run.pointed(pointer)
        except RobolearnError as error:
            warnings.warn(f"{error} Looking at others.", RobolearnWarning, stacklevel=2)
            continue
        if named is not None:
            yield named
