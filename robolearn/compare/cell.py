"""One agent trained with one seed: how it did on the way and in the end, and films of it."""

import json
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from gymnasium import spaces

from robolearn.accelerate import choose_device
from robolearn.agents import AGENTS, agent_class
from robolearn.agents.base import Predictor
from robolearn.agents.defaults import tuned
from robolearn.baselines.rows import ALGORITHMS, Algorithm, row_for
from robolearn.baselines.servable import require_servable
from robolearn.config import from_dict, to_dict
from robolearn.environments import EnvConfig, TrainingEnvs
from robolearn.errors import DivergedError, RobolearnError
from robolearn.evaluation import evaluate
from robolearn.files import shown
from robolearn.video.play import play
from robolearn_envs.engines.base import EngineError
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

STAGES = (0.0, 0.1, 0.3, 1.0)
"""Parts of learning after which the agent with seed 0 is filmed; others at the end alone."""
POINTS = 10
"""Evaluations on the way, besides the one before anything is learned."""
_EPISODES = 20  # of an evaluation on the way
_DISCRETE_ONLY = frozenset({"dqn", "pqn", "sb3-dqn", f"sb3-dqn{BATCH}"})
_MOST_EPISODES = 100_000  # of one evaluation
_MOST_POINTS = 1000  # of a curve
_LARGEST = 1e100  # of a figure in a file: what is larger overflows when it is squared
_DEEPEST = 8  # levels of hyper-parameters
_NOT_FINITE = re.compile(r"\b(nan|inf|infinite|not finite)\b", re.IGNORECASE)
"""What PyTorch and SB3 name where they meet such numbers, in errors of all kinds."""


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """What to compare, on what, and where to write it."""

    agents: tuple[str, ...]
    """Agents, ours ('ppo', 'dqn', ...) and SB3's ('sb3-a2c', 'sb3-dqn', 'sb3-ppo'; with '-batch'
    on our batch of environments)."""
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
            if name not in CONTESTANTS:
                raise RobolearnError(did_you_mean("agent", name, CONTESTANTS))
            if self.agents.count(name) > 1:
                raise RobolearnError(f"Agent '{name}' is listed twice; name each agent once.")
        for name in ("steps", "seeds", "episodes", "jobs"):
            if getattr(self, name) < 1:
                raise RobolearnError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.episodes > _MOST_EPISODES:
            raise RobolearnError(
                f"episodes must be at most {_MOST_EPISODES:,}, got {self.episodes:,}."
            )


@dataclass(frozen=True, kw_only=True)
class Point:
    """An evaluation on the way, on other episodes than the final one."""

    steps: int
    """Environment steps learned from."""
    seconds: float
    """Of learning, evaluations left out."""
    mean_return: float
    success_rate: float | None = None
    """None where the environment does not say."""


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
    hyper: Mapping[str, Any] = field(default_factory=dict)
    """Hyper-parameters by the agent's own names for them."""
    split: Mapping[str, float] = field(default_factory=dict)
    """Seconds of training spent in 'env' and 'update'."""
    curve: tuple[Point, ...] = ()
    """Evaluations on the way, before the first step and after the last one included."""
    returns: tuple[float, ...] = ()
    """Of the final episodes, in their order."""

    def to_json(self) -> str:
        """Return a line ``from_json`` reads back."""
        return json.dumps(to_dict(self))

    @classmethod
    def from_json(cls, line: str | bytes) -> "Cell":
        """Return the cell that a line describes.

        Raises:
            RobolearnError: It describes none.
        """
        try:
            told = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise RobolearnError("no JSON") from error
        if not isinstance(told, dict):
            raise RobolearnError("no cell")
        returns, curve = told.pop("returns", None), told.pop("curve", None)
        if not isinstance(returns, list) or not 1 <= len(returns) <= _MOST_EPISODES:
            raise RobolearnError("no returns")
        if not isinstance(curve, list) or not 1 <= len(curve) <= _MOST_POINTS:
            raise RobolearnError("no curve")
        points = tuple(from_dict(Point, each, "curve.") for each in curve)
        cell = replace(from_dict(cls, told), returns=tuple(returns), curve=points)
        _require_sound(cell)
        return cell


def _require_sound(cell: Cell) -> None:
    """Refuse a cell out of a file that cannot be reckoned with.

    Raises:
        RobolearnError: It has figures that are none, or fewer or more returns than episodes.
    """
    figures = (
        *cell.returns,
        *(cell.mean_return, cell.std_return, cell.min_return, cell.max_return, cell.mean_length),
        *(cell.wall_s, cell.steps_per_s, cell.success_rate or 0.0),
        *cell.details.values(),
        *cell.split.values(),
        *(each for point in cell.curve for each in (point.seconds, point.mean_return)),
    )
    for figure in figures:
        if not isinstance(figure, float | int) or not abs(figure) <= _LARGEST:
            raise RobolearnError(f"a figure that is none: {shown(figure)}")
    if len(cell.returns) != cell.episodes:
        raise RobolearnError(f"{len(cell.returns)} returns of {cell.episodes} episodes")
    if cell.wall_s <= 0 or cell.steps_per_s <= 0:
        raise RobolearnError("learning that took no time")
    if not _is_shallow(cell.hyper, _DEEPEST):
        raise RobolearnError("hyper-parameters that nest too deeply")


def _is_shallow(value: Any, levels: int) -> bool:
    """Return whether a value nests in no more than so many levels."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels > 0 and all(_is_shallow(part, levels - 1) for part in parts)


class Learned(NamedTuple):
    """How far a learner has come."""

    agent: Predictor
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
    if name in _DISCRETE_ONLY and env.native and "action" not in env.kwargs:
        env = replace(env, kwargs={**env.kwargs, "action": "discrete"})
    space = TrainingEnvs.of(env, None, {}).action_space
    actions = "continuous" if isinstance(space, spaces.Box) else "discrete"
    choose_device(config.device)
    return (_sb3 if name in SB3 else _ours)(name, env, actions, config.device)


def _ours(name: str, env: EnvConfig, actions: str, device: str) -> Contestant:
    make = agent_class(name)
    trial = make(env, device=device)  # refuses what it cannot serve, and loads torch untimed
    trial.close()

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


def _sb3(name: str, env: EnvConfig, actions: str, device: str) -> Contestant:
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
    row = row_for(algorithm, env.id)
    envs = f"{row.num_envs} {'in a batch of ours' if batch else 'behind a DummyVecEnv'}"
    hyper = {"num_envs": row.num_envs, "normalise": row.normalise, **row.arguments}
    told = {name: str(value) if callable(value) else value for name, value in hyper.items()}
    return Contestant(name, env, actions, f"{row.source}; {envs}", told, train)


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
        Stopped: On request.
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
    except EngineError as error:
        raise DivergedError(str(error)) from error
    except (RuntimeError, ValueError) as error:  # SB3 has none of its own
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
        play(now.agent, self._who.env.held_out("test"), label=label).save(path)


def rollout_path(out: Path, agent: str, seed: int, stage: float) -> Path:
    """Return where the film of an agent is kept: as states, to be drawn when it is wanted."""
    return out / "rollouts" / f"{agent}-seed{seed}-{round(100 * stage):03d}.npz"
