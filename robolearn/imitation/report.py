"""Reports on what demonstrations bought: Markdown and pictures."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np

from robolearn.compare.statistics import estimate_iqm
from robolearn.errors import RobolearnError
from robolearn.files import read_json
from robolearn.imitation.bench import SCRATCH, Bench, Outcome, by_learner
from robolearn.imitation.gains import gains, normalized, read_curve, saved, steps_to
from robolearn.imitation.plots import plot_curves, plot_returns
from robolearn.runs.meta import comment
from robolearn.runs.run import write_whole

_HEADINGS = (
    "learner",
    "demonstrations",
    "seeds",
    "start",
    "end",
    "steps to threshold",
    "saved",
    "dip",
    "retention",
    "learned parameters",
)


def bench_rows(found: Bench) -> list[tuple[str, ...]]:
    """Return the table of a bench, without its headings: a row for each learner and count."""
    groups = by_learner(found.outcomes)
    scratch = [
        steps_to(each.curve, found.bar) for each in found.outcomes if each.learner.endswith(SCRATCH)
    ]
    return [_row(found, name, count, each, scratch) for (name, count), each in groups.items()]


def _row(
    found: Bench, name: str, count: int, outcomes: Sequence[Outcome], scratch: Sequence[float]
) -> tuple[str, ...]:
    told = [gains(each.curve, found.bar) for each in outcomes]
    shown = count > 0 and not name.startswith("SB3")
    reached = median(each.steps for each in told)
    part = f"{saved(reached, median(scratch)):.0%}" if shown and scratch else "-"
    return (
        name,
        str(count),
        str(len(outcomes)),
        _interval([normalized(each.start, found.random, found.expert) for each in told])
        if shown
        else "-",
        _interval([normalized(each.final, found.random, found.expert) for each in outcomes]),
        f"{reached:,.0f}" if reached < float("inf") else "never",
        part,
        _interval([each.dip for each in told]) if shown else "-",
        _interval([each.retention for each in told]) if shown else "-",
        "-" if outcomes[0].parameters is None else f"{outcomes[0].parameters:,}",
    )


def _interval(values: Sequence[float]) -> str:
    middle, low, high = estimate_iqm(values, np.random.default_rng(0))
    return f"{middle:.2f}" if low is None else f"{middle:.2f} [{low:.2f}, {high:.2f}]"


def write_bench(found: Bench) -> Path:
    """Write ``report.md``, ``returns.png`` and ``curves.png`` into the bench's folder."""
    out, groups = found.config.out, by_learner(found.outcomes)
    scores: dict[tuple[str, int], list[float]] = {
        key: [normalized(each.final, found.random, found.expert) for each in outcomes]
        for key, outcomes in groups.items()
    }
    with_demos: dict[str, dict[int, list[float]]] = {}
    for (name, count), values in scores.items():
        if count and not name.startswith("SB3"):
            with_demos.setdefault(name, {})[count] = values
    others = {_label(*key): values for key, values in scores.items() if key[0] not in with_demos}
    plot_returns(with_demos, others, out / "returns.png", comment())
    most = max(found.config.counts)
    curves = {
        _label(name, count): [each.curve for each in outcomes]
        for (name, count), outcomes in groups.items()
        if len(outcomes[0].curve) > 1 and (count in (0, most))
    }
    if curves:
        plot_curves(curves, found.bar, out / "curves.png", comment())
    write_whole(out / "report.md", bench_text(found, pictures=bool(curves)))
    return out / "report.md"


def _label(name: str, count: int) -> str:
    return f"{name}, {count} demonstrations" if count else name


def bench_text(found: Bench, *, pictures: bool) -> str:
    """Return the report of a bench as Markdown."""
    config = found.config
    lines = [
        f"# What demonstrations buy: {found.env.id}",
        "",
        f"Demonstrations of `{config.demos}`, and their mirror images where there are such. Starts "
        "and ends are returns on the scale where random actions have 0 "
        f"({found.random:.1f}) and the expert 1 ({found.expert:.1f}): the interquartile mean over "
        "seeds and its 95 % bootstrap interval. The threshold is "
        f"{config.threshold:.0%} of the way between them; steps to it are medians over seeds, and "
        "what is saved is by how much they are fewer than from scratch. The dip is by how much of "
        "the start evaluations fall below it at most, retention the last one over the start.",
        "",
        *_table(_HEADINGS, bench_rows(found)),
        "",
        "![Return against the number of demonstrations](returns.png)",
        *(["", "![Learning curves](curves.png)"] if pictures else []),
        "",
        f"Made by: {comment()}",
        "",
    ]
    return "\n".join(lines)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    every = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(row)} |" for row in every]


def write_run_report(run: Path, *, threshold: float = 0.9) -> Path:
    """Write ``report.md`` and ``curve.png`` about one run that began with demonstrations.

    Args:
        run: Its folder.
        threshold: Part of the demonstrations' mean return that is to be reached.

    Raises:
        RobolearnError: It did not, or holds no evaluations.
    """
    told = read_json(run / "meta.json").get("pretraining")
    if not told:
        raise RobolearnError(f"{run} did not begin with demonstrations: nothing to report.")
    facts, points = told[0], read_curve(run)
    shown = facts["demonstrated_return"]
    bar = shown - (1 - threshold) * abs(shown)
    found = gains(points, bar)
    rows = [
        ("learner", facts["learner"]),
        ("demonstrations", f"{facts['episodes']} of `{facts['demos']}`"),
        ("their mean return", f"{facts['demonstrated_return']:.1f}"),
        ("return at 0 steps", f"{found.start:.1f}"),
        ("return at the end", f"{found.end:.1f}"),
        (f"steps to {threshold:.0%} of theirs", f"{found.steps:,.0f}".replace("inf", "never")),
        ("dip", f"{found.dip:.1%} of the start"),
        ("retention", f"{found.retention:.2f} of the start"),
        ("learned parameters", f"{facts['learned_parameters']:,}"),
    ]
    plot_curves({facts["learner"]: [points]}, bar, run / "curve.png", comment())
    lines = [f"# {run.name}", "", *_table(("what", ""), rows), "", "![Evaluations](curve.png)"]
    write_whole(run / "report.md", "\n".join([*lines, "", f"Made by: {comment()}", ""]))
    return run / "report.md"
