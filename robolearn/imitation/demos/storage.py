"""Sets of demonstrations on disk: Minari datasets with a card beside them, read with care."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
from gymnasium import spaces

from robolearn.environments import TrainingEnvs, is_known
from robolearn.errors import RobolearnError
from robolearn.files import open_regular, shown
from robolearn.imitation.demos.card import CARD, Card, read_card
from robolearn.imitation.demos.episodes import Demonstrations
from robolearn.imitation.demos.hdf5 import open_stored
from robolearn.imitation.demos.layout import read_episode
from robolearn.imitation.demos.metadata import METADATA, Described, read_metadata

DATA = "data"
EPISODES = "main_data.hdf5"
VERSION = "-v0"
"""What names end in where nobody says: Minari wants a version."""


class Place(NamedTuple):
    """Where a set lies."""

    folder: Path
    """What it is called by, and where its card is."""
    data: Path
    """Folder of Minari's files."""

    @property
    def episodes(self) -> Path:
        """The file of the episodes."""
        return self.data / EPISODES

    @property
    def card(self) -> Card | None:
        """The card; None of a set made by others.

        Raises:
            RobolearnError: It is damaged.
        """
        path = self.folder / CARD
        return read_card(path) if path.is_symlink() or path.exists() else None


def find_set(path: Path) -> Place:
    """Return where a set lies: at that folder, in its ``data``, or under its name and ``-v0``.

    Raises:
        RobolearnError: There is none.
    """
    for folder in (path, path.with_name(f"{path.name}{VERSION}") if path.name else path):
        if (folder / DATA / METADATA).is_file():
            return Place(folder, folder / DATA)
    if (path / METADATA).is_file():
        named = path.resolve()
        return Place(named.parent if named.name == DATA else path, path)
    raise RobolearnError(
        f"{path} holds no demonstrations (no {DATA}/{METADATA} in it). Record some with: "
        f"robolearn demos record --expert swingup --env robolearn/CartPoleSwingUp-v0 --out {path}"
    )


def find_sets(folder: Path) -> Iterator[Place]:
    """Yield the sets in a folder and in the folders in it, by name; hidden ones are not seen.

    Raises:
        RobolearnError: No such folder.
    """
    if not folder.is_dir():
        raise RobolearnError(f"{folder} is no folder. Name one that holds sets, such as demos.")
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.is_symlink() or not path.is_dir():
            continue
        if (path / DATA / METADATA).is_file():
            yield Place(path, path / DATA)
        elif path.name != DATA:
            yield from find_sets(path)


def read_demos(path: Path | str, *, episodes: int | None = None) -> Demonstrations:
    """Read a set of demonstrations, ours or any Minari dataset in HDF5.

    Args:
        path: Folder of the set, or the ``data`` in it.
        episodes: The first so many; None for all.

    Raises:
        RobolearnError: No set there, one that was edited after its card was written, or anything
            in it that cannot be: shapes, numbers, ends, sizes.
    """
    place = find_set(Path(path))
    told = read_metadata(place.data / METADATA)
    if episodes is not None and not 1 <= episodes <= told.episodes:
        raise RobolearnError(f"{path} has {told.episodes} episodes, {episodes} were asked for.")
    card = place.card
    if card is not None:
        _check_card(place, told, card)
    env = told.env
    named = str(card.env.get("id")) if card is not None and card.env else ""
    if card is not None and (env is None or ":" in named) and is_known(named, Path(path)):
        env = card.config(outside=Path(path))
    with open_stored(place.episodes) as stored:
        read = [
            read_episode(stored, k, told.observation_space, told.action_space)
            for k in range(told.episodes if episodes is None else episodes)
        ]
    return Demonstrations(
        env=env,
        observation_space=told.observation_space,
        action_space=told.action_space,
        episodes=read,
        name=str(path),
    )


def _check_card(place: Place, told: Described, card: Card) -> None:
    """Make sure that the files are what the card was written of."""
    size, digest = fingerprint(place.episodes)
    found = {"episodes": told.episodes, "steps": told.steps, "size": size, "sha256": digest}
    for key, figure in found.items():
        expected = getattr(card, key)
        if figure != expected:
            raise RobolearnError(
                f"{place.folder} was edited after its card was written: {key} is {figure}, "
                f"the card says {shown(expected)}. Get the files anew, or do without the card: "
                f"delete {CARD}."
            )


def fingerprint(path: Path) -> tuple[int, str]:
    """Return size in bytes and sha256 of a file.

    Raises:
        RobolearnError: No such file, a link, or unreadable.
    """
    with open_regular(path) as (file, size):
        readable: Any = file  # typeshed wants readinto of it, which it has
        return size, hashlib.file_digest(readable, "sha256").hexdigest()


def require_for(
    demos: Demonstrations, envs: TrainingEnvs, *, allow_other_env: bool = False
) -> None:
    """Make sure that a learner can learn from demonstrations.

    Another engine, robot or level is no hindrance where the spaces are the same.

    Args:
        demos: What was recorded.
        envs: The learner's environments.
        allow_other_env: Another environment is none either.

    Raises:
        RobolearnError: Another environment, or other spaces.
    """
    recorded = demos.env.id if demos.env else None
    if None not in (recorded, envs.id) and recorded != envs.id and not allow_other_env:
        _refuse(demos, envs, "env", str(recorded), str(envs.id))
    for name in ("observation_space", "action_space"):
        differing = space_difference(name, getattr(demos, name), getattr(envs, name))
        if differing is not None:
            _refuse(demos, envs, *differing)


def _refuse(demos: Demonstrations, envs: TrainingEnvs, key: str, found: str, expected: str) -> None:
    where = f" --env {envs.id}" if envs.id else ""
    raise RobolearnError(
        f"{demos.name} was recorded elsewhere: {key} is {found}, expected {expected}. "
        f"Record a set with: robolearn demos record{where}"
    )


def space_difference(
    key: str, found: gym.Space, expected: gym.Space
) -> tuple[str, str, str] | None:
    """Return in which key, and how, two spaces differ; None where they do not."""
    if found == expected:
        return None
    if isinstance(found, spaces.Dict) and isinstance(expected, spaces.Dict):
        if found.keys() != expected.keys():
            return f"keys of {key}", ", ".join(found), ", ".join(expected)
        parts = ((f"{key}[{shown(name)}]", found[name], expected[name]) for name in found)
        return next(filter(None, (space_difference(*part) for part in parts)), None)
    if isinstance(found, spaces.Box) and isinstance(expected, spaces.Box):
        for what in ("shape", "dtype"):
            theirs, ours = getattr(found, what), getattr(expected, what)
            if theirs != ours:
                return f"{what} of {key}", f"{theirs}", f"{ours}"
        for what in ("low", "high"):
            theirs, ours = getattr(found, what), getattr(expected, what)
            if (theirs != ours).any():
                at = tuple((theirs != ours).nonzero()[k][0] for k in range(theirs.ndim))
                place = f"[{', '.join(map(str, at))}]" if at else ""
                return f"{what}{place} of {key}", f"{theirs[at]}", f"{ours[at]}"
    return key, _words(found), _words(expected)


def _words(space: gym.Space) -> str:
    return " ".join(str(space).split())[:200]
