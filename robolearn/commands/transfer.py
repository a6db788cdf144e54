"""``robolearn transfer RUN...``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from robolearn.commands.common import parse, print_json
from robolearn.compare.transfer import Transfer, TransferConfig
from robolearn.compare.transfer_report import FILES, as_json, terminal_table, write_transfer
from robolearn.runs.meta import command_line, hardware, versions
from robolearn.runs.run import claim_folder


@dataclass(frozen=True, kw_only=True)
class TransferOptions:
    """Test trained agents on other physics: every engine, Bullet's damping, randomized."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders of one task; those that differ in nothing but their seed are one row."""
    engines: tuple[str, ...] = ()
    """mujoco, bullet and analytic; without it all that are installed and the task is defined on."""
    domain_randomization: float = 0.2
    """How far the randomized physics of the last columns is from nominal; 0 leaves them out."""
    episodes: int = 100
    """Of each run on each physics."""
    seed: int = 0
    """Of the evaluations, all alike."""
    device: str = "auto"
    """auto, cpu or cuda."""
    out: Path | None = None
    """Folder for the report as page, Markdown, CSV and JSON; it must not hold anything yet."""
    json: bool = False
    """Print one JSON object instead of words."""


def main(arguments: Sequence[str]) -> int:
    """Test."""
    options = parse(TransferOptions, arguments, "transfer")
    config = TransferConfig(
        runs=options.runs,
        engines=options.engines,
        domain_randomization=options.domain_randomization,
        episodes=options.episodes,
        seed=options.seed,
        device=options.device,
    )
    transfer = Transfer(config)
    if options.out is not None:
        claim_folder(options.out, "report")
    with Console(stderr=True).status("", spinner="line") as status:
        done = 0

        def tell(last: str) -> None:
            nonlocal done
            done += 1
            status.update(f"{done} of {transfer.evaluations} evaluations done; last: {last}")

        status.update(f"0 of {transfer.evaluations} evaluations done")
        matrix = transfer.measure(tell)
    if options.out is not None:
        numbers = ", ".join(f"{name} {version}" for name, version in versions().items())
        made = {"command": command_line(), "hardware": hardware(), "versions": numbers}
        write_transfer(matrix, options.out, made)
    if options.json:
        print_json(as_json(matrix))
        return 0
    Console().print(terminal_table(matrix))
    if options.out is not None:
        print(f"Written to {options.out}: {', '.join(FILES)}")
    return 0
