"""What our agents reach on the cart-pole tasks: every seed, greedy episodes on held-out seeds.

    python -m benchmarks.learning --out benchmarks/results/learning

One row takes from 15 s (PPO on the closed form) to 3 minutes (DQN) for five seeds on two cores.
"""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tyro

from benchmarks.results import Table, write_results
from robolearn.agents import agent_class
from robolearn.evaluation import evaluate


@dataclass(frozen=True)
class Claim:
    """An agent, what it learns in, and where it is tested."""

    agent: str
    env: str
    engine: str
    steps: int
    tested_on: tuple[str, ...]


BALANCE, SWING_UP = "robolearn/CartPoleBalance-v0", "robolearn/CartPoleSwingUp-v0"
CLAIMS = (
    Claim("ppo", BALANCE, "mujoco", 100_000, ("mujoco",)),
    Claim("ppo", BALANCE, "bullet", 100_000, ("bullet",)),
    Claim("ppo", BALANCE, "analytic", 100_000, ("analytic",)),
    Claim("dqn", BALANCE, "mujoco", 60_000, ("mujoco",)),
    Claim("ppo", SWING_UP, "mujoco", 1_000_000, ("mujoco", "bullet")),
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Train and evaluate."""

    seeds: int = 5
    """Seeds 0, 1, ... of each row."""
    only: str = ""
    """Run only rows whose label contains this."""
    out: Path | None = None
    """Where to write .json and .md; without it only the terminal."""


def run_seed(claim: Claim, seed: int) -> list[dict[str, Any]]:
    """Train once and return one record for each engine tested on."""
    agent = agent_class(claim.agent)(claim.env, engine=claim.engine, seed=seed)
    began = time.perf_counter()
    agent.learn(claim.steps)
    seconds = time.perf_counter() - began
    agent.close()
    records = []
    for engine in claim.tested_on:
        figures = evaluate(agent, claim.env, engine=engine, episodes=100).summary()
        records.append(
            {**asdict(claim), "tested_on": engine, "seed": seed, "seconds": seconds, **figures}
        )
    return records


def label(claim: Claim) -> str:
    """Return a claim's row label."""
    return f"{claim.agent} {claim.env.split('/')[1]} {claim.engine}"


def main(options: Options) -> None:
    """Run every claim for every seed."""
    records: list[dict[str, Any]] = []
    table = Table("agent", "trained in", "tested on", "steps", "returns by seed", "success", "time")
    for claim in CLAIMS:
        if options.only not in label(claim):
            continue
        own = [record for seed in range(options.seeds) for record in run_seed(claim, seed)]
        records += own
        for engine in claim.tested_on:
            cells = [record for record in own if record["tested_on"] == engine]
            table.add(
                claim.agent,
                f"{claim.env.split('/')[1]} ({claim.engine})",
                engine,
                f"{claim.steps:,}",
                " ".join(f"{record['mean_return']:.0f}" for record in cells),
                " ".join(f"{record['success_rate']:.2f}" for record in cells),
                f"{max(record['seconds'] for record in cells):.0f} s at most",
            )
            print(f"{label(claim)}, tested on {engine}: done", flush=True)
    write_results(options.out, table, {"records": records})


if __name__ == "__main__":
    main(tyro.cli(Options))
