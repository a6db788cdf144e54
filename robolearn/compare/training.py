"""Training an agent with a seed: evaluations and films on the way, and at the end."""

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from robolearn.compare.cell import Cell, Point
from robolearn.compare.contestants import CompareConfig, Contestant, Learned
from robolearn.errors import DivergedError
from robolearn.evaluation import evaluate
from robolearn.video.recording import STAGES, record_episode
from robolearn_envs.engines.base import SimulationError

POINTS = 10
"""Evaluations on the way, besides the one before anything is learned."""
_EPISODES = 20  # of an evaluation on the way
_NOT_FINITE = re.compile(r"\b(nans?|infs?|infinity|infinite|(not|non-) ?finite)\b", re.IGNORECASE)
"""What PyTorch, SciPy and SB3 name where they meet such numbers, in errors of all kinds."""


class Progress(NamedTuple):
    """How far a cell has come."""

    agent: str
    seed: int
    share: float
    """Of its steps."""
    mean_return: float
    """Of the latest evaluation."""


def run_cell(
    who: Contestant, config: CompareConfig, seed: int, tell: Callable[[Progress], None]
) -> Cell:
    """Train an agent with a seed, evaluate it on the way and at the end, and keep films of it.

    Args:
        who: The agent.
        config: Of the comparison.
        seed: Fixes everything random.
        tell: Called after each evaluation on the way.

    Raises:
        DivergedError: A number stopped being finite.
    """
    watcher = _Watcher(who, config, seed, tell)
    with _divergence():
        end = who.train(config.steps, seed, watcher.look)
        watcher.evaluate(end)
        watcher.film(end, 1.0)
        evaluation = evaluate(end.agent, who.env.held_out("test"), episodes=config.episodes)
    return Cell(
        agent=who.name,
        seed=seed,
        actions=who.actions,
        steps=end.steps,
        wall_s=end.seconds,
        steps_per_s=end.steps / end.seconds,
        source=who.source,
        hyper=who.hyper,
        split=end.split,
        **evaluation.scores(),
        details=evaluation.means(),
        curve=tuple(watcher.curve),
        returns=tuple(evaluation.returns.tolist()),
    )


@contextmanager
def _divergence() -> Iterator[None]:
    """Tell numbers that are not finite as our agents do, whoever meets them.

    Raises:
        DivergedError: An engine, SB3 or PyTorch met some.
    """
    try:
        yield
    except SimulationError as error:
        raise DivergedError(str(error)) from error
    except (RuntimeError, ValueError, OverflowError) as error:  # SB3 has none of its own
        if not _NOT_FINITE.search(str(error)):
            raise
        raise DivergedError(" ".join(str(error).split())) from error


class _Watcher:
    """Looks at a learner now and then."""

    def __init__(
        self, who: Contestant, config: CompareConfig, seed: int, tell: Callable[[Progress], None]
    ) -> None:
        self._who, self._config, self._seed, self._tell = who, config, seed, tell
        self._due = 0.0  # part of the steps at which it is evaluated next
        # With seed 0 on the way too, with others at the end alone.
        self._stages = [part for part in STAGES if part < 1 and seed == 0]
        self.curve: list[Point] = []

    def look(self, now: Learned) -> None:
        """Film and evaluate where that is due; the end is for ``run_cell`` to see."""
        share = now.steps / self._config.steps
        if share >= 1:
            return
        passed = [part for part in self._stages if part <= share]
        if passed:
            self._stages = self._stages[len(passed) :]
            self.film(now, passed[-1])
        if share >= self._due:
            self._due = (math.floor(share * POINTS) + 1) / POINTS
            self.evaluate(now)

    def evaluate(self, now: Learned) -> None:
        """Add a point to the curve."""
        held_out = self._who.env.held_out("val")
        found = evaluate(now.agent, held_out, episodes=_EPISODES, seed=1)
        score = {"mean_return": found.mean, "success_rate": found.success_rate}
        self.curve.append(Point(steps=now.steps, seconds=now.seconds, **score))
        share = min(now.steps / self._config.steps, 1.0)
        self._tell(Progress(self._who.name, self._seed, share, found.mean))

    def film(self, now: Learned, stage: float) -> None:
        """Keep an episode."""
        path = rollout_path(self._config.out, self._who.name, self._seed, stage)
        path.parent.mkdir(exist_ok=True)
        label = f"{self._who.name}, {now.steps:,} steps"
        record_episode(now.agent, self._who.env.held_out("test"), title=label).save(path)


def rollout_path(out: Path, agent: str, seed: int, stage: float) -> Path:
    """Return where the film of an agent is kept: as states, to be drawn when it is wanted."""
    return out / "rollouts" / f"{agent}-seed{seed}-{round(100 * stage):03d}.npz"
