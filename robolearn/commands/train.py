"""``robolearn train AGENT``."""

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import tyro

from robolearn.agents import AGENTS, agent_class
from robolearn.agents.defaults import tuned, usual_steps
from robolearn.commands.common import parse, print_json
from robolearn.commands.env_options import EnvOptions
from robolearn.errors import RobolearnError
from robolearn.train import TrainConfig, train

C = TypeVar("C")


@dataclass(frozen=True, kw_only=True)
class TrainOptions(Generic[C]):
    """Train an agent and leave a run folder."""

    where: Annotated[EnvOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=EnvOptions)
    hyper: Annotated[C, tyro.conf.OmitArgPrefixes]
    steps: int
    """Environment steps to learn from."""
    seed: int = 0
    """Fixes everything random."""
    device: str = "auto"
    """auto, cpu or cuda."""
    run: Path | None = None
    """Folder of the run; without it runs/AGENT-ENV-TIME."""
    eval_every: int = 0
    """Steps between evaluations; 0 for ten in all."""
    save_every: int = 0
    """Steps between checkpoints; 0 for one at each evaluation."""
    video_every: int = 0
    """Steps between videos; 0 for none."""
    json: bool = False
    """Print one JSON object instead of words."""


def main(arguments: Sequence[str]) -> int:
    """Train."""
    if not arguments or arguments[0].startswith("-"):
        names = ", ".join(AGENTS)
        if arguments and arguments[0] in ("-h", "--help"):
            print(f"usage: robolearn train AGENT [OPTIONS]\n\nAGENT is one of: {names}.")
            print("robolearn train AGENT --help tells its options.")
            return 0
        raise RobolearnError(f"Which agent? robolearn train AGENT, one of: {names}.")
    name, *rest = arguments
    cls = agent_class(name)
    env_id = _asked_env(rest)
    usual = TrainOptions[Any](
        hyper=cls.Config(**tuned(name, env_id)), steps=usual_steps(name, env_id)
    )
    options = parse(TrainOptions[cls.Config], rest, f"train {name}", usual)
    env = options.where.config()
    result = train(
        TrainConfig(
            agent=name,
            env=env,
            steps=options.steps,
            run=options.run or _run_name(name, env.id),
            seed=options.seed,
            device=options.device,
            hyper=asdict(options.hyper),
            eval_every=options.eval_every,
            save_every=options.save_every,
            video_every=options.video_every,
        )
    )
    figures = {"run": str(result.run.path), "steps": result.steps, "seconds": result.seconds}
    if options.json:
        ended = {"interrupted": result.interrupted, "film_failures": list(result.film_failures)}
        print_json({**figures, **ended, **result.evaluation.summary()})
        return 0
    stopped = "Stopped" if result.interrupted else "Done"
    print(f"{stopped} after {result.steps:,} steps in {result.seconds:.1f} s.")
    print(f"Final policy: {result.evaluation}")
    for failure in result.film_failures:
        print(f"No video: {failure}")
    print(f"See it: robolearn record {result.run.path} --out videos/{result.run.path.name}.mp4")
    return 0


def _asked_env(arguments: Sequence[str]) -> str:
    """Return the environment asked for: its tuned hyper-parameters are the defaults shown."""
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--env", default=EnvOptions.env)
    return finder.parse_known_args(arguments)[0].env


def _run_name(agent: str, env_id: str) -> Path:
    return Path("runs") / f"{agent}-{env_id.split('/')[-1]}-{time.strftime('%Y%m%d-%H%M%S')}"
