"""What our agents reach: every seed, greedy episodes on held-out seeds and layouts.

    python -m benchmarks.learning --group cart-poles --out benchmarks/results/learning
    python -m benchmarks.learning --group gymnasium --out benchmarks/results/gymnasium
    python -m benchmarks.learning --group navigation --out benchmarks/results/navigation

Cart-poles take 15 s to 3 minutes a row on two cores, Gymnasium's tasks 10 s to 5 minutes a seed
(LunarLander needs ``pip install box2d``), navigation 1 to 5 minutes a seed. ``--part 0/2`` and
``--part 1/2`` run half of the trainings each, at the same time if you like; ``--merge`` joins their
results.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import tyro

from benchmarks.results import Table, keep_results, write_results
from robolearn.agents import agent_class
from robolearn.agents.defaults import tuned
from robolearn.agents.dqn import RAINBOW
from robolearn.agents.protocols import Policy
from robolearn.baselines.sb3 import train_sb3
from robolearn.compare.statistics import interquartile_mean
from robolearn.environments import EnvConfig
from robolearn.evaluation import evaluate, evaluate_made
from robolearn.imitation.experts import expert_for


@dataclass(frozen=True)
class Claim:
    """An agent, what it learns in, and where it is tested."""

    agent: str
    env: str
    engine: str | None
    steps: int
    tested_on: tuple[str | None, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the environment."""
    seeds: int = 5
    """Trainings, unless asked for fewer."""
    bar: float | None = None
    """Mean return to reach, of a public table or of an expert."""
    hyper: dict[str, Any] = field(default_factory=dict)
    """Hyper-parameters over the agent's own for this environment, which the label names."""

    @property
    def label(self) -> str:
        """Agent, environment, its arguments and engine."""
        settings = {**self.kwargs, **self.hyper}
        told = " ".join(f"{name}={value}" for name, value in settings.items())
        name = self.env.split("/")[-1]
        return " ".join(filter(None, (self.agent, name, told, self.engine)))

    @property
    def group(self) -> str:
        """Whose environment it is, or what is done there."""
        if not self.env.startswith("robolearn/"):
            return "gymnasium"
        return "navigation" if self.env.startswith("robolearn/Nav") else "cart-poles"


