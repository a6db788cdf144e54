"""What videos of a training cost it: with and without them, in turn.

    python -m benchmarks.film_cost --out benchmarks/results/film_cost

All learn the same, number for number; videos are made by other processes of the lowest priority, in
a twentieth of the training's time at most. Counted is the wall time from the first step to the
last, with what it takes to ask for videos; that they are awaited afterwards is not. Two kinds are
held against a training without videos:

* as it is: this training is over in seconds, so all videos wait for its end;
* always: with that limit lifted, a video is being made all the time. What a long training pays is
  at most a twentieth of this.

The interval is that of the mean of the pairs' ratios (Student, 1908).
"""

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np
import tyro
from scipy import stats

from benchmarks.results import Table, write_results
from robolearn.agents.protocols import TrainingUpdate
from robolearn.environments import EnvConfig
from robolearn.session import Session
from robolearn.train import TrainConfig, train
from robolearn.video import background
from robolearn.video.background import BackgroundVideoRecorder

ENV = EnvConfig(id="robolearn/CartPoleSwingUp-v0", engine="mujoco")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Train PPO with and without videos."""

    rounds: int = 6
    """Trainings of each kind."""
    steps: int = 300_000
    """Environment steps of each."""
    videos: int = 6
    """Videos on the way, besides the one at the beginning."""
    out: Path | None = None
    """Where to write .json and .md; without it only the terminal."""


def timed(reports: Iterator[TrainingUpdate], spent: list[float]) -> Iterator[TrainingUpdate]:
    """Pass reports on, and note the time from the first to the end."""
    began = time.perf_counter()
    yield from reports
    spent.append(time.perf_counter() - began)


def seconds(options: Options, *, filmed: bool, share: float = background.TIME_SHARE) -> float:
    """Return the wall time of learning; videos that are not done by then are given up."""
    original, spent = Session._timed, list[float]()
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(Session, "_timed", lambda self, it: timed(original(self, it), spent)),
        patch.object(BackgroundVideoRecorder, "finish", BackgroundVideoRecorder.cancel),
        patch.object(background, "TIME_SHARE", share),
    ):
        train(
            TrainConfig(
                agent="ppo",
                env=ENV,
                steps=options.steps,
                run=Path(folder) / "run",
                eval_every=options.steps,
                video_every=options.steps // options.videos if filmed else 0,
            )
        )
    return spent[0]


def ratio(without: Sequence[float], with_: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean ratio of with to without, and its 95 % interval."""
    ratios = np.array(with_) / np.array(without)
    mean = float(ratios.mean())
    if len(ratios) < 2:
        return mean, float("nan"), float("nan")
    half = float(stats.t.ppf(0.975, len(ratios) - 1)) * ratios.std(ddof=1) / len(ratios) ** 0.5
    return mean, mean - half, mean + half


def main(options: Options) -> None:
    """Train in turn, and print how much longer it takes with videos."""
    seconds(options, filmed=False)  # warms up
    found: dict[str, list[float]] = {"without": [], "as it is": [], "always": []}
    for k in range(options.rounds):
        found["without"].append(seconds(options, filmed=False))
        found["as it is"].append(seconds(options, filmed=True))
        found["always"].append(seconds(options, filmed=True, share=float("inf")))
        print(f"round {k + 1}: {[round(times[-1], 2) for times in found.values()]} s", flush=True)
    table = Table("videos", "longer", "95 % interval", "median time", "without")
    usual = f"{np.median(found['without']):.2f} s"
    for name in ("as it is", "always"):
        mean, low, high = ratio(found["without"], found[name])
        middle = f"{np.median(found[name]):.2f} s"
        table.add(name, f"{mean - 1:+.1%}", f"{low - 1:+.1%} to {high - 1:+.1%}", middle, usual)
    write_results(options.out, table, {"seconds": found, "share": background.TIME_SHARE})


if __name__ == "__main__":
    main(tyro.cli(Options))
