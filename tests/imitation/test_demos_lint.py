"""Lint: each defect planted into clean demonstrations is found, and nothing else."""

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
from recorded import recorded

from robolearn.environments import HELD_OUT, EnvConfig
from robolearn.imitation.demos.episodes import Demonstration
from robolearn.imitation.demos.lint import lint, time_limit

BALANCE = "robolearn/CartPoleBalance-v0"


@pytest.fixture(scope="module")
def clean():
    """Three episodes with continuous actions."""
    return recorded("CartPoleBalance-v0", action="continuous")


@pytest.fixture(scope="module")
def choosing():
    """Three episodes with two forces to choose from."""
    return recorded("CartPoleBalance-v0")


def planted(demos, k, **changes):
    """Return the demonstrations with something else in episode ``k``."""
    episodes = list(demos.episodes)
    episodes[k] = replace(episodes[k], **changes)
    return replace(demos, episodes=episodes)


def changed(array, place, number):
    """Return a copy of an array with another number at one place."""
    array = array.copy()
    array[place] = number
    return array


def serious(findings):
    """Return kind, episode and key of all that is more than a note."""
    return [(f.severity, f.kind, f.episode, f.key) for f in findings if f.severity != "note"]


def text(findings, kind):
    """Return what the one finding of a kind says."""
    (found,) = [finding.text for finding in findings if finding.kind == kind]
    return found


@pytest.mark.parametrize("demos", ["clean", "choosing"])
def test_clean_demonstrations_are_left_in_peace(demos, request):
    findings = lint(request.getfixturevalue(demos))
    assert serious(findings) == []
    assert text(findings, "success").startswith("3 of 3 episodes")


def test_a_set_without_episodes_is_an_error(clean):
    assert serious(lint(clean.first(0))) == [("error", "length", None, "")]


def test_an_episode_without_steps_is_an_error(clean):
    one = clean.episodes[0]
    empty = Demonstration(
        observation=one.observation[:1],
        action=one.action[:0],
        reward=one.reward[:0],
        terminated=one.terminated[:0],
        truncated=one.truncated[:0],
    )
    demos = replace(clean, episodes=[one, empty])
    assert serious(lint(demos)) == [("error", "length", 1, "")]


@pytest.mark.parametrize("name", ["observation", "action", "clean_action", "reward", "terminated"])
def test_an_array_of_another_shape_is_found(clean, name):
    one = clean.episodes[1]
    array = one.action if name == "clean_action" else getattr(one, name)
    findings = lint(planted(clean, 1, **{name: array[..., None]}))
    assert serious(findings) == [("error", "shape", 1, name)]
    assert f"{array[..., None].shape}" in text(findings, "shape")


def test_an_array_of_words_is_found(clean):
    demos = planted(clean, 0, reward=np.full(500, "one"))
    assert serious(lint(demos)) == [("error", "shape", 0, "reward")]


def test_a_part_of_the_observation_that_is_missing_is_found(clean):
    space = gym.spaces.Dict({"pole": clean.observation_space, "cart": clean.observation_space})
    one = replace(clean.episodes[0], observation={"pole": clean.episodes[0].observation})
    demos = replace(clean, observation_space=space, episodes=[one])
    assert serious(lint(demos)) == [("error", "shape", 0, "observation['cart']")]


@pytest.mark.parametrize("name", ["observation", "action", "reward", "terminated", "truncated"])
def test_an_array_that_is_too_short_is_found(clean, name):
    short = getattr(clean.episodes[2], name)[:-1]
    findings = lint(planted(clean, 2, **{name: short}))
    assert serious(findings) == [("error", "length", 2, name)]
    expected = 501 if name == "observation" else 500  # an episode has 500 steps
    assert f"{expected - 1} entries, expected {expected} of 500 steps" in text(findings, "length")


def test_a_state_that_is_too_short_is_found(clean):
    state = {**clean.episodes[0].state, "qpos": clean.episodes[0].state["qpos"][:500]}
    demos = planted(clean, 0, state=state)
    assert serious(lint(demos)) == [("error", "length", 0, "state['qpos']")]


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_found(clean, number):
    observation = changed(clean.episodes[1].observation, (7, 2), number)
    findings = lint(planted(clean, 1, observation=observation))
    assert serious(findings) == [("error", "finite", 1, "observation")]
    assert f"{number:g} at step 7, entry 2" in text(findings, "finite")


def test_a_reward_that_is_not_finite_is_found(clean):
    demos = planted(clean, 0, reward=changed(clean.episodes[0].reward, 3, np.nan))
    assert serious(lint(demos)) == [("error", "finite", 0, "reward")]


def test_a_state_that_is_not_finite_is_found(clean):
    one = clean.episodes[0]
    state = {**one.state, "qvel": changed(one.state["qvel"], (9, 1), np.inf)}
    assert serious(lint(planted(clean, 0, state=state))) == [
        ("error", "finite", 0, "state['qvel']")
    ]


