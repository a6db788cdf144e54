"""The sections of ``benchmarks.imitation``: what is done by each seed, and the figures of it."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from robolearn.agents.load import load_agent
from robolearn.environments import EnvConfig
from robolearn.evaluation import Evaluation, evaluate, evaluate_made
from robolearn.imitation.demos.record import RecordConfig, record_demos
from robolearn.imitation.experts import expert_for
from robolearn.imitation.runs import ImitateConfig, imitate
from robolearn.session import TrainConfig
from robolearn.train import train

Rows = list[dict[str, Any]]
Section = Callable[[Sequence[int], Path], Rows]

SWING_UP = EnvConfig(
    id="robolearn/CartPoleSwingUp-v0", engine="analytic", kwargs={"forces": 2, "action": "discrete"}
)
BALANCE = EnvConfig(id="robolearn/CartPoleBalance-v0", engine="analytic")
NAVIGATION = EnvConfig(id="robolearn/NavLidar-v0", engine="analytic", kwargs={"level": 1})
SCRATCH = 200_000
"""Steps of DQN from scratch."""
ENGINES = ("analytic", "mujoco", "bullet")


def row(what: str, asked: str, values: Sequence[float], **more: Any) -> dict[str, Any]:
    """Return a row as the results file has it."""
    return {"what": what, "asked": asked, "values": [float(value) for value in values], **more}


def recorded(env: EnvConfig, episodes: int, seed: int, folder: Path, noise: float = 0.0) -> Path:
    """Record a set of its expert and return where it lies."""
    out = folder / f"{env.id.split('/')[-1]}-{env.engine}-{episodes}-{noise}-{seed}-v0"
    if not out.exists():
        config = RecordConfig(
            env=env, expert="expert", out=out, episodes=episodes, seed=seed, noise=noise
        )
        record_demos(config)
    return out


def experts_score(env: EnvConfig) -> float:
    """Return the mean return of the expert in 100 evaluation episodes."""
    return evaluate_made(expert_for, env.held_out("test")).mean


def reached(learner: str, demos: Path, run: Path, seed: int, **more: Any) -> Evaluation:
    """Imitate and return the evaluation of what came of it."""
    found = imitate(ImitateConfig(learner=learner, demos=demos, run=run, seed=seed, **more))
    assert found.evaluation is not None
    return found.evaluation


def curve(run: Path, name: str = "eval_return") -> list[tuple[int, float]]:
    """Return steps and a figure of all evaluations on the way."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [(line["steps"], line[name]) for line in lines if name in line]


def steps_to(points: Sequence[tuple[int, float]], bar: float) -> float:
    """Return the steps after which a curve first reaches a bar; infinite if it never does."""
    return next((float(steps) for steps, score in points if score >= bar), float("inf"))


def dip(points: Sequence[tuple[int, float]]) -> float:
    """Return by which part of its start a curve falls below it at most."""
    start = points[0][1]
    return max(0.0, (start - min(score for _, score in points)) / abs(start))


def experts(seeds: Sequence[int], folder: Path) -> Rows:
    """Of each engine, 100 episodes."""
    rows = []
    for engine in ENGINES:
        found = evaluate_made(expert_for, EnvConfig(id=BALANCE.id, engine=engine))
        rows.append(row(f"expert, balance, {engine}: return", "500", [found.mean]))
        for forces in (None, 2, 5, 11):
            kwargs = {"action": "discrete", "forces": forces} if forces else {}
            found = evaluate_made(
                expert_for, EnvConfig(id=SWING_UP.id, engine=engine, kwargs=kwargs)
            )
            name = f"{forces} forces" if forces else "continuous"
            success = found.success_rate or 0.0
            rows.append(row(f"expert, swing-up, {name}, {engine}: success", "0.99", [success]))
        for level in range(5):
            env = EnvConfig(id=NAVIGATION.id, engine=engine, kwargs={"level": level})
            success = evaluate_made(expert_for, env.held_out("test")).success_rate or 0.0
            rows.append(row(f"planner, level {level}, {engine}: success", "0.99", [success]))
    return rows