BALANCE, SWING_UP, DMC = (f"robolearn/CartPole{name}-v0" for name in ("Balance", "SwingUp", "DMC"))
LIDAR, ROVER, DEPTH = (f"robolearn/Nav{name}-v0" for name in ("Lidar", "Rover", "Depth"))
EVERY = ("analytic", "mujoco", "bullet")
CLAIMS = (
    Claim("ppo", BALANCE, "mujoco", 100_000, ("mujoco",)),
    Claim("ppo", BALANCE, "bullet", 100_000, ("bullet",)),
    Claim("ppo", BALANCE, "analytic", 100_000, ("analytic",)),
    Claim("dqn", BALANCE, "mujoco", 60_000, ("mujoco",)),
    Claim("ppo", SWING_UP, "mujoco", 1_000_000, ("mujoco", "bullet"), bar=416),
    Claim("sb3-ppo", SWING_UP, "mujoco", 1_000_000, ("mujoco",), seeds=3),
    Claim("ppo", DMC, "mujoco", 2_000_000, ("mujoco",), bar=800),
    Claim("ppo", LIDAR, "analytic", 1_200_000, EVERY, {"level": 2}),
    Claim("ppo", LIDAR, "mujoco", 1_200_000, ("mujoco",), {"level": 2}),
    Claim("ppo", LIDAR, "analytic", 1_500_000, EVERY, {"level": 3}, seeds=3),
    Claim("ppo", LIDAR, "analytic", 2_000_000, EVERY, {"level": 4}, seeds=3),
    Claim("dqn", LIDAR, "analytic", 150_000, EVERY, {"level": 1, "action": "discrete"}, seeds=3),
    Claim("rainbow", SWING_UP, "mujoco", 200_000, ("mujoco",), {"action": "discrete"}),
    Claim("rainbow", LIDAR, "analytic", 200_000, ("analytic",), {"level": 1, "action": "discrete"}),
    Claim("ppo", ROVER, "mujoco", 400_000, ("mujoco", "bullet"), {"level": 1}, seeds=3),
    Claim("ppo", DEPTH, "analytic", 300_000, EVERY, {"level": 1}, seeds=3),
)
GYMNASIUM = tuple(
    Claim(agent, env, None, steps, (None,), seeds=10, bar=bar, hyper=hyper)
    for agent, env, steps, bar, hyper in (
        ("dqn", "CartPole-v1", 50_000, 500, {}),
        ("pqn", "CartPole-v1", 100_000, 500, {}),
        ("ppo", "CartPole-v1", 100_000, 500, {}),
        ("dqn", "Acrobot-v1", 100_000, -77, {}),
        ("ppo", "Acrobot-v1", 1_000_000, -74, {}),
        ("ppo", "InvertedPendulum-v5", 1_000_000, 1000, {}),
        ("a2c", "InvertedPendulum-v5", 1_000_000, 1000, {}),
        ("reinforce", "InvertedPendulum-v5", 3_000_000, 1000, {}),
        ("ppo", "InvertedDoublePendulum-v5", 1_000_000, 9300, {}),
        ("dqn", "LunarLander-v3", 100_000, 200, {}),
        ("ppo", "LunarLander-v3", 1_000_000, 242, {}),
    )
)
EXPERTS = tuple(Claim("expert", env, "mujoco", 0, ("mujoco",)) for env in (SWING_UP, DMC)) + tuple(
    Claim("expert", env, engine, 0, (engine,), {"level": level})
    for env, engine in ((LIDAR, "analytic"), (ROVER, "mujoco"))
    for level in range(5)
)
"""Controllers that know the physics or the map: in every table the upper bound."""
ALL = (*EXPERTS, *CLAIMS, *GYMNASIUM)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Train and evaluate."""

    seeds: int = 5
    """Seeds 0, 1, ... of each row, at most."""
    group: Literal["cart-poles", "navigation", "gymnasium"]
    """Which tasks."""
    only: str = ""
    """Run only rows whose label contains this."""
    part: str = "0/1"
    """Run only every n-th training, e.g. 0/2 and 1/2 for two halves."""
    merge: tuple[Path, ...] = ()
    """Train nothing: make the table from these results of parts."""
    out: Path | None = None
    """Where to write .json and .md; without it only the terminal."""


def run_seed(claim: Claim, seed: int) -> Iterator[dict[str, Any]]:
    """Train once and yield one record for each engine tested on."""
    env = EnvConfig(id=claim.env, engine=claim.engine, kwargs=claim.kwargs)
    curve: list[list[float]] = []
    began, used = time.perf_counter(), time.process_time()
    agent = trained(claim, env, seed, curve)
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - used
    episodes = 200 if "level" in claim.kwargs else 100
    for engine in claim.tested_on:
        where = EnvConfig(id=claim.env, engine=engine, kwargs=claim.kwargs).held_out("test")
        result = (
            evaluate(agent, where, episodes=episodes)
            if agent is not None
            else evaluate_made(expert_for, where, episodes=episodes)
        )
        record = {**asdict(claim), "label": claim.label, **claim.kwargs, "seed": seed}
        for name in ("seeds", "kwargs", "hyper", "bar"):
            del record[name]
        times = {"seconds": seconds, "cpu_seconds": cpu_seconds}
        figures = {**times, **result.summary(), "curve": curve}
        yield record | {"tested_on": engine} | figures


def trained(claim: Claim, env: EnvConfig, seed: int, curve: list[list[float]]) -> Policy | None:
    """Return what learned, None for an expert; ``curve`` gets part of 200 episodes that succeed."""
    if claim.agent == "expert":
        return None
    if claim.agent == "sb3-ppo":
        return train_sb3("ppo", env, claim.steps, seed)
    name, preset = ("dqn", RAINBOW) if claim.agent == "rainbow" else (claim.agent, {})
    cls = agent_class(name)
    own = tuned(claim.agent, claim.env)
    hyper = {**preset, **tuned(name, claim.env), **own, **claim.hyper}
    agent = cls(env, cls.Config(**hyper), seed=seed)
    recent: list[bool | None] = []
    for report in agent.iterate(claim.steps):
        recent = [*recent, *(episode.success for episode in report.episodes)][-200:]
        if report.steps * 40 // claim.steps > len(curve):
            curve.append([report.steps, sum(map(bool, recent)) / max(len(recent), 1)])
    agent.close()
    return agent


def trainings(options: Options) -> Iterator[tuple[Claim, int]]:
    """Yield what is to be trained, and with which seed."""
    number, parts = map(int, options.part.split("/"))
    chosen = [c for c in ALL if c.group == options.group and options.only in c.label]
    cells = [
        (claim, seed)
        for claim in chosen
        for seed in range(1 if claim.agent == "expert" else min(claim.seeds, options.seeds))
    ]
    yield from cells[number::parts]


def table(records: list[dict[str, Any]]) -> Table:
    """Return a row for each training and engine tested on, its seeds side by side."""
    rows: dict[tuple[str, str | None], list[dict[str, Any]]] = {}
    for record in records:
        rows.setdefault((record["label"], record["tested_on"]), []).append(record)
    bars = {claim.label: claim.bar for claim in ALL}
    made = Table(
        "trained",
        "tested on",
        "steps",
        "return by seed",
        "mean",
        "IQM",
        "bar",
        "success",
        "SPL",
        "time",
    )
    for (label, engine), cells in rows.items():
        returns = [record["mean_return"] for record in cells]
        digits = 1 if "level" in cells[0] or "Acrobot" in label else 0
        bar = bars.get(label)
        made.add(
            label,
            engine or "",
            f"{cells[0]['steps']:,}",
            " ".join(f"{mean:.{digits}f}" for mean in returns),
            f"{fmean(returns):.{digits}f}",
            f"{interquartile_mean(returns):.{digits}f}",
            "" if bar is None else f"{bar:g}",
            " ".join(f"{r['success_rate']:.3g}" for r in cells if r["success_rate"] is not None),
            " ".join(f"{record['mean_spl']:.2f}" for record in cells if "mean_spl" in record),
            f"{max(record['seconds'] for record in cells):.0f} s at most"
            if cells[0]["steps"]
            else "",
        )
    return made


def main(options: Options) -> None:
    """Run every training that is asked for."""
    records: list[dict[str, Any]] = []
    parts = [json.loads(path.read_text()) for path in options.merge]
    for part in parts:
        records += part["records"]
    order = [claim.label for claim in ALL]
    records.sort(key=lambda record: (order.index(record["label"]), record["seed"]))
    if not options.merge:
        for claim, seed in trainings(options):
            for record in run_seed(claim, seed):
                records.append(record)
                told = f"seed {seed}, tested on {record['tested_on']}"
                reached = f"return {record['mean_return']:.1f}, success {record['success_rate']}"
                print(f"{claim.label}, {told}: {reached}", flush=True)
            keep_results(options.out, table(records), {"records": records})
    made = {"parts": [part["meta"] for part in parts]} if parts else {}
    write_results(options.out, table(records), {**made, "records": records})


if __name__ == "__main__":
    main(tyro.cli(Options))
