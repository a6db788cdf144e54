"""A comparison as a table: in the terminal, as Markdown and as CSV."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from rich import box
from rich.markup import escape
from rich.table import Table

from robolearn.compare.runner import Cell
from robolearn.compare.statistics import Estimate, estimate, interquartile_mean


@dataclass(frozen=True, kw_only=True)
class Row:
    """An agent over its seeds."""

    agent: str
    actions: str
    seeds: int
    mean_return: Estimate
    iqm_return: float
    """Interquartile mean of the seeds' mean returns."""
    success: Estimate | None
    """Part of the episodes, in [0, 1]; None where the environment does not say."""
    spl: Estimate | None
    """Success weighted by path length, in [0, 1]; None where there is no path."""
    steps: float
    """Median of the steps learned from."""
    wall_s: float
    """Median of the seconds of training."""
    steps_per_s: float
    """Median."""
    source: str


def summarise(cells: Sequence[Cell], rng: np.random.Generator) -> list[Row]:
    """Return a row for each agent, in the order of their first cells.

    Args:
        cells: Of one comparison, in any order.
        rng: Draws the resamples of the intervals.
    """
    names = dict.fromkeys(cell.agent for cell in cells)
    return [_row([cell for cell in cells if cell.agent == name], rng) for name in names]


def _row(cells: Sequence[Cell], rng: np.random.Generator) -> Row:
    returns = [cell.mean_return for cell in cells]
    rates = [cell.success_rate for cell in cells if cell.success_rate is not None]
    paths = [cell.details["spl"] for cell in cells if "spl" in cell.details]
    return Row(
        agent=cells[0].agent,
        actions=cells[0].actions,
        seeds=len(cells),
        mean_return=estimate(returns, rng),
        iqm_return=interquartile_mean(returns),
        success=estimate(rates, rng) if rates else None,
        spl=estimate(paths, rng) if paths else None,
        steps=median(cell.steps for cell in cells),
        wall_s=median(cell.wall_s for cell in cells),
        steps_per_s=median(cell.steps_per_s for cell in cells),
        source=cells[0].source,
    )


_HEADINGS = (
    "agent",
    "actions",
    "seeds",
    "return",
    "IQM",
    "success",
    "SPL",
    "steps",
    "training",
    "steps/s",
    "hyper-parameters",
)
_NONE = "\N{EN DASH}"  # what stands where there is no figure
_TEXT = ("agent", "actions", "hyper-parameters")  # the other columns are numbers
_NARROW = ("agent", "return", "IQM", "success", "training", "steps/s")


def _texts(row: Row) -> tuple[str, ...]:
    """Return a row's cells as people read them, one per heading."""
    return (
        row.agent,
        row.actions,
        str(row.seeds),
        _interval(row.mean_return, "{:.1f}"),
        f"{row.iqm_return:.1f}",
        _NONE if row.success is None else _interval(row.success, "{:.0%}"),
        _NONE if row.spl is None else _interval(row.spl, "{:.2f}"),
        f"{row.steps:,.0f}",
        f"{row.wall_s:.1f} s",
        f"{row.steps_per_s:,.0f}",
        row.source,
    )


def _interval(figure: Estimate, form: str) -> str:
    if figure.low is None or figure.high is None:
        return f"{form.format(figure.mean)} {_NONE}"
    ends = f"[{form.format(figure.low)}, {form.format(figure.high)}]"
    return f"{form.format(figure.mean)} {ends}"


def notes(rows: Sequence[Row]) -> list[str]:
    """Return what a reader must know about the figures, a sentence each."""
    seeds = {row.seeds for row in rows}
    found = []
    if seeds == {1}:
        found.append("One seed: no interval.")
    else:
        found.append(
            "Mean over seeds [95 % percentile bootstrap interval]; IQM is the interquartile mean; "
            "training time and steps/s are medians."
        )
    if 1 < max(seeds) < 10:
        found.append("Intervals of fewer than ten seeds are too short.")
    if len({row.actions for row in rows}) > 1:
        discrete = ", ".join(row.agent for row in rows if row.actions == "discrete")
        found.append(f"Not all act alike: {discrete} with discrete actions.")
    return found


def terminal_table(rows: Sequence[Row], title: str) -> Table:
    """Return the table for a terminal of 80 columns: what does not fit is told beneath it."""
    told = [
        f"{row.agent}: {row.seeds} x {row.steps:,.0f} steps, {row.actions} actions, {row.source}."
        for row in rows
    ]
    table = Table(
        title=title,
        caption=escape("\n".join([*told, *notes(rows)])),
        caption_justify="left",
        box=box.SIMPLE,
        padding=(0, 1, 0, 0),
    )
    for heading in _NARROW:
        justify = "left" if heading in _TEXT else "right"
        table.add_column(heading, justify=justify, no_wrap=True)
    for row in rows:
        texts = dict(zip(_HEADINGS, _texts(row), strict=True))
        table.add_row(*(escape(texts[heading]) for heading in _NARROW))
    return table


def markdown(rows: Sequence[Row], meta: Mapping[str, str]) -> str:
    """Return the table as Markdown.

    Args:
        rows: Of ``summarise``.
        meta: What to say of how it was made, e.g. command, versions, hardware.
    """
    rule = [":---" if heading in _TEXT else "---:" for heading in _HEADINGS]
    lines = [_HEADINGS, rule, *(_texts(row) for row in rows)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    told = "\n".join(f"- {key}: {text}" for key, text in meta.items())
    return "\n\n".join(part for part in (table, " ".join(notes(rows)), told) if part) + "\n"


def flat(row: Row) -> dict[str, Any]:
    """Return a row's figures by column, as CSV and JSON take them."""
    success = row.success._asdict() if row.success else {}
    spl = row.spl._asdict() if row.spl else {}
    return {
        "agent": row.agent,
        "actions": row.actions,
        "seeds": row.seeds,
        "mean_return": row.mean_return.mean,
        "mean_return_low": row.mean_return.low,
        "mean_return_high": row.mean_return.high,
        "iqm_return": row.iqm_return,
        "success": success.get("mean"),
        "success_low": success.get("low"),
        "success_high": success.get("high"),
        "spl": spl.get("mean"),
        "spl_low": spl.get("low"),
        "spl_high": spl.get("high"),
        "steps": row.steps,
        "wall_s": row.wall_s,
        "steps_per_s": row.steps_per_s,
        "source": row.source,
    }


def write_report(rows: Sequence[Row], out: Path, meta: Mapping[str, str]) -> None:
    """Write ``table.md`` and ``table.csv``, one line per agent, into a comparison's folder."""
    (out / "table.md").write_text(markdown(rows, meta))
    lines = [flat(row) for row in rows]
    with (out / "table.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
