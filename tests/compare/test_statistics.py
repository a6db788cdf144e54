"""Interquartile means, intervals, profiles, probabilities and censored times over seeds."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from robolearn.compare.statistics import (
    estimate,
    estimate_iqm,
    exchange_p,
    holm,
    interquartile_mean,
    least_p,
    performance_profile,
    probability_of_improvement,
    reached,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# Of eight values two are cut off at each end: (3 + 4 + 5 + 9) / 4 = 5.25. Of five it is one:
# (2 + 3 + 7) / 3 = 4. Of three it is none: (0 + 0 + 6) / 3 = 2.
@pytest.mark.parametrize(
    ("values", "expected"),
    [([100, 3, 9, 1, 4, -50, 5, 80], 5.25), ([2, 90, 3, 7, -9], 4.0), ([0, 6, 0], 2.0)],
)
def test_the_interquartile_mean_cuts_a_quarter_off_each_end(values, expected):
    assert interquartile_mean(values) == pytest.approx(expected)


def test_the_interval_is_that_of_all_resamples(rng):
    # Resamples of (0, 1) are 00, 01, 10, 11 with means 0, 0.5, 0.5, 1, a quarter of them at each
    # end: more than the 2.5 % the interval leaves out on either side.
    assert estimate([0.0, 1.0], rng) == (0.5, 0.0, 1.0)


def test_tails_of_means_are_widened_as_hesterberg_says(rng):
    # Of six seeds Student's 97.5 % point is 2.571, widened by sqrt(6 / 5) to 2.816, beyond which
    # the normal distribution has 0.24 %. Means of 6 draws from {0, 1} are 0 and 1 with probability
    # 1/64 = 1.6 % each. So the interval, which would end at 1/6 and 5/6 with 2.5 %, goes from 0 to
    # 1.
    assert stats.norm.cdf(-stats.t.ppf(0.975, 5) * math.sqrt(6 / 5)) == pytest.approx(0.0024, 0.02)
    assert estimate([0.0, 0.0, 0.0, 1.0, 1.0, 1.0], rng)[1:] == (0.0, 1.0)


def test_ends_of_the_interval_are_quantiles_of_all_resamples(rng):
    # An oracle: all 5 ** 5 resamples, and the tail by its definition.
    values = [1.0, 2.0, 4.0, 8.0, 16.0]
    means = np.sort([np.mean(drawn) for drawn in itertools.product(values, repeat=5)])
    tail = stats.norm.cdf(-stats.t.ppf(0.975, 4) * math.sqrt(5 / 4))
    low, high = estimate(values, rng)[1:]
    assert means[round(0.5 * tail * len(means))] <= low <= means[math.ceil(2 * tail * len(means))]
    upper = means[::-1]
    assert upper[math.ceil(2 * tail * len(means))] <= high <= upper[round(0.5 * tail * len(means))]


def test_the_interval_holds_the_mean_and_scales_with_the_values(rng):
    values = [10.0, 20.0, 30.0, 35.0, 45.0, 50.0, 60.0, 70.0]
    mean, low, high = estimate(values, np.random.default_rng(1))
    assert mean == 40.0
    assert 15.0 < low < 30.0  # 1.96 standard errors of 7 below, 3 at most
    assert 50.0 < high < 65.0
    scaled = estimate([3 * value for value in values], np.random.default_rng(1))
    assert scaled == pytest.approx((120.0, 3 * low, 3 * high))


def test_same_generator_same_interval():
    values = [1.0, 5.0, 2.0, 9.0]
    first, again = (estimate(values, np.random.default_rng(7)) for _ in range(2))
    assert first == again


def test_seeds_that_agree_have_an_interval_of_no_width(rng):
    assert estimate([500.0, 500.0, 500.0], rng) == (500.0, 500.0, 500.0)


def test_one_seed_has_no_interval(rng):
    assert estimate([3.0], rng) == (3.0, None, None)


def test_the_interval_of_twenty_seeds_covers_what_its_docstring_says(rng):
    covered = 0
    for _ in range(300):
        _, low, high = estimate(rng.normal(5.0, 2.0, size=20).tolist(), rng)
        covered += low <= 5.0 <= high
    # 93 % of 300 with a standard deviation of 1.5 %.
    assert 0.88 < covered / 300 < 0.99


def test_the_iqm_of_several_tasks_takes_all_scores_together():
    # Three runs of four tasks, 12 scores: 3 are cut off at each end, 1 2 2 and 8 9 90, and the
    # mean of 3 3 4 5 6 7 is 28 / 6.
    scores = np.array([[3, 1, 90, 5], [9, 2, 2, 6], [3, 4, 7, 8]])
    assert interquartile_mean(scores) == pytest.approx(28 / 6)
    assert estimate_iqm(scores, np.random.default_rng(0)).mean == pytest.approx(28 / 6)


def test_resamples_of_an_iqm_are_drawn_within_each_task(rng):
    # Two tasks whose scores do not vary among runs: whoever draws runs within a task always draws
    # the same. Drawn over all scores they would not be.
    assert estimate_iqm(np.array([[1.0, 9.0]] * 4), rng) == (5.0, 5.0, 5.0)


def coverage(runs, tasks, draws, draw, true):
    rng = np.random.default_rng(runs + 100 * tasks)
    held = 0
    for _ in range(draws):
        _, low, high = estimate_iqm(draw(rng, (runs, tasks)), rng)
        held += low <= true <= high
    return held / draws


def normal(rng, shape):
    return rng.normal(size=shape)


# The mean of the middle half of an exponential distribution: that of -log(1 - p) for p from 1/4
# to 3/4, 2 * integral = 2 * [(1 - p) * log(1 - p) - (1 - p)] = 0.7384.
MIDDLE = 2 * ((0.25 * math.log(0.25) - 0.25) - (0.75 * math.log(0.75) - 0.75))


def exponential(rng, shape):
    return rng.exponential(size=shape)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("runs", "tasks", "draw", "true"),
    [(5, 1, normal, 0.0), (20, 1, exponential, MIDDLE)],
)
def test_intervals_of_the_iqm_cover_it_in_93_to_97_percent_of_1000_draws(runs, tasks, draw, true):
    assert pytest.approx(0.7384, abs=1e-4) == MIDDLE
    assert 0.93 <= coverage(runs, tasks, 1000, draw, true) <= 0.97


def test_the_probability_of_improvement_counts_pairs_and_half_the_draws(rng):
    # 3 beats 1 and 2 and draws with 3; 1 draws with 1: (2.5 + 0.5) / 6 pairs.
    found = probability_of_improvement([3.0, 1.0], [1.0, 2.0, 3.0], rng)
    assert found.mean == pytest.approx(3 / 6)
    ours, theirs = rng.normal(size=(2, 9))
    u = stats.mannwhitneyu(ours, theirs).statistic
    assert probability_of_improvement(ours, theirs, rng).mean == pytest.approx(u / 81)


def test_a_sure_improvement_has_no_interval_to_speak_of_and_one_run_none_at_all(rng):
    assert probability_of_improvement([5.0, 6.0, 7.0], [1.0, 2.0, 3.0], rng) == (1.0, 1.0, 1.0)
    assert probability_of_improvement([5.0], [1.0, 2.0, 3.0], rng) == (1.0, None, None)


def test_the_probability_of_improvement_has_an_interval_around_it(rng):
    share, low, high = probability_of_improvement(np.arange(10.0), np.arange(10.0) - 1, rng)
    # 10 > 9 > ... : i beats j - 1 for j <= i, a draw for j = i + 1: (55 + 9 / 2) / 100.
    assert share == pytest.approx(0.595)
    assert 0.2 < low < share < high < 0.95


def test_an_exchange_of_names_is_counted_exactly(rng):
    # 10 ways to divide 5 values 3 to 2; {1, 2, 3} | {8, 9} is the largest difference of means,
    # {3, 8, 9} | {1, 2} the next one with 6.67 - 1.5 = 5.17 < 8.5 - 2 = 6.5. So 1 of 10 on one
    # side, twice that for both.
    assert exchange_p([8.0, 9.0], [1.0, 2.0, 3.0], rng) == pytest.approx(2 / 10)
    assert exchange_p([4.0, 4.0, 4.0], [4.0, 4.0, 4.0], rng) == 1.0


def test_of_many_exchanges_a_sample_is_counted(rng):
    # Of 20 values two are 1, both of them ours. A random half of the 20 holds both or none in
    # 2 * (10 / 20) * (9 / 19) = 47.4 % of all cases, here of 10,000 with a deviation of 0.5 %.
    ours, theirs = [1.0, 1.0, *[0.0] * 8], [0.0] * 10
    assert exchange_p(ours, theirs, rng) == pytest.approx(9 / 19, abs=4 * 0.005)


@pytest.mark.parametrize(("runs", "expected"), [(2, 2 / 6), (3, 2 / 20), (5, 2 / 252)])
def test_no_overlap_has_the_least_p(rng, runs, expected):
    ours, theirs = np.arange(runs) + 100.0, np.arange(runs) * 1.0
    assert least_p(runs, runs) == pytest.approx(expected)
    assert exchange_p(ours, theirs, rng) == pytest.approx(expected)


def test_holms_correction_multiplies_by_what_is_left_and_never_falls():
    # In order: 0.01 * 4, 0.02 * 3, 0.022 * 2 = 0.044 < 0.06, 0.9 * 1.
    assert holm([0.02, 0.9, 0.01, 0.022]) == pytest.approx([0.06, 0.9, 0.04, 0.06])
    assert holm([0.7, 0.8]) == [1.0, 1.0]


def test_a_profile_tells_how_many_episodes_return_more():
    scores = np.array([[1.0, 2.0, 3.0, 4.0], [3.0, 3.0, 5.0, 9.0]])
    found = performance_profile(scores, np.array([0.0, 3.0, 4.5, 9.0]), np.random.default_rng(0))
    # More than 3: one of four and two of four; more than 4.5: none and two; more than 9: none.
    np.testing.assert_allclose(found.share, [1, 3 / 8, 1 / 4, 0])
    np.testing.assert_allclose(found.low, [1, 1 / 4, 0, 0])
    np.testing.assert_allclose(found.high, [1, 1 / 2, 1 / 2, 0])


def test_runs_that_never_came_there_count_as_later_ones():
    assert reached([5.0, None, 1.0]) == (2, 3, 5.0)
    assert reached([5.0, 1.0, None, None]) == (2, 4, None)  # half of them: beyond the end
    assert reached([4.0, 2.0]) == (2, 2, 3.0)
    assert reached([None]) == (0, 1, None)
