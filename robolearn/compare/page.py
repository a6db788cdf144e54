"""A comparison as one page that opens offline, with Markdown and CSV beside it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robolearn.compare import plots
from robolearn.compare.cell import Cell
from robolearn.compare.errand import Failure
from robolearn.compare.films import Clip
from robolearn.compare.report import (
    HEADINGS,
    NONE,
    TEXT,
    interval,
    markdown,
    notes,
    sentence,
    table_csv,
    texts,
)
from robolearn.compare.settings import settings
from robolearn.compare.summary import Row, Verdict, by_agent, summarize, threshold, verdicts
from robolearn.pages.page import data_uri, render_page, svg
from robolearn.runs.run import write_whole

REPORT = ("report.html", "report.md", "table.csv")
"""Files of a report."""
_FACTS = ("command", "started", "hardware", "git")
"""What is told of a sitting, besides versions."""
_TIMES = "{:.2f}\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a comparison has come to."""

    title: str
    cells: Sequence[Cell]
    bar: float
    """Return to be reached."""
    rows: Sequence[Row]
    verdicts: Sequence[Verdict]
    notes: Sequence[str]


def find(
    title: str,
    cells: Sequence[Cell],
    failures: Sequence[Failure] = (),
    bar: float | None = None,
    remarks: Sequence[str] = (),
) -> Findings:
    """Return what cells of one comparison say.

    Args:
        title: What it is of.
        cells: At least one.
        failures: Trainings that broke down.
        bar: Return to be reached; None for the usual one.
        remarks: What else is to be noted of how the cells came to be.
    """
    rng = np.random.default_rng(0)
    bar = threshold(cells) if bar is None else bar
    rows = summarize(cells, bar, rng)
    return Findings(
        title=title,
        cells=cells,
        bar=bar,
        rows=rows,
        verdicts=verdicts(cells, rng),
        notes=[*notes(rows, bar, failures), *remarks],
    )


def write_report(
    found: Findings, out: Path, clips: Sequence[Clip], sittings: Sequence[Mapping[str, Any]]
) -> None:
    """Write ``REPORT`` into a comparison's folder; a report that is there is replaced.

    Args:
        found: What to report.
        out: The folder.
        clips: Videos that go into the page.
        sittings: What made the cells: command, versions, hardware, each time.
    """
    made = list(dict.fromkeys(fact for sitting in sittings for fact in facts(sitting).items()))
    text = markdown(found.rows, found.verdicts, found.notes, made)
    write_whole(out / "report.md", f"# {found.title}\n\n{text}")
    write_whole(out / "table.csv", table_csv(found.rows))
    write_whole(out / "report.html", page(found, clips, sittings))


def facts(sitting: Mapping[str, Any]) -> dict[str, str]:
    """Return what there is to say of how cells were made, by name."""
    versions = ", ".join(f"{name} {number}" for name, number in sitting["versions"].items())
    told = {name: str(sitting[name]) for name in _FACTS if sitting.get(name)}
    return {**told, "versions": versions}


def page(found: Findings, clips: Sequence[Clip], sittings: Sequence[Mapping[str, Any]]) -> str:
    """Return the page, with all pictures and videos in it."""
    groups = by_agent(found.cells)
    several = len(groups) > 1
    pictures = {
        "intervals": svg(plots.intervals(found.rows), "Return of each agent with its interval"),
        "curves": svg(plots.curves(groups, found.bar), "Learning curves"),
        "profiles": svg(plots.profiles(groups), "Performance profiles"),
        "split": svg(plots.split(found.rows), "Where the time of training went"),
    }
    every = settings([cells[0] for cells in groups.values()])
    columns = [
        k
        for k, heading in enumerate(HEADINGS)
        if heading != "hyper-parameters" and any(texts(row)[k] != NONE for row in found.rows)
    ]
    differing = [setting for setting in every if setting.shared and setting.differs]
    return render_page(
        "comparison.html.jinja",
        title=found.title,
        sentences=[sentence(verdict) for verdict in found.verdicts],
        notes=found.notes,
        pairs=[_pair(verdict) for verdict in found.verdicts],
        headings=[(HEADINGS[k], HEADINGS[k] in TEXT) for k in columns],
        lines=[[_line(row)[k] for k in columns] for row in found.rows],
        sources={row.agent: row.source for row in found.rows},
        pictures=pictures,
        films=[(data_uri(clip.path), clip.caption) for clip in clips],
        agents=list(groups),
        differing=differing if several else [],
        others=[setting for setting in every if not several or setting not in differing],
        sittings=[facts(sitting) for sitting in sittings],
        bar=f"{found.bar:.1f}",
    )


def _pair(verdict: Verdict) -> dict[str, Any]:
    """Return what the table of pairs says of one."""
    gap, better = verdict.difference, verdict.better
    claim = "better" if verdict.ahead else "worse"
    return {
        "ours": verdict.ours,
        "theirs": verdict.theirs,
        "difference": (gap.mean, NONE if math.isnan(gap.mean) else interval(gap, "{:+.1f}")),
        "better": (better.mean, interval(better, "{:.2f}")),
        "p": verdict.p,
        "time": (verdict.time, NONE if math.isnan(verdict.time) else _TIMES.format(verdict.time)),
        "claim": claim if verdict.claimed else "too few seeds" if verdict.too_few else "none",
    }


def _line(row: Row) -> list[tuple[str, float | None]]:
    """Return a row's cells, each with the number it is sorted by, None where it is text."""
    numbers = {
        "seeds": row.seeds,
        "IQM of return": row.iqm_return.mean,
        "success": row.success and row.success.mean,
        "SPL": row.spl and row.spl.mean,
        "steps": row.steps,
        "steps to bar": _or_last(row.to_steps.median),
        "s to bar": _or_last(row.to_seconds.median),
        "training": row.wall_s,
        "steps/s": row.steps_per_s,
    }
    return [
        (text, numbers.get(heading)) for heading, text in zip(HEADINGS, texts(row), strict=True)
    ]


def _or_last(when: float | None) -> float:
    return float("inf") if when is None else when
