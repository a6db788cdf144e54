"""The set that a person's demonstrations go into: whole after every episode that is kept."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym

from robolearn.environments import SEED_SPACING
from robolearn.errors import RobolearnError
from robolearn.imitation.demos.card import Card, plain_env
from robolearn.imitation.demos.episodes import Demonstration
from robolearn.imitation.demos.human import Seat, play, simulation
from robolearn.imitation.demos.record import RecordConfig
from robolearn.imitation.demos.saving import Tally, named, write_demos
from robolearn.imitation.demos.storage import find_set, read_demos
from robolearn.runs.stopping import Stopped, stoppable

HUMAN = "human"
"""The expert's name on the card."""


@dataclass(frozen=True, kw_only=True)
class Session:
    """What came of sitting down."""

    card: Card | None
    """Of the set; None where nothing has ever been kept."""
    kept: int
    """Episodes kept this time."""


class HumanSet:
    """Episodes a person kept, on disk."""

    def __init__(self, config: RecordConfig, env: gym.Env) -> None:
        """Begin a set, or take up the one that is there.

        Args:
            config: What to record; its ``episodes`` are those of all sessions together.
            env: Of robolearn, made for ``config.env``.

        Raises:
            RobolearnError: There is a set already and it is not to be resumed, or it is one of
                another environment, seed or expert.
        """
        vector = simulation(env)
        self._spaces = env.observation_space, env.action_space
        self._dt = vector.task.timestep * vector.task.frame_skip  # s
        self._env = replace(config.env, engine=vector.engine_name)
        self._config, self.folder = config, named(config.out)
        self.card: Card | None = None
        self._episodes: list[Demonstration] = []
        if self.folder.exists() and any(self.folder.iterdir()):
            self._take_up()

    def _take_up(self) -> None:
        if not self._config.resume:
            raise RobolearnError(
                f"{self.folder} already holds something; nothing was changed. Choose another "
                "--out, or go on with it: add --resume."
            )
        self.card = find_set(self.folder).card
        found: Mapping[str, Any] = {} if self.card is None else vars(self.card)
        for name, expected in self._settings().items():
            if found.get(name) != expected:
                raise RobolearnError(
                    f"{self.folder} cannot be gone on with: {name} is {found.get(name)}, expected "
                    f"{expected}. Choose another --out."
                )
        self._episodes = list(read_demos(self.folder).episodes)

    def _settings(self) -> dict[str, Any]:
        return {"expert": HUMAN, "env": plain_env(self._env), "seed": self._config.seed}

    @property
    def missing(self) -> int:
        """How many episodes there are still to be."""
        return max(self._config.episodes - len(self._episodes), 0)

    @property
    def next_seed(self) -> int:
        """Seed of an episode after all those there are."""
        seeds = [one.seed for one in self._episodes if one.seed is not None]
        return max(seeds, default=SEED_SPACING * self._config.seed - 1) + 1

    def keep(self, episode: Demonstration) -> None:
        """Write the set with one more episode; the one that was there stays until it is written.

        Raises:
            SaveError: It could not be written; what was there still is.
        """
        self._episodes.append(episode)
        self.card = write_demos(
            self.folder,
            self._episodes,
            env=self._env,
            observation_space=self._spaces[0],
            action_space=self._spaces[1],
            describe=self._describe,
            replace=self.card is not None,
        )

    def _describe(self, tally: Tally) -> Card:
        figures: dict[str, Any] = tally.figures()
        asked = max(self._config.episodes, len(self._episodes))
        return Card(**figures, **self._settings(), dt=self._dt, asked=asked)


def demonstrate(env: gym.Env, seat: Seat, shelf: HumanSet) -> Session:
    """Let a person demonstrate until the set is complete or they have had enough.

    Ctrl-C is as good as leaving by key; what was kept is kept.

    Args:
        env: As for ``play``.
        seat: Where the person sits.
        shelf: Where episodes go.

    Raises:
        RobolearnError: The set is complete already.
        SaveError: An episode could not be written; those before it still are.
    """
    if not shelf.missing:
        raise RobolearnError(
            f"{shelf.folder} has all its episodes already. Ask for more with --episodes."
        )
    before = shelf.card.episodes if shelf.card else 0
    try:
        with stoppable():
            play(env, seat, shelf.keep, seed=shelf.next_seed, episodes=shelf.missing)
    except Stopped:
        pass
    return Session(card=shelf.card, kept=(shelf.card.episodes if shelf.card else 0) - before)
