"""Memory of the process before and after many resets of navigation, engine by engine.

python -m benchmarks.reset_memory --resets 10000 --out benchmarks/results/reset_memory
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import gymnasium as gym
import tyro

import robolearn_envs  # noqa: F401 - registers the environments
from benchmarks.results import Table, write_results


@dataclass(frozen=True, kw_only=True)
class Options:
    """Reset environments over and over."""

    resets: int = 10_000
    """Resets of each environment, between the two measurements."""
    warm_up: int = 500
    """Resets before the first measurement, in which Bullet makes the bodies it needs."""
    num_envs: int = 4
    """Environments in a batch."""
    out: Path | None = None
    """Where to write .json and .md; without it only the terminal."""


def resident() -> float:
    """Return the resident memory of this process in MB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main(options: Options) -> None:
    """Reset on every engine at two levels and print the memory."""
    table = Table("engine", "level", "before (MB)", "after (MB)", "growth (MB)", "ms per reset")
    found = []
    for engine in ("analytic", "mujoco", "bullet"):
        for level in (2, 4):
            envs = gym.make_vec(
                "robolearn/NavLidar-v0", num_envs=options.num_envs, engine=engine, level=level
            )
            envs.reset(seed=0)
            for _ in range(options.warm_up):
                envs.reset()
            before, began = resident(), time.perf_counter()
            for _ in range(options.resets):
                envs.reset()
            took, after = time.perf_counter() - began, resident()
            envs.close()
            each = 1000 * took / options.resets
            figures = (before, after, after - before, each)
            table.add(engine, str(level), *(f"{figure:.1f}" for figure in figures))
            found.append({"engine": engine, "level": level, "before": before, "after": after})
    write_results(options.out, table, {"rows": found})


if __name__ == "__main__":
    main(tyro.cli(Options))
