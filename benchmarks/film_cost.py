"""What videos of a training cost it: with and without them, in turn.

python -m benchmarks.film_cost --out benchmarks/results/film_cost

Both learn the same, number for number; the videos are made by other processes of the lowest
priority. Counted is the time of learning, as the run itself does: wall time, and CPU time of this
process. The interval is that of the mean of the pairs' ratios (Student, 1908).
"""

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from scipy import stats

from benchmarks.results import Table, write_results
from robolearn.agents.base import Progress
from robolearn.environments import EnvConfig
from robolearn.session import Session
from robolearn.train import TrainConfig, train

ENV = EnvConfig(id="robolearn/CartPoleSwingUp-v0", engine="mujoco")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Train PPO with and without videos."""

    pairs: int = 6
    """Trainings of each kind."""
    steps: int = 300_000
    """Environment steps of each."""
    videos: int = 6
    """Videos on the way, besides the one at the beginning."""
    out: Path | None = None
    """Where to write .json and .md; without it only the terminal."""


class Watch:
    """Adds up the CPU time of this process while it learns."""

    def __init__(self) -> None:
        """Begin at 0."""
        self.seconds = 0.0

    def timed(self, reports: Iterator[Progress]) -> Iterator[Progress]:
        """Pass reports on."""
        while True:
            began = time.process_time()
            report = next(reports, None)
            self.seconds += time.process_time() - began
            if report is None:
                return
            yield report


def seconds(options: Options, *, filmed: bool) -> tuple[float, float]:
    """Return wall and CPU time of learning; that videos are awaited at the end is not counted."""
    watch, timed = Watch(), Session._timed
    Session._timed = lambda self, reports: timed(self, watch.timed(reports))
    try:
        with tempfile.TemporaryDirectory() as folder:
            result = train(
                TrainConfig(
                    agent="ppo",
                    env=ENV,
                    steps=options.steps,
                    run=Path(folder) / "run",
                    eval_every=options.steps,
                    video_every=options.steps // options.videos if filmed else 0,
                )
            )
            made = len(list(result.run.videos.glob("*.mp4"))) if filmed else 0
    finally:
        Session._timed = timed
    if filmed and made < options.videos:
        raise RuntimeError(f"{made} videos were made: {result.film_failures}")
    return result.seconds, watch.seconds


def ratio(pairs: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """Return the mean ratio of with to without, and its 95 % interval."""
    ratios = np.array([with_ / without for without, with_ in pairs])
    half = 0.0
    if len(ratios) > 1:
        half = float(stats.t.ppf(0.975, len(ratios) - 1)) * ratios.std(ddof=1) / len(ratios) ** 0.5
    mean = float(ratios.mean())
    return mean, mean - half, mean + half


def main(options: Options) -> None:
    """Train in turn, and print how much longer it takes with videos."""
    seconds(options, filmed=False)  # warms up
    runs: list[tuple[tuple[float, float], tuple[float, float]]] = []
    for k in range(options.pairs):
        without, with_ = seconds(options, filmed=False), seconds(options, filmed=True)
        runs.append((without, with_))
        print(f"pair {k + 1}: {without[0]:.2f} s, with videos {with_[0]:.2f} s", flush=True)
    table = Table("time of learning", "with videos", "95 % interval", "without", "with")
    found = {}
    for index, name in enumerate(("wall", "CPU of this process")):
        pairs = [(without[index], with_[index]) for without, with_ in runs]
        found[name] = pairs
        mean, low, high = ratio(pairs)
        medians = (f"{np.median(times):.2f} s" for times in zip(*pairs, strict=True))
        table.add(name, f"{mean - 1:+.1%}", f"{low - 1:+.1%} to {high - 1:+.1%}", *medians)
    write_results(options.out, table, {"seconds without and with": found})


if __name__ == "__main__":
    main(tyro.cli(Options))
