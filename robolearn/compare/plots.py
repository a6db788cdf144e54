"""Figures of a comparison."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from robolearn.compare.cell import Cell, Point
from robolearn.compare.contestants import BATCH, SB3
from robolearn.compare.statistics import estimate_iqm, performance_profile
from robolearn.compare.summary import Row

Groups: TypeAlias = Mapping[str, Sequence[Cell]]

# Okabe and Ito's colors, which also people who see red and green alike can tell apart.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_PARTS = {
    "env": ("#0072B2", "environment"),
    "act": ("#E69F00", "acting"),
    "update": ("#999999", "updating"),
}
_GRID = 60  # points of a curve against seconds
_LEVELS = 100  # thresholds of a profile


class Look(NamedTuple):
    """How an agent is drawn."""

    color: str
    dashes: str


def looks_of(agents: Sequence[str]) -> dict[str, Look]:
    """Return each agent's look: ours solid, SB3's dashed in the color of its counterpart."""
    algorithms = [name.removeprefix("sb3-").removesuffix(BATCH) for name in agents]
    order = list(dict.fromkeys(algorithms))
    return {
        name: Look(
            _COLORS[order.index(algorithm) % len(_COLORS)],
            ":" if name.endswith(BATCH) else "--" if name in SB3 else "-",
        )
        for name, algorithm in zip(agents, algorithms, strict=True)
    }


def curves(groups: Groups, bar: float) -> Figure:
    """Draw learning curves against steps and against seconds: IQM over seeds and 95 % interval."""
    figure = Figure(figsize=(10.5, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _curves(left, groups, bar, lambda point: point.steps, "environment steps")
    _curves(right, groups, bar, lambda point: point.seconds, "seconds of training")
    left.set_ylabel("mean return of an evaluation")
    left.xaxis.set_major_formatter(lambda steps, _: f"{steps:,.0f}")
    figure.legend(
        *left.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False
    )
    return figure


def _curves(
    axes: Axes, groups: Groups, bar: float, measure: Callable[[Point], float], label: str
) -> None:
    looks = looks_of(list(groups))
    for name, cells in groups.items():
        at, table = _table([cell.curve for cell in cells], measure)
        found = [estimate_iqm(column, np.random.default_rng(0)) for column in table.T]
        axes.plot(
            at,
            [each.mean for each in found],
            label=name,
            color=looks[name].color,
            linestyle=looks[name].dashes,
        )
        low = [each.mean if each.low is None else each.low for each in found]
        high = [each.mean if each.high is None else each.high for each in found]
        axes.fill_between(at, low, high, alpha=0.15, color=looks[name].color, linewidth=0)
    axes.axhline(bar, color="0.6", linestyle="-.", linewidth=1, zorder=0)
    axes.set_xlabel(label)
    axes.set_xlim(left=0)
    _plain(axes)


def _table(
    seeds: Sequence[Sequence[Point]], measure: Callable[[Point], float]
) -> tuple[np.ndarray, np.ndarray]:
    """Return where the curves of all seeds are known, and their returns there, on straight lines.

    Returns:
        Shapes (K,) and (seeds, K).
    """
    x = [np.array([measure(point) for point in curve]) for curve in seeds]
    y = [np.array([point.mean_return for point in curve]) for curve in seeds]
    last = min(each[-1] for each in x)
    same = all(len(each) == len(x[0]) and (each == x[0]).all() for each in x)
    at = x[0] if same else np.linspace(max(each[0] for each in x), last, _GRID)
    return at, np.array([np.interp(at, *pair) for pair in zip(x, y, strict=True)])


def profiles(groups: Groups) -> Figure:
    """Draw performance profiles: which part of the final episodes returns more than a threshold."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    every = np.concatenate([cell.returns for cells in groups.values() for cell in cells])
    span = max(float(np.ptp(every)), 1e-9)
    thresholds = np.linspace(every.min() - 0.02 * span, every.max() + 0.02 * span, _LEVELS)
    looks = looks_of(list(groups))
    for name, cells in groups.items():
        table = np.array([cell.returns for cell in cells])
        found = performance_profile(table, thresholds, np.random.default_rng(0))
        axes.plot(
            thresholds,
            found.share,
            label=name,
            color=looks[name].color,
            linestyle=looks[name].dashes,
        )
        band = (found.low, found.high)
        axes.fill_between(thresholds, *band, alpha=0.15, color=looks[name].color, linewidth=0)
    axes.set_xlabel("return")
    axes.set_ylabel("part of episodes that return more")
    axes.set_ylim(-0.02, 1.02)
    axes.legend(frameon=False)
    _plain(axes)
    return figure


def intervals(rows: Sequence[Row]) -> Figure:
    """Draw the interquartile mean and interval of each agent."""
    figure = Figure(figsize=(7, 0.8 + 0.42 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    looks = looks_of([row.agent for row in rows])
    for k, row in enumerate(rows):
        middle, low, high = row.iqm_return
        if low is not None and high is not None:
            axes.plot(
                [low, high],
                [k, k],
                linewidth=9,
                alpha=0.3,
                solid_capstyle="butt",
                color=looks[row.agent].color,
            )
        axes.plot([middle], [k], "o", color=looks[row.agent].color)
    axes.set_yticks(range(len(rows)), [row.agent for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel("return: interquartile mean over seeds, 95 % interval")
    _plain(axes)
    axes.grid(axis="y", visible=False)
    return figure


def split(rows: Sequence[Row]) -> Figure:
    """Draw where the time of training went: seconds per 100,000 steps."""
    figure = Figure(figsize=(7, 1.0 + 0.42 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    for k, row in enumerate(rows):
        begin = 0.0
        for part, (color, label) in _PARTS.items():
            width = max(row.split[part], 0.0) * 1e5 / row.steps_per_s
            axes.barh(
                k, width, left=begin, color=color, label=label if k == 0 else None, height=0.62
            )
            begin += width
        axes.text(begin, k, f" {begin:.1f} s", va="center", fontsize="small")
    axes.set_yticks(range(len(rows)), [row.agent for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.margins(x=0.1)
    axes.set_xlabel("seconds per 100,000 steps")
    axes.legend(frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0)
    _plain(axes)
    axes.grid(axis="y", visible=False)
    return figure


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.92", linewidth=0.8)
    axes.set_axisbelow(True)
