"""What ``robolearn record`` shows: rollouts played now, or kept while a run was trained."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from gymnasium.vector import VectorEnv

from robolearn.agents.load import load_agent
from robolearn.agents.protocols import Policy
from robolearn.environments import HELD_OUT, EnvConfig
from robolearn.errors import RobolearnError
from robolearn.files import shown
from robolearn.imitation.experts import expert_for
from robolearn.runs.checkpoint import MANIFEST
from robolearn.runs.run import RunFolder
from robolearn.video.recording import STAGES, record_episode_with
from robolearn.video.rollout import Rollout

ROLLOUTS = ".npz"
"""Suffix of rollouts that were kept."""
EXPERT = "expert"
_STEPS = re.compile(r"\d{9,18}", re.ASCII)


class Where(NamedTuple):
    """Where agents are to act, None for where they were trained."""

    env: str | None
    engine: str | None
    level: int | None
    split: str | None
    seed: int

    @property
    def changes(self) -> dict[str, Any]:
        """Other keyword arguments of the environment."""
        asked = {"level": self.level, "split": self.split}
        return {name: given for name, given in asked.items() if given is not None}

    @property
    def first(self) -> int:
        """Seed of the first episode."""
        return HELD_OUT + 1000 * self.seed


class _Actor(NamedTuple):
    """Somebody who acts, and where."""

    label: str
    make: Callable[[VectorEnv], Policy]
    env: EnvConfig


def episodes_of(run: str, where: Where, count: int) -> list[Rollout]:
    """Return episodes of one agent, each with a seed of its own."""
    actor = _actor(run, where, None)
    seeds = range(where.first, where.first + count)
    return [
        record_episode_with(actor.make, actor.env, title=f"seed {seed}", seed=seed)
        for seed in seeds
    ]


def side_by_side(runs: Sequence[str], where: Where) -> list[Rollout]:
    """Return an episode of each, all from the same initial state.

    Raises:
        RobolearnError: They do not begin alike.
    """
    known: EnvConfig | None = None
    rollouts: list[Rollout] = []
    for run in sorted(runs, key=lambda name: name == EXPERT):  # it acts where the others do
        if run.endswith(ROLLOUTS):
            rollouts.append(Rollout.load(Path(run)))
        else:
            actor = _actor(run, where, known)
            rollouts.append(
                record_episode_with(actor.make, actor.env, title=actor.label, seed=where.first)
            )
        known = known or rollouts[0].env
    if EXPERT in runs:
        rollouts.insert(list(runs).index(EXPERT), rollouts.pop())
    require_same_start(rollouts)
    return rollouts


def require_same_start(rollouts: Sequence[Rollout]) -> None:
    """Make sure that rollouts begin in the same state.

    Raises:
        RobolearnError: They do not.
    """
    first = rollouts[0]
    for other in rollouts[1:]:
        alike = first.render_states.keys() == other.render_states.keys() and all(
            np.array_equal(first.render_state(0)[name], other.render_state(0)[name])
            for name in first.render_states
        )
        if first.observations is not None and other.observations is not None:
            alike = alike and np.array_equal(first.observations[0], other.observations[0])
        if not alike:
            raise RobolearnError(
                f"'{first.title}' and '{other.title}' do not begin in the same state: they act in "
                f"{_place(first.env)} and {_place(other.env)}. Say where with --env, --engine, "
                "--level or --split."
            )


def _place(env: EnvConfig) -> str:
    told = env.arguments()
    return f"{env.id} {told}" if told else env.id


def _actor(run: str, where: Where, known: EnvConfig | None) -> _Actor:
    """Return who a user means by a word, and where it is to act.

    Args:
        run: Folder of a run or checkpoint, or "expert".
        where: What was asked for.
        known: Where the first of several acts.
    """
    if run == EXPERT and not Path(run).exists():
        return _Actor(EXPERT, expert_for, _for_expert(where, known))
    path = Path(run)
    agent = load_agent(path)
    engine = where.engine or (known.engine if known else None)
    env = agent.envs.elsewhere(where.env, engine, where.changes)
    return _Actor(_label(path), lambda _: agent, env)


def _for_expert(where: Where, known: EnvConfig | None) -> EnvConfig:
    if known is not None:
        return known
    if where.env is None:
        raise RobolearnError("Say where the expert is to act: --env robolearn/CartPoleSwingUp-v0.")
    env = EnvConfig(id=where.env, engine=where.engine, kwargs=where.changes)
    return env.held_out(where.split or "test")


def _label(path: Path) -> str:
    """Return what to call an agent: its run, and of a checkpoint its steps."""
    whole = path.absolute()
    if (path / MANIFEST).is_file() and whole.parent.name == "checkpoints":
        return f"{whole.parents[1].name} at {int(whole.name):,} steps"
    return whole.name.lstrip(".")


def progress_of(path: Path) -> list[Rollout]:
    """Return a run's rollouts at about ``STAGES`` of its training, each once.

    Raises:
        RobolearnError: It kept fewer than two, or its configuration is damaged.
    """
    run = RunFolder.open(path)
    kept = {
        int(file.stem): file
        for file in run.path.glob(f"rollouts/*{ROLLOUTS}")
        if _STEPS.fullmatch(file.stem)
    }
    if len(kept) < 2:
        raise RobolearnError(
            f"{path} kept {len(kept)} rollouts of its training, a montage needs two or more. "
            "Train with --video-every N."
        )
    planned = run.config().get("steps", 0)
    if not isinstance(planned, int) or not 0 <= planned < 10**18:
        raise RobolearnError(
            f"{path}/config.yaml is damaged: steps must be a whole number, got {shown(planned)}."
        )
    whole = max(*kept, planned)
    nearest = [min(kept, key=lambda steps: abs(steps - stage * whole)) for stage in STAGES]
    return [
        replace(Rollout.load(kept[steps]), title=f"{steps / whole:.0%}: {steps:,} steps")
        for steps in dict.fromkeys(nearest)
    ]
