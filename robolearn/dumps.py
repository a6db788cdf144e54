"""The last steps of an environment that broke down: enough to see them again."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from robolearn.collect.collector import Collector, StepRecord
from robolearn.config import to_dict
from robolearn.environments import EnvConfig, described
from robolearn.errors import RobolearnError
from robolearn.files import read_arrays, read_json, write_arrays
from robolearn.runs.meta import meta
from robolearn.snapshots import Rewindable, rewindable
from robolearn_envs.single import RoboEnv

_FACTS, _STEPS = "dump.json", "steps.npz"
_SEEN = "seen."


@dataclass(frozen=True, kw_only=True)
class Dump:
    """The last steps of one environment, all of one episode."""

    env: EnvConfig
    """How to make it."""
    reason: str
    """What went wrong."""
    start: dict[str, Any] | None
    """Of a foreign environment: how the episode began."""
    steps: dict[str, np.ndarray]
    """``action`` and ``reward`` of the steps, shapes (T, ...); ``seen.X``, of robolearn
    environments what a picture shows, of others ``obs`` and ``next_obs``, shapes (T, ...) or where
    it is always the same (1, ...); of foreign ones ``since_start``, all actions of the episode."""


def write_dump(
    folder: Path, collector: Collector, config: EnvConfig | None, env: int, reason: str
) -> None:
    """Write the last steps of an environment.

    Args:
        folder: Where to, a new one.
        collector: Has stepped it.
        config: How it was made, None where nobody knows.
        env: Which of the collector's.
        reason: What went wrong.

    Raises:
        OSError: Disk full or not writable.
    """
    past = _episode(collector, env)
    steps = {
        name: np.array([getattr(memory, name)[env] for memory in past])
        for name in ("action", "reward")
    }
    for name in past[-1].seen if past else ():
        rows = np.array([memory.seen[name][env] for memory in past])
        steps[f"{_SEEN}{name}"] = rows[:1] if (rows == rows[:1]).all() else rows
    single = rewindable(collector.envs, env)
    told = single.latest() if single else None
    if told is not None:
        steps["since_start"] = told[1]
    facts = {
        "env": config and to_dict(config),
        "index": env,
        "reason": reason,
        "start": told and told[0],
        **meta(),
    }
    folder.mkdir(parents=True)
    write_arrays(folder / _STEPS, steps)
    (folder / _FACTS).write_text(json.dumps(facts, indent=2))


def _episode(collector: Collector, env: int) -> list[StepRecord]:
    """Return the remembered steps of an environment's last episode, oldest first."""
    past: list[StepRecord] = []
    for memory in reversed(collector.recent_steps):
        past.append(memory)
        if memory.start[env]:
            break
    return past[::-1]


def read_dump(folder: Path) -> Dump:
    """Read a dump.

    Raises:
        RobolearnError: None there, a damaged one, or one of environments nobody can make.
    """
    if not (folder / _FACTS).exists():
        raise RobolearnError(f"{folder} holds no dump (no {_FACTS} in it).")
    facts = read_json(folder / _FACTS)
    steps = read_arrays(folder / _STEPS)
    start = facts.get("start")
    if start is not None and not isinstance(start, dict):
        raise RobolearnError(f"{folder / _FACTS}: start must be a mapping, got {start!r:.60}.")
    config = described(facts.get("env"), outside=folder)
    if config is None:
        raise RobolearnError(f"{folder} is of environments that are not made by name.")
    return Dump(env=config, reason=str(facts.get("reason")), start=start, steps=steps)


def replayed(dump: Dump, env: gym.Env) -> Iterator[float]:
    """Put an environment through the steps of a dump, yielding the reward after each.

    States that are not finite, which nobody can draw, are left out.

    Args:
        dump: Of an environment like this one.
        env: Made by ``dump.env.make``.

    Raises:
        RobolearnError: The dump does not say enough, or not of an environment like this.
    """
    states = {n.removeprefix(_SEEN): a for n, a in dump.steps.items() if n.startswith(_SEEN)}
    base = env.unwrapped
    if isinstance(base, RoboEnv) and "qpos" in states:
        return _shown(dump.steps["reward"], states, env, base)
    if dump.start is None or "since_start" not in dump.steps:
        raise RobolearnError(
            "The dump holds no states: it is of environments in workers, or of an episode too long "
            "to be lived through again."
        )
    return _relived(dump.start, dump.steps["since_start"], len(dump.steps["reward"]), env)


def _shown(
    rewards: np.ndarray, states: dict[str, np.ndarray], env: gym.Env, base: RoboEnv
) -> Iterator[float]:
    env.reset(seed=0)
    begin = True
    for t, reward in enumerate(rewards):
        state = {name: rows[[min(t, len(rows) - 1)]] for name, rows in states.items()}
        if all(np.isfinite(state[name]).all() for name in ("qpos", "qvel")):
            base.vector_env.set_render_state(state, new_episode=begin)
            begin = False
            yield float(reward)


def _relived(
    start: dict[str, Any], actions: np.ndarray, shown: int, env: gym.Env
) -> Iterator[float]:
    single = Rewindable(env)
    before = max(len(actions) - shown, 0)
    single.rewind(start, actions[:before])
    single.reset()
    for action in actions[before:]:
        yield float(single.step(action)[1])
