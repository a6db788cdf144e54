"""What the settings of ``benchmarks.gpu`` learn, and from how many steps: measured on the CPU.

    python -m benchmarks.device_learning --out benchmarks/results/device_learning

Engine torch, its step compiled, one thread. A GPU runs the same algorithm on other random numbers,
so steps there are of this kind, not these; seconds are those of this machine. Takes 40 minutes.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import tyro

from benchmarks.gpu_parts.learning import PROBLEMS, solve
from benchmarks.results import Table, write_results


@dataclass(frozen=True, kw_only=True)
class Options:
    """Solve the tasks."""

    only: tuple[int, ...] = tuple(range(len(PROBLEMS)))
    """Which of them, counted from 0."""
    out: Path | None = None
    """Where to write .json and .md; without it only the terminal."""


def main(options: Options) -> None:
    """Solve each task with each seed."""
    torch.set_num_threads(1)
    table = Table("task", "solved", "seeds", "steps (median, most)", "iterations", "seconds here")
    runs = {}
    for place in options.only:
        problem = PROBLEMS[place]
        told = []
        for seed in range(problem.seeds):
            told.append(solve(problem, seed, "cpu", "fuse"))
            print(problem.name, told[-1], flush=True)
        runs[problem.name] = told
        steps, iterations, seconds = (
            sorted(one[name] for one in told) for name in ("steps", "iterations", "seconds")
        )
        middle = len(told) // 2
        table.add(
            problem.name,
            f"{'success' if problem.by_success else 'return'} >= {problem.score:g}",
            f"{sum(one['solved'] for one in told)} of {len(told)}",
            f"{steps[middle]:,}, {steps[-1]:,}",
            f"{iterations[middle]}, {iterations[-1]}",
            f"{seconds[middle]:.0f}, {seconds[-1]:.0f}",
        )
    write_results(options.out, table, {"runs": runs})


if __name__ == "__main__":
    main(tyro.cli(Options))
