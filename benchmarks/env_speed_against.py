"""Environment steps per second of this code and of another checkout, in one interleaved run.

    git worktree add /tmp/old REVISION
    python -m benchmarks.env_speed_against --other /tmp/old

Each measurement is a process of its own, of the one code and the other in turn. Times are of the
processor, so that what else the machine does counts for little; the best of each code is compared.
"""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from benchmarks.results import Table, write_results

ROOT = Path(__file__).parents[1]
CASES = (
    ("CartPoleBalance-v0", "bullet", 0),
    ("CartPoleBalance-v0", "analytic", 64),
    ("CartPoleSwingUp-v0", "analytic", 0),
    ("CartPoleSwingUp-v0", "mujoco", 0),
    ("CartPoleSwingUp-v0", "analytic", 1024),
    ("CartPoleSwingUp-v0", "mujoco", 1024),
    ("NavLidar-v0", "analytic", 0),
    ("NavLidar-v0", "analytic", 256),
    ("NavLidar-v0", "mujoco", 256),
    ("NavLidar-v0", "bullet", 64),
    ("NavRover-v0", "mujoco", 64),
    ("NavDepth-v0", "analytic", 64),
    ("NavDepth-v0", "mujoco", 32),
    ("NavDepth-v0", "bullet", 16),
)
"""Task, engine and number of environments; 0 is a single one, made by ``gymnasium.make``."""

_MEASURE = """
import sys, time
import gymnasium as gym
import robolearn_envs

name, engine, count, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
if count:
    env = gym.make_vec(f"robolearn/{name}", count, engine=engine, autoreset_mode="SameStep")
else:
    env = gym.make(f"robolearn/{name}", engine=engine)
env.reset(seed=0)
env.action_space.seed(0)
actions = [env.action_space.sample() for _ in range(20 if count else 200)]

def run():
    for action in actions:
        _, _, terminated, truncated, _ = env.step(action)
        if not count and (terminated or truncated):
            env.reset()

run()
began, steps = time.process_time(), 0
while time.process_time() - began < seconds:
    run()
    steps += len(actions) * max(count, 1)
print(steps / (time.process_time() - began))
"""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Compare this code with another checkout."""

    other: Path
    """Folder of the other checkout."""
    seconds: float = 0.7
    """Processor time of one measurement."""
    repeats: int = 4
    """Measurements of each code and case, in turn."""
    out: Path | None = None
    """Where to write .json and .md; without it only the terminal."""


def measure(code: Path, case: tuple[str, str, int], seconds: float) -> float:
    """Return steps per second of processor time of one case."""
    arguments = [str(part) for part in (*case, seconds)]
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, *arguments],
        env={**os.environ, "PYTHONPATH": str(code / "envs")},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def main() -> None:
    """Print the table."""
    options = tyro.cli(Options)
    records = []
    for case in CASES:
        rates: dict[Path, list[float]] = {options.other: [], ROOT: []}
        for _ in range(options.repeats):
            for code, found in rates.items():
                found.append(measure(code, case, options.seconds))
        before, now = (max(found) for found in rates.values())
        name, engine, count = case
        records.append(
            {
                "task": name,
                "engine": engine,
                "envs": count or "single",
                "before": before,
                "now": now,
                "ratio": now / before,
            }
        )
        print(f"{name} {engine} {count or 'single'}: {now / before:.3f}", flush=True)
    table = Table("task", "engine", "envs", "before", "now", "ratio")
    for record in records:
        before, now = f"{record['before']:,.0f}", f"{record['now']:,.0f}"
        names = [str(record[name]) for name in ("task", "engine", "envs")]
        table.add(*names, before, now, f"{record['ratio']:.2f}")
    write_results(options.out, table, {"records": records})


if __name__ == "__main__":
    main()
