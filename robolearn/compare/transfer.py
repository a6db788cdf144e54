"""Transfer: agents trained on one physics, tested on others, all on the same episodes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from robolearn.compare.statistics import CONFIDENCE, Estimate, estimate
from robolearn.compare.transfer_runs import (
    Physics,
    Run,
    Trained,
    group,
    load,
    require_one_task,
    task_of,
    unusual_options,
)
from robolearn.environments import EnvConfig, check_seed
from robolearn.errors import RobolearnError
from robolearn.evaluation import Evaluation, evaluate
from robolearn_envs.engines import ENGINES, installed
from robolearn_envs.names import did_you_mean
from robolearn_envs.registry import supported_engines
from robolearn_envs.tasks.base import Task

MEASURES = {"success": "success", "return": "return", "spl": "SPL"}
"""What is measured, and how it is headed."""


@dataclass(frozen=True, kw_only=True)
class TransferConfig:
    """Which agents to test, and on what."""

    runs: tuple[Path, ...]
    """Run folders of one task."""
    engines: tuple[str, ...] = ()
    """To be tested on; () for all that are installed and the task is defined on."""
    domain_randomization: float = 0.2
    """How far physics is randomized in the last columns; 0 leaves those out."""
    episodes: int = 100
    """Of each run on each physics."""
    seed: int = 0
    """Of all evaluations alike."""
    device: str = "auto"
    """'auto', 'cpu' or 'cuda'."""

    def __post_init__(self) -> None:
        """Refuse what cannot be tested."""
        if not self.runs:
            raise RobolearnError("Transfer of what? Name runs: robolearn transfer runs/NAME ...")
        if self.episodes < 1:
            raise RobolearnError(f"episodes must be at least 1, got {self.episodes}.")
        if not 0.0 <= self.domain_randomization < 1.0:
            raise RobolearnError(
                f"domain_randomization must lie in [0, 1), got {self.domain_randomization}."
            )
        check_seed(self.seed)
        for engine in self.engines:
            if engine not in ENGINES:
                raise RobolearnError(did_you_mean("engine", engine, ENGINES))


@dataclass(frozen=True, kw_only=True)
class Cell:
    """How the runs of a row did on the physics of a column."""

    trained: Trained
    tested: Physics
    by_run: Mapping[str, tuple[float, ...]]
    """Means over each run's episodes, by measure."""
    figures: Mapping[str, Estimate]
    """Means with intervals, by measure."""

    @property
    def at_home(self) -> bool:
        """Whether it was tested on what it was trained on."""
        return self.trained.physics == self.tested

    @property
    def interval_over(self) -> str:
        """What the intervals are over: 'seeds', or 'episodes' where there is one run."""
        return "seeds" if len(self.trained.runs) > 1 else "episodes"


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """What was trained on what, and how it does elsewhere."""

    env: str
    task: Mapping[str, Any]
    """Options of the task that are not its usual ones."""
    episodes: int
    seed: int
    trained: tuple[Trained, ...]
    tested: tuple[Physics, ...]
    cells: tuple[Cell, ...]
    """Row by row."""

    def cell(self, row: int, column: int) -> Cell:
        """Return the cell of a row and a column."""
        return self.cells[row * len(self.tested) + column]

    @property
    def measures(self) -> tuple[str, ...]:
        """Keys of ``MEASURES`` that this task has."""
        return tuple(self.cells[0].figures)


