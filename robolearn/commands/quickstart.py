"""``robolearn quickstart``: the whole of robolearn in two minutes."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from robolearn.agents.load import load_agent
from robolearn.baselines.rows import SB3Row, matched
from robolearn.baselines.sb3 import train_sb3
from robolearn.commands.common import parse, print_json
from robolearn.commands.filming import refusals
from robolearn.environments import HELD_OUT, EnvConfig, check_seed
from robolearn.evaluation import Evaluation, evaluate
from robolearn.runs.meta import comment
from robolearn.train import TrainConfig, train
from robolearn.video.recording import record_episode
from robolearn.video.render import render_video
from robolearn.video.writer import check_target
from robolearn_envs.engines import installed

ENV = "robolearn/CartPoleSwingUp-v0"
OURS, THEIRS = "robolearn PPO", "SB3 PPO"
ENGINES = tuple(engine for engine in ("mujoco", "bullet") if installed(engine))
"""The engines both are tested on."""


@dataclass(frozen=True, kw_only=True)
class QuickstartOptions:
    """Train PPO to swing a pole up, test it on two engines, compare it with SB3, film both."""

    steps: int = 300_000
    """Environment steps each of the two learns from."""
    seed: int = 0
    """Fixes everything random."""
    run: Path | None = None
    """Folder of our run; without it runs/quickstart-TIME."""
    out: Path = Path("videos/quickstart.mp4")
    """The video; where it exists already, the next free name is taken."""
    json: bool = False
    """Print one JSON object instead of words."""


@dataclass(frozen=True)
class Trained:
    """A trained controller and how it did."""

    name: str
    agent: Any
    seconds: float
    steps: int
    results: dict[str, Evaluation]
    """By engine."""


def main(arguments: Sequence[str]) -> int:
    """Run everything, saying what is being done."""
    options = parse(QuickstartOptions, arguments, "quickstart")
    check_seed(options.seed)
    video = free_name(options.out)
    with refusals():
        check_target(video, overwrite=False)
    run = options.run or Path("runs") / f"quickstart-{time.strftime('%Y%m%d-%H%M%S')}"
    console = Console(stderr=True)
    console.print(f"1/3  {OURS} learns {ENV} on MuJoCo from {options.steps:,} steps")
    ours = train_ours(options, run)
    console.print(f"2/3  {THEIRS} learns the same from as many steps, with our hyper-parameters")
    theirs = train_theirs(options, matched(ours.agent.config))
    console.print(f"3/3  Both go into {video}, side by side from the same start")
    renderer = show((ours, theirs), video)
    console.print(f"     drawn by {renderer}")
    report((ours, theirs), run, video, as_json=options.json)
    return 0


def train_ours(options: QuickstartOptions, run: Path) -> Trained:
    """Train our PPO into a run folder and evaluate it on MuJoCo and Bullet."""
    result = train(
        TrainConfig(
            agent="ppo",
            env=EnvConfig(id=ENV, engine="mujoco"),
            steps=options.steps,
            seed=options.seed,
            run=run,
            eval_every=options.steps,
        )
    )
    if result.interrupted:
        raise KeyboardInterrupt
    agent = load_agent(run)
    results = {engine: evaluate(agent, ENV, engine=engine) for engine in ENGINES}
    return Trained(OURS, agent, result.seconds, result.steps, results)


def train_theirs(options: QuickstartOptions, row: SB3Row) -> Trained:
    """Train SB3's PPO and evaluate it likewise."""
    env = EnvConfig(id=ENV, engine="mujoco")
    agent = train_sb3("ppo", env, options.steps, options.seed, hyper=row)
    results = {engine: evaluate(agent, ENV, engine=engine) for engine in ENGINES}
    return Trained(THEIRS, agent, agent.wall_s, agent.steps, results)


def free_name(path: Path) -> Path:
    """Return the path, or with -2, -3, ... the first of its kind that is not taken."""
    candidate, number = path, 1
    while candidate.exists():
        number += 1
        candidate = path.with_stem(f"{path.stem}-{number}")
    return candidate


def show(contestants: Sequence[Trained], path: Path) -> str | None:
    """Show an episode of each next to each other, every second step; return the renderer."""
    env = EnvConfig(id=ENV, engine="mujoco")
    rollouts = [record_episode(c.agent, env, title=c.name, seed=HELD_OUT) for c in contestants]
    with refusals():
        return render_video(rollouts, path, stride=2, comment=comment()).renderer


def report(contestants: Sequence[Trained], run: Path, video: Path, *, as_json: bool) -> None:
    """Print what came out."""
    if as_json:
        rows = [
            {"agent": c.name, "engine": engine, "seconds": c.seconds, **result.summary()}
            for c in contestants
            for engine, result in c.results.items()
        ]
        print_json({"env": ENV, "run": str(run), "video": str(video), "rows": rows})
        return
    table = Table("", "trained for", "steps/s", "tested on", "return", "success", title=ENV)
    for c in contestants:
        for engine, result in c.results.items():
            table.add_row(
                c.name,
                f"{c.seconds:.1f} s",
                f"{c.steps / c.seconds:,.0f}",
                engine,
                f"{result.mean:.0f} ± {result.std:.0f}",
                f"{result.success_rate:.0%}",
            )
    Console().print(table)
    print("Both learned on MuJoCo with the same seed and, where SB3 has them, hyper-parameters;")
    print("these are ours, tuned for this task, and SB3 finishes its last rollout. One seed proves")
    print("nothing: robolearn compare ppo sb3-ppo runs several, SB3 with numbers of its own.")
    print(f"Run:   {run}    (robolearn eval {run} --engine analytic)")
    print(f"Video: {video}")
