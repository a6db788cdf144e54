"""Everything about a GPU in one call of under ten minutes: builds, checks, times, and its table.

    python -m benchmarks.gpu --out benchmarks/results/gpu

Needs torch, NumPy, Gymnasium and this repository on the path (``PYTHONPATH=.:envs``), no network.
What needs more, such as MuJoCo Warp or ffmpeg, is skipped and said to be. Each part runs in a
process of its own, so that one that fails says so and the others go on; parts that do not come to
their end within their time are cut off, and the whole is over within ``--minutes``. On a machine
without a GPU nothing is measured, and the table says so; ``--quick`` sees that everything runs.
"""

import argparse
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.results import Table, keep_results
from robolearn.accelerate import cuda_problem

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Part:
    """A part of it."""

    name: str
    function: str
    """Module of ``benchmarks.gpu_parts``, and function in it."""
    seconds: float
    """After which it is cut off."""
    goal: str
    needs: tuple[str, ...] = ()
    """Packages beyond torch, NumPy and Gymnasium."""


_STEPS = "cart-poles: >= 100M steps/s with 16,384, >= 2G with 1,048,576"
_TRAINED = "cart-pole PPO: >= 20M steps/s"
PARTS = (
    Part("physics", "checks.physics", 40, "<= 1e-6 off the CPU's"),
    Part("graphs", "checks.graphs", 60, "parameters after 200 updates: <= 1e-5"),
    Part("compiled environments", "speed.compiled_environments", 110, _STEPS),
    Part("environments", "speed.environments", 45, _STEPS),
    Part("updates", "speed.updates", 40, "graph over eager: >= 4 times as fast, PPO and DQN"),
    Part("seeds", "many.seeds", 40, "16 seeds: <= 2 times the time of one"),
    Part(
        "poles",
        "learning.poles",
        70,
        "solved: CartPoleBalance-v0 <= 1 s, CartPoleSwingUp-v0 <= 5 s, 10 of 10 seeds",
    ),
    Part(
        "navigation",
        "learning.navigation",
        130,
        "NavLidar-v0 level 2, success 0.95: <= 15 s; level 4, 0.90: <= 60 s",
        ("scipy",),
    ),
    Part("compiled training", "speed.compiled_training", 80, _TRAINED),
    Part("training", "speed.training", 50, _TRAINED),
    Part(
        "warp",
        "engines.warp",
        90,
        "4,096 rovers with lidar: >= 300k steps/s",
        ("mujoco", "mujoco_warp"),
    ),
    Part("video", "engines.video", 60, "a film", ("mujoco", "imageio_ffmpeg")),
)


def main() -> None:
    """Run all parts and write the table."""
    options = _options()
    if options.part:
        _run_here(options)
        return
    device = "cpu" if options.device == "cpu" or cuda_problem() else "cuda"
    parts = [part for part in PARTS if not options.only or part.name in options.only]
    began = time.monotonic()
    findings: list[dict[str, Any]] = []
    for part in parts:
        left = 60 * options.minutes - (time.monotonic() - began)
        print(f"{part.name} ...", file=sys.stderr, flush=True)
        told = _told(part, device, options.quick, min(part.seconds, left))
        for row in told:
            print(f"  {row['what']}: {row['figure']}", file=sys.stderr, flush=True)
        findings += [{"part": part.name, **row} for row in told]
    table = Table("part", "what", "figure", "goal", "note")
    for row in findings:
        figure = row["figure"]
        figure = f"{figure:.3g}" if isinstance(figure, float) else figure
        table.add(row["part"], row["what"], figure, row.get("goal", ""), row.get("note", ""))
    where = _where(device)
    if options.quick:
        where += " Tiny sizes: the figures mean nothing, but that everything runs."
    print(f"{where}\n\n{table}")
    keep_results(options.out, f"{where}\n\n{table}", {"device": where, "findings": findings})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, help="where the table (.md) and its data (.json) go")
    parser.add_argument("--device", choices=("auto", "cpu"), default="auto")
    parser.add_argument("--minutes", type=float, default=9.5, help="after which no part goes on")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does everything run?")
    parser.add_argument("--only", nargs="+", choices=[part.name for part in PARTS])
    parser.add_argument("--part", help=argparse.SUPPRESS)
    return parser.parse_args()


def _run_here(options: argparse.Namespace) -> None:
    """Run one part in this process, on the device that ``--device`` names; print its findings."""
    from benchmarks.gpu_parts.common import Setting

    torch.set_num_threads(1)
    module, _, function = options.part.partition(".")
    setting = Setting(torch.device("cpu" if options.device == "cpu" else "cuda"), options.quick)
    part = getattr(importlib.import_module(f"benchmarks.gpu_parts.{module}"), function)
    for row in part(setting):
        print(json.dumps(row), flush=True)


def _told(part: Part, device: str, quick: bool, seconds: float) -> list[dict[str, Any]]:
    """Run a part in a process of its own and return its findings, or why there are none."""
    if device == "cpu" and not quick:
        return [_nothing(part, "not measured: no GPU here")]
    missing = [name for name in part.needs if importlib.util.find_spec(name) is None]
    if missing:
        return [_nothing(part, f"skipped: needs {', '.join(missing)}")]
    if seconds <= 0:
        return [_nothing(part, "skipped: the time was over")]
    bare = ["-S"] if sys.flags.no_site else []
    command = [sys.executable, *bare, "-m", "benchmarks.gpu", "--part", part.function]
    command += ["--device", "cpu"] if device == "cpu" else []
    command += ["--quick"] if quick else []
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as complaints:
        process = subprocess.Popen(
            command, stdout=said, stderr=complaints, cwd=ROOT, env=_environment()
        )
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            status = None
        said.seek(0)
        rows = [json.loads(line) for line in said.read().splitlines() if line.startswith("{")]
        if status is None:
            rows.append(_nothing(part, f"cut off after {seconds:.0f} s"))
        elif status:
            complaints.seek(0)
            last = complaints.read().strip().splitlines()
            rows.append(_nothing(part, f"failed: {last[-1] if last else f'exit status {status}'}"))
        return rows


def _environment() -> dict[str, str]:
    """Return the variables of a part: layouts are kept where they can be without platformdirs."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "envs"), os.environ.get("PYTHONPATH", "")])
    told = {**os.environ, "PYTHONPATH": path}
    if importlib.util.find_spec("platformdirs") is None:
        told.setdefault("ROBOLEARN_CACHE", str(Path(tempfile.gettempdir()) / "robolearn"))
    return told


def _nothing(part: Part, why: str) -> dict[str, Any]:
    return {"what": part.function, "figure": why, "goal": part.goal}


def _where(device: str) -> str:
    """Return a line about the device."""
    if device == "cpu":
        problem = cuda_problem() or "asked for"
        return f"On the CPU ({problem}): no figure below is a GPU's, and none is claimed."
    index = torch.cuda.current_device()
    about = torch.cuda.get_device_properties(index)
    memory, version = about.total_memory / 2**30, torch.version.cuda
    return f"On one {about.name} ({memory:.0f} GiB), CUDA {version}, torch {torch.__version__}."


if __name__ == "__main__":
    main()
