"""The sections of ``benchmarks.imitation``: what is done by each seed, and the figures of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from robolearn.agents.defaults import tuned
from robolearn.agents.load import load_agent
from robolearn.agents.ppo import PPO, PPOConfig
from robolearn.baselines.sb3 import SB3Agent, train_sb3
from robolearn.environments import EnvConfig
from robolearn.evaluation import Evaluation, evaluate, evaluate_made
from robolearn.imitation.continual import (
    ContinualConfig,
    average,
    forgetting,
    forward_transfer,
    learn_in_turn,
    shown_by_expert,
)
from robolearn.imitation.demos.mirror import with_mirrored
from robolearn.imitation.demos.record import RecordConfig, record_demos
from robolearn.imitation.demos.storage import read_demos
from robolearn.imitation.distill import DistillConfig, acting_size, distill
from robolearn.imitation.experts import expert_for
from robolearn.imitation.gains import dip, read_curve, steps_to
from robolearn.imitation.runs import ImitateConfig, imitate
from robolearn.imitation.transfer import fine_tuned
from robolearn.networks.adapters import Adapter, trainable
from robolearn.session import TrainConfig
from robolearn.train import train

Rows = list[dict[str, Any]]
Section = Callable[[Sequence[int], Path], Rows]

SWING_UP = EnvConfig(
    id="robolearn/CartPoleSwingUp-v0",
    engine="analytic",
    kwargs={"num_discrete_actions": 2, "action": "discrete"},
)
BALANCE = EnvConfig(id="robolearn/CartPoleBalance-v0", engine="analytic")
NAVIGATION = EnvConfig(id="robolearn/NavLidar-v0", engine="analytic", kwargs={"level": 1})
SCRATCH = 200_000
"""Steps of DQN from scratch."""
SB3_STEPS = 30_000
"""Of SB3's DQN, which makes about 700 a second."""
POOR = Path("demos/swingup-poor-v0")
POOR_STEPS = 60_000
"""Of DQfD after those."""
SWING = EnvConfig(id="robolearn/CartPoleSwingUp-v0", engine="analytic")
FULL, LORA = "all of it learned", "LoRA of rank 3 near the base"
ADAPTED: Mapping[str, tuple[Adapter, int, float]] = {
    FULL: ("none", 1, 0.0),
    "all of it learned near the base": ("none", 1, 1.0),
    LORA: ("lora", 3, 1.0),
    "LoRA of rank 3": ("lora", 3, 0.0),
    "bottleneck of width 3 near the base": ("bottleneck", 3, 1.0),
    "BitFit near the base": ("bitfit", 1, 1.0),
    "head only near the base": ("head", 1, 1.0),
}
"""Adapter, rank, and weight of staying near the base, by name."""
CONTINUAL = ("none", "replay")
ENGINES = ("analytic", "mujoco", "bullet")


def row(what: str, asked: str, values: Sequence[float], **more: Any) -> dict[str, Any]:
    """Return a row as the results file has it."""
    return {"what": what, "asked": asked, "values": [float(value) for value in values], **more}


def recorded(env: EnvConfig, episodes: int, seed: int, folder: Path, noise: float = 0.0) -> Path:
    """Record a set of its expert and return where it lies."""
    task = env.id.split("/")[-1].removesuffix("-v0")
    out = folder / f"{task}-{env.engine}-{episodes}-{round(100 * noise)}-{seed}-v0"
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


def experts(seeds: Sequence[int], folder: Path) -> Rows:
    """Of each engine, 100 episodes."""
    rows = []
    for engine in ENGINES:
        found = evaluate_made(expert_for, EnvConfig(id=BALANCE.id, engine=engine))
        rows.append(row(f"expert, balance, {engine}: return", "500", [found.mean]))
        for forces in (None, 2, 5, 11):
            kwargs = {"action": "discrete", "num_discrete_actions": forces} if forces else {}
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
    """Behavioral cloning of few demonstrations."""
    cases = (
        (BALANCE, 1, 0.0, "return over the expert's", "0.98"),
        (SWING_UP, 3, 0.0, "return over the expert's", "0.95"),
        (NAVIGATION, 20, 0.0, "success", "0.9"),
        (NAVIGATION, 20, 0.3, "success", "0.9"),
    )
    rows = []
    for env, count, noise, figure, asked in cases:
        best, values = experts_score(env), []
        for seed in seeds:
            demos = recorded(env, count, seed, folder, noise)
            found = reached("bc", demos, folder / f"bc-{demos.name}", seed)
            values.append((found.success_rate or 0.0) if figure == "success" else found.mean / best)
        name = env.id.split("/")[-1] + (f", noise {noise}" if noise else "")
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
        points = read_curve(run)
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
                hyper={
                    **tuned("dqn", SWING_UP.id),
                    "n_step": 10,
                    "layer_norm": False,
                    "first_layer_gain": 8.0,
                },
                eval_every=2_000,
            )
        )
        scratch.append(steps_to(read_curve(alone), 0.9 * best))
    what = "DQfD, swing-up, 2 forces, 5 demonstrations"
    return [
        row(f"{what}: at 0 steps, over the expert's return", "0.9", starts),
        row(f"{what}: largest fall below the start in 20,000 steps", "0.1 at most", dips),
        row(f"{what}: after 20,000 steps, over the expert's return", "", ends),
        row("DQN from scratch: steps to 0.9 of the expert's return", "", scratch),
    ]


