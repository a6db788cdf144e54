"""Making one set of several."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from robolearn.environments import EnvConfig
from robolearn.errors import RobolearnError
from robolearn.files import shown
from robolearn.imitation.demos.card import Card, Source, plain_env
from robolearn.imitation.demos.episodes import Demonstrations
from robolearn.imitation.demos.metadata import METADATA, read_metadata
from robolearn.imitation.demos.saving import Tally, named, write_demos
from robolearn.imitation.demos.storage import find_set, fingerprint, read_demos, space_difference


class _Part(NamedTuple):
    """One of the sets."""

    demos: Demonstrations
    card: Card | None
    source: Source


def merge_demos(paths: Sequence[Path], out: Path) -> tuple[Path, Card]:
    """Write a set with the episodes of several, one set after the other.

    What the sets do not agree on, as the engine, is left out of the new card.

    Args:
        paths: Folders of at least two sets.
        out: Of the new one.

    Returns:
        Where it lies, and its card.

    Raises:
        RobolearnError: Other environments or spaces, a set that cannot be read, or one at ``out``.
        SaveError: It could not be written.
    """
    if len(paths) < 2:
        raise RobolearnError(f"Merging takes two sets at least, got {len(paths)}.")
    folder = named(out)
    parts = [_read(path) for path in paths]
    first = parts[0].demos
    for part in parts[1:]:
        _require_alike(first, part.demos)
    env = _common_env([part.demos.env for part in parts])

    def describe(tally: Tally) -> Card:
        cards = [part.card for part in parts]
        return Card(
            **tally.figures(),
            env=plain_env(env),
            dt=_common([card and card.dt for card in cards]),
            expert=" + ".join(dict.fromkeys(part.source.expert for part in parts)),
            noise=_common([part.source.noise for part in parts]),
            asked=len(tally.returns),
            merged_from=tuple(part.source for part in parts),
        )

    card = write_demos(
        folder,
        (episode for part in parts for episode in part.demos.episodes),
        env=env,
        observation_space=first.observation_space,
        action_space=first.action_space,
        describe=describe,
    )
    return folder, card


def _read(path: Path) -> _Part:
    place = find_set(path)
    demos, card = read_demos(path), place.card
    unknown = read_metadata(place.data / METADATA).facts.get("algorithm_name", "unknown")
    source = Source(
        name=place.folder.resolve().name,
        sha256=fingerprint(place.episodes)[1],
        episodes=len(demos.episodes),
        env=plain_env(demos.env),
        expert=card.expert if card else str(unknown),
        noise=card.noise if card else None,
    )
    return _Part(demos, card, source)


def _require_alike(first: Demonstrations, other: Demonstrations) -> None:
    ids = [demos.env.id if demos.env else None for demos in (first, other)]
    differing = ("env", str(ids[1]), str(ids[0])) if ids[0] != ids[1] else None
    for name in ("observation_space", "action_space"):
        theirs, ours = getattr(other, name), getattr(first, name)
        differing = differing or space_difference(name, theirs, ours)
    if differing is not None:
        key, found, expected = differing
        raise RobolearnError(
            f"{other.name} cannot be merged with {first.name}: {key} is {shown(found)}, expected "
            f"{shown(expected)}. Merge sets of one environment."
        )


def _common(settings: Sequence[float | None]) -> float | None:
    return settings[0] if len({*settings}) == 1 else None


def _common_env(envs: Sequence[EnvConfig | None]) -> EnvConfig | None:
    """Return the environment with the engine and the arguments that all have."""
    first = envs[0]
    known = [env for env in envs if env is not None]
    if first is None:
        return None
    return EnvConfig(
        id=first.id,
        engine=first.engine if all(env.engine == first.engine for env in known) else None,
        kwargs={
            name: value
            for name, value in first.kwargs.items()
            if all(name in env.kwargs and env.kwargs[name] == value for env in known)
        },
    )
