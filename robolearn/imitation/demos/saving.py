"""Writing sets of demonstrations: there whole, or not at all."""

import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from robolearn.environments import EnvConfig
from robolearn.errors import RobolearnError, SaveError
from robolearn.imitation.demos.card import CARD, Card
from robolearn.imitation.demos.episodes import Demonstration
from robolearn.imitation.demos.hdf5_out import new_file
from robolearn.imitation.demos.layout import write_episode
from robolearn.imitation.demos.metadata import new_storage, tell_storage
from robolearn.imitation.demos.storage import DATA, EPISODES, VERSION, fingerprint

_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}-v\d{1,4}", re.ASCII)


class Tally(NamedTuple):
    """What was written."""

    name: str
    """Of the set's folder."""
    returns: np.ndarray
    """Undiscounted. Shape (episodes,)."""
    lengths: np.ndarray
    """Steps. Shape (episodes,)."""
    successes: np.ndarray | None
    """Shape (episodes,), bool; None where the environment does not say."""
    size: int
    """Bytes of the file of the episodes."""
    sha256: str
    """Of that file."""

    def figures(self) -> dict[str, Any]:
        """Return what a card wants to know of it."""
        won = self.successes
        return {
            "name": self.name,
            "episodes": len(self.returns),
            "steps": int(self.lengths.sum()),
            "mean_return": float(self.returns.mean()),
            "min_return": float(self.returns.min()),
            "max_return": float(self.returns.max()),
            "success_rate": None if won is None else float(won.mean()),
            "size": self.size,
            "sha256": self.sha256,
        }


def named(out: Path) -> Path:
    """Return the folder of a new set: as asked for, with a version at the end of its name.

    Raises:
        RobolearnError: Minari allows no such name.
    """
    folder = out if re.search(r"-v\d+$", out.name) else out.with_name(f"{out.name}{VERSION}")
    if not out.name or not _NAME.fullmatch(folder.name):
        raise RobolearnError(
            f"Minari allows letters, digits, '_' and '-' in the name of a set, and a version such "
            f"as -v0 at its end; got {out.name[:120]!r}. Choose another --out."
        )
    return folder


@contextmanager
def draft(folder: Path, *, replace: bool = False) -> Iterator[Path]:
    """Give a hidden folder to write a set into, which takes its place once all went well.

    Whatever a killed process left there is deleted first.

    Args:
        folder: Where the set goes.
        replace: One that is there already is replaced.

    Raises:
        RobolearnError: Something is there already, or another process writes the same set.
        SaveError: It cannot be written there.
    """
    hidden = folder.with_name(f".{folder.name}.part")
    descriptor = _locked(hidden, folder)
    try:
        _mend(folder)
        if not replace and (folder.is_file() or (folder.is_dir() and any(folder.iterdir()))):
            raise RobolearnError(
                f"{folder} already holds something; nothing was changed. Choose another --out, or "
                "go on with a recording that was stopped: add --resume."
            )
        for path in hidden.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        yield hidden
        _sync(hidden)
        _move(hidden, folder)
    except BaseException:
        shutil.rmtree(hidden, ignore_errors=True)
        raise
    finally:
        os.close(descriptor)


def _locked(hidden: Path, folder: Path) -> int:
    """Make a folder, open it and keep other processes away; a kill lets them in."""
    try:
        hidden.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(hidden, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise SaveError(f"Cannot write to {folder}: {error.strerror}.") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        free = os.fstat(descriptor).st_ino == hidden.stat().st_ino  # not renamed meanwhile
    except (BlockingIOError, FileNotFoundError):
        free = False
    if not free:
        os.close(descriptor)
        raise RobolearnError(
            f"{folder} is being written by another process. Wait for it, or stop it."
        )
    return descriptor


def _old(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def _mend(folder: Path) -> None:
    """Put back, or away, what a kill between the two renames left."""
    old = _old(folder)
    if old.is_dir() and not folder.exists():
        old.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _move(hidden: Path, folder: Path) -> None:
    """Rename a folder over another, which no single rename can if that one is not empty."""
    old = _old(folder)
    if folder.exists():
        folder.rename(old)
    hidden.rename(folder)
    descriptor = os.open(folder.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    shutil.rmtree(old, ignore_errors=True)


def _sync(folder: Path) -> None:
    """Have all that a folder holds written to the disk."""
    for path in [*sorted(folder.rglob("*"), reverse=True), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_demos(
    folder: Path,
    episodes: Iterable[Demonstration],
    *,
    env: EnvConfig | None,
    observation_space: gym.Space,
    action_space: gym.Space,
    describe: Callable[[Tally], Card],
    replace: bool = False,
) -> Card:
    """Write a set; whatever goes wrong, nothing half-written is left.

    Args:
        folder: Of the set; see ``named``.
        episodes: At least one; each is written when it comes, and forgotten.
        env: Where they were recorded.
        observation_space: Of single observations.
        action_space: Of single actions.
        describe: Makes the card, once all are written.
        replace: A set that is there already is replaced.

    Raises:
        RobolearnError: No episodes, or the folder already holds something.
        SaveError: The disk is full.
    """
    with draft(folder, replace=replace) as hidden:
        data = hidden / DATA
        data.mkdir()
        storage = new_storage(data, env, observation_space, action_space)
        tally = _write_episodes(folder.name, data / EPISODES, episodes, observation_space)
        card = describe(tally)
        tell_storage(
            storage,
            {
                "dataset_id": folder.name,
                "total_episodes": card.episodes,
                "total_steps": card.steps,
                "algorithm_name": card.expert,
                "description": f"Demonstrations by {card.expert}; see {CARD} beside this folder.",
                "ref_min_score": card.random_score,
                "ref_max_score": card.expert_score,
                "num_episodes_average_score": card.score_episodes or None,
                "combined_datasets": [one.name for one in card.merged_from] or None,
            },
        )
        (hidden / CARD).write_text(card.text())
        (hidden / "README.md").write_text(card.readme())
    return card


def _write_episodes(
    name: str, path: Path, episodes: Iterable[Demonstration], space: gym.Space
) -> Tally:
    returns: list[float] = []
    lengths: list[int] = []
    won: list[bool | None] = []
    with new_file(path) as file:
        for episode in episodes:
            write_episode(file.top, len(returns), episode, space)
            file.check()
            returns.append(episode.total)
            lengths.append(len(episode))
            won.append(episode.success)
    if not returns:
        raise RobolearnError(f"{name} would have no episodes, expected at least one.")
    size, digest = fingerprint(path)
    return Tally(
        name=name,
        returns=np.array(returns),
        lengths=np.array(lengths),
        successes=None if None in won else np.array(won, np.bool_),
        size=size,
        sha256=digest,
    )
