"""What a comparison's cells say: a row for each agent, and what can be claimed of pairs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from robolearn.compare.cell import Cell, Point
from robolearn.compare.contestants import BATCH, SB3
from robolearn.compare.statistics import (
    Estimate,
    Reached,
    estimate,
    estimate_iqm,
    exchange_p,
    holm,
    interquartile_mean,
    least_p,
    probability_of_improvement,
    reached,
)

LEVEL = 0.05
"""Probability of claiming any difference where there is none, of all pairs together."""
GOOD = 0.9
"""Part of the way from untrained to the best that makes the usual threshold."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """An agent over its seeds."""

    agent: str
    actions: str
    seeds: int
    iqm_return: Estimate
    """Interquartile mean of the seeds' mean returns."""
    mean_return: float
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
    split: dict[str, float]
    """Medians of the parts of training that 'env', 'act' and 'update' took."""
    to_steps: Reached
    """Steps to the threshold."""
    to_seconds: Reached
    """Seconds of training to the threshold."""
    source: str


def by_agent(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    """Return the cells of each agent by seed, agents in the order of their first cells."""
    groups: dict[str, list[Cell]] = {}
    for cell in sorted(cells, key=lambda cell: cell.seed):
        groups.setdefault(cell.agent, []).append(cell)
    return {cell.agent: groups[cell.agent] for cell in cells}


def threshold(cells: Sequence[Cell]) -> float:
    """Return the usual threshold: nine tenths of the way from untrained to the best agent.

    Of evaluations on the way, which are all on the same episodes.
    """
    untrained = float(np.mean([cell.curve[0].mean_return for cell in cells]))
    best = max(
        interquartile_mean([cell.curve[-1].mean_return for cell in own])
        for own in by_agent(cells).values()
    )
    return untrained + GOOD * (best - untrained)


def summarize(cells: Sequence[Cell], bar: float, rng: np.random.Generator) -> list[Row]:
    """Return a row for each agent, in the order of their first cells.

    Args:
        cells: Of one comparison, in any order.
        bar: Return to be reached.
        rng: Draws the resamples of the intervals.
    """
    return [_row(own, bar, rng) for own in by_agent(cells).values()]


def _row(cells: Sequence[Cell], bar: float, rng: np.random.Generator) -> Row:
    returns = [cell.mean_return for cell in cells]
    rates = [cell.success_rate for cell in cells if cell.success_rate is not None]
    paths = [cell.details["spl"] for cell in cells if "spl" in cell.details]
    there = [_first(cell.curve, bar) for cell in cells]
    return Row(
        agent=cells[0].agent,
        actions=cells[0].actions,
        seeds=len(cells),
        iqm_return=estimate_iqm(returns, rng),
        mean_return=float(np.mean(returns)),
        success=estimate(rates, rng) if rates else None,
        spl=estimate(paths, rng) if paths else None,
        steps=median(cell.steps for cell in cells),
        wall_s=median(cell.wall_s for cell in cells),
        steps_per_s=median(cell.steps_per_s for cell in cells),
        split=_split(cells),
        to_steps=reached([None if point is None else point.steps for point in there]),
        to_seconds=reached([None if point is None else point.seconds for point in there]),
        source=cells[0].source,
    )


def _first(curve: Sequence[Point], bar: float) -> Point | None:
    """Return the first evaluation that reached the bar."""
    return next((point for point in curve if point.mean_return >= bar), None)


def _split(cells: Sequence[Cell]) -> dict[str, float]:
    parts = {
        name: median(cell.split.get(name, 0.0) / cell.wall_s for cell in cells)
        for name in ("env", "update")
    }
    return {"env": parts["env"], "act": 1 - sum(parts.values()), "update": parts["update"]}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What can be said of one agent beside another."""

    ours: str
    theirs: str
    returns: tuple[Estimate, Estimate]
    """IQM of either."""
    difference: Estimate
    """Mean over seeds of ours minus theirs, each seed's environments being the same."""
    better: Estimate
    """Probability that a run of ours beats one of theirs."""
    p: float
    """Of as large a difference by chance, corrected for the number of pairs; 1 where one of them
    has a single run."""
    seeds: tuple[int, int]
    """Runs of either."""
    pairs: int
    """Pairs that are looked at in all."""
    time: float
    """Median over seeds of our training time, theirs being 1."""
    ahead: bool
    """Whether ours returns more on average over all its runs."""

    @property
    def claimed(self) -> bool:
        """Whether one is better than the other beyond chance."""
        return self.p < LEVEL

    @property
    def too_few(self) -> bool:
        """Whether not even runs without any overlap would show a difference."""
        return not self.claimed and self.pairs * least_p(*self.seeds) >= LEVEL


def seeds_needed(pairs: int) -> int:
    """Return from how many seeds each on a difference can be shown, if that many pairs are seen."""
    return next(n for n in range(2, 100) if pairs * least_p(n, n) < LEVEL)


def pairs_of(agents: Sequence[str]) -> list[tuple[str, str]]:
    """Return who is held against whom: ours against SB3's of the same algorithm.

    Where there is no such pair each is held against the first one named.
    """
    found = []
    for ours in agents:
        twins = [name for name in (f"sb3-{ours}", f"sb3-{ours}{BATCH}") if name in agents]
        if ours not in SB3 and twins:
            found.append((ours, twins[0]))
    return found or [(agents[0], other) for other in agents[1:]]


def verdicts(cells: Sequence[Cell], rng: np.random.Generator) -> list[Verdict]:
    """Return what can be said of each pair.

    Args:
        cells: Of one comparison.
        rng: Draws resamples and exchanges.
    """
    groups = by_agent(cells)
    pairs = pairs_of(list(groups))
    p = [_chance(groups[ours], groups[theirs], rng) for ours, theirs in pairs]
    return [
        _verdict(groups[ours], groups[theirs], corrected, len(pairs), rng)
        for (ours, theirs), corrected in zip(pairs, holm(p), strict=True)
    ]


def _chance(ours: Sequence[Cell], theirs: Sequence[Cell], rng: np.random.Generator) -> float:
    if min(len(ours), len(theirs)) < 2:
        return 1.0
    mine, other = ([cell.mean_return for cell in each] for each in (ours, theirs))
    return exchange_p(mine, other, rng)


def _verdict(
    ours: Sequence[Cell], theirs: Sequence[Cell], p: float, pairs: int, rng: np.random.Generator
) -> Verdict:
    mine, other = ([cell.mean_return for cell in each] for each in (ours, theirs))
    partner = {cell.seed: cell for cell in theirs}
    paired = [(cell, partner[cell.seed]) for cell in ours if cell.seed in partner]
    gaps = [a.mean_return - b.mean_return for a, b in paired]
    times = [a.wall_s / b.wall_s for a, b in paired]
    return Verdict(
        ours=ours[0].agent,
        theirs=theirs[0].agent,
        returns=(estimate_iqm(mine, rng), estimate_iqm(other, rng)),
        difference=estimate(gaps, rng) if gaps else Estimate(math.nan, None, None),
        better=probability_of_improvement(mine, other, rng),
        p=p,
        seeds=(len(mine), len(other)),
        pairs=pairs,
        time=median(times) if times else math.nan,
        ahead=float(np.mean(mine)) > float(np.mean(other)),
    )