def untouched(seeds: Sequence[int], folder: Path) -> Rows:
    """DQfD before a step is made, in 100 test episodes that nothing was chosen by."""
    best = experts_score(SWING_UP)
    found = [
        reached("dqfd", recorded(SWING_UP, 5, seed, folder), folder / f"start-{seed}", seed).mean
        for seed in seeds
    ]
    what = "DQfD, swing-up, 2 forces, 5 demonstrations: at 0 steps, 100 test episodes"
    return [row(f"{what}, over the expert's return", "0.9", [mean / best for mean in found])]


def sb3(seeds: Sequence[int], folder: Path) -> Rows:
    """SB3's DQN on swing-up, from scratch and with 5 demonstrations in its replay memory."""
    best = experts_score(SWING_UP)
    rows = []
    for name, shown in (("from scratch", False), ("with 5 demonstrations in its memory", True)):
        reaches, ends = [], []
        for seed in seeds:
            demos = with_mirrored(read_demos(recorded(SWING_UP, 5, seed, folder))).steps()
            points: list[tuple[int, float]] = []
            agent = train_sb3(
                "dqn",
                SWING_UP,
                SB3_STEPS,
                seed,
                watch=_scored(points),
                preload=demos if shown else None,
            )
            found = evaluate(agent, SWING_UP)
            reaches.append(steps_to([*points, (agent.steps, found.mean)], 0.9 * best))
            ends.append(found.mean / best)
        what = f"SB3's DQN, swing-up, 2 forces, {name}"
        rows.append(row(f"{what}: after {SB3_STEPS:,} steps, over the expert's return", "", ends))
        rows.append(row(f"{what}: steps to 0.9 of the expert's return", "", reaches))
    return rows


def _scored(points: list[tuple[int, float]]) -> Callable[[SB3Agent], bool]:
    """Return what evaluates an agent every 5,000 steps."""

    def watch(agent: SB3Agent) -> bool:
        if agent.steps >= 5_000 * (len(points) + 1):
            points.append((agent.steps, evaluate(agent, SWING_UP, episodes=20, seed=1).mean))
        return True

    return watch


def poor(seeds: Sequence[int], folder: Path) -> Rows:
    """DQfD on demonstrations of an agent that has learned little, beside the demonstrations."""
    shown = float(read_demos(POOR).returns.mean())
    hyper = {
        "margin_anneal_fraction": 0.3,
        "exploration_initial_eps": 0.2,
        "exploration_fraction": 0.5,
    }
    hyper |= {"learning_rate": 5e-4}
    gains = []
    for seed in seeds:
        run = folder / f"poor-{seed}"
        found = reached("dqfd", POOR, run, seed, steps=POOR_STEPS, hyper=hyper)
        gains.append(found.mean - shown)
    what = f"DQfD, swing-up, {POOR.name} of return {shown:.0f}"
    return [row(f"{what}: return after {POOR_STEPS:,} steps less theirs", "above 0", gains)]


def policy_gradient(seeds: Sequence[int], folder: Path) -> Rows:
    """PPO from a clone of 5 demonstrations, with and without what keeps it from unlearning."""
    plain = {
        "bc_kl_coef": 0.0,
        "critic_warmup_fraction": 0.0,
        "freeze_obs_norm": False,
        "learning_rate": 1e-3,
    }
    rows = []
    for name, hyper, asked in (("", {}, "0.1 at most"), (", unprotected", plain, "")):
        dips, kept = [], []
        for seed in seeds:
            demos = recorded(SWING_UP, 5, seed, folder)
            run = folder / f"ppo{name[2:]}-{seed}"
            reached("ppo", demos, run, seed, steps=100_000, eval_every=5_000, hyper=hyper)
            points = read_curve(run)
            dips.append(dip(points))
            kept.append(points[-1][1] / points[0][1])
        what = f"PPO from a clone{name}, swing-up, 100,000 steps"
        rows.append(row(f"{what}: largest fall below the clone", asked, dips))
        rows.append(row(f"{what}: retention, the end over the clone", "", kept))
    return rows