def test_an_observation_out_of_its_space_is_found(clean):
    high = float(clean.observation_space.high[0])
    observation = changed(clean.episodes[0].observation, (4, 0), np.float32(2 * high))
    findings = lint(planted(clean, 0, observation=observation))
    assert serious(findings) == [("error", "bounds", 0, "observation")]
    assert f"{2 * high:g} at step 4, entry 0" in text(findings, "bounds")


def test_a_force_out_of_its_space_is_found(clean):
    action = clean.episodes[0].action.copy()
    action[[4, 8]] = 1.5
    findings = lint(planted(clean, 0, action=action))
    assert serious(findings) == [("error", "bounds", 0, "action")]
    assert text(findings, "bounds") == "holds 1.5 at step 4, entry 0 and 1 more, expected -1 to 1."


@pytest.mark.parametrize("number", [-1, 2])
def test_a_choice_that_there_is_not_is_found(choosing, number):
    demos = planted(choosing, 0, action=changed(choosing.episodes[0].action, 5, number))
    findings = lint(demos)
    assert serious(findings) == [("error", "bounds", 0, "action")]
    assert "expected an integer in 0..1" in text(findings, "bounds")


def test_half_a_choice_is_found(choosing):
    action = changed(choosing.episodes[0].action.astype(np.float64), 5, 0.5)
    assert serious(lint(planted(choosing, 0, action=action))) == [("error", "bounds", 0, "action")]


@pytest.mark.parametrize("step", [0, 40, 498])
@pytest.mark.parametrize("name", ["terminated", "truncated"])
def test_an_end_inside_an_episode_is_found(clean, name, step):
    flags = changed(getattr(clean.episodes[1], name), step, True)
    findings = lint(planted(clean, 1, **{name: flags}))
    assert serious(findings) == [("error", "end", 1, "")]
    assert text(findings, "end") == f"it ends at step {step} already, and goes on to step 499."


@pytest.mark.parametrize("success", [True, None])
def test_an_episode_that_ran_to_the_time_limit_must_have_an_end(clean, success):
    demos = planted(clean, 1, truncated=np.zeros(500, dtype=np.bool_), success=success)
    assert serious(lint(demos)) == [("error", "end", 1, "")]


def cut(one, steps):
    """Return the first steps of an episode, as if the recording had been stopped there."""
    return replace(
        one,
        observation=one.observation[: steps + 1],
        action=one.action[:steps],
        reward=one.reward[:steps],
        terminated=one.terminated[:steps],
        truncated=one.truncated[:steps],
        state={name: rows[: steps + 1] for name, rows in one.state.items()},
        success=None,
    )


def test_a_recording_that_was_cut_off_is_noted(clean):
    demos = replace(clean, episodes=[cut(clean.episodes[0], 60), clean.episodes[1]])
    findings = lint(demos)
    assert serious(findings) == []
    assert text(findings, "end") == "it was cut off after 60 steps: nothing ended it."


def test_an_outcome_without_an_end_is_an_error(clean):
    one = replace(cut(clean.episodes[0], 60), success=True)
    assert serious(lint(replace(clean, episodes=[one]))) == [("error", "end", 0, "")]


def test_two_episodes_that_were_run_together_are_found(clean):
    first, second = clean.episodes[0], clean.episodes[1]
    first = cut(first, 100)
    together = Demonstration(
        observation=np.concatenate([first.observation[:-1], second.observation]),
        action=np.concatenate([first.action, second.action]),
        reward=np.concatenate([first.reward, second.reward]),
        terminated=np.concatenate([first.terminated, second.terminated]),
        truncated=np.concatenate([first.truncated, second.truncated]),
    )
    findings = lint(replace(clean, episodes=[together]))
    assert serious(findings) == [("error", "end", 0, "")]
    assert "600 steps, but the environment ends episodes after 500" in text(findings, "end")


@pytest.mark.parametrize("state", [True, False])
def test_the_same_buffer_at_every_step_is_found(clean, state):
    one = clean.episodes[1]
    last = np.broadcast_to(one.observation[-1], one.observation.shape)
    demos = planted(clean, 1, observation=last, state=one.state if state else {})
    findings = lint(demos)
    assert serious(findings) == [("error", "frozen", 1, "observation")]
    what = "the state moves" if state else "actions or rewards change"
    assert f"500 of 500 steps while {what}" in text(findings, "frozen")


def test_a_buffer_that_is_copied_now_and_then_is_found(clean):
    observation = np.repeat(clean.episodes[1].observation[::50], 50, axis=0)[:501]
    findings = lint(planted(clean, 1, observation=observation))
    assert serious(findings) == [("error", "frozen", 1, "observation")]
    assert "490 of 500 steps" in text(findings, "frozen")  # all but every 50th


