"""Who can be compared: our agents and SB3's, each with the environment it learns in."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from gymnasium import spaces

from robolearn.accelerate import choose_device
from robolearn.agents import AGENTS, agent_class, is_user_class
from robolearn.agents.defaults import tuned
from robolearn.agents.protocols import Policy, require_agent
from robolearn.baselines.rows import ALGORITHMS, Algorithm, row_for
from robolearn.baselines.servable import require_servable
from robolearn.compare.cell import MOST_EPISODES
from robolearn.config import to_dict
from robolearn.environments import EnvConfig, TrainingEnvs
from robolearn.errors import RobolearnError
from robolearn_envs.names import did_you_mean

BATCH = "-batch"
"""What names of SB3's agents end in that learn from a batch of ours instead of a DummyVecEnv."""
SB3: Mapping[str, tuple[Algorithm, bool]] = {
    f"sb3-{algorithm}{suffix}": (algorithm, bool(suffix))
    for suffix in ("", BATCH)
    for algorithm in ALGORITHMS
}
"""SB3's agents by name: the algorithm, and whether it learns from a batch."""

CONTESTANTS: tuple[str, ...] = (*AGENTS, *SB3)
"""Names of all agents that can be compared."""
_DISCRETE_ONLY = frozenset({"dqn", "pqn", "sb3-dqn", f"sb3-dqn{BATCH}"})


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """What to compare, on what, and where to write it."""

    agents: tuple[str, ...]
    """Agents, ours ('ppo', 'dqn', ...), the user's ('module:Class') and SB3's ('sb3-a2c',
    'sb3-dqn', 'sb3-ppo'; with '-batch' on our batch of environments)."""
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
    """Folder for the results; empty, or one of this comparison, which is gone on with."""
    jobs: int = 1
    """Trainings at a time, each in a process of its own if there are several."""

    def __post_init__(self) -> None:
        """Refuse unknown or repeated names and empty comparisons."""
        if not self.agents:
            raise RobolearnError(f"Nothing to compare. Known agents: {', '.join(CONTESTANTS)}.")
        for name in self.agents:
            if name not in CONTESTANTS and not is_user_class(name):
                raise RobolearnError(did_you_mean("agent", name, CONTESTANTS))
            if self.agents.count(name) > 1:
                raise RobolearnError(f"Agent '{name}' is listed twice; name each agent once.")
        for name in ("steps", "seeds", "episodes", "jobs"):
            if getattr(self, name) < 1:
                raise RobolearnError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.episodes > MOST_EPISODES:
            raise RobolearnError(
                f"episodes must be at most {MOST_EPISODES:,}, got {self.episodes:,}."
            )
        if self.env.num_workers:
            raise RobolearnError(
                f"Compared agents step their environments themselves, got {self.env.num_workers} "
                "workers. Leave them out; jobs trains several agents at a time."
            )


class Learned(NamedTuple):
    """How far a learner has come."""

    agent: Policy
    steps: int
    seconds: float
    """Of learning."""
    split: Mapping[str, float]
    """See ``Cell.split``."""


@dataclass(frozen=True)
class Contestant:
    """An agent that is known to be able to learn in its environment."""

    name: str
    env: EnvConfig
    actions: str
    source: str
    hyper: Mapping[str, Any]
    train: Callable[[int, int, Callable[[Learned], None]], Learned]
    """From steps and seed; shows itself around before the first step and after each update."""


def contestant(name: str, config: CompareConfig) -> Contestant:
    """Return an agent of a comparison.

    Raises:
        RobolearnError: It cannot learn in this environment or on this device.
    """
    env = config.env
    discrete_only = (
        agent_class(name).discrete_only if is_user_class(name) else name in _DISCRETE_ONLY
    )
    if discrete_only and env.native and "action" not in env.kwargs:
        env = replace(env, kwargs={**env.kwargs, "action": "discrete"})
    space = TrainingEnvs.of(env, None, {}).action_space
    actions = "continuous" if isinstance(space, spaces.Box) else "discrete"
    choose_device(config.device)
    if name in SB3:
        return _sb3(name, env, actions, config.device, config.steps)
    return _ours(name, env, actions, config.device)


def _ours(name: str, env: EnvConfig, actions: str, device: str) -> Contestant:
    make = agent_class(name)
    trial = make(env, device=device)  # refuses what it cannot serve
    require_agent(trial)
    trial.learn(1).close()  # loads what is late, untimed

    def train(steps: int, seed: int, show: Callable[[Learned], None]) -> Learned:
        began, shown = time.perf_counter(), 0.0
        agent = make(env, seed=seed, device=device)

        def learned() -> Learned:
            seconds = time.perf_counter() - began - shown
            return Learned(agent, agent.steps, seconds, agent.time_split())

        def tell() -> None:
            nonlocal shown
            now, before = learned(), time.perf_counter()
            show(now)
            shown += time.perf_counter() - before

        try:
            tell()
            for _ in agent.iterate(steps):
                tell()
            return learned()
        finally:
            agent.close()

    source = f"robolearn, tuned for {env.id}" if tuned(name, env.id) else "robolearn's defaults"
    return Contestant(name, env, actions, source, to_dict(trial.config), train)


def _sb3(name: str, env: EnvConfig, actions: str, device: str, steps: int) -> Contestant:
    algorithm, batch = SB3[name]
    require_servable(algorithm, env)
    from robolearn.baselines.sb3 import SB3Agent, train_sb3  # 1.5 s, which only SB3 should cost

    def learned(agent: SB3Agent) -> Learned:
        return Learned(agent, agent.steps, agent.wall_s, agent.time_split())

    def train(steps: int, seed: int, show: Callable[[Learned], None]) -> Learned:
        def watch(agent: SB3Agent) -> bool:
            show(learned(agent))
            return True

        how: dict[str, Any] = {"device": device, "batch": batch, "watch": watch}
        return learned(train_sb3(algorithm, env, steps, seed, **how))

    train_sb3(algorithm, env, 1, 0, device=device, batch=batch)  # loads what is late, untimed
    row = row_for(algorithm, env.id).within(steps)
    envs = f"{row.num_envs} {'in a batch of ours' if batch else 'behind a DummyVecEnv'}"
    hyper = {"num_envs": row.num_envs, "normalize": row.normalize, **row.arguments}
    told = {name: str(value) if callable(value) else value for name, value in hyper.items()}
    return Contestant(name, env, actions, f"{row.source}; {envs}", told, train)
