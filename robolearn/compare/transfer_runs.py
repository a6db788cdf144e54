"""Runs to be tested elsewhere: whose they are, what they were trained on, which belong together."""

import inspect
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robolearn.agents import agent_class
from robolearn.agents.load import load_agent
from robolearn.environments import EnvConfig
from robolearn.errors import RobolearnError, RobolearnWarning
from robolearn.files import shown
from robolearn.runs.run import RunFolder
from robolearn_envs.registry import keyword_names, supported_engines, task_of

_OF_TRAINING = ("forces", "curriculum", "split")
"""Options of tasks that are the agent's affair, or replaced where it is tested."""
_INCIDENTAL = ("run", "seed", "device", "save_every", "save_minutes", "video_every")
"""What the configs of runs of one row may differ in."""


@dataclass(frozen=True, kw_only=True)
class Physics:
    """An engine and what is done to it: what an agent was trained on, and a column."""

    engine: str
    bullet_damping: bool = False
    """Bullet's own."""
    domain_randomization: float = 0.0

    @classmethod
    def of(cls, env: EnvConfig) -> "Physics":
        """Return an environment's physics.

        Raises:
            RobolearnError: Randomized by something that is no number.
        """
        randomize = env.kwargs.get("domain_randomization", 0.0)
        if not isinstance(randomize, int | float):
            raise RobolearnError(f"domain_randomization must be a number, got {shown(randomize)}.")
        engine = env.engine or supported_engines(task_of(env.id))[0]
        damped = bool(env.kwargs.get("bullet_damping", False))
        return cls(engine=engine, bullet_damping=damped, domain_randomization=float(randomize))

    @property
    def kind(self) -> str:
        """What is done to the engine, empty where it is as the robot's description says."""
        damped = "default damping" if self.bullet_damping else ""
        randomized = (
            f"randomized {self.domain_randomization:g}" if self.domain_randomization else ""
        )
        return ", ".join(filter(None, (damped, randomized)))

    def __str__(self) -> str:
        """Return how people call it."""
        return ", ".join(filter(None, (self.engine, self.kind)))

    @property
    def changes(self) -> dict[str, Any]:
        """Keyword arguments of an environment that has it."""
        return {
            "bullet_damping": self.bullet_damping,
            "domain_randomization": self.domain_randomization,
        }


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


@dataclass(frozen=True)
class Run:
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


def load(path: Path, device: str) -> Run:
    """Return the agent of a run: its best checkpoint, else its last.

    Raises:
        RobolearnError: No run or none with a checkpoint, or not of an environment with engines.
    """
    folder = RunFolder.open(path)
    config = folder.config()
    agent_class(str(config.get("agent")), outside=path)
    agent = load_agent(path, device=device)
    env = agent.envs.config
    if env is None or not env.native:
        raise RobolearnError(
            f"{path} was trained in {agent.envs.id or 'environments of its owner'}, which has no "
            "engines to choose among. Transfer is for environments of robolearn with physics."
        )
    if "steps" in config and not folder.evaluated:
        warnings.warn(
            f"{path} has not come to its end: what is tested is its best so far. "
            f"Go on with: robolearn resume {path}",
            RobolearnWarning,
            stacklevel=2,
        )
    return Run(path, agent, env, config)


def unusual_options(env: EnvConfig) -> dict[str, Any]:
    """Return what an environment's task is beyond the usual: its options, e.g. level."""
    task = task_of(env.id)
    usual = inspect.signature(task.__init__).parameters
    chosen = {name: env.kwargs[name] for name in keyword_names(task) if name in env.kwargs}
    return {
        name: choice
        for name, choice in chosen.items()
        if name not in _OF_TRAINING and choice != usual[name].default
    }


def require_one_task(runs: Sequence[Run]) -> None:
    """Refuse runs that do not belong into one matrix.

    Raises:
        RobolearnError: They are of several environments or tasks, or two are the same training.
    """
    first = runs[0]
    for k, run in enumerate(runs):
        if run.env.id != first.env.id:
            raise RobolearnError(
                f"{first.path} was trained in {first.env.id}, {run.path} in {run.env.id}. "
                "A matrix is of one environment: give the runs of each to a command of their own."
            )
        if unusual_options(run.env) != unusual_options(first.env):
            raise RobolearnError(
                f"{first.path} was trained with {_told(first.env)}, {run.path} with "
                f"{_told(run.env)}. A matrix is of one task: give the runs of each to a command of "
                "their own."
            )
        for other in runs[:k]:
            if run.number("seed") == other.number("seed") and run.alike() == other.alike():
                raise RobolearnError(
                    f"{other.path} and {run.path} are the same training, seed "
                    f"{run.number('seed')} included. Give one of them."
                )


def _told(env: EnvConfig) -> str:
    options = [f"{name} {choice}" for name, choice in unusual_options(env).items()]
    return ", ".join(options) or "the usual options"


def group(runs: Sequence[Run]) -> list[tuple[Trained, list[Run]]]:
    """Return the rows, each with its runs; no two have the same label."""
    alike: dict[str, list[Run]] = {}
    for run in runs:
        alike.setdefault(run.alike(), []).append(run)
    labels = [f"{row[0].told['agent']} on {Physics.of(row[0].env)}" for row in alike.values()]
    return [
        (_trained(label, row, named=labels.count(label) > 1), row)
        for label, row in zip(labels, alike.values(), strict=True)
    ]


def _trained(label: str, runs: Sequence[Run], *, named: bool) -> Trained:
    count = "1 seed" if len(runs) == 1 else f"{len(runs)} seeds"
    more = ", ..." if len(runs) > 1 else ""
    return Trained(
        label=f"{label} ({count}){f': {runs[0].path}{more}' if named else ''}",
        physics=Physics.of(runs[0].env),
        runs=tuple(run.path for run in runs),
        seeds=tuple(seed for run in runs if (seed := run.number("seed")) is not None),
        steps=runs[0].number("steps") or runs[0].agent.steps,
    )
