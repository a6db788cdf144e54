"""A page of all runs in a folder."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from robolearn.pages.page import render_page
from robolearn.pages.runs import Point, Run
from robolearn.pages.search import Found

WIDTH, HEIGHT, EDGE = 320, 96, 4
"""Of a learning curve, in units of its picture."""
_MOST_POINTS = 200  # of a curve on a card
NONE = "\N{EN DASH}"
_LONGEST = 300  # characters of the environment's options


@dataclass(frozen=True, kw_only=True)
class Card:
    """A run as the page shows it."""

    run: Run
    name: str
    steps: str
    video: str | None
    """Its address."""
    options: str
    curve: str
    """Corners of its learning curve, none for a run with less than two evaluations."""


def gallery_page(found: Found, folder: Path, page: Path, made: str) -> str:
    """Return the page.

    Args:
        found: In the folder.
        folder: Names on the page begin in it.
        page: Where it will be: videos and reports are linked from there.
        made: What made it.
    """
    reports = [
        {"title": report.title, "name": _name(report.path, folder), "to": link(report.path, page)}
        for report in found.reports
    ]
    return render_page(
        "gallery.html.jinja",
        title=_name(folder, folder),
        cards=[_card(run, folder, page) for run in found.runs],
        reports=reports,
        size=(WIDTH, HEIGHT, EDGE),
        figure=figure,
        made=made,
    )


def _card(run: Run, folder: Path, page: Path) -> Card:
    options = ", ".join(f"{name} = {value}" for name, value in run.options.items())
    return Card(
        run=run,
        name=_name(run.path, folder),
        steps=_steps(run),
        video=None if run.video is None else link(run.video, page),
        options=options if len(options) <= _LONGEST else f"{options[:_LONGEST]}…",
        curve=corners(run.curve) if len(run.curve) > 1 else "",
    )


def _name(path: Path, folder: Path) -> str:
    """Return how a page calls what is in a folder; bytes that are no text are shown as such."""
    inside = path != folder
    name = os.path.relpath(path, folder) if inside else os.path.basename(os.path.abspath(folder))
    return os.fsencode(name).decode(errors="replace")


def link(target: Path, page: Path) -> str:
    """Return the address of a file as seen from a page."""
    return quote(os.fsencode(os.path.relpath(target, page.parent)))


def _steps(run: Run) -> str:
    if run.steps is None:
        return NONE if run.planned is None else f"0 of {run.planned:,}"
    behind = run.planned is not None and not run.evaluated and run.steps < run.planned
    return f"{run.steps:,} of {run.planned:,}" if behind else f"{run.steps:,}"


def figure(value: float | None) -> str:
    """Return a number as the page shows it."""
    if value is None:
        return NONE
    if not math.isfinite(value):
        return str(value)
    return f"{value:.3g}" if abs(value) >= 1e6 or 0 < abs(value) < 0.05 else f"{value:,.1f}"


def corners(curve: Sequence[Point]) -> str:
    """Return a learning curve as the corners of a line that fills its picture but for the edge."""
    stride = math.ceil(len(curve) / _MOST_POINTS)
    points = [*curve[:-1:stride], curve[-1]]
    across = _unit([point.steps for point in points])
    up = _unit([point.mean_return for point in points])
    wide, high = WIDTH - 2 * EDGE, HEIGHT - 2 * EDGE
    places = zip(across, up, strict=True)
    return " ".join(f"{EDGE + wide * x:.1f},{EDGE + high * (1 - y):.1f}" for x, y in places)


def _unit(numbers: Sequence[float]) -> list[float]:
    """Return numbers on the scale where the lowest is 0 and the highest 1; if equal, the middle."""
    low, high = min(numbers) / 2, max(numbers) / 2  # halves: a difference of floats may overflow
    return [0.5 if high == low else (each / 2 - low) / (high - low) for each in numbers]


def told(found: Found, page: Path) -> dict[str, Any]:
    """Return what was found, as JSON can hold it."""
    return {
        "page": str(page),
        "runs": [_told(run) for run in found.runs],
        "reports": [{"path": str(each.path), "title": each.title} for each in found.reports],
    }


def _told(run: Run) -> dict[str, Any]:
    numbers = {"return": run.mean_return, "success": run.success}
    return {
        "run": str(run.path),
        "agent": run.agent,
        "env": run.env,
        "engine": run.engine,
        "seed": run.seed,
        "steps": run.steps,
        "evaluated": run.evaluated,
        **{k: v if v is None or math.isfinite(v) else None for k, v in numbers.items()},
        "evaluations": len(run.curve),
        "video": None if run.video is None else str(run.video),
        "started": None if run.started is None else run.started.isoformat(),
        "problems": list(run.problems),
    }
