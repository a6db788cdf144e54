"""What demonstrations buy: learners with ever more of them, beside learning from scratch."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from robolearn.baselines.sb3 import SB3Agent, train_sb3
from robolearn.config import check_ranges
from robolearn.environments import EnvConfig, check_seed
from robolearn.errors import RobolearnError
from robolearn.evaluation import Evaluation, evaluate
from robolearn.files import read_json
from robolearn.imitation.defaults import imitating
from robolearn.imitation.demos.episodes import Demonstrations
from robolearn.imitation.demos.mirror import with_mirrored
from robolearn.imitation.demos.storage import find_set, read_demos
from robolearn.imitation.gains import Curve, normalized, read_curve
from robolearn.imitation.runs import ImitateConfig, imitate, learner
from robolearn.runs.run import claim_folder, write_whole
from robolearn.session import TrainConfig, TrainResult
from robolearn.train import train

SCRATCH, SB3, SB3_SHOWN = "from scratch", "SB3 DQN", "SB3 DQN, preloaded"


@dataclass(frozen=True, kw_only=True)
class BenchConfig:
    """What to measure."""

    demos: Path
    """The set."""
    out: Path
    """Folder of the results; must not hold any yet."""
    learners: tuple[str, ...] = ("bc", "dqfd")
    """Ways to learn; see ``robolearn imitate``."""
    counts: tuple[int, ...] = (1, 3, 10)
    """Numbers of demonstrations, which each seed draws anew."""
    seeds: int = 5
    """Of each learner and count."""
    steps: int = 20_000
    """Environment steps after pretraining."""
    scratch_steps: int = 200_000
    """Environment steps of learning without demonstrations; 0 leaves it out."""
    sb3_steps: int = 0
    """Environment steps of SB3's DQN, with demonstrations in its memory and without; 0 leaves it
    out."""
    threshold: float = 0.9
    """Part of the way from random actions' return to the expert's that is to be reached."""

    def __post_init__(self) -> None:
        """Refuse numbers that make no sense, and learners nobody knows."""
        ranges: dict[str, tuple[float, float]] = {n: (1, math.inf) for n in ("counts", "seeds")}
        ranges |= {n: (0, math.inf) for n in ("steps", "scratch_steps", "sb3_steps", "threshold")}
        check_ranges(self, ranges)
        check_seed(self.seeds - 1)
        if not self.learners or not self.counts:
            raise RobolearnError("Say which learners and counts, e.g. --learners bc --counts 1 3.")
        for name in self.learners:
            learner(name)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One training."""

    learner: str
    count: int
    """Demonstrations; 0 for none."""
    seed: int
    curve: Curve
    """Evaluations on the way."""
    final: float
    """Mean return of 100 test episodes at the end."""
    parameters: int | None = None
    """Numbers learned of what acts; None where nobody counted."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """All that was measured."""

    config: BenchConfig
    env: EnvConfig
    random: float
    """Mean return of random actions."""
    expert: float
    """Mean return of the expert."""
    outcomes: Sequence[Outcome]

    @property
    def bar(self) -> float:
        """The return that is to be reached."""
        return self.random + self.config.threshold * (self.expert - self.random)


def bench(config: BenchConfig, tell: Callable[[Outcome], None] = lambda _: None) -> Bench:
    """Train every learner with every number of demonstrations and every seed.

    Each result is kept as it comes, in ``outcomes.jsonl``, beside the runs.

    Args:
        config: What to measure.
        tell: Told of every training that is done.

    Raises:
        RobolearnError: A set without scores on its card or with too few episodes, or something
            else that cannot be; nothing was written.
    """
    demos, card = read_demos(config.demos), find_set(config.demos).card
    if demos.env is None or card is None or None in (card.expert_score, card.random_score):
        raise RobolearnError(
            f"{config.demos} has no card with the scores of its expert and of random actions. "
            "Record one with: robolearn demos record"
        )
    if max(config.counts) > len(demos.episodes):
        raise RobolearnError(
            f"{config.demos} has {len(demos.episodes)} episodes, {max(config.counts)} were asked "
            "for in counts."
        )
    assert card.expert_score is not None
    assert card.random_score is not None
    normalized(0.0, card.random_score, card.expert_score)  # refuses what is no scale
    claim_folder(config.out, "bench")
    outcomes = []
    for outcome in _outcomes(config, demos, demos.env):
        outcomes.append(outcome)
        lines = "".join(json.dumps(asdict(each)) + "\n" for each in outcomes)
        write_whole(config.out / "outcomes.jsonl", lines)
        tell(outcome)
    return Bench(
        config=config,
        env=demos.env,
        random=card.random_score,
        expert=card.expert_score,
        outcomes=outcomes,
    )


def _outcomes(config: BenchConfig, demos: Demonstrations, env: EnvConfig) -> Iterator[Outcome]:
    for seed in range(config.seeds):
        for count in config.counts:
            shown = drawn(demos, count, seed)
            for name in config.learners:
                yield _imitated(config, name, shown, seed)
        if config.scratch_steps:
            yield _from_scratch(config, env, seed)
        if config.sb3_steps and learns_q(config):
            shown = drawn(demos, max(config.counts), seed)
            yield _sb3(config, env, seed, None)
            yield _sb3(config, env, seed, shown)


def learns_q(config: BenchConfig) -> bool:
    """Return whether a learner is a DQN."""
    return any(learner(name).agent in ("dqn", "dqfd") for name in config.learners)


def drawn(demos: Demonstrations, count: int, seed: int) -> Demonstrations:
    """Return ``count`` of the episodes, which the seed draws."""
    order = np.random.default_rng(seed).permutation(len(demos.episodes))[:count]
    return replace(demos, episodes=[demos.episodes[k] for k in order])


def _imitated(config: BenchConfig, name: str, demos: Demonstrations, seed: int) -> Outcome:
    count = len(demos.episodes)
    run = config.out / "runs" / f"{name}-{count}-{seed}"
    steps = 0 if name in ("bc", "dagger") else config.steps
    asked = ImitateConfig(
        learner=name,
        demos=config.demos,
        run=run,
        seed=seed,
        steps=steps,
        eval_every=max(steps // 20, 1),
    )
    result = _finished(imitate(asked, demos))
    told = read_json(run / "meta.json")["pretraining"][0]
    return Outcome(
        learner=name,
        count=count,
        seed=seed,
        curve=read_curve(run),
        final=result.mean,
        parameters=told["learned_parameters"],
    )


def _finished(result: TrainResult) -> Evaluation:
    """Return the evaluation of a run.

    Raises:
        KeyboardInterrupt: It was stopped on request, and so is everything.
    """
    if result.evaluation is None:
        raise KeyboardInterrupt
    return result.evaluation


def _from_scratch(config: BenchConfig, env: EnvConfig, seed: int) -> Outcome:
    """Train the learners' agent, its network as theirs, as it usually learns."""
    agent = "dqn" if learns_q(config) else "ppo"
    shaped = imitating("mixed" if agent == "dqn" else "bc", agent, env.id)
    shaped.pop("demo_ratio", None)
    run = config.out / "runs" / f"scratch-{seed}"
    asked = TrainConfig(
        agent=agent,
        env=env,
        steps=config.scratch_steps,
        run=run,
        seed=seed,
        hyper=shaped,
        eval_every=max(config.scratch_steps // 50, 1),
    )
    result = _finished(train(asked))
    name = f"{agent.upper()} {SCRATCH}"
    final = result.mean
    return Outcome(learner=name, count=0, seed=seed, curve=read_curve(run), final=final)


def _sb3(config: BenchConfig, env: EnvConfig, seed: int, demos: Demonstrations | None) -> Outcome:
    points: list[tuple[int, float]] = []
    every = max(config.sb3_steps // 10, 1)

    def watch(agent: SB3Agent) -> bool:
        if agent.steps >= every * (len(points) + 1):
            points.append((agent.steps, _score(agent, env, 20, "val", 1)))
        return True

    preload = None if demos is None else with_mirrored(demos).steps()
    agent = train_sb3("dqn", env, config.sb3_steps, seed, watch=watch, preload=preload)
    final = _score(agent, env, 100, "test", 0)
    return Outcome(
        learner=SB3 if demos is None else SB3_SHOWN,
        count=0 if demos is None else len(demos.episodes),
        seed=seed,
        curve=[*points, (agent.steps, final)],
        final=final,
    )


def _score(agent: SB3Agent, env: EnvConfig, episodes: int, split: str, seed: int) -> float:
    return evaluate(agent, env.held_out(split), episodes=episodes, seed=seed).mean


def by_learner(outcomes: Sequence[Outcome]) -> Mapping[tuple[str, int], list[Outcome]]:
    """Return the outcomes of each learner and number of demonstrations, in their order."""
    groups: dict[tuple[str, int], list[Outcome]] = {}
    for each in outcomes:
        groups.setdefault((each.learner, each.count), []).append(each)
    return groups
