"""Hyper-parameters next to each other."""

from small_cells import cell

from robolearn.compare.report import NONE
from robolearn.compare.settings import settings


def table(*pairs):
    found = settings([cell(name, hyper=hyper) for name, hyper in pairs])
    return {each.name: each.values for each in found}


def test_what_can_be_held_against_each_other_and_differs_comes_first():
    ours = {"gamma": 0.99, "alone": True, "batch_size": 64, "n_epochs": 4}
    theirs = {"n_epochs": 4, "batch_size": 256, "gamma": 0.98, "policy": "Mlp"}
    found = table(("ppo", ours), ("sb3-ppo", theirs))
    assert list(found) == ["gamma", "batch_size", "alone", "n_epochs", "policy"]
    assert found["batch_size"] == ("64", "256")
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
    assert found["n_steps"].values == ("64", "32")
    assert found["n_steps"].differs
    assert found["learning_rate"].values[1] == "0.001, falling linearly to 0"
    known = [name for name, each in found.items() if each.shared]
    assert {"num_envs", "gamma", "batch_size", "n_epochs", "clip_range", "ent_coef"} <= set(known)
