"""A transfer matrix as people read it: in the terminal, as Markdown, CSV, JSON and a page."""

import csv
import html
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from robolearn.compare.statistics import Estimate
from robolearn.compare.transfer import MEASURES, Cell, Matrix, Trained
from robolearn.compare.transfer_plot import heatmap, in_figure, shown_measures
from robolearn.pages import render_page, svg
from robolearn.runs.run import write_whole
from robolearn_envs.registry import keyword_names, task_of

FILES = ("transfer.md", "transfer.csv", "transfer.json", "report.html")
"""What ``write_transfer`` writes."""
_MARKS = re.compile(r"([\\`*_\[\]|~$])")
_FEW = 5  # seeds


def title(matrix: Matrix) -> str:
    """Return what the matrix is of."""
    options = [f"{name} {choice}" for name, choice in matrix.task.items()]
    return ", ".join([matrix.env, *options])


def notes(matrix: Matrix) -> list[str]:
    """Return what a reader must know about the figures, a sentence or two each."""
    task = task_of(matrix.env)
    of_test = ", on layouts of the test split" if "split" in keyword_names(task) else ""
    found = [
        f"Each run's best checkpoint was tested in {matrix.episodes} episodes on each physics, "
        f"with the same held-out seeds everywhere{of_test}."
    ]
    counts = [len(trained.runs) for trained in matrix.trained]
    several = [count for count in counts if count > 1]
    if several:
        found.append("Of several seeds: mean over seeds [95 % bootstrap interval over seeds].")
    if 1 in counts:
        found.append(
            "Of one seed: mean [95 % interval over its episodes, of success Wilson's, else by "
            "bootstrap], which says nothing of other seeds."
        )
    if several and min(several) < _FEW:
        found.append(
            "Intervals over fewer than five seeds are too short: over three they hold the true "
            "mean in about three of four cases."
        )
    if any(physics.bullet_damping for physics in matrix.tested):
        found.append(
            "Default damping: the drag that PyBullet gives every link unless it is told not to; "
            "matched physics has none."
        )
    if not task.robot.randomizable:
        found.append("It is a fixed public definition, which cannot be randomized.")
    randomized = max(physics.domain_randomization for physics in matrix.tested)
    if randomized:
        fields = ", ".join(field.replace("_", " ") for field in task.robot.randomizable)
        sensors = "; sensors are disturbed" if task.sensors else ""
        found.append(
            f"Randomized {randomized:g}: {fields} and what actions command are drawn within "
            f"{randomized:.0%} of nominal, anew each episode{sensors}."
        )
    return found


def terminal_table(matrix: Matrix) -> Table:
    """Return the matrix for a terminal of 80 columns: a section for each row of it."""
    shown = shown_measures(matrix)
    table = Table(
        title=escape(title(matrix)),
        caption=escape("\n".join(notes(matrix))),
        caption_justify="left",
        box=box.SIMPLE,
        padding=(0, 1, 0, 0),
    )
    table.add_column("trained on, tested on", overflow="fold")
    for measure in shown:
        table.add_column(MEASURES[measure], justify="right", no_wrap=True)
    for row, trained in enumerate(matrix.trained):
        table.add_row(f"[bold]{escape(trained.label)}[/bold]")
        for column, physics in enumerate(matrix.tested):
            cell = matrix.cell(row, column)
            figures = (_figure(measure, cell.figures[measure]) for measure in shown)
            table.add_row(f"  {escape(str(physics))}", *map(escape, figures))
        table.add_section()
    return table


