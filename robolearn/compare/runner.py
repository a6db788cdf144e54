"""Comparing agents fairly: same steps, same seeds, same evaluation, in turn on one machine."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from gymnasium import spaces

from robolearn.accelerate import choose_device
from robolearn.agents import AGENTS, agent_class
from robolearn.agents.base import Predictor
from robolearn.agents.defaults import tuned
from robolearn.baselines.rows import ALGORITHMS, Algorithm, row_for
from robolearn.baselines.servable import require_servable
from robolearn.environments import EnvConfig, TrainingEnvs
from robolearn.errors import RobolearnError
from robolearn.evaluation import evaluate
from robolearn.runs.run import claim_folder
from robolearn_envs.names import did_you_mean

CELLS = "cells.jsonl"
"""File of a comparison's folder that holds a finished cell in each line."""

_SB3: dict[str, Algorithm] = {f"sb3-{algorithm}": algorithm for algorithm in ALGORITHMS}

CONTESTANTS: tuple[str, ...] = (*AGENTS, *_SB3)
"""Names of all agents that can be compared."""

_DISCRETE_ONLY = frozenset({"dqn", "pqn", "sb3-dqn"})


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """What to compare, on what, and where to write it."""

    agents: tuple[str, ...]
    """Agents, ours ('ppo', 'dqn', ...) and SB3's ('sb3-a2c', 'sb3-dqn', 'sb3-ppo')."""
    env: EnvConfig
    """Where they learn and are evaluated; Q-learners with discrete actions where it offers them."""
    steps: int
    """Environment steps each agent learns from."""
    seeds: int = 5
    """Trainings of each agent, with seeds 0, 1, …"""
    episodes: int = 100
    """Episodes after each training, the same for all."""
    device: str = "auto"
    """'auto', 'cpu' or 'cuda'."""
    out: Path
    """Folder for the results; it must not hold a comparison yet."""

    def __post_init__(self) -> None:
        """Refuse unknown or repeated names and empty comparisons."""
        if not self.agents:
            raise RobolearnError(f"Nothing to compare. Known agents: {', '.join(CONTESTANTS)}.")
        for name in self.agents:
            if name not in CONTESTANTS:
                raise RobolearnError(did_you_mean("agent", name, CONTESTANTS))
            if self.agents.count(name) > 1:
                raise RobolearnError(f"Agent '{name}' is listed twice; name each agent once.")
        for field in ("steps", "seeds", "episodes"):
            if getattr(self, field) < 1:
                raise RobolearnError(f"{field} must be at least 1, got {getattr(self, field)}.")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One agent trained with one seed, and how it then did."""

    agent: str
    seed: int
    actions: str
    """'discrete' or 'continuous'."""
    steps: int
    """Environment steps it learned from."""
    wall_s: float
    """Seconds of training: making environments and agent included, evaluation not."""
    steps_per_s: float
    episodes: int
    mean_return: float
    std_return: float
    min_return: float
    max_return: float
    mean_length: float
    success_rate: float | None
    """None where the environment does not say."""
    details: Mapping[str, float]
    """Means of what else the task tells of an episode, by name."""
    source: str
    """Where the hyper-parameters come from."""


@dataclass(frozen=True)
class _Trained:
    agent: Predictor
    steps: int
    wall_s: float


@dataclass(frozen=True)
class _Contestant:
    """An agent that is known to be able to learn in its environment."""

    name: str
    env: EnvConfig
    actions: str
    source: str
    train: Callable[[int, int], _Trained]
    """From steps and seed."""


def compare(config: CompareConfig, on_cell: Callable[[Cell], None] | None = None) -> list[Cell]:
    """Train every agent with every seed, in turn, and evaluate each on the same episodes.

    For each seed each agent has its turn before the next seed begins, so that whatever else the
    machine does meets all of them alike. Finished cells are in ``cells.jsonl`` at once.

    Args:
        config: What to compare.
        on_cell: Called with each cell when it is finished.

    Raises:
        RobolearnError: An agent cannot learn in this environment or on this device, or the
            folder cannot be used; nothing has been trained then.
    """
    contestants = [_contestant(name, config) for name in config.agents]
    claim_folder(config.out, "comparison")
    path = config.out / CELLS
    cells = []
    for seed in range(config.seeds):
        for contestant in contestants:
            cell = _run(contestant, config, seed)
            with path.open("a") as lines:
                lines.write(json.dumps(asdict(cell)) + "\n")
            cells.append(cell)
            if on_cell is not None:
                on_cell(cell)
    return cells


def _contestant(name: str, config: CompareConfig) -> _Contestant:
    env = config.env
    if name in _DISCRETE_ONLY and env.native and "action" not in env.kwargs:
        env = replace(env, kwargs={**env.kwargs, "action": "discrete"})
    space = TrainingEnvs.of(env, None, {}).action_space
    actions = "continuous" if isinstance(space, spaces.Box) else "discrete"
    choose_device(config.device)
    source, train = (_sb3 if name in _SB3 else _ours)(name, env, config.device)
    return _Contestant(name, env, actions, source, train)


def _ours(name: str, env: EnvConfig, device: str) -> tuple[str, Callable[[int, int], _Trained]]:
    make = agent_class(name)
    make(env, device=device).close()  # refuses what it cannot serve, and loads torch untimed

    def train(steps: int, seed: int) -> _Trained:
        start = time.perf_counter()
        agent = make(env, seed=seed, device=device)
        try:
            agent.learn(steps)
            return _Trained(agent, agent.steps, time.perf_counter() - start)
        finally:
            agent.close()

    source = f"robolearn, tuned for {env.id}" if tuned(name, env.id) else "robolearn's defaults"
    return source, train


def _sb3(name: str, env: EnvConfig, device: str) -> tuple[str, Callable[[int, int], _Trained]]:
    algorithm = _SB3[name]
    require_servable(algorithm, env)
    from robolearn.baselines.sb3 import train_sb3  # takes 1.5 s, which only SB3 should cost

    def train(steps: int, seed: int) -> _Trained:
        agent = train_sb3(algorithm, env, steps, seed, device=device)
        return _Trained(agent, agent.steps, agent.wall_s)

    return row_for(algorithm, env.id).source, train


def _run(contestant: _Contestant, config: CompareConfig, seed: int) -> Cell:
    trained = contestant.train(config.steps, seed)
    evaluation = evaluate(trained.agent, contestant.env.held_out("test"), episodes=config.episodes)
    return Cell(
        agent=contestant.name,
        seed=seed,
        actions=contestant.actions,
        steps=trained.steps,
        wall_s=trained.wall_s,
        steps_per_s=trained.steps / trained.wall_s,
        source=contestant.source,
        **evaluation.scores(),
        details=evaluation.means(),
    )
