"""``robolearn compare AGENT...``."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from rich.console import Console

from robolearn.commands.common import parse, print_json
from robolearn.commands.env_options import EnvOptions
from robolearn.compare.report import flat, notes, summarise, terminal_table, write_report
from robolearn.compare.runner import Cell, CompareConfig, compare
from robolearn.runs.meta import command_line, hardware, versions


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """Train agents and SB3's on the same seeds, in turn, and print a table."""

    agents: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Ours, e.g. ppo, and SB3's, e.g. sb3-ppo; `robolearn list` names them all."""
    where: Annotated[EnvOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=EnvOptions)
    steps: int = 100_000
    """Environment steps each agent learns from."""
    seeds: int = 5
    """Trainings of each agent, with seeds 0, 1, ..."""
    episodes: int = 100
    """Episodes of each evaluation."""
    device: str = "auto"
    """auto, cpu or cuda."""
    out: Path
    """Folder for the results; must not hold a comparison yet."""
    json: bool = False
    """Print one JSON object instead of words."""


def main(arguments: Sequence[str]) -> int:
    """Compare."""
    options = parse(CompareOptions, arguments, "compare")
    config = CompareConfig(
        agents=options.agents,
        env=options.where.config(),
        steps=options.steps,
        seeds=options.seeds,
        episodes=options.episodes,
        device=options.device,
        out=options.out,
    )
    console = Console(stderr=True)
    total = config.seeds * len(config.agents)
    with console.status(f"0 of {total} trainings done", spinner="line") as status:
        finished: list[Cell] = []

        def tell(cell: Cell) -> None:
            finished.append(cell)
            done = len(finished)
            status.update(f"{done} of {total} trainings done; last: {cell.agent} seed {cell.seed}")

        cells = compare(config, tell)
    rows = summarise(cells, np.random.default_rng(0))
    numbers = ", ".join(f"{name} {version}" for name, version in versions().items())
    made = {"command": command_line(), "hardware": hardware(), "versions": numbers}
    write_report(rows, options.out, made)
    if options.json:
        print_json(
            {"env": config.env.id, "rows": [flat(row) for row in rows], "notes": notes(rows)}
        )
        return 0
    Console().print(terminal_table(rows, f"{config.env.id}, {config.steps:,} steps"))
    print(f"Written to {options.out}: table.md, table.csv, cells.jsonl")
    return 0
