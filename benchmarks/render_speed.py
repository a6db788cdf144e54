"""How fast films are made: frames per second of 640 x 480, drawn and encoded.

python -m benchmarks.render_speed --out benchmarks/results/render_speed

An expert's episode through ``film``, from its call to the finished file, with figures and bars in
the picture. *Starting* is what the processes that draw take before their first frame: what a film
of one picture takes. Without it a long film is as fast as the last column says.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np
import tyro

from benchmarks.results import Table, write_results
from robolearn.environments import EnvConfig
from robolearn.imitation.experts import expert_for
from robolearn.video.recording import record_episode_with
from robolearn.video.render import render_video
from robolearn.video.rollout import Rollout

SIZE = (640, 480)
FILMS = {
    "cart-pole": (EnvConfig(id="robolearn/CartPoleSwingUp-v0", engine="mujoco"), None),
    "navigation, chase": (EnvConfig(id="robolearn/NavLidar-v0", engine="mujoco"), "chase"),
    "navigation, map and chase": (EnvConfig(id="robolearn/NavLidar-v0", engine="mujoco"), "both"),
}
_VENDORS = "__EGL_VENDOR_LIBRARY_DIRS"
"""Where libglvnd looks for what EGL libraries there are."""
RENDERERS = ("mujoco-egl", "software-rays")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Time films."""

    rounds: int = 3
    """Films of each kind; the median counts."""
    jobs: int = 2
    """Processes that draw."""
    out: Path | None = None
    """Where to write .json and .md; without it only the terminal."""


@contextmanager
def prefer(renderer: str) -> Iterator[None]:
    """Let the processes that draw find EGL, or none."""
    hidden = {} if renderer == "mujoco-egl" else {_VENDORS: "/nonexistent"}
    with patch.dict(os.environ, hidden):
        yield


def seconds(
    rollout: Rollout, camera: str | None, renderer: str, jobs: int, *, still: bool
) -> tuple[float, int]:
    """Return how long a film takes and how many frames it has."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("a.png" if still else "a.mp4")
        began = time.perf_counter()
        told = render_video(
            [rollout], path, camera=camera, size=SIZE, num_workers=jobs, freeze_end_s=0.0
        )
        took = time.perf_counter() - began
    if told.renderer != renderer:
        raise RuntimeError(f"{told.renderer} drew, expected {renderer}.")
    return took, told.frames


def main(options: Options) -> None:
    """Time all films on all renderers."""
    table = Table("film", "renderer", "frames", "frames/s", "starting", "frames/s once started")
    found = {}
    for name, (env, camera) in FILMS.items():
        rollout = record_episode_with(expert_for, env, title=name)
        for renderer in RENDERERS:
            with prefer(renderer):
                whole = [
                    seconds(rollout, camera, renderer, options.jobs, still=False)
                    for _ in range(options.rounds)
                ]
                start, _ = seconds(rollout, camera, renderer, options.jobs, still=True)
            found[f"{name} {renderer}"] = {"films": whole, "starting": start}
            frames = whole[0][1]
            took = float(np.median([time_ for time_, _ in whole]))
            rate, once = frames / took, frames / max(took - start, 1e-9)
            table.add(name, renderer, str(frames), f"{rate:.0f}", f"{start:.1f} s", f"{once:.0f}")
            print(name, renderer, f"{rate:.0f} frames/s", flush=True)
    write_results(options.out, table, {"seconds and frames": found})


if __name__ == "__main__":
    main(tyro.cli(Options))
