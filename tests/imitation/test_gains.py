"""Figures of learning curves, worked out by hand."""

import json
import math

import pytest

from robolearn.errors import RobolearnError
from robolearn.imitation.gains import dip, gains, normalized, read_curve, saved, steps_to

CURVE = [(0, 80.0), (100, 60.0), (200, 90.0), (300, 100.0)]


def test_a_curve_is_told_by_its_start_end_dip_retention_and_steps():
    # It falls from 80 to 60, a quarter of the start; 100 / 80 = 1.25; 85 is first passed at 200.
    assert gains(CURVE, 85.0) == (80.0, 100.0, 0.25, 1.25, 200.0)


def test_a_curve_that_never_falls_has_no_dip():
    assert dip([(0, 3.0), (1, 3.0), (2, 4.0)]) == 0.0


def test_a_dip_below_a_negative_start_counts_in_its_magnitude():
    # From -4 to -6 is half of 4.
    assert dip([(0, -4.0), (1, -6.0)]) == 0.5


def test_a_threshold_that_is_there_at_the_start_takes_no_steps():
    assert steps_to(CURVE, 80.0) == 0.0


def test_a_threshold_that_is_never_reached_takes_for_ever():
    assert steps_to(CURVE, 101.0) == math.inf


@pytest.mark.parametrize(
    ("steps", "scratch", "expected"),
    [
        (25.0, 100.0, 0.75),
        (0.0, 100.0, 1.0),
        (150.0, 100.0, 0.0),
        (math.inf, 100.0, 0.0),
        (10.0, math.inf, 1.0),
        (math.inf, math.inf, 0.0),
    ],
)
def test_what_is_saved_is_a_part_of_the_steps_from_scratch(steps, scratch, expected):
    assert saved(steps, scratch) == expected


def test_returns_are_put_between_random_actions_and_the_expert():
    # 30 is a quarter of the way from 10 to 90.
    assert normalized(30.0, random=10.0, expert=90.0) == 0.25


def test_an_expert_no_better_than_chance_is_no_scale():
    with pytest.raises(RobolearnError, match="must be above that of random actions, got 5 and 5"):
        normalized(1.0, random=5.0, expert=5.0)


def test_a_curve_is_read_from_the_evaluations_of_a_run(tmp_path):
    rows = [
        {"steps": 0, "eval/mean_reward": 2.5},
        {"steps": 64, "train/loss": 0.1},
        {"steps": 128, "eval/mean_reward": 3.5, "eval/success_rate": 0.5},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_curve(tmp_path) == [(0, 2.5), (128, 3.5)]


def test_a_folder_without_evaluations_has_no_curve(tmp_path):
    with pytest.raises(RobolearnError, match="holds no evaluations"):
        read_curve(tmp_path)
