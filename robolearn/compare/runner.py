"""Comparing agents fairly: same steps, same seeds, same evaluation, in turn on one machine."""

import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple

from robolearn.compare.cell import Cell
from robolearn.compare.contestants import CompareConfig, Contestant, contestant
from robolearn.compare.errand import Failure, carry_out
from robolearn.compare.training import Progress, run_cell
from robolearn.config import to_dict
from robolearn.config_yaml import read_yaml, yaml_text
from robolearn.errors import DivergedError, RobolearnError
from robolearn.files import read_bytes, read_json, shown
from robolearn.runs.meta import meta
from robolearn.runs.run import claim_folder, folder_lock, write_whole

CELLS = "cells.jsonl"
"""File of a comparison's folder that holds a finished cell in each line."""
_SAME = ("env", "steps", "episodes", "device", "jobs")
"""What cells of one comparison have in common, or their times would tell nothing."""
_LARGEST = 256 * 2**20  # bytes of cells

Report = Progress | Cell | Failure
"""What is heard of a cell: how far it has come, how it ended."""


class Found(NamedTuple):
    """A comparison's cells."""

    cells: list[Cell]
    """Those that were asked for and came to their end: seed by seed, agents in their order."""
    failures: list[Failure]
    """Those that broke down."""
    sittings: list[dict[str, Any]]
    """Of each time it was gone on with: command, versions, hardware."""


def compare(config: CompareConfig, on_report: Callable[[Report], None] = lambda _: None) -> Found:
    """Train every agent with every seed, in turn, and evaluate each on the same episodes.

    For each seed each agent has its turn before the next seed begins, so that whatever else the
    machine does meets all of them alike. Finished cells are in ``cells.jsonl`` at once, and are not
    made again when the same comparison is asked for once more, with more agents or seeds if so
    wished.

    Args:
        config: What to compare.
        on_report: Called with whatever there is to tell, cells of earlier sittings included.

    Raises:
        RobolearnError: An agent cannot learn in this environment or on this device, or the
            folder cannot be used or holds another comparison; nothing has been trained then.
    """
    who = {name: contestant(name, config) for name in config.agents}
    if (config.out / "config.yaml").is_file():
        _require_same(config)
    else:
        claim_folder(config.out, "comparison")
        write_whole(config.out / "config.yaml", yaml_text(config))
    with folder_lock(config.out, "used by another comparison"):
        return _go_on(config, who, on_report)


def _go_on(
    config: CompareConfig, who: Mapping[str, Contestant], on_report: Callable[[Report], None]
) -> Found:
    done = {(cell.seed, cell.agent): cell for cell in read_cells(config.out)}
    wanted = [(seed, name) for seed in range(config.seeds) for name in config.agents]
    missing = [key for key in wanted if key not in done]
    for key in wanted:
        if key in done:
            on_report(done[key])
    if missing or not (config.out / "meta.json").is_file():
        _note_sitting(config.out)
    failures: list[Failure] = []
    with (config.out / CELLS).open("a") as lines:

        def hear(report: Report) -> None:
            if isinstance(report, Cell):
                lines.write(report.to_json() + "\n")
                lines.flush()
                os.fsync(lines.fileno())
                done[report.seed, report.agent] = report
            elif isinstance(report, Failure):
                failures.append(report)
            on_report(report)

        if config.jobs == 1:
            _one_by_one(config, who, missing, hear)
        else:
            _at_once(config, missing, hear)
    cells = [done[key] for key in wanted if key in done]
    return Found(cells, failures, _sittings(config.out / "meta.json"))


def _require_same(config: CompareConfig) -> None:
    """Make sure that cells already there are of the same comparison.

    Raises:
        RobolearnError: They are not.
    """
    told, asked = read_yaml(config.out / "config.yaml"), to_dict(config)
    for name in _SAME:
        if told.get(name) != asked[name]:
            raise RobolearnError(
                f"{config.out} holds {name}={shown(told.get(name))}, got {shown(asked[name])}; "
                "nothing was changed. Ask for the same to go on with it, or choose another --out."
            )


def _note_sitting(out: Path) -> None:
    path = out / "meta.json"
    before = _sittings(path) if path.is_file() else []
    write_whole(path, json.dumps({"sittings": [*before, meta()]}, indent=2))


def _sittings(path: Path) -> list[dict[str, Any]]:
    """Return what made a comparison, each time it was gone on with.

    Raises:
        RobolearnError: The file is damaged.
    """
    told = read_json(path).get("sittings")
    if isinstance(told, list) and all(
        isinstance(each, dict) and isinstance(each.get("versions"), dict) for each in told
    ):
        return told
    raise RobolearnError(
        f"{path} is damaged: expected a list of sittings, got {shown(told)}. Delete it to go on "
        "without them."
    )


def read_cells(out: Path) -> list[Cell]:
    """Return the finished cells of a comparison; a line that a kill cut short is cut off.

    Raises:
        RobolearnError: Another line is damaged.
    """
    path = out / CELLS
    if not path.is_file():
        return []
    content = read_bytes(path, _LARGEST)
    whole = content.rfind(b"\n") + 1
    cells = []
    for number, line in enumerate(content[:whole].splitlines(), start=1):
        try:
            cells.append(Cell.from_json(line))
        except RobolearnError as error:
            why = str(error).rstrip(".")
            raise RobolearnError(
                f"Line {number} of {path} is damaged ({why}). Delete it to have that cell made "
                "again."
            ) from error
    if whole < len(content):
        os.truncate(path, whole)
    return cells


def _one_by_one(
    config: CompareConfig,
    who: Mapping[str, Contestant],
    keys: Sequence[tuple[int, str]],
    hear: Callable[[Report], None],
) -> None:
    """Make cells in this process."""
    for seed, name in keys:
        try:
            hear(run_cell(who[name], config, seed, hear))
        except DivergedError as error:
            hear(Failure(name, seed, str(error)))


def _at_once(
    config: CompareConfig, keys: Sequence[tuple[int, str]], hear: Callable[[Report], None]
) -> None:
    """Make cells in as many processes as there are jobs, begun in their order."""
    waiting = list(reversed(keys))
    running: dict[Connection, tuple[Any, int, str]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < config.jobs:
                seed, name = waiting.pop()
                pipe, process = _start(config, seed, name)
                running[pipe] = (process, seed, name)
            for ready in wait(list(running)):
                assert isinstance(ready, Connection)
                process, seed, name = running[ready]
                try:
                    report = ready.recv()
                except (EOFError, OSError):  # it died, maybe in the middle of a message
                    process.join()
                    report = Failure(name, seed, _death(process.exitcode))
                if isinstance(report, Exception):
                    raise report
                hear(report)
                if not isinstance(report, Progress):
                    del running[ready]
                    ready.close()
                    process.join()
    finally:
        for process, _, _ in running.values():
            process.kill()
        for pipe, (process, _, _) in running.items():
            process.join()
            pipe.close()


def _death(status: int) -> str:
    """Return in words how a process ended that told of no cell."""
    how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"exited with {status}"
    return f"Its process {how}. The same command tries again."


def _start(config: CompareConfig, seed: int, name: str) -> tuple[Any, Any]:
    """Start the process of a cell and return the pipe it reports through, and the process."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    alone = replace(config, agents=(name,))
    process = context.Process(target=carry_out, args=(theirs, alone, seed), daemon=True)
    process.start()
    theirs.close()
    return ours, process
