"""Transfer: agents trained on one physics, tested on others, all on the same episodes."""

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robolearn.agents import agent_class
from robolearn.agents.load import load_agent
from robolearn.compare.statistics import Estimate, estimate
from robolearn.environments import EnvConfig, check_seed
from robolearn.errors import RobolearnError
from robolearn.evaluation import Evaluation, evaluate
from robolearn.files import shown
from robolearn.runs.run import RunFolder
from robolearn_envs.engines import ENGINES, installed
from robolearn_envs.names import did_you_mean
from robolearn_envs.tasks import TASKS
from robolearn_envs.tasks.base import Task

MEASURES = {"success": "success", "return": "return", "spl": "SPL"}
"""What is measured, and how it is headed."""
_OF_TRAINING = ("forces", "curriculum", "split")
"""Options of tasks that are the agent's affair, or replaced where it is tested."""
_INCIDENTAL = ("run", "seed", "device", "save_every", "save_minutes", "video_every")
"""What the configs of runs of one row may differ in."""


@dataclass(frozen=True, kw_only=True)
class TransferConfig:
    """Which agents to test, and on what."""

    runs: tuple[Path, ...]
    """Run folders of one task."""
    engines: tuple[str, ...] = ()
    """To be tested on; () for all that are installed and the task is defined on."""
    randomize: float = 0.2
    """How far physics is randomised in the last columns; 0 leaves those out."""
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
        if not 0.0 <= self.randomize < 1.0:
            raise RobolearnError(f"randomize must lie in [0, 1), got {self.randomize}.")
        check_seed(self.seed)
        for engine in self.engines:
            if engine not in ENGINES:
                raise RobolearnError(did_you_mean("engine", engine, ENGINES))


@dataclass(frozen=True, kw_only=True)
class Physics:
    """An engine and what is done to it: what an agent was trained on, and a column."""

    engine: str
    damping: str = "none"
    """'default' for Bullet's own."""
    randomize: float = 0.0

    @classmethod
    def of(cls, env: EnvConfig) -> "Physics":
        """Return an environment's physics.

        Raises:
            RobolearnError: Randomised by something that is no number.
        """
        randomize = env.kwargs.get("randomize", 0.0)
        if not isinstance(randomize, int | float):
            raise RobolearnError(f"randomize must be a number, got {shown(randomize)}.")
        engine = env.engine or _task(env).engines[0]
        damping = str(env.kwargs.get("damping", "none"))
        return cls(engine=engine, damping=damping, randomize=float(randomize))

    @property
    def kind(self) -> str:
        """What is done to the engine, empty where it is as the robot's description says."""
        damped = "default damping" if self.damping == "default" else ""
        randomised = f"randomised {self.randomize:g}" if self.randomize else ""
        return ", ".join(filter(None, (damped, randomised)))

    def __str__(self) -> str:
        """Return how people call it."""
        return ", ".join(filter(None, (self.engine, self.kind)))

    @property
    def changes(self) -> dict[str, Any]:
        """Keyword arguments of an environment that has it."""
        return {"damping": self.damping, "randomize": self.randomize}


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Runs that differ in nothing but their seed: a row."""

    label: str
    physics: Physics
    runs: tuple[Path, ...]
    seeds: tuple[int, ...]
    """() of imported agents."""
    steps: int
    """Environment steps of training; of an imported agent, those since."""


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


@dataclass(frozen=True)
class _Run:
    """An agent, and what its run says of itself."""

    path: Path
    agent: Any
    env: EnvConfig
    told: dict[str, Any]

    def number(self, name: str) -> int | None:
        """Return an entry of its config; an imported agent has none."""
        entry = self.told.get(name)
        return entry if isinstance(entry, int) else None

    def alike(self) -> str:
        """Return what is the same text for runs of one row."""
        told = {name: entry for name, entry in self.told.items() if name not in _INCIDENTAL}
        env = {"id": self.env.id, "kwargs": dict(self.env.kwargs), "on": str(Physics.of(self.env))}
        return json.dumps({**told, "env": env}, sort_keys=True, default=str)


class Transfer:
    """Agents that are known to fit the physics they are to be tested on."""

    def __init__(self, config: TransferConfig) -> None:
        """Load all agents and try all environments.

        Raises:
            RobolearnError: A run that is none, runs of more than one task, or an engine that the
                task is not defined on.
        """
        self._config = config
        self._runs = [_load(path, config.device) for path in config.runs]
        _require_one_task(self._runs)
        self._rows = _rows(self._runs)
        first = self._runs[0]
        self.tested = _columns(_task(first.env), first.env.id, config)
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
            task=_unusual(env),
            episodes=self._config.episodes,
            seed=self._config.seed,
            trained=tuple(trained for trained, _ in self._rows),
            tested=self.tested,
            cells=tuple(cells),
        )

    def _evaluate(self, run: _Run, physics: Physics) -> Evaluation:
        config = self._config
        where = _there(run, physics)
        return evaluate(run.agent, where, episodes=config.episodes, seed=config.seed)


def _load(path: Path, device: str) -> _Run:
    told = RunFolder.open(path).config()
    agent_class(str(told.get("agent")))
    agent = load_agent(path, device=device)
    env = agent.envs.config
    if env is None or not env.native:
        raise RobolearnError(
            f"{path} was trained in {agent.envs.id or 'environments of its owner'}, which has no "
            "engines to choose among. Transfer is for environments of robolearn with physics."
        )
    return _Run(path, agent, env, told)


def _task(env: EnvConfig) -> type[Task]:
    return TASKS[env.id.split("/")[-1]]


def _unusual(env: EnvConfig) -> dict[str, Any]:
    """Return what an environment's task is beyond the usual: its options, e.g. level."""
    task = _task(env)
    usual = inspect.signature(task.__init__).parameters
    chosen = {name: env.kwargs[name] for name in task.options if name in env.kwargs}
    return {
        name: choice
        for name, choice in chosen.items()
        if name not in _OF_TRAINING and choice != usual[name].default
    }


