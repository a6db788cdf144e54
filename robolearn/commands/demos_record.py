"""``robolearn demos record``."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from robolearn.commands.common import parse, print_json
from robolearn.commands.env_options import EnvOptions
from robolearn.imitation.demos.record import RecordConfig, Recorded, record_demos


@dataclass(frozen=True, kw_only=True)
class DemosRecordOptions:
    """Have an expert or an agent act, and keep what it does; with --human, act yourself."""

    where: Annotated[EnvOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=EnvOptions)
    expert: str = "expert"
    """lqr, swingup, planner, expert for the one that suits, random, or the folder of a run."""
    episodes: int = 50
    """How many; with --resume at least as many as were asked for before."""
    noise: float = 0.0
    """Disturb what is done, not what is noted as wanted: of discrete actions this part is drawn at
    random; to others numbers are added with this standard deviation, in halves of their range."""
    seed: int = 0
    """Fixes everything random. Episode k begins with the environment's seed 10000 * seed + k."""
    out: Path
    """Folder of the set, e.g. demos/swingup-v0; -v0 is added to names without a version."""
    resume: bool = False
    """Go on with a recording that was stopped, or make it longer."""
    score_episodes: int = 100
    """Evaluation episodes behind the scores on the card, of the expert and of random actions; 0 for
    no scores."""
    json: bool = False
    """Print one JSON object instead of words."""


def main(arguments: Sequence[str]) -> int:
    """Record."""
    options = parse(DemosRecordOptions, arguments, "demos record")
    recorded = record_demos(
        RecordConfig(
            env=options.where.config(),
            expert=options.expert,
            out=options.out,
            episodes=options.episodes,
            noise=options.noise,
            seed=options.seed,
            resume=options.resume,
            score_episodes=options.score_episodes,
        )
    )
    if options.json:
        rate = {"steps_per_second": recorded.steps_per_second, "stopped": recorded.stopped}
        print_json({"set": str(recorded.folder), **json.loads(recorded.card.text()), **rate})
    else:
        print("\n".join(_words(recorded)))
    return 0


def _words(recorded: Recorded) -> list[str]:
    card, folder = recorded.card, recorded.folder
    success = "" if card.success_rate is None else f", success {card.success_rate:.0%}"
    what = f"{card.episodes} episodes, {card.steps:,} steps, return {card.returns()}{success}"
    rate = recorded.steps_per_second
    lines = [f"{folder}: {what}"]
    if rate is None:
        lines.append("All was there already: nothing to do.")
    else:
        lines.append(f"Recorded at {rate:,.0f} steps per second.")
    if recorded.stopped:
        missing = card.asked - card.episodes
        lines.append(f"Stopped, {missing} episodes are missing. Go on: the same with --resume")
    return lines
