"""What our agents reach: every seed, greedy episodes on held-out seeds and layouts.

    python -m benchmarks.learning --out benchmarks/results/learning
    python -m benchmarks.learning --only Nav --out benchmarks/results/navigation

Without ``--only`` the cart-poles come first (15 s to 3 minutes a row on two cores), then the
navigation tasks (1 to 5 minutes a seed). ``--part 0/2`` and ``--part 1/2`` run half of the
trainings each, at the same time if you like; ``--merge`` joins their results.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import tyro

from benchmarks.results import Table, keep_results, write_results
from robolearn.agents import agent_class
from robolearn.environments import EnvConfig
from robolearn.evaluation import evaluate, evaluate_made
from robolearn.imitation.experts import expert_for


@dataclass(frozen=True)
class Claim:
    """An agent, what it learns in, and where it is tested."""

    agent: str
    env: str
    engine: str
    steps: int
    tested_on: tuple[str, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the environment."""
    seeds: int = 5
    """Trainings, unless asked for fewer."""

    @property
    def label(self) -> str:
        """Agent, environment, its arguments and engine."""
        told = " ".join(f"{name}={value}" for name, value in self.kwargs.items())
        return " ".join(filter(None, (self.agent, self.env.split("/")[1], told, self.engine)))


BALANCE, SWING_UP = "robolearn/CartPoleBalance-v0", "robolearn/CartPoleSwingUp-v0"
LIDAR, ROVER, DEPTH = (f"robolearn/Nav{name}-v0" for name in ("Lidar", "Rover", "Depth"))
EVERY = ("analytic", "mujoco", "bullet")
CLAIMS = (
    Claim("ppo", BALANCE, "mujoco", 100_000, ("mujoco",)),
    Claim("ppo", BALANCE, "bullet", 100_000, ("bullet",)),
    Claim("ppo", BALANCE, "analytic", 100_000, ("analytic",)),
    Claim("dqn", BALANCE, "mujoco", 60_000, ("mujoco",)),
    Claim("ppo", SWING_UP, "mujoco", 1_000_000, ("mujoco", "bullet")),
    Claim("ppo", LIDAR, "analytic", 1_200_000, EVERY, {"level": 2}),
    Claim("ppo", LIDAR, "mujoco", 1_200_000, ("mujoco",), {"level": 2}),
    Claim("ppo", LIDAR, "analytic", 1_500_000, EVERY, {"level": 3}, seeds=3),
    Claim("ppo", LIDAR, "analytic", 2_000_000, EVERY, {"level": 4}, seeds=3),
    Claim("dqn", LIDAR, "analytic", 150_000, EVERY, {"level": 1, "action": "discrete"}, seeds=3),
    Claim("ppo", ROVER, "mujoco", 400_000, ("mujoco", "bullet"), {"level": 1}, seeds=3),
    Claim("ppo", DEPTH, "analytic", 300_000, EVERY, {"level": 1}, seeds=3),
)
EXPERTS = tuple(
    Claim("expert", env, engine, 0, (engine,), {"level": level})
    for env, engine in ((LIDAR, "analytic"), (ROVER, "mujoco"))
    for level in range(5)
)
"""The planner, in every table the upper bound."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Train and evaluate."""

    seeds: int = 5
    """Seeds 0, 1, ... of each row, at most."""
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
    agent, seconds = None, 0.0
    if claim.agent != "expert":
        agent = agent_class(claim.agent)(env, seed=seed)
        recent: list[bool | None] = []
        began = time.perf_counter()
        for report in agent.iterate(claim.steps):
            recent = [*recent, *(episode.success for episode in report.episodes)][-200:]
            if report.steps * 40 // claim.steps > len(curve):
                curve.append([report.steps, sum(map(bool, recent)) / max(len(recent), 1)])
        seconds = time.perf_counter() - began
        agent.close()
    episodes = 200 if "level" in claim.kwargs else 100
    for engine in claim.tested_on:
        where = EnvConfig(id=claim.env, engine=engine, kwargs=claim.kwargs).held_out("test")
        result = (
            evaluate(agent, where, episodes=episodes)
            if agent is not None
            else evaluate_made(expert_for, where, episodes=episodes)
        )
        record = {**asdict(claim), "label": claim.label, **claim.kwargs, "seed": seed}
        del record["seeds"], record["kwargs"]
        figures = {"seconds": seconds, **result.summary(), "curve": curve}
        yield record | {"tested_on": engine} | figures


def trainings(options: Options) -> Iterator[tuple[Claim, int]]:
    """Yield what is to be trained, and with which seed."""
    number, parts = map(int, options.part.split("/"))
    chosen = [claim for claim in (*EXPERTS, *CLAIMS) if options.only in claim.label]
    cells = [
        (claim, seed)
        for claim in chosen
        for seed in range(1 if claim.agent == "expert" else min(claim.seeds, options.seeds))
    ]
    yield from cells[number::parts]


def table(records: list[dict[str, Any]]) -> Table:
    """Return a row for each training and engine tested on, its seeds side by side."""
    rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for record in records:
        rows.setdefault((record["label"], record["tested_on"]), []).append(record)
    made = Table("trained", "tested on", "steps", "return by seed", "success", "SPL", "time")
    for (label, engine), cells in rows.items():
        made.add(
            label,
            engine,
            f"{cells[0]['steps']:,}",
            " ".join(
                f"{record['mean_return']:.{0 if 'level' not in record else 1}f}" for record in cells
            ),
            " ".join(f"{record['success_rate']:.3g}" for record in cells),
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
    order = [claim.label for claim in (*EXPERTS, *CLAIMS)]
    records.sort(key=lambda record: (order.index(record["label"]), record["seed"]))
    if not options.merge:
        for claim, seed in trainings(options):
            for record in run_seed(claim, seed):
                records.append(record)
                told = f"seed {seed}, tested on {record['tested_on']}"
                print(f"{claim.label}, {told}: success {record['success_rate']}", flush=True)
            keep_results(options.out, table(records), {"records": records})
    made = {"parts": [part["meta"] for part in parts]} if parts else {}
    write_results(options.out, table(records), {**made, "records": records})


if __name__ == "__main__":
    main(tyro.cli(Options))
