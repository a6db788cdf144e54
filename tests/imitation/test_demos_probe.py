"""The probe: a short cloning tells demonstrations that can be learned from."""

from dataclasses import replace

import numpy as np
import pytest
from recorded import recorded

from robolearn.environments import EnvConfig
from robolearn.imitation.demos.probe import probe


@pytest.fixture(scope="module")
def balanced():
    return recorded("CartPoleBalance-v0")


@pytest.mark.slow
def test_good_demonstrations_are_learned_from(balanced):
    (found,) = probe(balanced, updates=400)
    assert (found.severity, found.kind) == ("note", "probe")
    assert "the demonstrations have 500, random actions 2" in found.text  # some 20 steps


def test_actions_that_do_not_belong_to_the_observations_are_noticed(balanced):
    rng = np.random.default_rng(0)
    mixed = [replace(one, action=rng.permutation(one.action)) for one in balanced.episodes]
    (found,) = probe(replace(balanced, episodes=mixed), updates=400)
    assert found.severity == "warning"
    assert "do they belong together?" in found.text


def test_demonstrations_no_better_than_chance_are_noticed(balanced):
    poor = [replace(one, reward=one.reward / 500) for one in balanced.episodes]  # return 1
    (found,) = probe(replace(balanced, episodes=poor), updates=20)
    assert found.severity == "warning"
    assert "nothing that chance does not" in found.text


def test_without_an_environment_nothing_is_tried(balanced):
    (found,) = probe(replace(balanced, env=None))
    assert found.severity == "note"
    assert found.text.startswith("not tried: nobody says")


def test_an_environment_nobody_can_make_here_is_not_tried(balanced):
    broken = EnvConfig(id="robolearn/CartPoleBalance-v0", kwargs={"level": 3})
    (found,) = probe(replace(balanced, env=broken))
    assert found.severity == "note"
    assert found.text.startswith("not tried: ")
