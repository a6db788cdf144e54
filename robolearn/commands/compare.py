"""``robolearn compare AGENT...``."""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.live import Live
from rich.table import Table

from robolearn.commands.common import parse, print_json
from robolearn.commands.env_options import EnvOptions
from robolearn.commands.filming import refusals
from robolearn.compare.cell import Cell
from robolearn.compare.contestants import BATCH, SB3, CompareConfig
from robolearn.compare.films import Clip, film_comparison
from robolearn.compare.page import REPORT, find, write_report
from robolearn.compare.report import flat, flat_verdict, sentence, terminal_table
from robolearn.compare.runner import Found, Report, compare
from robolearn.compare.training import Progress
from robolearn.environments import EnvConfig
from robolearn.errors import DivergedError, RobolearnError, RobolearnWarning, SaveError
from robolearn.imitation.experts import EXPERTS, expert_for
from robolearn.runs.meta import comment
from robolearn.video.recording import record_episode_with
from robolearn.video.rollout import Rollout


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """Train agents and SB3's on the same seeds, in turn, and write a report.

    The same command again goes on where it was stopped or killed, and makes what is missing for
    more agents or more seeds.
    """

    agents: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Ours, e.g. ppo, and SB3's, e.g. sb3-ppo; `robolearn list` names them all. Your own as
    module:Class."""
    where: Annotated[EnvOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=EnvOptions)
    steps: int = 100_000
    """Environment steps each agent learns from."""
    seeds: int = 5
    """Trainings of each agent, with seeds 0, 1, ..."""
    episodes: int = 100
    """Episodes of each evaluation."""
    threshold: float | None = None
    """Return that is to be reached; without it nine tenths of the way from untrained to the
    best."""
    batch: bool = True
    """Train each of SB3's agents a second time, on our batch of environments."""
    jobs: int = 1
    """Trainings at a time, in processes of their own; they slow each other down alike."""
    device: str = "auto"
    """auto, cpu or cuda."""
    videos: bool = True
    """Show the agents in the report."""
    out: Path
    """Folder for the results: empty, or that of the same comparison."""
    json: bool = False
    """Print one JSON object instead of words."""


def main(arguments: Sequence[str]) -> int:
    """Compare."""
    options = parse(CompareOptions, arguments, "compare")
    config = CompareConfig(
        agents=_with_batches(options.agents) if options.batch else options.agents,
        env=options.where.config(),
        steps=options.steps,
        seeds=options.seeds,
        episodes=options.episodes,
        device=options.device,
        out=options.out,
        jobs=options.jobs,
    )
    if options.threshold is not None and not math.isfinite(options.threshold):
        raise RobolearnError(f"threshold must be a number, got {options.threshold}.")
    with _shown(Board(config)) as hear:
        found = compare(config, hear)
    if not found.cells:
        raise DivergedError(f"All trainings broke down. The first: {found.failures[0].why}")
    _tell(config, found, options)
    return DivergedError.exit_code if found.failures else 0


@contextmanager
def _shown(board: "Board") -> Iterator[Callable[[Report], None]]:
    """Show a board on stderr from the first report on, so that a refusal is one line alone."""
    console = Console(stderr=True)
    live = Live(console=console, get_renderable=board.table, refresh_per_second=2)

    def hear(report: Report) -> None:
        board.hear(report)
        live.start()

    try:
        yield hear
    finally:
        if live.is_started:
            live.stop()
            if not console.is_terminal:
                console.line()


def _with_batches(agents: Sequence[str]) -> tuple[str, ...]:
    """Return the agents with, behind each of SB3's, its twin on our batch of environments."""
    every: list[str] = []
    for name in agents:
        twin = f"{name}{BATCH}"
        every += [name, twin] if twin in SB3 and twin not in agents else [name]
    return tuple(every)


class Board:
    """What is known of a comparison while it goes on."""

    def __init__(self, config: CompareConfig) -> None:
        """Begin with nothing known."""
        self._config = config
        self._latest: dict[tuple[str, int], Report] = {}

    def hear(self, report: Report) -> None:
        """Note how far a cell is."""
        self._latest[report.agent, report.seed] = report

    def table(self) -> Table:
        """Return a line for each agent: what each seed has come to."""
        config = self._config
        done = sum(not isinstance(each, Progress) for each in list(self._latest.values()))
        total = len(config.agents) * config.seeds
        table = Table(
            "agent",
            *(f"seed {seed}" for seed in range(config.seeds)),
            title=f"{done} of {total} trainings done",
            box=None,
        )
        for name in config.agents:
            table.add_row(name, *(self._words(name, seed) for seed in range(config.seeds)))
        return table

    def _words(self, name: str, seed: int) -> str:
        report = self._latest.get((name, seed))
        if report is None:
            return "[dim]-[/]"
        if isinstance(report, Cell):
            return f"[bold]{report.mean_return:.1f}[/]"
        if isinstance(report, Progress):
            return f"[dim]{report.mean_return:.1f} at {report.share:.0%}[/]"
        return "[red]broke down[/]"


def _tell(config: CompareConfig, found: Found, options: CompareOptions) -> None:
    """Write the report and print what is in it."""
    title = f"Comparison: {config.env.id}, {config.steps:,} steps"
    remarks = _remarks(config, found)
    findings = find(title, found.cells, found.failures, options.threshold, remarks)
    write_report(findings, options.out, [], found.sittings)  # whatever becomes of the videos
    if options.videos:
        write_report(findings, options.out, _filmed(config), found.sittings)
    words = [sentence(each) for each in findings.verdicts]
    if options.json:
        facts = {"env": config.env.id, "threshold": findings.bar, "notes": findings.notes}
        tables = {
            "rows": [flat(row) for row in findings.rows],
            "pairs": [flat_verdict(each) for each in findings.verdicts],
        }
        print_json({**facts, **tables})
        return
    Console().print(terminal_table(findings.rows, title, [*findings.notes, *words]))
    print(f"Written to {options.out}: {', '.join(REPORT)}.")


def _remarks(config: CompareConfig, found: Found) -> list[str]:
    """Return what there is to note of how times were taken."""
    told = ["The networks of all agents compute on one thread."]
    if config.env.native and config.env.engine in (None, "mujoco"):
        told.append("MuJoCo steps a batch of environments on all cores, single ones on one.")
    if config.jobs > 1:
        told.append(f"{config.jobs} trainings at a time slowed each other down.")
    if len({(sitting.get("hardware"), str(sitting["versions"])) for sitting in found.sittings}) > 1:
        told.append("Made on unlike machines or versions: times cannot be held against each other.")
    return [" ".join(told)]


def _filmed(config: CompareConfig) -> list[Clip]:
    """Write the videos, with the environment's expert beside the agents where there is one."""
    try:
        with Console(stderr=True).status("Drawing videos", spinner="line"), refusals():
            return film_comparison(
                config.out, config.agents, config.seeds, comment(), _expert(config.env)
            )
    except SaveError:
        raise
    except RobolearnError as error:  # as of an environment without pictures; the figures stand
        warnings.warn(f"No videos: {error}", RobolearnWarning, stacklevel=2)
        return []


def _expert(env: EnvConfig) -> list[Rollout]:
    if not env.native or env.id.split("/")[-1] not in EXPERTS:
        return []
    return [record_episode_with(expert_for, env.held_out("test"), title="expert")]
