"""How fast our agents learn, beside Stable-Baselines3, on CartPole-v1.

    python -m benchmarks.speed --out benchmarks/results/speed

*Implementation*: the same hyper-parameters, steps and updates, ours and SB3's in turn (A B A B);
SB3 on the number of CPU threads that suits it best. *Recipe*: seconds of training until a greedy
evaluation of 20 episodes first reaches 475; ours with the defaults, SB3 with the hyper-parameters
rl-baselines3-zoo tuned. Evaluations are not counted. Takes about 25 minutes on two quiet cores.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import tyro
from scipy import stats

from benchmarks.results import Table, keep_results, write_results
from robolearn.agents import agent_class
from robolearn.agents.defaults import default_total_steps
from robolearn.agents.protocols import Policy
from robolearn.baselines.rows import Algorithm, SB3Row, row_for
from robolearn.baselines.sb3 import train_sb3
from robolearn.environments import EnvConfig
from robolearn.evaluation import evaluate

CARTPOLE = EnvConfig(id="CartPole-v1")
GOAL = 475.0
EVERY = 2_000
"""Steps between evaluations of the recipes, at least."""


@dataclass(frozen=True)
class Twin:
    """An agent of ours with SB3's hyper-parameters."""

    algorithm: Algorithm
    steps: int
    ours: dict[str, Any]
    theirs: SB3Row


HOST_EQUIVALENT = (
    Twin(
        "ppo",
        20_480,
        {
            "num_envs": 8,
            "n_steps": 32,
            "n_epochs": 20,
            "batch_size": 256,
            "gamma": 0.98,
            "gae_lambda": 0.8,
            "normalize_obs": False,
            "normalize_value": False,
        },
        row_for("ppo", CARTPOLE.id),
    ),
    Twin(
        "a2c",
        16_000,
        {
            "num_envs": 8,
            "n_steps": 5,
            "gae_lambda": 1.0,
            "learning_rate": 7e-4,
            "lr_schedule": "constant",
            "normalize_obs": False,
            "normalize_value": False,
            "normalize_advantage": False,
        },
        SB3Row(
            source="SB3's defaults, Adam",
            num_envs=8,
            arguments={"n_steps": 5, "use_rms_prop": False},
        ),
    ),
    Twin(
        "dqn",
        10_240,
        {
            "num_envs": 1,
            "batch_size": 64,
            "buffer_size": 100_000,
            "train_freq": 256,
            "gradient_steps": 128,
            # SB3 copies every 10 steps, all of which lie between updates.
            "target_update_interval": 256,
            "learning_rate": 2.3e-3,
            "exploration_fraction": 0.16,
            "exploration_final_eps": 0.04,
            "hidden_sizes": (256, 256),
            "normalize_obs": False,
        },
        row_for("dqn", CARTPOLE.id),
    ),
)
RECIPES = ("ppo", "sb3-ppo", "pqn", "dqn", "sb3-dqn")
RIVAL = {"ppo": "sb3-ppo", "pqn": "sb3-dqn", "dqn": "sb3-dqn"}


@dataclass(frozen=True, kw_only=True)
class Options:
    """Time our agents and SB3's."""

    repeats: int = 5
    """Timings of each implementation."""
    seeds: int = 10
    """Trainings by each recipe."""
    only: str = ""
    """Only 'implementation' or only 'recipe'."""
    out: Path | None = None
    """Where to write .json and .md; without it only the terminal."""


def train_ours(twin: Twin, seed: int) -> float:
    """Return seconds of a training with our agent."""
    began = time.perf_counter()
    cls = agent_class(twin.algorithm)
    agent = cls(CARTPOLE, cls.Config(**twin.ours), seed=seed).learn(twin.steps)
    agent.close()
    return time.perf_counter() - began


def train_theirs(twin: Twin, seed: int, cores: int) -> float:
    """Return seconds of a training with SB3's."""
    agent = train_sb3(twin.algorithm, CARTPOLE, twin.steps, seed, hyper=twin.theirs, cores=cores)
    return agent.wall_s


def time_implementation(twin: Twin, repeats: int) -> dict[str, Any]:
    """Return the seconds of trainings in turn, and on how many threads SB3 was."""
    cores = min((1, 2), key=lambda count: train_theirs(twin, 99, count))
    ours, theirs = [], []
    for seed in range(repeats):
        ours.append(train_ours(twin, seed))
        theirs.append(train_theirs(twin, seed, cores))
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    print(f"{twin.algorithm}: SB3 takes {median(ratios):.2f} times as long", flush=True)
    told = {"agent": twin.algorithm, "steps": twin.steps, "sb3_threads": cores}
    return {**told, "ours_s": ours, "sb3_s": theirs, "ratios": ratios}


