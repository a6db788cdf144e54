"""A curriculum: the level of the next episode follows from how the last one ended."""

import math

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from scenes import put_robot

from robolearn_envs import make_vec

pytestmark = pytest.mark.usefixtures("small_datasets")

LIDAR = "robolearn/NavLidar-v0"
every_mode = pytest.mark.parametrize("mode", list(AutoresetMode))
AHEAD, STAND = (np.array([[v, 0.0]], dtype=np.float32) for v in (1, 0))


def finish(env, well):
    """End env 0's episode in the next step, at the goal or in a wall; return the info."""
    place = env.task_state["goal"][0] if well else [4.9, 0.0]
    put_robot(env, 0, [*place, 0.0])
    _, _, terminated, _, info = env.step(np.zeros((1, 2), dtype=np.float32))
    assert terminated[0]
    assert info.get("final_info", info)["success"][0] == well
    return info.get("final_info", info)


@every_mode
def test_a_curriculum_goes_up_after_a_success_and_down_after_a_failure(mode):
    env = make_vec(LIDAR, 1, engine="analytic", level=2, curriculum=True, autoreset_mode=mode)
    env.reset(seed=0)
    levels = []
    for well in (True, True, True, False, False, False, True):
        levels.append(int(finish(env, well)["level"][0]))
        if mode is AutoresetMode.NEXT_STEP:
            env.step(np.zeros((1, 2), dtype=np.float32))
        if mode is AutoresetMode.DISABLED:
            env.reset()
        cylinders = (env.task_state["cylinders"][0, :, 0] < 900).sum()
        assert cylinders == [0, 4, 8][env.task_state["level"][0]]
    # Up to the top and no farther, down to 0 and no farther.
    assert levels == [0, 1, 2, 2, 1, 0, 0]
    assert env.task_state["level"][0] == 1
    env.close()


def test_a_seeded_reset_begins_the_curriculum_anew():
    env = make_vec(LIDAR, 1, engine="analytic", level=2, curriculum=True, autoreset_mode="SameStep")
    env.reset(seed=0)
    finish(env, well=True)
    assert env.task_state["level"][0] == 1
    env.reset(seed=0)
    assert env.task_state["level"][0] == 0
    env.close()


# A straight way past the goal, 0.31 m from it and 72 degrees off at first. At full command the
# robot is 0.024, 0.088 and 0.1848 m along it after steps 1, 2 and 3, which is
# hypot(0.31 - s cos 72, s sin 72) = 0.3035, 0.2949 and 0.3080 m from the goal, reached at 0.3 m.
GRAZED = {"goal": [0.05, 0.05], "start": [0.36, 0.05, math.pi - math.radians(72)]}


@every_mode
def test_a_success_counts_though_the_step_of_the_reset_leaves_the_goal(mode):
    env = make_vec(LIDAR, 1, engine="analytic", level=2, curriculum=True, autoreset_mode=mode)
    env.reset(seed=0, options={"layout": GRAZED})
    assert not env.step(AHEAD)[2]
    _, _, terminated, _, info = env.step(AHEAD)
    assert terminated
    assert info.get("final_info", info)["success"]
    if mode is AutoresetMode.NEXT_STEP:
        env.step(AHEAD)
    if mode is AutoresetMode.DISABLED:
        env.reset()
    assert env.task_state["level"][0] == 1
    env.close()


@every_mode
def test_a_success_counts_once(mode):
    env = make_vec(LIDAR, 1, engine="analytic", level=2, curriculum=True, autoreset_mode=mode)
    env.reset(seed=0)
    finish(env, well=True)
    env.reset()  # of an episode that has ended, or under SAME_STEP of one that has only begun
    assert env.task_state["level"][0] == (0 if mode is AutoresetMode.SAME_STEP else 1)
    env.step(STAND)
    env.reset()
    assert env.task_state["level"][0] == 0
    env.close()


def test_an_episode_given_up_half_way_counts_as_a_failure():
    env = make_vec(LIDAR, 2, engine="analytic", level=3, curriculum=True, autoreset_mode="SameStep")
    env.reset(seed=0)
    for _ in range(2):
        for row, goal in enumerate(env.task_state["goal"]):
            put_robot(env, row, [*goal, 0.0])
        env.step(np.tile(STAND, (2, 1)))
    levels = [env.task_state["level"].tolist()]
    for _ in range(3):
        env.step(np.tile(STAND, (2, 1)))
        env.reset(options={"reset_mask": np.array([False, True])})
        levels.append(env.task_state["level"].tolist())
    env.close()
    assert levels == [[2, 2], [2, 1], [2, 0], [2, 0]]  # only who is reset, and not below 0


def test_without_a_curriculum_the_level_stays():
    env = make_vec(LIDAR, 1, engine="analytic", level=1, autoreset_mode="SameStep")
    env.reset(seed=0)
    assert finish(env, well=True)["level"][0] == 1
    assert finish(env, well=False)["level"][0] == 1
    assert env.task_state["level"][0] == 1
    env.close()


def towards_goal(observation):
    """Return commands that drive straight to where the goal is. Shape (N, 2)."""
    cos, sin = observation[:, 37], observation[:, 38]
    return np.stack([np.where(cos > 0.9, 1.0, 0.0), np.clip(np.arctan2(sin, cos), -1, 1)], axis=-1)


@pytest.mark.slow
def test_in_a_curriculum_env_i_is_still_the_single_env():
    kwargs = {"engine": "analytic", "level": 3, "curriculum": True}
    vector = make_vec(LIDAR, 3, autoreset_mode="SameStep", **kwargs)
    singles = [gym.make(LIDAR, **kwargs).unwrapped for _ in range(3)]
    observation, _ = vector.reset(seed=4)
    for i, env in enumerate(singles):
        np.testing.assert_array_equal(env.reset(seed=4 + i)[0], observation[i])
    levels = set()
    for _ in range(400):
        actions = towards_goal(observation).astype(np.float32)
        observation, reward, terminated, truncated, _ = vector.step(actions)
        levels.update(vector.task_state["level"].tolist())
        for i, env in enumerate(singles):
            alone, *rest = env.step(actions[i])
            assert rest[:3] == [reward[i], terminated[i], truncated[i]]
            if rest[1] or rest[2]:
                alone, _ = env.reset()
            np.testing.assert_array_equal(alone, observation[i])
    assert levels == {0, 1, 2, 3}  # it went all the way up
    for env in (vector, *singles):
        env.close()
