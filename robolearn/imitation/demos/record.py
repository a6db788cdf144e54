"""Recording demonstrations: wave after wave of episodes, stopped and gone on with bit for bit."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium as gym

from robolearn.accelerate import one_thread
from robolearn.config import check_ranges
from robolearn.environments import SEED_SPACING, EnvConfig, check_seed
from robolearn.errors import RobolearnError
from robolearn.evaluation import evaluate_made
from robolearn.files import shown
from robolearn.imitation.demos.card import Card, plain_env
from robolearn.imitation.demos.episodes import Demonstration
from robolearn.imitation.demos.experts import RANDOM, Expert, expert_named, random_expert
from robolearn.imitation.demos.saving import Tally, named, write_demos
from robolearn.imitation.demos.storage import find_set, read_demos
from robolearn.imitation.demos.waves import USUAL, Waves
from robolearn.progress import ProgressLine
from robolearn.runs.stopping import Stopped, stoppable


@dataclass(frozen=True, kw_only=True)
class RecordConfig:
    """What to record."""

    env: EnvConfig
    expert: str
    """lqr, swingup, planner, expert for the one that suits, random, or an agent's run folder."""
    out: Path
    """Folder of the set."""
    episodes: int = 50
    noise: float = 0.0
    """Of discrete actions, the part that is drawn at random; of others, the standard deviation of
    what is added, in halves of their range."""
    seed: int = 0
    resume: bool = False
    """Go on with a set that is there already."""
    score_episodes: int = 100
    """Evaluation episodes of each score, that of the expert and that of random actions."""

    def __post_init__(self) -> None:
        """Refuse numbers of episodes whose seeds are others', and layouts kept for judging."""
        check_ranges(self, {"episodes": (1, SEED_SPACING), "score_episodes": (0, SEED_SPACING)})
        check_seed(self.seed)
        if self.env.kwargs.get("split", "train") != "train":
            raise RobolearnError(
                f"split is {self.env.kwargs['split']!r}, expected 'train': the others are for "
                "judging who has learned."
            )
        if self.env.kwargs.get("curriculum"):
            raise RobolearnError(
                "A curriculum is for learning: say which level to record with --level."
            )


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What came of a recording."""

    folder: Path
    card: Card
    stopped: bool
    """It was asked to stop before all was recorded."""
    steps_per_second: float | None
    """Of the environments that were recorded; None where nothing was."""


def record_demos(config: RecordConfig) -> Recorded:
    """Record demonstrations into a new set, or go on with one.

    Ctrl-C and SIGTERM stop it between two steps; episodes that have ended are stored.

    Raises:
        RobolearnError: Something in the config cannot be, there is a set already, or it was asked
            to stop before an episode had ended.
        DivergedError: A simulation or number stopped being finite; nothing was written.
        SaveError: It could not be written.
    """
    folder = named(config.out)
    config = replace(config, env=replace(config.env, num_workers=0, on_divergence="raise"))
    expert = expert_named(config.expert, config.env)
    waves = Waves(expert, config.env, config.noise)
    try:
        with stoppable(), one_thread():
            return _Recorder(config, expert, folder, waves).run()
    finally:
        waves.close()


class _Recorder:
    """One recording."""

    def __init__(self, config: RecordConfig, expert: Expert, folder: Path, waves: Waves) -> None:
        self._config, self._expert, self._folder, self._waves = config, expert, folder, waves
        native = waves.native
        self._env = replace(config.env, engine=native.engine_name) if native else config.env
        self._dt = native.task.timestep * native.task.frame_skip if native else None
        self._asked = config.episodes
        self._before: Card | None = None
        self._kept: Mapping[int, Demonstration] = {}
        self._seconds = 0.0

    def run(self) -> Recorded:
        """Record what is missing."""
        there = self._folder.exists() and self._config.resume
        if there:
            self._before, self._kept = self._there()
            self._asked = max(self._config.episodes, self._before.asked)
            unscored = self._before.expert_score is None and self._config.score_episodes
            if self._before.episodes == self._asked and not unscored:
                return self._result(self._before)
        card = write_demos(
            self._folder,
            self._episodes(),
            env=self._env,
            observation_space=self._waves.observation_space,
            action_space=self._waves.action_space,
            describe=self._describe,
            replace=there,
        )
        return self._result(card)

    def _result(self, card: Card) -> Recorded:
        return Recorded(
            folder=self._folder,
            card=card,
            stopped=card.episodes < card.asked,
            steps_per_second=self._waves.made / self._seconds if self._seconds else None,
        )

    def _settings(self) -> dict[str, Any]:
        """Return what an episode depends on besides its number."""
        return {
            "env": plain_env(self._env),
            "expert": self._expert.name,
            "parameters": dict(self._expert.parameters),
            "noise": self._config.noise,
            "seed": self._config.seed,
        }

    def _there(self) -> tuple[Card, dict[int, Demonstration]]:
        """Return the card and, by seed, the episodes of the set to go on with.

        Raises:
            RobolearnError: It was not recorded like this.
        """
        card = find_set(self._folder).card
        if card is None or card.merged_from:
            raise RobolearnError(
                f"{self._folder} was not recorded but made in another way: there is nothing to go "
                "on with. Choose another --out."
            )
        for key, expected in self._settings().items():
            found = getattr(card, key)
            if found != expected:
                raise RobolearnError(
                    f"{self._folder} was recorded with other settings: {key} is {shown(found)}, "
                    f"now it would be {shown(expected)}. Use the same, or choose another --out."
                )
        episodes = read_demos(self._folder).episodes
        return card, {one.seed: one for one in episodes if one.seed is not None}

    def _episodes(self) -> Iterator[Demonstration]:
        """Yield the episodes in the order of their seeds.

        In the last bits an expert's actions can depend on who else is recorded at once. So waves
        that are there whole are kept, and of others all episodes are recorded anew: what comes of
        going on is what would have come of never having stopped.
        """
        before = {*self._seeds(self._before.asked)} if self._before else set()
        found = 0
        with self._line() as line:
            for seeds in self._seeds(self._asked):
                kept = {seed: self._kept[seed] for seed in seeds if seed in self._kept}
                whole = len(kept) == len(seeds) and seeds in before
                if not whole and not self._waves.stopped:
                    start = time.perf_counter()
                    kept |= {one.seed or 0: one for one in self._waves.record(seeds, line.update)}
                    self._seconds += time.perf_counter() - start
                found += len(kept)
                yield from (kept[seed] for seed in sorted(kept))
        if not found:
            raise RobolearnError("Stopped before an episode had ended: nothing was written.")

    def _line(self) -> ProgressLine:
        steps = self._asked * (self._waves.limit or USUAL)
        return ProgressLine(f"{self._expert.name} {self._env.id}", steps)

    def _seeds(self, episodes: int) -> Iterator[tuple[int, ...]]:
        """Yield the seeds of the episodes that are recorded at once."""
        first, width = SEED_SPACING * self._config.seed, self._waves.width
        for start in range(0, episodes, width):
            yield tuple(range(first + start, first + min(start + width, episodes)))

    def _describe(self, tally: Tally) -> Card:
        expert, random = self._scores()
        before = self._before.score_episodes if self._before else 0
        return Card(
            **tally.figures(),
            **self._settings(),
            dt=self._dt,
            asked=self._asked,
            score_episodes=0 if expert is None else before or self._config.score_episodes,
            expert_score=expert,
            random_score=random,
        )

    def _scores(self) -> tuple[float | None, float | None]:
        """Return the scores of the expert and of random actions; None if it is asked to stop."""
        if self._before is not None and self._before.expert_score is not None:
            return self._before.expert_score, self._before.random_score
        if self._waves.stopped or not self._config.score_episodes:
            return None, None
        try:
            own = self._score(self._expert)
            space = self._waves.action_space
            if isinstance(space, gym.spaces.Box) and not space.is_bounded():
                return own, None  # there is no drawing from it
            same = self._expert.name == RANDOM
            return own, own if same else self._score(random_expert())
        except Stopped:
            return None, None

    def _score(self, expert: Expert) -> float:
        where = self._env.held_out("test")
        count = self._config.score_episodes
        return evaluate_made(lambda envs: expert.make(envs, 0), where, episodes=count).mean