class Transfer:
    """Agents that are known to fit the physics they are to be tested on."""

    def __init__(self, config: TransferConfig) -> None:
        """Load all agents and try all environments.

        Raises:
            RobolearnError: A run that is none, runs of more than one task, or an engine that the
                task is not defined on.
        """
        self._config = config
        self._runs = [load(path, config.device) for path in config.runs]
        require_one_task(self._runs)
        self._rows = group(self._runs)
        first = self._runs[0]
        self.tested = _columns(task_of(first.env.id), first.env.id, config)
        for run in self._runs:
            for physics in self.tested:
                _there(run, physics)

    @property
    def evaluations(self) -> int:
        """How many there will be."""
        return len(self._runs) * len(self.tested)

    def measure(self, on_evaluation: Callable[[str], None] = lambda _: None) -> Matrix:
        """Return the matrix: every run on every physics, on the same held-out episodes.

        Args:
            on_evaluation: Called after each with what was evaluated.
        """
        cells = []
        for trained, runs in self._rows:
            for physics in self.tested:
                found = []
                for run in runs:
                    found.append(self._evaluate(run, physics))
                    on_evaluation(f"{run.path.name} on {physics}")
                cells.append(_cell(trained, physics, found))
        env = self._runs[0].env
        return Matrix(
            env=env.id,
            task=unusual_options(env),
            episodes=self._config.episodes,
            seed=self._config.seed,
            trained=tuple(trained for trained, _ in self._rows),
            tested=self.tested,
            cells=tuple(cells),
        )

    def _evaluate(self, run: Run, physics: Physics) -> Evaluation:
        config = self._config
        where = _there(run, physics)
        return evaluate(run.agent, where, episodes=config.episodes, seed=config.seed)


def _columns(task: type[Task], env_id: str, config: TransferConfig) -> tuple[Physics, ...]:
    """Return matched physics on every engine, Bullet's default damping, and randomized physics.

    Raises:
        RobolearnError: An engine that is not installed or that the task is not defined on.
    """
    there = tuple(name for name in supported_engines(task) if name in ENGINES)
    engines = tuple(dict.fromkeys(config.engines)) or tuple(filter(installed, there))
    for engine in engines:
        if engine not in there:
            raise RobolearnError(
                f"{env_id} is not defined on engine '{engine}', only on "
                f"{' and '.join(there)}. Leave it out of --engines."
            )
    columns = [Physics(engine=engine) for engine in engines]
    if "bullet" in engines:
        columns.append(Physics(engine="bullet", bullet_damping=True))
    if config.domain_randomization and task.robot.randomizable:
        columns += [
            Physics(engine=engine, domain_randomization=config.domain_randomization)
            for engine in engines
        ]
    return tuple(columns)


def _there(run: Run, physics: Physics) -> EnvConfig:
    """Return where a run is tested.

    Raises:
        RobolearnError: An environment that cannot be, or that the agent does not fit.
    """
    return run.agent.envs.elsewhere(None, physics.engine, physics.changes)


def _cell(trained: Trained, tested: Physics, found: Sequence[Evaluation]) -> Cell:
    by_episode = [_by_episode(evaluation) for evaluation in found]
    by_run = {
        measure: tuple(float(episodes[measure].mean()) for episodes in by_episode)
        for measure in by_episode[0]
    }
    samples = by_run if len(found) > 1 else by_episode[0]
    rng = np.random.default_rng(0)
    figures = {measure: estimate(list(sample), rng) for measure, sample in samples.items()}
    if len(found) == 1:
        figures["success"] = _wilson(by_episode[0]["success"])
    return Cell(trained=trained, tested=tested, by_run=by_run, figures=figures)


def _wilson(successes: np.ndarray) -> Estimate:
    """Return the part of episodes that succeeded with Wilson's interval (1927).

    Where all succeeded, or none, it has a length, as a bootstrap would not.

    Args:
        successes: 1 or 0. Shape (episodes,).
    """
    count = int(successes.sum())
    ends = stats.binomtest(count, len(successes)).proportion_ci(CONFIDENCE, method="wilson")
    return Estimate(count / len(successes), float(ends.low), float(ends.high))


def _by_episode(evaluation: Evaluation) -> dict[str, np.ndarray]:
    """Return the figures of each episode by measure. Shapes (episodes,)."""
    assert evaluation.successes is not None, "every task with physics tells of success"
    found = {"success": evaluation.successes.astype(float), "return": evaluation.returns}
    return found | ({"spl": evaluation.details["spl"]} if "spl" in evaluation.details else {})
