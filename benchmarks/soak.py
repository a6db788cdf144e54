"""A long training with many videos: does its memory grow, do its open files?

python -m benchmarks.soak --out benchmarks/results/soak
"""

import os
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from benchmarks.results import Table, write_results
from robolearn.environments import EnvConfig
from robolearn.train import TrainConfig, train

PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Train PPO in a folder that is deleted again, and look at its process twice a second."""

    steps: int = 1_000_000
    """Environment steps."""
    videos: int = 50
    """Evaluations and videos on the way."""
    out: Path | None = None
    """Where to write .json and .md; without it only the terminal."""


class Watch(threading.Thread):
    """Looks at this process until it is told to stop."""

    def __init__(self) -> None:
        """Begin with nothing seen."""
        super().__init__(daemon=True)
        self.over = threading.Event()
        self.seen: list[tuple[float, int]] = []
        """Resident memory in MB, and open files."""

    def run(self) -> None:
        """Look."""
        while not self.over.wait(0.5):
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.seen.append((pages * PAGE / 1e6, len(os.listdir("/proc/self/fd"))))


def main(options: Options) -> None:
    """Train, and print what was seen."""
    watch = Watch()
    every = options.steps // options.videos
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(
            agent="ppo",
            env=EnvConfig(id="robolearn/CartPoleBalance-v0", engine="mujoco"),
            steps=options.steps,
            run=Path(folder) / "run",
            eval_every=every,
            video_every=every,
        )
        watch.start()
        result = train(config)
        watch.over.set()
        watch.join()
        videos = len(list((config.run / "videos").glob("*.mp4")))
    memory, files = np.array(watch.seen).T
    tenth = len(memory) // 10
    early, late = memory[tenth : 2 * tenth].mean(), memory[-tenth:].mean()
    found = {
        "steps": result.steps,
        "videos": videos,
        "MB in the second tenth": round(early, 1),
        "MB in the last tenth": round(late, 1),
        "growth in %": round(100 * (late / early - 1), 2),
        "open files at least": int(files[tenth:].min()),
        "open files at most": int(files[tenth:].max()),
    }
    table = Table(*found)
    table.add(*(f"{figure:,}" for figure in found.values()))
    write_results(options.out, table, found)


if __name__ == "__main__":
    main(tyro.cli(Options))
