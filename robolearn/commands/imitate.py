"""``robolearn imitate LEARNER --demos SET``."""

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import tyro

from robolearn.agents import agent_class
from robolearn.commands.common import parse
from robolearn.commands.env_options import parse_randomization
from robolearn.commands.train import print_result
from robolearn.environments import EnvConfig
from robolearn.errors import RobolearnError
from robolearn.imitation.defaults import imitating
from robolearn.imitation.demos.storage import find_set, read_demos
from robolearn.imitation.report import write_run_report
from robolearn.imitation.runs import LEARNERS, ImitateConfig, imitate, learner

C = TypeVar("C")
S = TypeVar("S")


@dataclass(frozen=True, kw_only=True)
class ElsewhereOptions:
    """Where to learn, if not where the demonstrations were recorded."""

    env: str | None = None
    """Gymnasium id."""
    engine: str | None = None
    """mujoco, bullet or analytic."""
    level: int | None = None
    """Of navigation."""
    domain_randomization: tuple[str, ...] = ()
    """Draw parameters of each episode: a number for all of them, or FIELD=LOW:HIGH."""

    def config(self, recorded: EnvConfig | None) -> EnvConfig | None:
        """Return the environment asked for.

        Raises:
            RobolearnError: Nobody knows it.
        """
        randomization = parse_randomization(self.domain_randomization)
        asked = {"level": self.level, "domain_randomization": randomization}
        changes = {name: value for name, value in asked.items() if value is not None}
        if self.env is not None and (recorded is None or recorded.id != self.env):
            return EnvConfig(id=self.env, engine=self.engine, kwargs=changes)
        if recorded is None:
            return None
        kwargs = {**recorded.kwargs, **changes}
        return replace(recorded, engine=self.engine or recorded.engine, kwargs=kwargs)


@dataclass(frozen=True, kw_only=True)
class ImitateOptions(Generic[C, S]):
    """Learn from demonstrations, and go on by reinforcement learning."""

    demos: Path
    """The set: a folder that `robolearn demos record` or Minari made."""
    where: Annotated[ElsewhereOptions, tyro.conf.OmitArgPrefixes] = field(
        default_factory=ElsewhereOptions
    )
    settings: Annotated[S, tyro.conf.OmitArgPrefixes]
    hyper: Annotated[C, tyro.conf.OmitArgPrefixes]
    episodes: int | None = None
    """The first so many demonstrations; without it all."""
    mirror: bool = True
    """Learn from their mirror images, too, where the environment is as good in a mirror."""
    expert: str = "expert"
    """Who is asked (dagger) or leads (jump-start): expert, lqr, swingup, planner, a run folder."""
    steps: int = 0
    """Environment steps of reinforcement learning, after what demonstrations teach."""
    seed: int = 0
    """Fixes everything random."""
    device: str = "auto"
    """auto, cpu or cuda."""
    run: Path | None = None
    """Folder of the run; without it runs/LEARNER-SET-TIME."""
    eval_every: int = 0
    """Steps between evaluations; 0 for ten in all."""
    eval_episodes: int = 20
    """Episodes of an evaluation on the way."""
    test_episodes: int = 100
    """Episodes of the final evaluation."""
    save_every: int = 0
    """Steps between checkpoints; 0 for one at each evaluation."""
    video_every: int = 0
    """Steps between videos; 0 for none."""
    report: bool = False
    """Write report.md and a picture of the evaluations into the run's folder."""
    json: bool = False
    """Print one JSON object instead of words."""


def main(arguments: Sequence[str]) -> int:
    """Imitate."""
    names = "\n".join(f"  {name:<12}{kind.says}" for name, kind in LEARNERS.items())
    if not arguments or arguments[0].startswith("-"):
        if arguments and arguments[0] in ("-h", "--help"):
            print(f"usage: robolearn imitate LEARNER --demos SET [OPTIONS]\n\n{names}\n")
            print("robolearn imitate LEARNER --help tells its options.")
            return 0
        raise RobolearnError(
            f"Which learner? robolearn imitate LEARNER --demos SET, one of: {', '.join(LEARNERS)}."
        )
    name, *rest = arguments
    kind, cls = learner(name), agent_class(learner(name).agent)
    usual = cls.Config(**imitating(name, kind.agent, _recorded_in(rest)))
    defaults = ImitateOptions[Any, Any](demos=tyro.MISSING, settings=kind.settings(), hyper=usual)
    options = parse(ImitateOptions[cls.Config, kind.settings], rest, f"imitate {name}", defaults)
    recorded = find_set(options.demos)
    config = ImitateConfig(
        learner=name,
        demos=options.demos,
        run=options.run or _run_name(name, recorded.folder),
        env=options.where.config(read_demos(options.demos, episodes=1).env),
        episodes=options.episodes,
        mirror=options.mirror,
        expert=options.expert,
        steps=options.steps,
        seed=options.seed,
        device=options.device,
        settings=asdict(options.settings),
        hyper=asdict(options.hyper),
        eval_every=options.eval_every,
        eval_episodes=options.eval_episodes,
        test_episodes=options.test_episodes,
        save_every=options.save_every,
        video_every=options.video_every,
    )
    result = imitate(config)
    if options.report and not result.interrupted:
        report = write_run_report(result.run.path)
        if not options.json:
            print(report.read_text())
    print_result(result, as_json=options.json)
    return 0


def _recorded_in(arguments: Sequence[str]) -> str:
    """Return the environment asked for or recorded in: what suits it are the defaults shown."""
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    finder.add_argument("--env")
    finder.add_argument("--demos", type=Path)
    try:
        asked, _ = finder.parse_known_args(arguments)
    except argparse.ArgumentError:  # which whoever reads them all will tell
        return ""
    if asked.env is not None or asked.demos is None:
        return asked.env or ""
    recorded = read_demos(asked.demos, episodes=1).env
    return recorded.id if recorded else ""


def _run_name(name: str, demos: Path) -> Path:
    return Path("runs") / f"{name}-{demos.name}-{time.strftime('%Y%m%d-%H%M%S')}"