def cloning(seeds: Sequence[int], folder: Path) -> Rows:
    """Behavioural cloning of few demonstrations."""
    cases = (
        (BALANCE, 1, "return over the expert's", "0.98"),
        (SWING_UP, 3, "return over the expert's", "0.95"),
        (NAVIGATION, 20, "success", "0.9"),
    )
    rows = []
    for env, count, figure, asked in cases:
        best, values = experts_score(env), []
        for seed in seeds:
            demos = recorded(env, count, seed, folder)
            found = reached("bc", demos, folder / f"bc-{demos.name}", seed)
            values.append((found.success_rate or 0.0) if figure == "success" else found.mean / best)
        name = env.id.split("/")[-1]
        rows.append(row(f"BC, {name}, {count} demonstrations: {figure}", asked, values))
    return rows


def dqfd(seeds: Sequence[int], folder: Path) -> Rows:
    """DQfD on swing-up with 5 demonstrations, beside DQN from scratch."""
    best = experts_score(SWING_UP)
    starts, dips, ends, scratch = [], [], [], []
    for seed in seeds:
        demos = recorded(SWING_UP, 5, seed, folder)
        run = folder / f"dqfd-{seed}"
        found = reached("dqfd", demos, run, seed, steps=20_000, eval_every=1_000)
        points = curve(run)
        starts.append(points[0][1] / best)
        dips.append(dip(points))
        ends.append(found.mean / best)
        alone = folder / f"dqn-{seed}"
        train(
            TrainConfig(
                agent="dqn",
                env=SWING_UP,
                steps=SCRATCH,
                run=alone,
                seed=seed,
                hyper={"n_step": 10, "layer_norm": False, "sharpness": 8.0, "num_envs": 16},
                eval_every=2_000,
            )
        )
        scratch.append(steps_to(curve(alone), 0.9 * best))
    what = "DQfD, swing-up, 2 forces, 5 demonstrations"
    return [
        row(f"{what}: at 0 steps, over the expert's return", "0.9", starts),
        row(f"{what}: largest fall below the start in 20,000 steps", "0.1 at most", dips),
        row(f"{what}: after 20,000 steps, over the expert's return", "", ends),
        row("DQN from scratch: steps to 0.9 of the expert's return", "", scratch),
    ]


def engines(seeds: Sequence[int], folder: Path) -> Rows:
    """Demonstrations of MuJoCo, the clone on Bullet."""
    cases: tuple[tuple[EnvConfig, int, str], ...] = (
        (BALANCE, 1, "0.9"),
        (SWING_UP, 3, "0.9"),
        (NAVIGATION, 20, "0.8"),
    )
    rows = []
    for env, count, asked in cases:
        there = EnvConfig(id=env.id, engine="mujoco", kwargs=env.kwargs)
        bullet = EnvConfig(id=env.id, engine="bullet", kwargs=env.kwargs).held_out("test")
        best, values = experts_score(bullet), []
        for seed in seeds:
            demos = recorded(there, count, seed, folder)
            run = folder / f"bc-{demos.name}"
            reached("bc", demos, run, seed)
            found = evaluate(load_agent(run), bullet)
            navigates = env is NAVIGATION
            values.append((found.success_rate or 0.0) if navigates else found.mean / best)
        name = env.id.split("/")[-1]
        figure = "success" if env is NAVIGATION else "return over the expert's"
        rows.append(row(f"BC, {name}, MuJoCo's demonstrations, on Bullet: {figure}", asked, values))
    return rows


SECTIONS: Mapping[str, Section] = {
    "experts": experts,
    "bc": cloning,
    "dqfd": dqfd,
    "engines": engines,
}
"""By name, in the order of the table."""
