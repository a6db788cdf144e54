"""What there is in a folder of runs."""

import os
from dataclasses import dataclass
from pathlib import Path

from robolearn.errors import RobolearnError
from robolearn.pages.runs import Run, is_run, read_run
from robolearn.pages.writing import is_ours, title_of


@dataclass(frozen=True)
class Report:
    """A page of ours, such as a comparison's."""

    path: Path
    title: str


@dataclass(frozen=True)
class Found:
    """All there is in a folder."""

    runs: tuple[Run, ...]
    """Newest first; last those that do not say when they began."""
    reports: tuple[Report, ...]
    """By path."""


def search(folder: Path, gallery: Path) -> Found:
    """Return the runs and reports in a folder and in those below it; links are not followed.

    Args:
        folder: Where to look.
        gallery: A page of ours that is no report.

    Raises:
        RobolearnError: No such folder, or nothing in it.
    """
    if not folder.is_dir():
        raise RobolearnError(f"No folder {folder}. Name one that robolearn train made runs in.")
    runs: list[Run] = []
    reports: list[Report] = []
    for name, folders, files in os.walk(folder):
        here = Path(name)
        pages = (here / each for each in files if each.endswith(".html"))
        reports += [Report(page, title_of(page)) for page in pages if is_ours(page)]
        if is_run(here):
            runs.append(read_run(here))
            folders.clear()
        folders[:] = [each for each in folders if not each.startswith(".")]
    reports = [each for each in reports if each.path.resolve() != gallery.resolve()]
    if not runs and not reports:
        raise RobolearnError(
            f"{folder} holds no runs. Make one with: "
            f"robolearn train ppo --env robolearn/CartPoleBalance-v0 --run {folder / 'first'}"
        )
    runs.sort(key=lambda run: str(run.path))
    runs.sort(key=lambda run: -run.started.timestamp() if run.started else 0.0)
    return Found(tuple(runs), tuple(sorted(reports, key=lambda report: str(report.path))))
