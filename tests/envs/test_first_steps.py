"""The small problems keep Gymnasium's contract, and are what their arrays say."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import robolearn_envs
from robolearn.networks.encoders import find_images
from robolearn_envs.toy.bandit import BRIGHT, SIDE, Bandit, picture
from robolearn_envs.toy.finite import FiniteMDP
from robolearn_envs.toy.recommender import Recommender
from robolearn_envs.toy.ring_walk import RingWalk

GAME, BANDIT, RECOMMENDER = (
    f"robolearn/{name}" for name in ("RingWalk-v0", "Bandit-v0", "Recommender-v0")
)
EYES = {"context": "image"}
every_problem = pytest.mark.parametrize(
    ("env_id", "kwargs"),
    [(GAME, {}), (BANDIT, {}), (BANDIT, EYES), (RECOMMENDER, {})],
    ids=["game", "bandit", "bandit with images", "recommender"],
)


def test_they_are_registered_beside_those_with_engines():
    ids = [f"robolearn/{name}" for name in robolearn_envs.TOY_ENVS]
    assert ids == [GAME, BANDIT, RECOMMENDER]
    assert set(ids) <= gym.registry.keys()
    assert not set(ids) & set(robolearn_envs.ENVS)


@every_problem
def test_it_passes_gymnasiums_checker_without_a_warning(env_id, kwargs):
    check_env(gym.make(env_id, **kwargs).unwrapped)


@every_problem
def test_a_batch_is_made_and_steps(env_id, kwargs):
    envs = gym.make_vec(
        env_id, 8, vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP}, **kwargs
    )
    assert isinstance(envs, SyncVectorEnv)
    observation, _ = envs.reset(seed=0)
    assert observation in envs.observation_space
    envs.action_space.seed(0)
    for _ in range(25):  # beyond the ends of episodes
        observation, reward, *_ = envs.step(envs.action_space.sample())
        assert observation in envs.observation_space
        assert (reward.shape, reward.dtype) == ((8,), np.float64)
    envs.close()


def trajectory(env_id, kwargs, seed, steps=60):
    """Return what is seen and paid in some steps, with fixed actions."""
    env = gym.make(env_id, **kwargs)
    env.action_space.seed(7)
    told: list[Any] = [env.reset(seed=seed)]
    for _ in range(steps):
        told.append(env.step(env.action_space.sample()))
        if told[-1][2] or told[-1][3]:
            told.append(env.reset())
    env.close()
    return told


@every_problem
def test_same_seed_same_trajectory_and_another_seed_another_one(env_id, kwargs):
    once, again = (trajectory(env_id, kwargs, seed=3) for _ in range(2))
    assert data_equivalence(once, again, exact=True)
    assert not data_equivalence(once, trajectory(env_id, kwargs, seed=4), exact=True)


@pytest.mark.parametrize(("env_id", "length"), [(GAME, 20), (BANDIT, 1), (RECOMMENDER, 10)])
def test_episodes_end_as_the_data_sheet_says(env_id, length):
    env = gym.make(env_id)
    env.reset(seed=0)
    ends = [env.step(0)[2:4] for _ in range(length)]
    # A bandit's episode is over after a pull; the others would go on and are cut.
    assert ends == [(False, False)] * (length - 1) + [(length == 1, length > 1)]
    env.close()


# The arrays are the game.


def simulated(env, observe, steps):
    """Return how often each (s, a, s') went on, rewards' sums and squares, and how often (s, a).

    ``observe`` returns the state of an environment. Shapes (S, A, S), (2, S, A), (S, A).
    """
    shape = env.mdp().reward.shape
    actions = np.random.default_rng(1).integers(shape[1], size=steps)
    followed, paid, tried = np.zeros((*shape, shape[0])), np.zeros((2, *shape)), np.zeros(shape)
    env.reset(seed=0)
    for step, a in enumerate(actions):
        if step % 10 == 0:
            env.reset()
        s = observe(env)
        _, reward, terminated, _, _ = env.step(a)
        tried[s, a] += 1
        paid[:, s, a] += reward, reward**2
        if terminated:
            env.reset()
        else:
            followed[s, a, observe(env)] += 1
    return followed, paid, tried


PLACE = {GAME: "_place", BANDIT: "_context", RECOMMENDER: "_user"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("env_id", "kwargs"),
    [
        (GAME, {"states": 7, "actions": 3}),
        (BANDIT, {"arms": 4}),
        (BANDIT, {"arms": 3, **EYES}),
        (RECOMMENDER, {"users": 3, "items": 4, "leave": 0.6}),
    ],
)
def test_what_happens_is_as_likely_and_pays_as_its_arrays_say(env_id, kwargs):
    env: Any = gym.make(env_id, **kwargs).unwrapped
    mdp = env.mdp()
    followed, (total, squares), tried = simulated(
        env, lambda one: getattr(one, PLACE[env_id]), steps=30_000
    )
    assert tried.min() > 1000
    p = mdp.continues
    # Five standard deviations of a frequency, and of a mean; both are 0 where nothing is drawn.
    spread = np.sqrt(p * (1 - p) / tried[:, :, None])
    assert (np.abs(followed / tried[:, :, None] - p) <= 5 * spread).all()
    mean = total / tried
    spread = np.sqrt(np.maximum(squares / tried - mean**2, 0) / tried)
    assert (np.abs(mean - mdp.reward) <= 5 * spread + 1e-12).all()


def test_the_token_goes_round_a_ring_of_odd_length():
    mdp = RingWalk(states=5).mdp()
    # Action 0 moves on by 1, action 1 by 3: from 0 to 1 or 3, from 1 to 2 or 4, from 2 to 3 or
    # 5 - 5 = 0, from 3 to 4 or 6 - 5 = 1, from 4 to 0 or 7 - 5 = 2.
    reached = [[1, 3], [2, 4], [3, 0], [4, 1], [0, 2]]
    np.testing.assert_array_equal(mdp.continues.argmax(axis=2), reached)
    np.testing.assert_array_equal(mdp.continues.sum(axis=2), 1.0)
    # Of these 2, 4 and 0 are even.
    np.testing.assert_array_equal(mdp.reward, [[0, 0], [1, 1], [0, 1], [1, 0], [1, 1]])


def test_a_bandits_means_are_its_problems_alone():
    first, again, other = (Bandit(problem=p).means for p in (5, 5, 6))
    assert first.shape == (1, 10)
    np.testing.assert_array_equal(first, again)
    assert not np.isclose(first, other).any()


def test_each_context_has_another_best_arm():
    none, image = Bandit().means, Bandit(context="image").means
    # Arm a + c pays in context c what arm a pays in context 0: 10 arms, 4 contexts.
    for c in range(4):
        for a in range(10):
            assert image[c, (a + c) % 10] == none[0, a]
    assert len(set(image.argmax(axis=1))) == 4


def test_the_best_arm_is_a_success_and_no_other_one():
    env = Bandit(arms=3)
    best = env.means[0].argmax()
    env.reset(seed=0)
    assert [env.step(arm)[4]["success"] for arm in range(3)] == [arm == best for arm in range(3)]


def test_an_image_is_an_image_to_the_networks():
    space = Bandit(context="image").observation_space
    assert isinstance(space, Box)
    assert [(image.columns, image.box.shape) for image in find_images(space)] == [
        (slice(0, 256), (16, 16, 1))  # 16 * 16 pixels
    ]


@pytest.mark.parametrize("context", range(4))
def test_the_bright_square_lies_in_the_quadrant_of_the_context(context):
    rng = np.random.default_rng(0)
    corners = set()
    for _ in range(300):
        bright = np.argwhere(picture(context, rng)[:, :, 0] >= BRIGHT)
        corner = bright.min(axis=0)
        assert len(bright) == 16  # 4 * 4 pixels
        np.testing.assert_array_equal(bright.max(axis=0) - corner, [3, 3])
        quadrant = bright // (SIDE // 2)
        np.testing.assert_array_equal(quadrant, np.broadcast_to(divmod(context, 2), (16, 2)))
        corners.add(tuple(corner % 8))
    assert corners == {(row, column) for row in range(5) for column in range(5)}  # 8 - 4 + 1


def test_the_machine_in_the_picture_is_the_one_that_pays():
    env = Bandit(context="image")
    for seed in range(20):
        observation, _ = env.reset(seed=seed)
        row, column = np.argwhere(observation[:, :, 0] >= BRIGHT)[0] // 8
        best = env.means[2 * row + column].argmax()
        assert env.step(best)[4]["success"]


def test_what_a_user_does_to_an_image_does_not_change_the_next_one():
    env = Bandit(context="image")
    first, _ = env.reset(seed=0)
    kept = first.copy()
    first[:] = 0
    np.testing.assert_array_equal(env.step(0)[0], kept)


def test_means_are_standard_normal():
    means = np.concatenate([Bandit(problem=p).means[0] for p in range(1000)])  # 10,000 of them
    # Five standard deviations of a mean, 5 / 100, and of a variance, 5 * sqrt(2) / 100.
    assert means.mean() == pytest.approx(0.0, abs=0.05)
    assert means.var() == pytest.approx(1.0, abs=0.071)


def test_who_clicks_may_leave_for_one_of_the_others():
    env = Recommender(users=3, items=2, leave=0.5)
    mdp = env.mdp()
    np.testing.assert_array_equal(mdp.reward, env.clicks)
    for i in range(3):
        for j in range(2):
            # A click is followed by leaving half the time, to each of the two others half of that.
            other = env.clicks[i, j] * 0.5 / 2
            expected = [1 - 2 * other if k == i else other for k in range(3)]
            np.testing.assert_allclose(mdp.continues[i, j], expected, rtol=1e-12)


def test_clicks_are_the_logistic_of_how_well_tastes_and_items_fit():
    rng = np.random.default_rng(3)
    tastes, items = rng.standard_normal((2, 3)), rng.standard_normal((4, 3))
    clicks = Recommender(users=2, items=4, problem=3).clicks
    for i in range(2):
        for j in range(4):
            fit = sum(tastes[i, k] * items[j, k] for k in range(3))
            # log(p / (1 - p)) is the inverse of the logistic function.
            assert np.log(clicks[i, j] / (1 - clicks[i, j])) == pytest.approx(fit)


def test_tastes_differ_between_users_and_problems():
    clicks = Recommender().clicks
    assert clicks.shape == (5, 8)
    assert ((clicks > 0) & (clicks < 1)).all()
    assert len(set(clicks.argmax(axis=1))) > 1
    assert not np.isclose(clicks, Recommender(problem=1).clicks).any()


# Refusals.


@pytest.mark.parametrize(
    ("env_id", "kwargs", "message"),
    [
        (GAME, {"states": 10}, "states must be odd, got 10"),
        (GAME, {"states": 3}, "states must be .* at least 5, got 3"),
        (GAME, {"states": 7.0}, r"states must be a whole number .*, got 7\.0"),
        (GAME, {"actions": 1}, "actions must be .* at least 2, got 1"),
        (GAME, {"states": 7, "actions": 4}, "actions must be at most 3 with 7 states, got 4"),
        (BANDIT, {"arms": 1}, "arms must be .* at least 2, got 1"),
        (BANDIT, {"problem": True}, "problem must be a whole number .*, got True"),
        (BANDIT, {"problem": -1}, "problem must be .* at least 0, got -1"),
        (BANDIT, {"context": "picture"}, "context must be 'none' or 'image', got 'picture'"),
        (RECOMMENDER, {"users": 1}, "users must be .* at least 2, got 1"),
        (RECOMMENDER, {"items": "8"}, "items must be a whole number .*, got '8'"),
        (RECOMMENDER, {"problem": None}, "problem must be .*, got None"),
        (RECOMMENDER, {"leave": 1.5}, r"leave must be .* in \[0, 1\], got 1\.5"),
        (RECOMMENDER, {"leave": float("nan")}, r"leave must be .* in \[0, 1\], got nan"),
        (RECOMMENDER, {"leave": "often"}, r"leave must be .* in \[0, 1\], got 'often'"),
    ],
)
def test_an_argument_that_cannot_be_is_refused_in_one_line(env_id, kwargs, message):
    with pytest.raises(ValueError, match=message) as caught:
        gym.make(env_id, **kwargs)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("env_id", [GAME, BANDIT, RECOMMENDER])
@pytest.mark.parametrize("action", [-1, 100, 0.5])
def test_an_action_that_is_not_there_is_refused(env_id, action):
    env = gym.make(env_id).unwrapped
    env.reset(seed=0)
    with pytest.raises(ValueError, match=rf"must lie in Discrete\(\d+\), got {action}"):
        env.step(action)


# The arrays themselves.


@pytest.mark.parametrize(
    ("reward", "continues", "message"),
    [
        (np.zeros(2), np.zeros((2, 1, 2)), r"reward must have shape \(S, A\).*got \(2,\)"),
        (np.zeros((2, 0)), np.zeros((2, 0, 2)), r"reward must have .* at least 1, got \(2, 0\)"),
        (np.zeros((2, 1)), np.zeros((2, 2, 1)), r"continues .* \(2, 1, 2\), got \(2, 2, 1\)"),
        (np.full((1, 1), np.nan), np.zeros((1, 1, 1)), "reward must be finite"),
        (np.zeros((1, 1)), np.full((1, 1, 1), -0.25), r"got -0\.25 as the least"),
        (np.zeros((1, 1)), np.full((1, 1, 1), np.nan), "got nan as the least"),
        (np.zeros((2, 1)), np.full((2, 1, 2), 0.75), r"must sum to 1 at most, got 1\.5"),
    ],
)
def test_arrays_that_are_no_process_are_refused_in_one_line(reward, continues, message):
    with pytest.raises(ValueError, match=message) as caught:
        FiniteMDP(reward=reward, continues=continues)
    assert "\n" not in str(caught.value)


def test_a_toy_text_table_is_read_with_repeated_states_and_terminations_apart():
    outcomes = {
        0: {0: [(0.25, 1, 4.0, False), (0.5, 1, 2.0, True), (0.25, 1, -8.0, False)]},
        1: {0: [(1.0, 1, 0.0, True)]},
    }
    mdp = FiniteMDP.from_toy_text(outcomes)
    # 0.25 * 4 + 0.5 * 2 - 0.25 * 8 = 0: terminated or not, all is paid.
    np.testing.assert_array_equal(mdp.reward, [[0.0], [0.0]])
    np.testing.assert_array_equal(mdp.continues, [[[0.0, 0.5]], [[0.0, 0.0]]])


def test_a_toy_text_table_that_is_no_process_is_refused():
    stay = [(1.0, 0, 0.0, False)]
    with pytest.raises(ValueError, match=r"must have 2 actions .*, got 1 in state 1"):
        FiniteMDP.from_toy_text({0: {0: stay, 1: stay}, 1: {0: stay}})
    with pytest.raises(ValueError, match=r"action 0 in state 0 must .* sum to 1, got 0\.5"):
        FiniteMDP.from_toy_text({0: {0: [(0.5, 0, 0.0, True)]}})