def _require_one_task(runs: Sequence[_Run]) -> None:
    first = runs[0]
    for k, run in enumerate(runs):
        if run.env.id != first.env.id:
            raise RobolearnError(
                f"{first.path} was trained in {first.env.id}, {run.path} in {run.env.id}. "
                "A matrix is of one environment: give the runs of each to a command of their own."
            )
        if _unusual(run.env) != _unusual(first.env):
            raise RobolearnError(
                f"{first.path} was trained with {_told(_unusual(first.env))}, {run.path} with "
                f"{_told(_unusual(run.env))}. A matrix is of one task: give the runs of each to "
                "a command of their own."
            )
        for other in runs[:k]:
            if run.number("seed") == other.number("seed") and run.alike() == other.alike():
                raise RobolearnError(
                    f"{other.path} and {run.path} are the same training, seed "
                    f"{run.number('seed')} included. Give one of them."
                )


def _told(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {choice}" for name, choice in options.items()) or "the usual options"


def _rows(runs: Sequence[_Run]) -> list[tuple[Trained, list[_Run]]]:
    """Return the rows, each with its runs; no two have the same label."""
    alike: dict[str, list[_Run]] = {}
    for run in runs:
        alike.setdefault(run.alike(), []).append(run)
    labels = [f"{group[0].told['agent']} on {Physics.of(group[0].env)}" for group in alike.values()]
    return [
        (_trained(label, group, named=labels.count(label) > 1), group)
        for label, group in zip(labels, alike.values(), strict=True)
    ]


def _trained(label: str, runs: Sequence[_Run], *, named: bool) -> Trained:
    count = "1 seed" if len(runs) == 1 else f"{len(runs)} seeds"
    more = ", ..." if len(runs) > 1 else ""
    return Trained(
        label=f"{label} ({count}){f': {runs[0].path}{more}' if named else ''}",
        physics=Physics.of(runs[0].env),
        runs=tuple(run.path for run in runs),
        seeds=tuple(seed for run in runs if (seed := run.number("seed")) is not None),
        steps=runs[0].number("steps") or runs[0].agent.steps,
    )


def _columns(task: type[Task], env_id: str, config: TransferConfig) -> tuple[Physics, ...]:
    """Return matched physics on every engine, Bullet's default damping, and randomised physics.

    Raises:
        RobolearnError: An engine that is not installed or that the task is not defined on.
    """
    engines = tuple(dict.fromkeys(config.engines)) or tuple(filter(installed, task.engines))
    for engine in engines:
        if engine not in task.engines:
            raise RobolearnError(
                f"{env_id} is not defined on engine '{engine}', only on "
                f"{' and '.join(task.engines)}. Leave it out of --engines."
            )
    columns = [Physics(engine=engine) for engine in engines]
    if "bullet" in engines:
        columns.append(Physics(engine="bullet", damping="default"))
    if config.randomize and task().robot.randomised:
        columns += [Physics(engine=engine, randomize=config.randomize) for engine in engines]
    return tuple(columns)


def _there(run: _Run, physics: Physics) -> EnvConfig:
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
    return Cell(trained=trained, tested=tested, by_run=by_run, figures=figures)


def _by_episode(evaluation: Evaluation) -> dict[str, np.ndarray]:
    """Return the figures of each episode by measure. Shapes (episodes,)."""
    assert evaluation.successes is not None, "every task with physics tells of success"
    found = {"success": evaluation.successes.astype(float), "return": evaluation.returns}
    return found | ({"spl": evaluation.details["spl"]} if "spl" in evaluation.details else {})