def markdown(matrix: Matrix, meta: Mapping[str, str]) -> str:
    """Return a table for each measure, trained on by tested on.

    Args:
        matrix: What was measured.
        meta: What to say of how it was made, e.g. command, versions, hardware.
    """
    parts = [f"## Transfer: {_plain(title(matrix))}"]
    for measure in matrix.measures:
        heading = f"{MEASURES[measure]}: trained on, tested on"
        lines = [[heading, *(str(physics) for physics in matrix.tested)]]
        lines.append([":---", *["---:"] * len(matrix.tested)])
        for row, trained in enumerate(matrix.trained):
            cells = [matrix.cell(row, column) for column in range(len(matrix.tested))]
            lines.append([_plain(trained.label), *(_bold(cell, measure) for cell in cells)])
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    parts.append(" ".join(["Bold: tested on what it was trained on.", *notes(matrix)]))
    parts.append("\n".join(f"- {_plain(_of(trained))}" for trained in matrix.trained))
    parts.append("\n".join(f"- {key}: {_plain(text)}" for key, text in meta.items()))
    return "\n\n".join(part for part in parts if part) + "\n"


def _bold(cell: Cell, measure: str) -> str:
    text = _figure(measure, cell.figures[measure])
    return f"**{text}**" if cell.at_home else text


def _of(trained: Trained) -> str:
    """Return what a row is made of."""
    seeds = f", seeds {', '.join(map(str, trained.seeds))}" if trained.seeds else ""
    where = " ".join(map(str, trained.runs))
    return f"{trained.label}: {trained.steps:,} steps{seeds}; {where}"


def _plain(text: str) -> str:
    """Return text so that Markdown shows it as it is, on one line."""
    return _MARKS.sub(r"\\\1", html.escape(" ".join(text.split()), quote=False))


def _figure(measure: str, figure: Estimate) -> str:
    mean, interval = in_figure(measure, figure)
    return f"{mean} {interval}".strip()


def flat(cell: Cell) -> dict[str, Any]:
    """Return a cell's figures by column, as CSV takes them."""
    facts = {
        "trained_on": cell.trained.label,
        "seeds": len(cell.trained.runs),
        "engine": cell.tested.engine,
        **cell.tested.changes,
        "interval_over": cell.interval_over,
    }
    for measure, figure in cell.figures.items():
        facts |= {
            measure: figure.mean,
            f"{measure}_low": figure.low,
            f"{measure}_high": figure.high,
        }
    return facts


def as_json(matrix: Matrix) -> dict[str, Any]:
    """Return all figures as JSON can hold them."""
    return {
        "env": matrix.env,
        "task": {name: str(choice) for name, choice in matrix.task.items()},
        "episodes": matrix.episodes,
        "seed": matrix.seed,
        "trained": [
            {
                "label": trained.label,
                "engine": trained.physics.engine,
                **trained.physics.changes,
                "steps": trained.steps,
                "seeds": list(trained.seeds),
                "runs": list(map(str, trained.runs)),
            }
            for trained in matrix.trained
        ],
        "cells": [
            {**flat(cell), "by_run": {name: list(means) for name, means in cell.by_run.items()}}
            for cell in matrix.cells
        ],
        "notes": notes(matrix),
    }


def page(matrix: Matrix, meta: Mapping[str, str]) -> str:
    """Return the report as one page that needs no network."""
    lines = [
        {
            "trained": cell.trained.label,
            "tested": str(cell.tested),
            "home": cell.at_home,
            "figures": [
                (figure.mean, _figure(measure, figure)) for measure, figure in cell.figures.items()
            ],
        }
        for cell in matrix.cells
    ]
    label = f"Heatmap of {title(matrix)}; the table below has its figures."
    return render_page(
        "transfer.html.jinja",
        title=title(matrix),
        heatmap=svg(heatmap(matrix), label),
        headings=[MEASURES[measure] for measure in matrix.measures],
        lines=lines,
        notes=notes(matrix),
        rows=[_of(trained) for trained in matrix.trained],
        meta=meta,
    )


def write_transfer(matrix: Matrix, out: Path, meta: Mapping[str, str]) -> None:
    """Write ``FILES`` into a folder."""
    lines = [flat(cell) for cell in matrix.cells]
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, fieldnames=list(lines[0]))
    writer.writeheader()
    writer.writerows(lines)
    facts = json.dumps({**as_json(matrix), "made": dict(meta)}, indent=2)
    texts = (markdown(matrix, meta), table.getvalue(), facts + "\n", page(matrix, meta))
    for name, text in zip(FILES, texts, strict=True):
        write_whole(out / name, text)
