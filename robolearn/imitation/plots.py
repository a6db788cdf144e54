"""FrameRenderer of what demonstrations bought."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from robolearn.compare.statistics import estimate_iqm
from robolearn.imitation.gains import Curve


def plot_returns(
    by_count: Mapping[str, Mapping[int, Sequence[float]]],
    lines: Mapping[str, Sequence[float]],
    path: Path,
    comment: str,
) -> None:
    """Draw normalized returns against the number of demonstrations: IQM and 95 % interval.

    Args:
        by_count: Of each learner and number of demonstrations, one return per seed.
        lines: What has no demonstrations, by name: one return per seed.
        path: Where to, a PNG.
        comment: Kept in the file: what made it.
    """
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for name, counts in by_count.items():
        ticks = sorted(counts)
        found = [estimate_iqm(counts[count], np.random.default_rng(0)) for count in ticks]
        (line,) = axes.plot(ticks, [each.mean for each in found], "o-", label=name)
        low = [each.mean if each.low is None else each.low for each in found]
        high = [each.mean if each.high is None else each.high for each in found]
        axes.fill_between(ticks, low, high, alpha=0.2, color=line.get_color())
    for k, (name, values) in enumerate(lines.items()):
        middle = estimate_iqm(values, np.random.default_rng(0)).mean
        axes.axhline(middle, linestyle=("--", ":", "-.")[k % 3], color="0.4", label=name)
    axes.axhline(1.0, color="0.8", zorder=0)
    axes.set_xscale("log")
    every = sorted({count for counts in by_count.values() for count in counts})
    axes.set_xticks(every, [str(count) for count in every])
    axes.minorticks_off()
    axes.set_xlabel("demonstrations")
    axes.set_ylabel("return: 0 random, 1 expert")
    axes.legend(frameon=False)
    _save(figure, path, comment)


def plot_curves(
    curves: Mapping[str, Sequence[Curve]], bar: float | None, path: Path, comment: str
) -> None:
    """Draw learning curves: the median over seeds, and all between the lowest and the highest.

    Args:
        curves: Of each learner one per seed; their evaluations need not be at the same steps.
        bar: A return to mark, None for none.
        path: Where to, a PNG.
        comment: Kept in the file: what made it.
    """
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for name, seeds in curves.items():
        last = min(points[-1][0] for points in seeds)
        at = np.unique([steps for points in seeds for steps, _ in points if steps <= last])
        rows = np.array([_between(points, at) for points in seeds])
        (line,) = axes.plot(at, np.median(rows, axis=0), label=name)
        low, high = rows.min(axis=0), rows.max(axis=0)
        axes.fill_between(at, low, high, alpha=0.15, color=line.get_color())
    if bar is not None:
        axes.axhline(bar, linestyle="--", color="0.6", zorder=0)
    axes.set_xlabel("environment steps")
    axes.set_ylabel("mean return of an evaluation")
    axes.legend(frameon=False)
    _save(figure, path, comment)


def _between(points: Curve, at: np.ndarray) -> np.ndarray:
    """Return a curve's returns at other steps, on straight lines between its own."""
    steps, scores = np.array(points).T
    return np.interp(at, steps, scores)


def _save(figure: Figure, path: Path, comment: str) -> None:
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=110, metadata={"Comment": comment})
