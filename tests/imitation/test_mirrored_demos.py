"""Each demonstration is followed by its mirror image, where the world has one."""

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
from recorded import recorded

from robolearn.environments import EnvConfig
from robolearn.imitation.demos.episodes import Demonstration, Demonstrations
from robolearn.imitation.demos.mirror import with_mirrored


@pytest.fixture(scope="module")
def swung():
    """A demonstration of continuous actions, of which the expert wanted others."""
    return noisy(recorded("CartPoleSwingUp-v0", seeds=(0, 1), engine="analytic"))


def noisy(demos):
    rng = np.random.default_rng(0)
    episodes = [
        replace(one, clean_action=rng.uniform(-1, 1, one.action.shape).astype(np.float32))
        for one in demos.episodes
    ]
    return replace(demos, episodes=episodes)


def test_each_episode_is_followed_by_its_mirror_image(swung):
    mirrored = with_mirrored(swung)
    assert len(mirrored.episodes) == 4
    assert mirrored.episodes[0] is swung.episodes[0]
    assert mirrored.episodes[2] is swung.episodes[1]
    for k in (0, 2):
        one, image = mirrored.episodes[k : k + 2]
        # Observed are x, cos(theta), sin(theta), x_dot and theta_dot: all but the cosine turn.
        np.testing.assert_array_equal(image.observation, one.observation * [-1, 1, -1, -1, -1])
        np.testing.assert_array_equal(image.action, -one.action)
        np.testing.assert_array_equal(image.clean_action, -one.clean_action)
        np.testing.assert_array_equal(image.wanted, -one.clean_action)
        for name in ("reward", "terminated", "truncated"):
            np.testing.assert_array_equal(getattr(image, name), getattr(one, name))
        assert image.success == one.success
        assert image.observation.dtype == one.observation.dtype == np.float32
        assert image.action.dtype == one.action.dtype


def test_what_is_not_true_of_a_mirror_image_is_not_told(swung):
    one, image = with_mirrored(swung).episodes[:2]
    assert one.seed == 0
    assert set(one.state) == {"qpos", "qvel"}
    assert image.seed is None
    assert image.state == {}


def test_all_else_of_the_set_stays(swung):
    named = replace(swung, name="swung")
    mirrored = with_mirrored(named)
    for part in ("env", "observation_space", "action_space", "name"):
        assert getattr(mirrored, part) is getattr(named, part)


def test_what_nobody_said_is_not_made_up():
    demos = recorded("CartPoleBalance-v0", seeds=(0,), engine="analytic")
    one, image = with_mirrored(demos).episodes
    assert image.clean_action is None
    np.testing.assert_array_equal(image.action, 1 - one.action)  # left for right
    np.testing.assert_array_equal(image.wanted, 1 - one.action)
    np.testing.assert_array_equal(image.observation, -one.observation)


def test_the_steps_of_mirror_images_lie_behind_those_they_are_of(swung):
    steps, plain = with_mirrored(swung).steps(), swung.steps()
    length = len(swung.episodes[0])
    assert len(steps.obs) == 2 * len(plain.obs)
    np.testing.assert_array_equal(steps.obs[:length], plain.obs[:length])
    turned = plain.next_obs[:length] * [-1, 1, -1, -1, -1]
    np.testing.assert_array_equal(steps.next_obs[length : 2 * length], turned)
    np.testing.assert_array_equal(steps.wanted[length : 2 * length], -plain.wanted[:length])


@pytest.mark.parametrize("env", [None, EnvConfig(id="CartPole-v1")], ids=["unknown", "foreign"])
def test_what_has_no_mirror_image_comes_back_as_it_was(env):
    made = gym.make("CartPole-v1")
    demo = Demonstration(
        observation=np.zeros((3, 4), np.float32),
        action=np.zeros(2, np.int64),
        reward=np.ones(2),
        terminated=np.array([False, True]),
        truncated=np.zeros(2, np.bool_),
    )
    demos = Demonstrations(
        env=env,
        observation_space=made.observation_space,
        action_space=made.action_space,
        episodes=[demo],
    )
    made.close()
    assert with_mirrored(demos) is demos