class Race:
    """Takes the time until an agent is good, without that of looking."""

    def __init__(self) -> None:
        """Start the clock."""
        self._began = time.perf_counter()
        self._looking = 0.0
        self._next = EVERY
        self.seconds: float | None = None
        self.steps: int | None = None

    def goes_on(self, agent: Policy, steps: int) -> bool:
        """Look at an agent where that is due, and return whether it has yet to become good."""
        if steps >= self._next:
            now = time.perf_counter()
            self._next = (steps // EVERY + 1) * EVERY
            if evaluate(agent, CARTPOLE, episodes=20, seed=1).mean >= GOAL:
                self.seconds, self.steps = now - self._began - self._looking, steps
            self._looking += time.perf_counter() - now
        return self.seconds is None


def race(name: str, seed: int) -> dict[str, Any]:
    """Train by one recipe until it is good, or its steps are made."""
    clock = Race()
    if name.startswith("sb3-"):
        algorithm: Any = name.removeprefix("sb3-")
        steps = {"ppo": 100_000, "dqn": 50_000}[algorithm]  # as rl-zoo tuned them for
        train_sb3(
            algorithm, CARTPOLE, steps, seed, watch=lambda agent: clock.goes_on(agent, agent.steps)
        )
    else:
        agent = agent_class(name)(CARTPOLE, seed=seed)
        for report in agent.iterate(default_total_steps(name, CARTPOLE.id)):
            if not clock.goes_on(agent, report.steps):
                break
        agent.close()
    told = "never" if clock.seconds is None else f"{clock.seconds:.1f} s"
    print(f"{name}, seed {seed}: {told}", flush=True)
    return {"agent": name, "seed": seed, "seconds": clock.seconds, "steps": clock.steps}


def middle(seconds: list[float | None]) -> float:
    """Return the median; who never got there took for ever."""
    return median(float("inf") if s is None else s for s in seconds)


def spread(numbers: list[float]) -> str:
    """Return median and 95 % bootstrap interval of the median."""
    rng = np.random.default_rng(0)
    drawn = stats.bootstrap((numbers,), np.median, method="percentile", rng=rng)
    low, high = drawn.confidence_interval
    return f"{median(numbers):.2f} [{low:.2f}, {high:.2f}]"


def implementation_table(timings: list[dict[str, Any]]) -> Table:
    """Return a row for each agent."""
    made = Table("agent", "steps", "ours", "SB3", "SB3's threads", "SB3's time over ours")
    for timing in timings:
        made.add(
            timing["agent"],
            f"{timing['steps']:,}",
            f"{median(timing['ours_s']):.1f} s",
            f"{median(timing['sb3_s']):.1f} s",
            str(timing["sb3_threads"]),
            spread(timing["ratios"]),
        )
    return made


def recipe_table(races: list[dict[str, Any]]) -> Table:
    """Return a row for each recipe."""
    made = Table("recipe", f"seconds to {GOAL:.0f}, median", "least..most", "reached", "SB3 / ours")
    times = {name: [r["seconds"] for r in races if r["agent"] == name] for name in RECIPES}
    for name, seconds in times.items():
        known = [s for s in seconds if s is not None]
        rival = middle(times[RIVAL[name]]) / middle(seconds) if name in RIVAL and known else None
        made.add(
            name,
            f"{middle(seconds):.1f}",
            f"{min(known):.1f}..{max(known):.1f}" if known else "",
            f"{len(known)} of {len(seconds)}",
            "" if rival is None else f"{rival:.1f}",
        )
    return made


def main(options: Options) -> None:
    """Take all times that are asked for."""
    data: dict[str, Any] = {"implementation": [], "races": []}
    if options.only != "recipe":
        data["implementation"] = [time_implementation(t, options.repeats) for t in HOST_EQUIVALENT]
        write_results(options.out, implementation_table(data["implementation"]), data)
    if options.only == "implementation":
        return
    for seed in range(options.seeds):
        data["races"] += [race(name, seed) for name in RECIPES]
        keep_results(options.out, recipe_table(data["races"]), data)
    tables = [implementation_table(data["implementation"]), recipe_table(data["races"])]
    write_results(options.out, "\n\n".join(map(str, tables)), data)


if __name__ == "__main__":
    main(tyro.cli(Options))
