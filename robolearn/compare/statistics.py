"""Figures over seeds: means with intervals, and the interquartile mean."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
"""Coverage the intervals aim at."""

_RESAMPLES = 10_000


class Estimate(NamedTuple):
    """A mean over seeds with its interval."""

    mean: float
    low: float | None
    """Lower end of the 95 % interval; None where one seed leaves nothing to estimate it from."""
    high: float | None
    """Upper end."""


def estimate(values: Sequence[float], rng: np.random.Generator) -> Estimate:
    """Return the mean of the seeds' values and its percentile bootstrap interval (Efron, 1979).

    With few seeds the interval is too short: a percentile bootstrap of 5 values holds the true
    mean in about 84 % of all cases, of 10 in 89 %, of 20 in 93 % (normal values, 3000 trials).

    Args:
        values: One per seed, at least one.
        rng: Draws the resamples.
    """
    mean = float(np.mean(values))
    if len(values) < 2:
        return Estimate(mean, None, None)
    interval = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=_RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=rng,
    ).confidence_interval
    return Estimate(mean, float(interval.low), float(interval.high))


def estimate_iqm(values: Sequence[float], rng: np.random.Generator) -> Estimate:
    """Return the interquartile mean of the seeds' values and its percentile bootstrap interval.

    Args:
        values: One per seed, at least one.
        rng: Draws the resamples.
    """
    middle = interquartile_mean(values)
    if len(values) < 2:
        return Estimate(middle, None, None)
    drawn = np.asarray(values)[rng.integers(len(values), size=(_RESAMPLES, len(values)))]
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(stats.trim_mean(drawn, 0.25, axis=1), (tail, 100 - tail))
    return Estimate(middle, float(low), float(high))


def interquartile_mean(values: Sequence[float]) -> float:
    """Return the mean of the middle half, a quarter cut off at each end (Agarwal et al., 2021).

    A quarter is rounded down, so that of three values or fewer nothing is cut off.
    """
    return float(stats.trim_mean(values, 0.25))
