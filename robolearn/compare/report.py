"""A comparison in words and tables: in the terminal, as Markdown and as CSV."""

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from robolearn.compare.errand import Failure
from robolearn.compare.statistics import Estimate, Reached
from robolearn.compare.summary import LEVEL, Row, Verdict, seeds_needed

HEADINGS = (
    "agent",
    "actions",
    "seeds",
    "IQM of return",
    "success",
    "SPL",
    "steps",
    "steps to bar",
    "s to bar",
    "training",
    "steps/s",
    "hyper-parameters",
)
NONE = "\N{EN DASH}"  # what stands where there is no figure
TEXT = ("agent", "actions", "hyper-parameters")
"""Headings of columns that are no numbers."""
_NARROW = ("agent", "IQM of return", "success", "training", "steps/s")


def texts(row: Row) -> tuple[str, ...]:
    """Return a row's cells as people read them, one per heading."""
    return (
        row.agent,
        row.actions,
        str(row.seeds),
        interval(row.iqm_return, "{:.1f}"),
        NONE if row.success is None else interval(row.success, "{:.0%}"),
        NONE if row.spl is None else interval(row.spl, "{:.2f}"),
        f"{row.steps:,.0f}",
        _when(row.to_steps, "{:,.0f}"),
        _when(row.to_seconds, "{:.1f}"),
        f"{row.wall_s:.1f} s",
        f"{row.steps_per_s:,.0f}",
        row.source,
    )


def interval(figure: Estimate, form: str) -> str:
    """Return a figure and its interval, e.g. ``4.0 [3.1, 5.2]``."""
    if figure.low is None or figure.high is None:
        return f"{form.format(figure.mean)} {NONE}"
    ends = f"[{form.format(figure.low)}, {form.format(figure.high)}]"
    return f"{form.format(figure.mean)} {ends}"


def _when(reached: Reached, form: str) -> str:
    """Return the median, and how many runs never came there, if any."""
    if reached.runs == reached.of:
        assert reached.median is not None
        return form.format(reached.median)
    middle = "later" if reached.median is None else form.format(reached.median)
    return f"{middle} ({reached.runs} of {reached.of})"


def sentence(verdict: Verdict) -> str:
    """Return in words what can be said of a pair."""
    ours, theirs = verdict.ours, verdict.theirs
    one, other = verdict.returns
    scores = f"{ours} returns {one.mean:.1f}, {theirs} {other.mean:.1f} (interquartile means)"
    better = f"a run of {ours} beats one of {theirs} with probability {verdict.better.mean:.2f}"
    chance = f"p = {verdict.p:.2g}" if verdict.p >= 1e-3 else "p < 0.001"
    fewest = min(verdict.seeds)
    if verdict.too_few:
        told = (
            f"{fewest} seed{'' if fewest == 1 else 's'} cannot show a difference, however large: "
            f"it takes {seeds_needed(verdict.pairs)} each"
        )
    elif verdict.claimed:
        gap = interval(verdict.difference, "{:.1f}")
        ahead = "better" if verdict.ahead else "worse"
        told = f"{ours} is {ahead}, by {gap} on average over paired seeds ({chance}); {better}"
    else:
        told = f"no difference can be claimed from {fewest} seeds ({chance}); {better}"
    return f"{scores}: {told}.{_pace(verdict.time)}"


def _pace(time: float) -> str:
    """Return in words how long training took, beside another one's."""
    if math.isnan(time):
        return ""
    quick = f"was {1 / time:.1f} times as fast"
    return f" Training {quick if time < 1 else f'took {time:.1f} times as long'}."


def notes(rows: Sequence[Row], bar: float, failures: Sequence[Failure] = ()) -> list[str]:
    """Return what a reader must know about the figures, a sentence each.

    Args:
        rows: Of ``summarize``.
        bar: Return to be reached.
        failures: Trainings that broke down, which are in no row.
    """
    fewest = min(row.seeds for row in rows)
    found = [
        f"Training broke down for {each.agent} with seed {each.seed}, which is left out, and "
        f"flatters it: {each.why}"
        for each in failures
    ]
    if fewest == 1:
        found.append("One seed has no interval.")
    if max(row.seeds for row in rows) > 1:
        found.append(
            "IQM is the interquartile mean over seeds [95 % bootstrap interval]; training time and "
            "steps/s are medians."
        )
    if 1 < fewest < 5:
        found.append(f"Intervals of {fewest} seeds are too short: read them as ranges.")
    found.append(
        f"The bar is a return of {bar:.1f} in an evaluation on the way: median over seeds; those "
        "that had not reached it when they ended count as later ones, and the number of those that "
        "had is given."
    )
    if len({row.actions for row in rows}) > 1:
        discrete = ", ".join(row.agent for row in rows if row.actions == "discrete")
        found.append(f"Not all act alike: {discrete} with discrete actions.")
    longest, least = max(row.steps for row in rows), min(row.steps for row in rows)
    if longest > 1.02 * least:
        more = ", ".join(row.agent for row in rows if row.steps > 1.02 * least)
        found.append(f"SB3 finishes the rollout it is in: more steps for {more}.")
    return found