def test_a_stretch_of_the_same_observation_is_worth_a_look(clean):
    observation = clean.episodes[1].observation.copy()
    observation[100:131] = observation[100]
    findings = lint(planted(clean, 1, observation=observation))
    assert serious(findings) == [("warning", "frozen", 1, "observation")]
    assert "for 30 steps in a row" in text(findings, "frozen")


def test_a_robot_that_stands_still_is_no_frozen_buffer(clean):
    one = clean.episodes[0]
    still = replace(
        one,
        observation=np.zeros_like(one.observation),
        action=np.zeros_like(one.action),
        reward=np.ones_like(one.reward),
        state={name: np.zeros_like(rows) for name, rows in one.state.items()},
    )
    assert serious(lint(replace(clean, episodes=[still]))) == []


def test_a_stated_return_that_is_not_the_sum_of_the_rewards_is_found(clean):
    # The reward of balancing is 1 for each of 500 steps.
    findings = lint(clean, stated_returns=[500.0, 499.0, None])
    assert serious(findings) == [("error", "return", 1, "reward")]
    assert text(findings, "return") == "add up to 500, but its return is stated to be 499."


def test_demonstrations_that_all_fail_are_worth_a_look(clean):
    demos = replace(clean, episodes=[replace(one, success=False) for one in clean.episodes])
    findings = lint(demos)
    assert serious(findings) == [("warning", "success", None, "")]
    assert text(findings, "success").startswith("0 of 3")


def test_forces_at_their_bounds_are_counted(clean):
    action = clean.episodes[0].action.copy()
    assert (np.abs(action) < 1).all()
    action[:350] = -1.0
    one = replace(clean.episodes[0], action=action)
    findings = lint(replace(clean, episodes=[one]))
    assert serious(findings) == [("warning", "saturation", None, "action")]
    assert text(findings, "saturation") == "70% of the actions are at their bounds."  # 350 of 500


def test_a_few_forces_at_their_bounds_are_noted(clean):
    action = clean.episodes[0].action.copy()
    action[:100] = 1.0
    findings = lint(replace(clean, episodes=[replace(clean.episodes[0], action=action)]))
    assert serious(findings) == []
    assert text(findings, "saturation").startswith("20%")


def test_one_choice_that_is_always_taken_is_worth_a_look(choosing):
    action = np.ones_like(choosing.episodes[0].action)
    action[:5] = 0
    findings = lint(replace(choosing, episodes=[replace(choosing.episodes[0], action=action)]))
    assert serious(findings) == [("warning", "saturation", None, "action")]
    assert text(findings, "saturation") == "99.0% of the actions are 1."  # 495 of 500


def test_an_episode_that_is_there_twice_is_found(clean):
    demos = replace(clean, episodes=[*clean.episodes, replace(clean.episodes[1], seed=None)])
    findings = lint(demos)
    assert serious(findings) == [("warning", "duplicate", 3, "")]
    assert text(findings, "duplicate") == "it repeats episode 1."


def test_the_same_actions_from_another_start_are_no_duplicate(clean):
    one = clean.episodes[1]
    other = replace(one, observation=changed(one.observation, (0, 0), 0.01))
    assert serious(lint(replace(clean, episodes=[one, other]))) == []


def test_seeds_of_evaluations_are_worth_a_look(clean):
    assert serious(lint(planted(clean, 2, seed=HELD_OUT))) == [("warning", "seed", 2, "")]
    assert serious(lint(planted(clean, 2, seed=HELD_OUT - 1))) == []


def test_the_noise_on_forces_is_estimated(clean):
    one = clean.episodes[0]
    wanted = one.action.copy()
    wanted[::5] += np.where(wanted[::5] > 0, -0.5, 0.5).astype(np.float32)
    findings = lint(replace(clean, episodes=[replace(one, clean_action=wanted)]))
    assert serious(findings) == []
    # Every 5th is off by 0.5: sqrt(0.5^2 / 5) = 0.2236.
    assert text(findings, "noise") == (
        "20% of the actions are not what the expert wanted, 0.224 apart (root mean square)."
    )


def test_the_noise_on_choices_is_estimated(choosing):
    one = choosing.episodes[0]
    wanted = one.action.copy()
    wanted[:50] = 1 - wanted[:50]
    findings = lint(replace(choosing, episodes=[replace(one, clean_action=wanted)]))
    assert text(findings, "noise") == "10% of the actions are not what the expert wanted."


def test_the_time_limit_is_the_environments():
    assert time_limit(EnvConfig(id=BALANCE)) == 500
    assert time_limit(EnvConfig(id="CartPole-v1")) == 500
    assert time_limit(EnvConfig(id="Pendulum-v1")) == 200
    assert time_limit(None) is None


def test_a_finding_is_a_line(clean):
    demos = planted(clean, 1, reward=changed(clean.episodes[1].reward, 3, np.nan))
    (found,) = [f for f in lint(demos) if f.severity == "error"]
    assert str(found) == ("error: episode 1: reward holds nan at step 3, expected finite numbers.")