def transfer(seeds: Sequence[int], folder: Path) -> Rows:
    """A policy of PPO onto a heavier pole, by adapters; and into a small student."""
    heavier = replace(SWING, kwargs={"robot": {"pole_mass": 0.2}})
    new: dict[str, list[float]] = {name: [] for name in ADAPTED}
    old: dict[str, list[float]] = {name: [] for name in ADAPTED}
    size: dict[str, list[float]] = {name: [] for name in ADAPTED}
    kept, small = [], []
    for seed in seeds:
        config = PPOConfig(**{**tuned("ppo", SWING.id), "hidden_sizes": (128, 128)})
        base = PPO(SWING, config, seed=seed).learn(600_000)
        before = evaluate(base, SWING).mean
        for name, (adapter, rank, near) in ADAPTED.items():
            changes = {"learning_rate": 2e-4, "ent_coef": 0.0, "bc_kl_coef": near}
            changes["bc_kl_anneal_fraction"] = 1.0
            agent = fine_tuned(
                base, heavier, adapter=adapter, rank=rank, changes=changes, seed=seed
            )
            agent.set_reference_policy()
            agent.learn(100_000)
            new[name].append(evaluate(agent, heavier).mean)
            old[name].append(evaluate(agent, SWING).mean / before)
            whole = sum(p.numel() for p in base.net.policy.parameters())
            size[name].append(trainable(agent.net.policy) / whole)
            agent.close()
        student = distill(base, DistillConfig(), seed=seed)
        kept.append(evaluate(student, SWING).mean / before)
        small.append(acting_size(student) / acting_size(base))
        base.close()
        student.close()
    rows = []
    for name in ADAPTED:
        asked = (
            ("0.95", "0.95", "0.1 at most")
            if name == "LoRA of rank 3 near the base"
            else ("", "", "")
        )
        what = f"PPO onto a pole twice as heavy, {name}"
        over = [one / full for one, full in zip(new[name], new[FULL], strict=True)]
        rows += [
            row(f"{what}: new task, over full fine-tuning", asked[0], over, returns=new[name]),
            row(f"{what}: old task, over the score before", asked[1], old[name]),
            row(f"{what}: learned part of the policy", asked[2], size[name]),
        ]
    rows.append(row("distillation: student's return over the teacher's", "0.95", kept))
    rows.append(row("distillation: student's part of the parameters", "0.1 at most", small))
    return rows


def continual(seeds: Sequence[int], folder: Path, methods: Sequence[Any] = CONTINUAL) -> Rows:
    """Three levels of navigation, cloned one after the other: walls, cylinders, an empty arena."""
    config = PPOConfig(hidden_sizes=(64, 64), activation="relu", log_scale_obs=True)
    levels = [replace(NAVIGATION, kwargs={"level": level}) for level in (4, 2, 0)]
    first = PPO(levels[0], config)
    tasks = [shown_by_expert(first, env, steps=50_000) for env in levels]
    first.close()
    rows = []
    for method in methods:
        forgot, means, ahead = [], [], []
        for seed in seeds:
            agent = PPO(levels[0], config, seed=seed)
            settings = ContinualConfig(method=method, updates=2_000)
            found = learn_in_turn(agent, tasks, settings, seed=seed)
            forgot.append(forgetting(found.scores))
            means.append(average(found.scores))
            ahead.append(forward_transfer(found.scores, np.zeros(len(tasks))))
            agent.close()
        what = f"three tasks in sequence, {'naive' if method == 'none' else method}"
        asked = "0.05 at most" if method == "replay" else ""
        rows.append(row(f"{what}: forgetting", asked, forgot))
        rows.append(row(f"{what}: average at the end", "", means))
        rows.append(row(f"{what}: forward transfer", "", ahead))
    return rows


def penalties(seeds: Sequence[int], folder: Path) -> Rows:
    """The same with penalties of weights."""
    return continual(seeds, folder, ("l2", "ewc"))


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
    "dqfd-start": untouched,
    "dqfd": dqfd,
    "sb3": sb3,
    "poor": poor,
    "ppo": policy_gradient,
    "transfer": transfer,
    "continual": continual,
    "penalties": penalties,
    "engines": engines,
}
"""By name, in the order of the table."""
