"""Sets of demonstrations as they lie on disk, read in spite of what is wrong with them."""

from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import h5py
import numpy as np
from gymnasium import spaces

from robolearn.errors import RobolearnError
from robolearn.imitation.demos.card import Card
from robolearn.imitation.demos.episodes import Demonstration, Demonstrations
from robolearn.imitation.demos.findings import Finding
from robolearn.imitation.demos.hdf5 import Stored, open_stored
from robolearn.imitation.demos.lint import lint
from robolearn.imitation.demos.metadata import METADATA, read_metadata
from robolearn.imitation.demos.storage import find_set, fingerprint, read_demos

_MOST_STATES = 16
_RETURN = ("infos", "episode", "r")  # as Gymnasium's RecordEpisodeStatistics tells it
_ROUNDING = 1e-5  # of returns that were summed in another order, or in single precision


class Linted(NamedTuple):
    """A set that was looked at."""

    demos: Demonstrations
    """Whatever its arrays hold; what could not be read is empty."""
    findings: list[Finding]

    @property
    def sound(self) -> bool:
        """Whether nothing speaks against learning from it."""
        return all(finding.severity != "error" for finding in self.findings)


class _Reader:
    """Reads arrays and notes those it cannot."""

    def __init__(self, stored: Stored) -> None:
        self.stored = stored
        self.findings: list[Finding] = []
        self.episode = 0

    def array(self, group: h5py.Group, name: str, key: str) -> np.ndarray:
        """Return an array, an empty one if it cannot be read."""
        try:
            return self.stored.array(group, name)
        except RobolearnError as error:
            self.findings.append(Finding("error", "file", str(error), self.episode, key))
            return np.zeros(0)

    def is_group(self, parent: h5py.Group, name: str) -> bool:
        """Return whether a group holds another one of that name, itself and no link to one."""
        try:
            return self.stored.is_group(parent, name)
        except RobolearnError:
            return False

    def nested(self, group: h5py.Group, name: str, space: gym.Space, key: str) -> Any:
        """Return observations, nested as their space is."""
        if not isinstance(space, spaces.Dict | spaces.Tuple):
            return self.array(group, name, key)
        if not self.is_group(group, name):
            text = f"must be a group of {len(space)} arrays in the file."
            self.findings.append(Finding("error", "file", text, self.episode, key))
            return {} if isinstance(space, spaces.Dict) else ()
        inside = self.stored.group(group, name)
        if isinstance(space, spaces.Dict):
            return {n: self.nested(inside, n, part, f"{key}[{n!r}]") for n, part in space.items()}
        return tuple(
            self.nested(inside, f"_index_{k}", part, f"{key}[{k}]")
            for k, part in enumerate(space.spaces)
        )


def lint_file(path: Path, *, episodes: int | None = None) -> Linted:
    """Look at a set on disk, also at one that ``read_demos`` refuses.

    Args:
        path: Folder of the set, or the ``data`` in it.
        episodes: Look at the first so many; None for all.

    Raises:
        RobolearnError: No set there, or one that does not even say what it holds.
    """
    place = find_set(path)
    told = read_metadata(place.data / METADATA)
    count = told.episodes if episodes is None else min(episodes, told.episodes)
    read: list[Demonstration] = []
    stated: list[float | None] = []
    with open_stored(place.episodes) as stored:
        reader = _Reader(stored)
        for k in range(count):
            if not reader.is_group(stored.top, f"episode_{k}"):
                text = f"the file has no episode {k}, but {told.episodes} episodes are declared."
                reader.findings.append(Finding("error", "file", text))
                break
            reader.episode = k
            group = stored.group(stored.top, f"episode_{k}")
            read.append(_episode(reader, group, told.observation_space))
            stated.append(_stated_return(reader, group))
    demos = Demonstrations(
        env=told.env,
        observation_space=told.observation_space,
        action_space=told.action_space,
        episodes=read,
        name=str(path),
    )
    unread = {(finding.episode, finding.key) for finding in reader.findings}
    found = [f for f in lint(demos, stated_returns=stated) if (f.episode, f.key) not in unread]
    carded = _against_card(demos, place.card, place.episodes) if count == told.episodes else []
    linted = Linted(demos, reader.findings + found + carded)
    return Linted(demos, linted.findings + _refusal(path, episodes)) if linted.sound else linted


def _refusal(path: Path, episodes: int | None) -> list[Finding]:
    """Return why a set is refused for learning although nothing else is wrong with it."""
    try:
        read_demos(path, episodes=episodes)
    except RobolearnError as error:
        return [Finding("error", "file", str(error))]
    return []


def _episode(reader: _Reader, group: h5py.Group, space: gym.Space) -> Demonstration:
    stored = reader.stored
    infos = stored.group(group, "infos") if reader.is_group(group, "infos") else None
    clean, state, success = None, {}, None
    if infos is not None:
        if stored.has(infos, "expert_action"):
            clean = reader.array(infos, "expert_action", "clean_action")
        if reader.is_group(infos, "state"):
            inside = stored.group(infos, "state")
            for name in stored.names(inside, _MOST_STATES):
                if not reader.is_group(inside, name):
                    state[name] = reader.array(inside, name, f"state[{name!r}]")
        if stored.has(infos, "success") and not reader.is_group(infos, "success"):
            success = bool(reader.array(infos, "success", "success").any())
    return Demonstration(
        observation=reader.nested(group, "observations", space, "observation"),
        action=reader.array(group, "actions", "action"),
        reward=reader.array(group, "rewards", "reward"),
        terminated=reader.array(group, "terminations", "terminated"),
        truncated=reader.array(group, "truncations", "truncated"),
        clean_action=clean,
        state=state,
        success=success,
        seed=_seed(reader, group),
    )


def _seed(reader: _Reader, group: h5py.Group) -> int | None:
    try:
        return reader.stored.whole(group, "seed")
    except RobolearnError as error:
        reader.findings.append(Finding("error", "file", str(error), reader.episode, "seed"))
        return None


def _stated_return(reader: _Reader, group: h5py.Group) -> float | None:
    """Return what the episode's own info says its return is; None where it does not."""
    stored, (*path, name) = reader.stored, _RETURN
    for inner in path:
        if not reader.is_group(group, inner):
            return None
        group = stored.group(group, inner)
    if not stored.has(group, name) or reader.is_group(group, name):
        return None
    told = reader.array(group, name, "infos/episode/r").reshape(-1)
    return float(told[-1]) if told.size else None


def _against_card(demos: Demonstrations, card: Card | None, file: Path) -> list[Finding]:
    """Return where the card says something else than the episodes."""
    if card is None:
        return []
    found: list[Finding] = []
    size, digest = fingerprint(file)
    figures: dict[str, Any] = {"episodes": len(demos.episodes), "size": size, "sha256": digest}
    if all(np.ndim(one.reward) == 1 and one.reward.size for one in demos.episodes):
        returns = demos.returns
        figures |= {
            "steps": sum(map(len, demos.episodes)),
            "mean_return": float(returns.mean()),
            "min_return": float(returns.min()),
            "max_return": float(returns.max()),
        }
    for name, figure in figures.items():
        told = getattr(card, name)
        same = figure == told
        if isinstance(figure, float):
            same = bool(np.isclose(figure, told, rtol=_ROUNDING, atol=_ROUNDING))
        if not same:
            text = f"the card says {name} is {told}, but it is {figure}."
            found.append(Finding("error", "card", text))
    return found