def terminal_table(rows: Sequence[Row], title: str, told: Sequence[str]) -> Table:
    """Return the table for a terminal of 80 columns: what does not fit is told beneath it.

    Args:
        rows: Of ``summarize``.
        title: What it is of.
        told: Sentences to put beneath it.
    """
    sources = [
        f"{row.agent}: {row.seeds} x {row.steps:,.0f} steps, {row.actions} actions, {row.source}."
        for row in rows
    ]
    table = Table(
        title=escape(title),
        caption=escape("\n".join([*sources, *told])),
        caption_justify="left",
        box=box.SIMPLE,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    for heading in _NARROW:
        justify = "left" if heading in TEXT else "right"
        table.add_column(heading, justify=justify, no_wrap=True)
    for row in rows:
        cells = dict(zip(HEADINGS, texts(row), strict=True))
        table.add_row(*(escape(cells[heading]) for heading in _NARROW))
    return table


def markdown(
    rows: Sequence[Row],
    verdicts: Sequence[Verdict],
    told: Sequence[str],
    made: Sequence[tuple[str, str]],
) -> str:
    """Return the report as Markdown.

    Args:
        rows: Of ``summarize``.
        verdicts: On pairs of them.
        told: Notes on the figures.
        made: What to say of how it was made, e.g. command, versions, hardware, and its name.
    """
    rule = [":---" if heading in TEXT else "---:" for heading in HEADINGS]
    lines = [HEADINGS, rule, *([_cell(text) for text in texts(row)] for row in rows)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    said = "\n".join(f"* {sentence(each)}" for each in verdicts)
    facts = "\n".join(f"- {key}: {text}" for key, text in made)
    return "\n\n".join(part for part in (said, table, " ".join(told), facts) if part) + "\n"


def _cell(text: str) -> str:
    """Return a text as a cell of a table in Markdown holds it."""
    return " ".join(text.split()).replace("|", "\\|")


def flat(row: Row) -> dict[str, Any]:
    """Return a row's figures by column, as CSV and JSON take them."""
    nothing = Estimate(math.nan, None, None)
    columns: dict[str, Any] = {
        "agent": row.agent,
        "actions": row.actions,
        "seeds": row.seeds,
        "mean_return": row.mean_return,
    }
    for name, figure in {
        "iqm_return": row.iqm_return,
        "success": row.success or nothing,
        "spl": row.spl or nothing,
    }.items():
        columns[name] = _known(figure.mean)
        columns[f"{name}_low"], columns[f"{name}_high"] = figure.low, figure.high
    return columns | {
        "steps": row.steps,
        "reached": row.to_steps.runs,
        "steps_to_bar": row.to_steps.median,
        "seconds_to_bar": row.to_seconds.median,
        "wall_s": row.wall_s,
        "steps_per_s": row.steps_per_s,
        **{f"{part}_share": share for part, share in row.split.items()},
        "source": row.source,
    }


def _known(figure: float) -> float | None:
    """Return a figure, None where there is none, as JSON has no NaN."""
    return None if math.isnan(figure) else figure


def flat_verdict(verdict: Verdict) -> dict[str, Any]:
    """Return the figures on a pair, as JSON takes them."""
    return {
        "ours": verdict.ours,
        "theirs": verdict.theirs,
        "difference": {**verdict.difference._asdict(), "mean": _known(verdict.difference.mean)},
        "probability_of_improvement": verdict.better._asdict(),
        "p": verdict.p,
        "level": LEVEL,
        "claimed": verdict.claimed,
        "time": _known(verdict.time),
        "words": sentence(verdict),
    }


def table_csv(rows: Sequence[Row]) -> str:
    """Return the table as CSV, one line per agent."""
    lines = [flat(row) for row in rows]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(lines[0]))
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()
