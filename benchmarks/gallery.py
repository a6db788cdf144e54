"""Makes the pictures and videos of ``videos``, each by the command beside it in the README there.

    python -m benchmarks.gallery

Trains first what is missing in ``runs/gallery``, a quarter of an hour on two cores, but for the
comparison with SB3, which is left out where ``runs/swingup-compare`` is not there: it takes most of
an hour. Files in ``videos`` are replaced; ``--only NAME...`` makes those alone.
"""

import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from robolearn.runs.run import write_whole

ROOT = Path(__file__).parents[1]
VIDEOS = Path("videos")
RUNS = Path("runs/gallery")
COMPARED = Path("runs/swingup-compare")
ROLLOUTS = " ".join(
    str(COMPARED / "rollouts" / f"{name}-seed0-100.npz")
    for name in ("ppo", "sb3-ppo", "dqn", "sb3-dqn")
)
TRAINED = {
    "swingup": "ppo --env robolearn/CartPoleSwingUp-v0 --steps 1000000 --video-every 100000",
    "balance": "dqn --env robolearn/CartPoleBalance-v0 --steps 60000",
    "dmc": "ppo --env robolearn/CartPoleDMC-v0 --steps 2000000",
    "lidar": "ppo --env robolearn/NavLidar-v0 --engine analytic --level 3 --steps 1500000",
    "walls": "ppo --env robolearn/NavLidar-v0 --engine analytic --level 4 --steps 2000000",
    "depth": "ppo --env robolearn/NavDepth-v0 --engine analytic --level 1 --steps 300000",
    "rover": "ppo --env robolearn/NavRover-v0 --engine mujoco --level 1 --steps 400000",
}
"""Arguments of ``robolearn train`` by the run they make."""


@dataclass(frozen=True)
class Clip:
    """A file of the gallery."""

    name: str
    what: str
    shows: str
    """Arguments of ``robolearn record``, RUN standing for the run's folder."""
    run: str = ""
    """One of ``TRAINED``; none for the comparison."""

    @property
    def source(self) -> Path:
        """Folder that is shown."""
        return RUNS / self.run if self.run else COMPARED

    @property
    def command(self) -> str:
        """Arguments of ``robolearn`` that make it."""
        return f"record {self.shows.replace('RUN', str(self.source))} --out {VIDEOS / self.name}"


CLIPS = (
    Clip(
        "swingup-progress.gif",
        "PPO learns to swing the pole up: untrained, and after about 10, 30 and 100 % of 1M steps",
        "RUN --progress --size 240x180 --speed 2 --fps 12",
        "swingup",
    ),
    Clip("swingup-progress.mp4", "the same as a video", "RUN --progress --stride 2", "swingup"),
    Clip("swingup.mp4", "the trained one", "RUN --stride 2", "swingup"),
    Clip(
        "swingup-bullet.mp4",
        "trained on MuJoCo, shown on Bullet",
        "RUN --engine bullet --stride 2",
        "swingup",
    ),
    Clip(
        "swingup-grid.mp4",
        "the same from nine initial states",
        "RUN --grid 9 --size 320x240 --stride 2",
        "swingup",
    ),
    Clip(
        "swingup-beside-sb3.mp4",
        "200,000 steps of our PPO and DQN, of SB3's, and the expert, from the same initial state",
        f"{ROLLOUTS} expert --size 384x288 --stride 2",
    ),
    Clip(
        "balance.mp4", "DQN balances, with its values of both forces", "RUN --stride 2", "balance"
    ),
    Clip("dmc.mp4", "PPO swings up dm_control's cart-pole", "RUN --stride 4", "dmc"),
    Clip(
        "navigation.png",
        "PPO by lidar among moving obstacles, a moment of one episode",
        "RUN --engine mujoco --at 25",
        "lidar",
    ),
    Clip(
        "navigation-moving.mp4",
        "the same, trained on the closed form and shown on Bullet: three layouts held out",
        "RUN --engine bullet --episodes 3",
        "lidar",
    ),
    Clip(
        "navigation-walls.mp4",
        "PPO by lidar among walls: three layouts held out",
        "RUN --episodes 3",
        "walls",
    ),
    Clip(
        "navigation-depth.mp4",
        "PPO with a CNN and a GRU by depth camera, shown on MuJoCo: two layouts held out",
        "RUN --engine mujoco --episodes 2",
        "depth",
    ),
    Clip(
        "navigation-rover.mp4",
        "PPO drives the rover on its wheels: two layouts held out",
        "RUN --episodes 2",
        "rover",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Make pictures and videos."""

    only: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = field(default=())
    """Make this file alone, e.g. swingup.mp4; may be said several times."""


def robolearn(command: str) -> None:
    """Run a command of robolearn, which says itself what is wrong."""
    print(f"robolearn {command}", flush=True)
    subprocess.run([sys.executable, "-m", "robolearn", *shlex.split(command)], cwd=ROOT, check=True)


def train(name: str) -> None:
    """Make a run, or go on with it, unless it has come to its end."""
    run = RUNS / name
    if (ROOT / run / "eval.json").is_file():
        return
    begun = (ROOT / run / "config.yaml").is_file()
    robolearn(f"resume {run}" if begun else f"train {TRAINED[name]} --run {run}")


def readme() -> str:
    """Return the table of the gallery."""
    lines = [
        "# Gallery",
        "",
        "Made by `python -m benchmarks.gallery`, a quarter of an hour on two cores; each file "
        "holds the command and the versions that made it in its `comment`.",
        "",
        "| file | what | command: `robolearn` ... |",
        "| --- | --- | --- |",
        *(f"| [`{clip.name}`]({clip.name}) | {clip.what} | `{clip.command}` |" for clip in CLIPS),
        "",
        "Where the runs come from:",
        "",
        "| run | command: `robolearn` ... |",
        "| --- | --- |",
        *(
            f"| `{RUNS / name}` | `train {how} --run {RUNS / name}` |"
            for name, how in TRAINED.items()
        ),
        f"| `{COMPARED}` | `compare ppo sb3-ppo dqn sb3-dqn --env robolearn/CartPoleSwingUp-v0 "
        f"--steps 200000 --seeds 5 --jobs 2 --out {COMPARED}` |",
        "",
        "`robolearn quickstart` writes `quickstart.mp4` here, which is not committed.",
        "",
    ]
    return "\n".join(lines)


def main(options: Options) -> None:
    """Make everything that is asked for."""
    unknown = set(options.only) - {clip.name for clip in CLIPS}
    if unknown:
        sys.exit(f"No such file: {', '.join(sorted(unknown))}.")
    for clip in CLIPS:
        if options.only and clip.name not in options.only:
            continue
        if clip.run:
            train(clip.run)
        elif not (ROOT / COMPARED / "rollouts").is_dir():
            print(f"{clip.name} is left as it is: there is no {COMPARED}.")
            continue
        robolearn(f"{clip.command} --overwrite")
    write_whole(ROOT / VIDEOS / "README.md", readme())


if __name__ == "__main__":
    main(tyro.cli(Options))
