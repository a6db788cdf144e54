"""Means, intervals and interquartile means over seeds."""

import numpy as np
import pytest

from robolearn.compare.statistics import estimate, interquartile_mean


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


def test_the_interval_leaves_a_fortieth_out_on_either_side(rng):
    # Means of 6 draws from {0, 1}: 0 and 6/6 have probability 1/64 = 1.6 % each, less than 2.5 %,
    # and 1/6 and 5/6 have 6/64 = 9.4 % each. So the interval goes from 1/6 to 5/6.
    low, high = estimate([0.0, 0.0, 0.0, 1.0, 1.0, 1.0], rng)[1:]
    assert (low, high) == (pytest.approx(1 / 6), pytest.approx(5 / 6))


def test_the_interval_holds_the_mean_and_scales_with_the_values(rng):
    values = [10.0, 20.0, 60.0, 70.0]
    mean, low, high = estimate(values, np.random.default_rng(1))
    assert mean == 40.0
    assert 10.0 < low < 40.0 < high < 70.0
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
    assert 0.88 < covered / 300 < 0.98
