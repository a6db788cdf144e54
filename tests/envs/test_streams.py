import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optional_torch import needs_torch, torch_arrays
from scipy import stats

from robolearn_envs.core.rng import philox, uniform

both_namespaces = pytest.mark.parametrize(
    "xp", [np, pytest.param(torch_arrays, marks=needs_torch)], ids=["numpy", "torch"]
)

ONES = 0xFFFFFFFF
# Random123's kat_vectors for philox4x32-10: counter, key, output.
PUBLISHED = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES,) * 4, (ONES,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def on(xp, words):
    return tuple(xp.asarray([word], dtype=xp.int64) for word in words)


def philox_of_the_paper(counter, key):
    """Philox4x32-10 on unbounded Python integers, written as in the paper's section 3.3."""
    (r0, l0, r1, l1), (k0, k1) = counter, key
    for _ in range(10):
        high0, low0 = divmod(r0 * 0xD2511F53, 2**32)
        high1, low1 = divmod(r1 * 0xCD9E8D57, 2**32)
        r0, l0, r1, l1 = high1 ^ l0 ^ k0, low1, high0 ^ l1 ^ k1, low0
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return [r0, l0, r1, l1]


@both_namespaces
@pytest.mark.parametrize(("counter", "key", "expected"), PUBLISHED)
def test_philox_gives_the_published_vectors(xp, counter, key, expected):
    assert [int(word[0]) for word in philox(on(xp, counter), on(xp, key))] == list(expected)


@both_namespaces
@settings(max_examples=50, deadline=None)
@given(words=st.lists(st.integers(0, ONES), min_size=6, max_size=6))
def test_philox_equals_the_papers_algorithm_on_python_integers(xp, words):
    counter, key = words[:4], words[4:]
    expected = philox_of_the_paper(counter, key)
    assert [int(word[0]) for word in philox(on(xp, counter), on(xp, key))] == expected


@both_namespaces
def test_uniform_is_philox_of_block_and_episode_under_the_key(xp):
    key, episode = 0x0123456789ABCDEF, 7
    words = philox_of_the_paper((0, episode, 0, 0), (key % 2**32, key // 2**32))
    words += philox_of_the_paper((1, episode, 0, 0), (key % 2**32, key // 2**32))
    expected = [(word + 0.5) / 2**32 for word in words[:6]]
    drawn = uniform(
        xp.asarray([key], dtype=xp.int64), xp.asarray([episode], dtype=xp.int64), draws=6
    )
    assert drawn[0].tolist() == expected


@pytest.fixture(scope="module")
def many():
    keys, episodes = np.meshgrid(np.arange(500), np.arange(20))
    return uniform(keys.ravel(), episodes.ravel(), draws=6)  # (10000, 6)


def test_draws_are_uniform_on_the_open_unit_interval(many):
    assert many.min() > 0.0
    assert many.max() < 1.0
    assert stats.kstest(many.ravel(), "uniform").pvalue > 1e-3


def test_draws_have_the_moments_of_a_uniform(many):
    # Mean 1/2 and variance 1/12 = 0.08333; over 60,000 draws their standard errors are
    # sqrt(1/12/60000) = 0.0012 and sqrt(1/180/60000) = 0.0003: allow four of each.
    assert many.mean() == pytest.approx(0.5, abs=0.005)
    assert many.var() == pytest.approx(1 / 12, abs=0.0012)


def test_draws_of_one_episode_are_uncorrelated(many):
    # The standard error of a correlation of 10,000 pairs is 0.01.
    off_diagonal = np.corrcoef(many.T) - np.eye(6)
    assert np.abs(off_diagonal).max() < 0.04


def test_neighboring_keys_and_episodes_are_uncorrelated(many):
    grid = many.reshape(20, 500, 6)
    keys = np.corrcoef(grid[:, :-1].ravel(), grid[:, 1:].ravel())[0, 1]
    episodes = np.corrcoef(grid[:-1].ravel(), grid[1:].ravel())[0, 1]
    assert abs(keys) < 0.02
    assert abs(episodes) < 0.02


def test_draws_do_not_depend_on_who_else_is_in_the_batch():
    keys, episodes = np.arange(100, 164), np.arange(64) % 5
    batch = uniform(keys, episodes, draws=5)
    for i in (0, 17, 63):
        alone = uniform(keys[i : i + 1], episodes[i : i + 1], draws=5)
        np.testing.assert_array_equal(batch[i], alone[0])


def test_asking_for_more_draws_keeps_the_first_ones():
    keys, episodes = np.arange(8), np.zeros(8, dtype=np.int64)
    few, more = uniform(keys, episodes, draws=4), uniform(keys, episodes, draws=9)
    np.testing.assert_array_equal(few, more[:, :4])


def test_all_64_bits_of_the_key_count():
    keys = np.array([1, 1 + 2**32, 1 + 2**62])
    draws = uniform(keys, np.zeros(3, dtype=np.int64), draws=1)[:, 0]
    assert len(set(draws)) == 3


@needs_torch
def test_torch_draws_what_numpy_draws():
    keys, episodes = np.arange(-3, 30), np.arange(33)
    expected = uniform(keys, episodes, draws=7)
    drawn = uniform(torch_arrays.asarray(keys), torch_arrays.asarray(episodes), draws=7)
    np.testing.assert_array_equal(drawn.numpy(), expected)
