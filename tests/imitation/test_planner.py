"""The navigation expert: its geometry by hand, and what it reaches."""

import math

import gymnasium as gym
import numpy as np
import pytest

from robolearn.environments import EnvConfig
from robolearn.errors import RobolearnError
from robolearn.evaluation import evaluate_made
from robolearn.imitation.experts import expert_for
from robolearn.imitation.experts.planner import AHEAD, downhill, point_ahead, pursue
from robolearn_envs import make_vec
from robolearn_envs.maps.grid import CELL_CENTERS


def field_of(function):
    x, y = np.meshgrid(CELL_CENTERS, CELL_CENTERS, indexing="ij")
    return function(x, y).astype(np.float32)[None]


def test_downhill_is_where_a_linear_field_falls():
    # 3x + 4y rises along (3, 4) / 5, so it falls along (-0.6, -0.8).
    field = field_of(lambda x, y: 3 * x + 4 * y)
    np.testing.assert_allclose(downhill(field, np.array([[1.0, -2.0]])), [[-0.6, -0.8]], atol=1e-5)


def test_the_point_ahead_lies_on_the_way():
    # Distance x + 5 from a goal at x = -5: straight on in -x.
    field, goal = field_of(lambda x, y: x + 5), np.array([[-4.5, 0.0]])
    point = point_ahead(field, goal, np.array([[2.0, 1.0]]))
    np.testing.assert_allclose(point, [[2.0 - AHEAD, 1.0]], atol=1e-6)


def test_the_point_ahead_is_the_goal_once_that_is_near():
    field, goal = field_of(lambda x, y: np.hypot(x, y)), np.array([[0.05, 0.05]])
    point = point_ahead(field, goal, np.array([[0.3, 0.05]]))
    np.testing.assert_allclose(point, goal)


def test_pursuit_drives_the_arc_that_meets_the_target():
    # Target 0.2 rad to the left at distance 1: v = 1 - 0.2 / 0.6 = 2/3, arc 2 v sin(0.2) / 1,
    # plus 3 * 0.2 * (1 - v) for turning.
    v, omega = pursue(
        np.zeros((1, 2)), np.zeros(1), np.array([[math.cos(0.2), math.sin(0.2)]]), 1.0
    )
    assert v == pytest.approx(2 / 3)
    assert omega == pytest.approx(4 / 3 * math.sin(0.2) + 0.2)


def test_pursuit_turns_on_the_spot_where_the_target_is_behind():
    v, omega = pursue(np.zeros((1, 2)), np.full(1, 3.0), np.array([[1.0, -1.0]]), 1.0)
    # The target bears -45 degrees; from heading 3 rad that is -3.785, or 2.498 the short way.
    assert v == 0
    assert omega == 2.0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("level", "success", "spl"),
    [(0, 0.99, 0.9), (1, 0.99, 0.9), (2, 0.99, 0.9), (3, 0.95, 0.85), (4, 0.95, 0.85)],
)
def test_the_planner_reaches_goals_on_layouts_held_out(level, success, spl):
    env = EnvConfig(
        id="robolearn/NavLidar-v0", engine="analytic", kwargs={"level": level, "split": "test"}
    )
    result = evaluate_made(expert_for, env, episodes=100)
    assert result.success_rate is not None
    assert result.success_rate >= success
    assert result.details["spl"].mean() >= spl


# So many times so many episodes: each has a Bullet world of its own meanwhile, of 35 MB.
@pytest.mark.slow
@pytest.mark.parametrize(("engine", "times", "episodes"), [("mujoco", 1, 20), ("bullet", 4, 2)])
def test_the_planner_drives_the_rover(engine, times, episodes):
    env = EnvConfig(id="robolearn/NavRover-v0", engine=engine, kwargs={"level": 2, "split": "test"})
    results = [evaluate_made(expert_for, env, episodes=episodes, seed=k) for k in range(times)]
    successes = np.concatenate([result.successes for result in results])
    assert len(successes) == times * episodes
    assert successes.mean() >= 0.95


def test_the_planner_also_has_five_actions_only():
    env = EnvConfig(
        id="robolearn/NavLidar-v0", engine="analytic", kwargs={"level": 1, "action": "discrete"}
    )
    result = evaluate_made(expert_for, env, episodes=50)
    assert result.success_rate is not None
    assert result.success_rate >= 0.95


# The mover keeps 3.8 m away from the way to the goal, which is 6.1 m long: some 60 steps.
CROSSED = {
    "goal": [3.05, -3.05],
    "start": [-3.05, -3.05, 0.0],
    "dynamic_obstacles": [[0.05, 2.05, 0.3, 0.0, 1.0, 0.5, 0.0]],
}


def test_what_the_planner_does_in_an_arena_does_not_depend_on_the_others():
    # Nothing moves at level 2, but some foresee being near a post, which would have them dodge it.
    kwargs = {"engine": "analytic", "level": 2}
    env, twin = (make_vec("robolearn/NavLidar-v0", 16, **kwargs) for _ in range(2))
    planners = [expert_for(one) for one in (env, twin)]
    first = np.arange(16) == 0
    for one, layout in ((env, CROSSED), (twin, CROSSED | {"dynamic_obstacles": []})):
        one.reset(seed=0)
        one.reset(options={"reset_mask": first, "layout": layout})
    for _ in range(50):
        actions, expected = (planner.predict(None)[0] for planner in planners)
        np.testing.assert_array_equal(actions[1:], expected[1:])
        env.step(actions)
        twin.step(expected)
    assert env.task_state["cylinders"][0, :, 5].any()  # still in that episode
    env.close()
    twin.close()


def test_the_planner_asks_a_slow_robot_for_no_more_than_it_can():
    env = make_vec(
        "robolearn/NavLidar-v0", 8, engine="analytic", robot={"max_linear_velocity": 0.5}
    )
    planner = expert_for(env)
    arrived, most = np.zeros(8, dtype=bool), 0.0
    env.reset(seed=0)
    while not arrived.all():
        command, _ = planner.predict(None)
        most = max(most, np.abs(command).max())
        _, _, terminated, truncated, info = env.step(command)
        assert not truncated.any()
        if terminated.any():
            assert info["success"][terminated].all()
        arrived |= terminated
    env.close()
    assert most == 1.0  # straight on, as fast as it goes


def test_where_nobody_is_an_expert_those_who_are_get_named():
    envs = gym.make_vec("CartPole-v1", 2)
    with pytest.raises(RobolearnError, match=r"no expert for CartPole-v1.*NavLidar"):
        expert_for(envs)
    envs.close()
