"""Hyper-parameters next to each other."""

import pytest
from small_cells import cell

from robolearn.compare.report import NONE
from robolearn.compare.settings import settings


def table(*pairs):
    found = settings([cell(name, hyper=hyper) for name, hyper in pairs])
    return {each.name: each.values for each in found}


@pytest.mark.parametrize(
    ("agent", "theirs", "ours"),
    [
        ("sb3-ppo", "batch_size", "minibatch"),
        ("sb3-ppo", "n_epochs", "epochs"),
        ("sb3-ppo-batch", "n_steps", "rollout_steps"),
        ("sb3-ppo", "clip_range", "clip"),
        ("sb3-a2c", "ent_coef", "entropy"),
        ("sb3-dqn", "batch_size", "batch"),
        ("sb3-dqn-batch", "buffer_size", "capacity"),
        ("sb3-dqn", "learning_starts", "warmup"),
        ("sb3-dqn", "train_freq", "collect_steps"),
    ],
)
def test_what_sb3_calls_otherwise_has_our_name(agent, theirs, ours):
    assert table((agent, {theirs: 7})) == {ours: ("7",)}


def test_our_own_names_are_left_as_they_are():
    assert table(("dqn", {"batch_size": 7})) == {"batch_size": ("7",)}


def test_what_can_be_held_against_each_other_and_differs_comes_first():
    ours = {"gamma": 0.99, "alone": True, "minibatch": 64, "epochs": 4}
    theirs = {"n_epochs": 4, "batch_size": 256, "gamma": 0.98, "policy": "Mlp"}
    found = table(("ppo", ours), ("sb3-ppo", theirs))
    assert list(found) == ["gamma", "minibatch", "alone", "epochs", "policy"]
    assert found["minibatch"] == ("64", "256")
    assert found["alone"] == ("True", NONE)
    assert found["policy"] == (NONE, "Mlp")


def test_a_number_that_is_the_same_written_otherwise_does_not_differ():
    (rate,) = settings([cell("ppo", hyper={"lr": 0.001}), cell("dqn", hyper={"lr": 1e-3})])
    assert rate.values == ("0.001", "0.001")
    assert not rate.differs
    assert rate.shared


def test_schedules_are_in_words_and_lists_as_they_are():
    falling = "0.001, falling linearly to 0"
    found = table(("sb3-ppo", {"learning_rate": falling, "layers": [64, 64]}))
    assert found == {"learning_rate": (falling,), "layers": ("[64, 64]",)}


def test_hyper_parameters_of_a_real_comparison_meet_under_one_name(compared):
    ours, theirs = compared.cells[0], compared.cells[1]
    found = {each.name: each for each in settings([ours, theirs])}
    assert found["rollout_steps"].values == ("64", "32")
    assert found["rollout_steps"].differs
    assert found["learning_rate"].values[1] == "0.001, falling linearly to 0"
    known = [name for name, each in found.items() if each.shared]
    assert {"num_envs", "gamma", "minibatch", "epochs", "clip", "entropy"} <= set(known)
