"""``robolearn bench-demos SET --out FOLDER``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from robolearn.commands.common import parse, print_json
from robolearn.imitation.bench import BenchConfig, Outcome, bench
from robolearn.imitation.report import bench_rows, write_bench


@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """Measure what demonstrations buy: learners with ever more of them, and without any."""

    demos: Annotated[Path, tyro.conf.Positional]
    """The set, with a card that tells the scores of its expert and of random actions."""
    out: Path
    """Folder for report, pictures and runs; must not hold a bench yet."""
    learners: tuple[str, ...] = BenchConfig.learners
    """Ways to learn, of those of `robolearn imitate`."""
    counts: tuple[int, ...] = BenchConfig.counts
    """Numbers of demonstrations, e.g. 1 3 10 30; each seed draws its own."""
    seeds: int = BenchConfig.seeds
    """Trainings of each learner with each number."""
    steps: int = BenchConfig.steps
    """Environment steps after pretraining."""
    scratch_steps: int = BenchConfig.scratch_steps
    """Environment steps of learning without demonstrations; 0 leaves it out."""
    sb3_steps: int = BenchConfig.sb3_steps
    """Environment steps of SB3's DQN, without demonstrations and with them in its replay memory;
    0 leaves it out."""
    threshold: float = BenchConfig.threshold
    """Part of the way from random actions' return to the expert's that is to be reached."""
    json: bool = False
    """Print one JSON object instead of words."""


def main(arguments: Sequence[str]) -> int:
    """Measure."""
    options = parse(BenchOptions, arguments, "bench-demos")
    config = BenchConfig(
        demos=options.demos,
        out=options.out,
        learners=options.learners,
        counts=options.counts,
        seeds=options.seeds,
        steps=options.steps,
        scratch_steps=options.scratch_steps,
        sb3_steps=options.sb3_steps,
        threshold=options.threshold,
    )
    with Console(stderr=True).status("first training", spinner="line") as status:
        done = 0

        def tell(outcome: Outcome) -> None:
            nonlocal done
            done += 1
            status.update(f"{done} trainings done; last: {outcome.learner} seed {outcome.seed}")

        found = bench(config, tell)
    report = write_bench(found)
    if options.json:
        rows = [list(row) for row in bench_rows(found)]
        print_json({"env": found.env.id, "report": str(report), "rows": rows})
    else:
        print(report.read_text())
        print(f"Written to {config.out}: report.md, pictures, outcomes.jsonl, runs")
    return 0
