"""Rows, thresholds and verdicts of cells made by hand."""

import numpy as np
import pytest
from small_cells import cell, cells

from robolearn.compare.report import notes, sentence
from robolearn.compare.summary import (
    by_agent,
    pairs_of,
    seeds_needed,
    summarize,
    threshold,
    verdicts,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_agents_stay_in_their_order_and_their_cells_are_by_seed():
    mixed = [cell("dqn", 1), cell("ppo", 1), cell("ppo", 0), cell("dqn", 0)]
    assert {name: [each.seed for each in own] for name, own in by_agent(mixed).items()} == {
        "dqn": [0, 1],
        "ppo": [0, 1],
    }
    assert list(by_agent(mixed)) == ["dqn", "ppo"]


def test_the_usual_threshold_is_nine_tenths_of_the_way_from_untrained_to_the_best():
    ends = {("ppo", 0): (0, 100), ("ppo", 1): (20, 130), ("dqn", 0): (10, 50), ("dqn", 1): (30, 90)}
    made = [
        cell(*who, curve=((0, 0.0, first), (1000, 1.0, last)))
        for who, (first, last) in ends.items()
    ]
    # Untrained all return 15 on average; ppo ends at 115, dqn at 70: 15 + 0.9 * (115 - 15).
    assert threshold(made) == pytest.approx(105.0)


def test_a_row_sums_up_an_agents_seeds(rng):
    names = ("mean_return", "success_rate", "wall_s", "steps_per_s", "steps", "details", "split")
    figures = [
        (10.0, 0.0, 8.0, 125.0, 1000, {"spl": 0.0}, {"env": 2.0, "update": 2.0}),
        (40.0, 1.0, 1.0, 1100.0, 1100, {"spl": 0.9}, {"env": 0.5, "update": 0.125}),
        (40.0, 0.5, 2.0, 500.0, 1000, {"spl": 0.3}, {"env": 0.2, "update": 1.0}),
    ]
    made = [cell("ppo", k, **dict(zip(names, each, strict=True))) for k, each in enumerate(figures)]
    (row,) = summarize(made, 1000.0, rng)
    assert (row.agent, row.seeds) == ("ppo", 3)
    assert row.mean_return == pytest.approx(30.0)
    assert row.iqm_return.mean == pytest.approx(30.0)  # a quarter of three seeds is none
    assert row.iqm_return[1:] == (10.0, 40.0)
    assert row.success.mean == pytest.approx(0.5)
    assert row.spl.mean == pytest.approx(0.4)
    assert (row.steps, row.wall_s, row.steps_per_s) == (1000, 2.0, 500.0)  # medians
    # Parts: env 0.25, 0.5, 0.1, update 0.25, 0.125, 0.5; what is left of the medians is acting.
    assert row.split == {"env": 0.25, "act": 0.5, "update": 0.25}


def test_an_outlier_counts_for_the_mean_and_not_for_the_iqm(rng):
    (row,) = summarize(cells("ppo", [1.0, 2.0, 3.0, 4.0, 90.0]), 1000.0, rng)
    assert (row.mean_return, row.iqm_return.mean) == (20.0, 3.0)


def test_what_the_environment_does_not_say_is_in_no_row(rng):
    (row,) = summarize([cell()], 1000.0, rng)
    assert (row.success, row.spl) == (None, None)


def reaching(*when):
    """Return cells whose evaluation reached 50 after so many steps, half as many seconds later."""
    curves = [
        ((0, 0.0, 0.0), (100, 50.0, 49.9), (n, n / 2, 50.0), (900, 450.0, 10.0))
        if n
        else ((0, 0.0, 0.0), (900, 450.0, 49.9))
        for n in when
    ]
    return [cell("ppo", seed, curve=curve) for seed, curve in enumerate(curves)]


# Medians of 200, 400 and later are 400; half way between 200 and later is later.
@pytest.mark.parametrize(
    ("when", "runs", "steps", "seconds"),
    [
        ((200, 300, 400), 3, 300, 150.0),
        ((200, None, 400), 2, 400, 200.0),
        ((200, None), 1, None, None),
        ((None,), 0, None, None),
    ],
)
def test_runs_that_never_reached_the_bar_count_as_later_ones(when, runs, steps, seconds, rng):
    (row,) = summarize(reaching(*when), 50.0, rng)
    assert row.to_steps == (runs, len(when), steps)
    assert row.to_seconds == (runs, len(when), seconds)


@pytest.mark.parametrize(
    ("agents", "pairs"),
    [
        (("ppo",), []),
        (("ppo", "sb3-ppo", "sb3-ppo-batch"), [("ppo", "sb3-ppo")]),
        (("sb3-ppo-batch", "ppo"), [("ppo", "sb3-ppo-batch")]),
        (
            ("dqn", "ppo", "sb3-ppo", "sb3-dqn", "a2c"),
            [("dqn", "sb3-dqn"), ("ppo", "sb3-ppo")],
        ),
        (("pqn", "dqn", "sb3-ppo"), [("pqn", "dqn"), ("pqn", "sb3-ppo")]),
        (("sb3-ppo", "sb3-ppo-batch"), [("sb3-ppo", "sb3-ppo-batch")]),
    ],
)
def test_ours_are_held_against_sb3s_of_the_same_algorithm_else_all_against_the_first(agents, pairs):
    assert pairs_of(agents) == pairs


GOOD, BAD = [110.0, 120.0, 130.0, 140.0, 150.0], [10.0, 20.0, 30.0, 40.0, 50.0]


def test_a_verdict_by_hand(rng):
    both = cells("ppo", GOOD, wall_s=2.0) + cells("sb3-ppo", BAD, wall_s=8.0)
    (found,) = verdicts(both, rng)
    assert [each.mean for each in found.returns] == [130.0, 30.0]
    assert found.difference == (100.0, 100.0, 100.0)
    assert found.better == (1.0, 1.0, 1.0)
    # Of 252 ways to give the names to ten runs, this and its reverse are as extreme.
    assert found.p == pytest.approx(2 / 252)
    assert found.claimed
    assert not found.too_few
    assert (found.seeds, found.pairs, found.time) == ((5, 5), 1, 0.25)


def test_p_is_corrected_for_the_number_of_pairs(rng):
    both = cells("ppo", GOOD) + cells("sb3-ppo", BAD) + cells("dqn", GOOD) + cells("sb3-dqn", BAD)
    assert [each.p for each in verdicts(both, rng)] == pytest.approx([4 / 252, 4 / 252])


def test_only_seeds_that_both_have_are_paired(rng):
    ours = [cell("ppo", 0, mean_return=100.0), cell("ppo", 1, mean_return=7.0, wall_s=3.0)]
    theirs = [cell("sb3-ppo", 1, mean_return=4.0), cell("sb3-ppo", 2, mean_return=0.0)]
    (found,) = verdicts(ours + theirs, rng)
    assert found.difference.mean == 3.0
    assert found.time == 1.5
    assert found.better.mean == 1.0  # of all runs


# Chance of the most extreme outcome: 2/20 with 3 runs each, 2/70 with 4, 2/252 with 5, 2/924 with
# 6; of two pairs 4/70 > 5 %, of seven 14/252 > 5 %.
@pytest.mark.parametrize(("pairs", "seeds"), [(1, 4), (2, 5), (6, 5), (7, 6)])
def test_how_many_seeds_it_takes(pairs, seeds):
    assert seeds_needed(pairs) == seeds


def test_too_few_seeds_are_said_to_be_too_few_and_how_many_it_takes(rng):
    one = verdicts(cells("ppo", [100.0]) + cells("sb3-ppo", [1.0], wall_s=4.0), rng)[0]
    assert sentence(one) == (
        "ppo returns 100.0, sb3-ppo 1.0 (interquartile means): 1 seed cannot show a difference, "
        "however large: it takes 4 each. Training was 2.0 times as fast."
    )
    three = verdicts(cells("ppo", GOOD[:3]) + cells("sb3-ppo", BAD[:3]), rng)[0]
    assert three.too_few
    assert not three.claimed
    assert "3 seeds cannot show a difference, however large: it takes 4 each" in sentence(three)


def test_a_difference_beyond_chance_is_claimed_either_way(rng):
    (better,) = verdicts(cells("ppo", GOOD) + cells("sb3-ppo", BAD, wall_s=1.0), rng)
    assert sentence(better) == (
        "ppo returns 130.0, sb3-ppo 30.0 (interquartile means): ppo is better, by 100.0 [100.0, "
        "100.0] on average over paired seeds (p = 0.0079); a run of ppo beats one of sb3-ppo with "
        "probability 1.00. Training took 2.0 times as long."
    )
    (worse,) = verdicts(cells("ppo", BAD) + cells("sb3-ppo", GOOD), rng)
    assert "ppo is worse, by -100.0 [-100.0, -100.0] on average" in sentence(worse)
    assert "beats one of sb3-ppo with probability 0.00" in sentence(worse)


def test_a_difference_that_chance_would_do_is_not_claimed(rng):
    (found,) = verdicts(cells("ppo", GOOD) + cells("sb3-ppo", GOOD), rng)
    assert not found.claimed
    assert "no difference can be claimed from 5 seeds (p = 1)" in sentence(found)
    assert "with probability 0.50" in sentence(found)
    assert "better" not in sentence(found)


def test_without_a_seed_in_common_there_is_no_word_of_time(rng):
    (found,) = verdicts([cell("ppo", 0), cell("sb3-ppo", 1)], rng)
    assert "Training" not in sentence(found)


def said_of(made, rng, failures=()):
    return " ".join(notes(summarize(made, 50.0, rng), 50.0, failures))


def test_one_seed_is_said_to_have_no_interval(rng):
    said = said_of([cell()], rng)
    assert said.startswith("One seed has no interval.")
    assert "bootstrap" not in said


def test_few_seeds_unlike_actions_and_more_steps_are_pointed_out(rng):
    ours = cells("ppo", [1.0, 2.0], actions="continuous")
    said = said_of(ours + cells("sb3-dqn", [1.0, 2.0], steps=1021), rng)
    assert "Intervals of 2 seeds are too short: read them as ranges." in said
    assert "Not all act alike: sb3-dqn with discrete actions." in said
    assert "SB3 finishes the rollout it is in: more steps for sb3-dqn." in said
    assert "The bar is a return of 50.0" in said


def test_nothing_is_pointed_out_of_many_like_seeds(rng):
    said = said_of(cells("ppo", GOOD) + cells("sb3-ppo", BAD, steps=1020), rng)
    for words in ("too short", "act alike", "finishes the rollout", "broke down", "no interval"):
        assert words not in said
