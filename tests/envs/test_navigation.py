"""The rules of navigation by hand, in layouts made for it."""

import math

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from scenes import CAMERA, ClosedForm, at_time, gap, put_robot, sim_at
from scenes import LIDAR as SENSOR

from robolearn_envs import make_vec
from robolearn_envs.single import RoboEnv
from robolearn_envs.tasks.point_goal import NavDepth, NavLidar, NavRover

pytestmark = pytest.mark.usefixtures("small_datasets")

LIDAR, DEPTH, ROVER = (f"robolearn/Nav{kind}-v0" for kind in ("Lidar", "Depth", "Rover"))
every_engine = pytest.mark.parametrize("engine", ["mujoco", "bullet", "analytic"])
every_mode = pytest.mark.parametrize("mode", list(AutoresetMode))

# From start to goal it is 3 m along a row of the grid, whose cells' centers are at 0.05 + 0.1 k.
STRAIGHT = {"goal": [3.05, 0.05], "start": [0.05, 0.05, 0.0], "cylinders": [[1.55, 1.05, 0.3]]}
BLOCKED = {"goal": [3.05, 0.05], "start": [0.05, 0.05, 0.0], "cylinders": [[1.05, 0.05, 0.3]]}
AHEAD, BACK, STAND = (np.array([v, 0.0], dtype=np.float32) for v in (1, -1, 0))

# At full command speed grows by 4 m/s^2 * 0.02 s a physics step, up to 1 m/s. Five such steps:
# 0.02 (0.08 + ... + 0.40) = 0.024 m, then 0.02 (0.48 + ... + 0.80) = 0.064 m, then
# 0.02 (0.88 + 0.96 + 1 + 1 + 1) = 0.0968 m, and 0.1 m from there on.
WAYS = [0.024, 0.064, 0.0968]  # together 0.1848 m


def single(layout, env_id=LIDAR, **kwargs):
    env = gym.make(env_id, **{"engine": "analytic", **kwargs}).unwrapped
    env.reset(seed=0, options={"layout": layout})
    return env


def with_time_limit(layout):
    """Return the same with the TimeLimit that gymnasium.make adds."""
    env = gym.make(LIDAR, engine="analytic", disable_env_checker=True)
    env.reset(seed=0, options={"layout": layout})
    return env


def play(env, *phases):
    """Return rewards and the last step's result; ``phases`` are actions and how often each."""
    rewards, result = [], None
    for action, times in phases:
        for _ in range(times):
            assert result is None or not (result[2] or result[3]), "over too soon"
            result = env.step(action)
            rewards.append(result[1])
    return rewards, result


@every_engine
def test_reward_is_geodesic_progress_less_a_hundredth_and_ten_at_the_goal(engine):
    env = single(STRAIGHT, engine=engine)
    rewards, (_, _, terminated, truncated, _) = play(env, (AHEAD, 29))
    # After k more steps of 0.1 m it is 3 - 0.1848 - 0.1 k from the goal, below 0.3 m for k = 26.
    expected = [way - 0.01 for way in WAYS + [0.1] * 26]
    expected[-1] += 10.0
    assert rewards == pytest.approx(expected, abs=1e-5)
    assert (terminated, truncated) == (True, False)
    env.close()


def test_info_of_a_success_holds_the_measures_of_the_way():
    env = single(STRAIGHT, level=1)
    *_, info = play(env, (AHEAD, 29))[1]
    env.close()
    assert info == {
        "success": True,
        "is_success": True,
        "collision": False,
        "diverged": False,
        "path_length": pytest.approx(2.7848),  # 0.1848 + 26 * 0.1
        "geodesic_distance": pytest.approx(2.7),  # to the circle of success
        "spl": pytest.approx(0.9695490),  # 2.7 / max(2.7848, 2.7)
        "soft_spl": pytest.approx(0.9695490),  # nothing is left: 0.2152 m are within the circle
        # The end of a step that is nearest to the post, 1.5 m on and 1 m aside, is after 0.1848 +
        # 1.3 m: 0.0152 m short of it.
        "min_obstacle_distance": pytest.approx(math.hypot(1, 0.0152) - 0.3 - 0.2),
        "level": 1,
        "reward_terms": {
            "progress": pytest.approx(0.1, abs=1e-5),
            "step": -0.01,
            "success": 10.0,
            "collision": 0.0,
        },
    }


def test_every_info_of_an_episode_has_the_same_names_and_its_measures_so_far():
    env = gym.make(LIDAR, engine="analytic").unwrapped
    _, info = env.reset(seed=0, options={"layout": STRAIGHT})
    infos = [info, *(env.step(AHEAD)[4] for _ in range(29))]
    env.close()
    assert len({tuple(sorted(one)) for one in infos}) == 1
    assert len({tuple(one["reward_terms"]) for one in infos}) == 1
    ways = [sum(WAYS[:k]) for k in range(3)] + [0.1848 + 0.1 * k for k in range(27)]
    assert [one["path_length"] for one in infos] == pytest.approx(ways)
    # Of 2.7 m to the circle are left 2.7 m less the way.
    part = [one["soft_spl"] for one in infos[:-1]]
    assert part == pytest.approx([way / 2.7 for way in ways[:-1]], abs=1e-5)
    assert [one["success"] for one in infos] == [False] * 29 + [True]


def test_terms_of_the_reward_are_weighted_and_sum_up_to_it():
    weights = {"progress": 2.0, "collision": 0.5}
    env = single(BLOCKED, reward_weights=weights)
    plain = single(BLOCKED)
    for _ in range(7):
        _, reward, *_, info = env.step(AHEAD)
        *_, expected = plain.step(AHEAD)
        terms = info["reward_terms"]
        assert reward == pytest.approx(sum(terms.values()))
        for name, term in expected["reward_terms"].items():
            assert terms[name] == pytest.approx(term * weights.get(name, 1.0))
    assert terms["collision"] == -2.5
    env.close()
    plain.close()


def test_measures_of_a_detour():
    env = single(STRAIGHT)
    # Back 0.1848 m; the turn, at 0.08 m/s a physics step from -1 to 1 m/s, goes on for
    # 0.02 (-0.92 - 0.84 - 0.76 - 0.68 - 0.60) = -0.076 m, then -0.036, 0.004, 0.044, 0.084 m: it
    # is at -0.1648 m after a path of 0.4288 m. 29 steps of 0.1 m later 0.2648 m are left.
    rewards, (_, _, terminated, _, info) = play(env, (BACK, 3), (AHEAD, 5 + 29))
    env.close()
    assert terminated
    assert info["path_length"] == pytest.approx(3.3288)
    assert info["spl"] == pytest.approx(2.7 / 3.3288)
    assert info["soft_spl"] == pytest.approx(2.7 / 3.3288)  # 0.2648 m are within the circle
    assert sum(rewards) == pytest.approx(3.0 - 0.2648 - 0.01 * 37 + 10.0, abs=1e-5)


@every_engine
def test_touching_something_costs_five_and_ends_the_episode(engine):
    env = single(BLOCKED, engine=engine)
    shortest = env.vector_env.task_state["geodesic_distance"][0].item()
    # It touches when 0.5 m are gone, in step 7 after 0.1848 + 0.4 m, 0.0848 m deep.
    rewards, (_, _, terminated, truncated, info) = play(env, (AHEAD, 7))
    left = env.vector_env.task_state["distance"][0].item()
    env.close()
    assert (terminated, truncated) == (True, False)
    assert sum(rewards) == pytest.approx(shortest - left - 0.07 - 5.0)
    assert rewards[-1] < -4.5
    assert (info["success"], info["collision"]) == (False, True)
    assert info["reward_terms"]["collision"] == -5.0
    assert info["min_obstacle_distance"] == pytest.approx(-0.0848, abs=1e-6)
    assert info["spl"] == 0.0
    # Around the post: a taut string leads past two bends 0.6 m beside its middle.
    assert 3.1 < shortest < 3.5
    # To the circle of success; the way of 0.5848 m is shorter than the shortest.
    assert info["soft_spl"] == pytest.approx(1 - (left - 0.3) / (shortest - 0.3))


def test_walls_are_touched_too():
    env = single({"goal": [0.05, 0.05], "start": [4.5, 0.05, 0.0]})
    *_, info = play(env, (AHEAD, 5))[1]  # 0.3 m to the wall: 0.1848 + 0.2 are more
    env.close()
    assert info["collision"]


def test_an_episode_is_truncated_after_300_steps():
    env = with_time_limit(STRAIGHT)
    rewards, (_, _, terminated, truncated, info) = play(env, (STAND, 300))
    env.close()
    assert (terminated, truncated) == (False, True)
    assert rewards == pytest.approx([-0.01] * 300)
    assert (info["success"], info["collision"]) == (False, False)
    assert (info["path_length"], info["spl"], info["soft_spl"]) == (0.0, 0.0, 0.0)
    assert info["min_obstacle_distance"] == pytest.approx(math.hypot(1.5, 1.0) - 0.5)


def test_arriving_on_the_last_step_is_both_terminated_and_truncated():
    env = with_time_limit(STRAIGHT)
    *_, terminated, truncated, info = play(env, (STAND, 271), (AHEAD, 29))[1]
    env.close()
    assert (terminated, truncated) == (True, True)
    assert info["success"]


def test_without_the_wrapper_a_single_env_goes_on_for_ever():
    env = single(STRAIGHT)
    assert not any(env.step(STAND)[3] for _ in range(310))
    assert gym.spec(LIDAR).max_episode_steps == 300
    env.close()
    asked = {"engine": "analytic", "max_episode_steps": 5}
    for env in (RoboEnv(LIDAR, **asked), gym.make(LIDAR, disable_env_checker=True, **asked)):
        env.reset(seed=0, options={"layout": STRAIGHT})
        assert [env.step(STAND)[3] for _ in range(5)] == [False] * 4 + [True]
        env.close()


def test_a_goal_reached_by_touching_something_is_no_success():
    env = single({"goal": [3.05, 0.05], "cylinders": [[2.85, 0.62, 0.25]]})
    # At (2.9, 0.25) it is 0.25 m from the goal; the post is hypot(0.05, 0.37) - 0.45 < 0 m away.
    put_robot(env.vector_env, 0, [2.9, 0.25, 0.0])
    *_, terminated, _, info = env.step(STAND)
    env.close()
    assert (terminated, info["success"], info["collision"]) == (True, False, True)


def test_a_rover_that_tips_over_has_collided():
    env = single(STRAIGHT, ROVER, engine="mujoco")
    qpos, qvel = env.vector_env.qpos_qvel()
    qpos[0, 2] = 0.3
    qpos[0, 3:7] = [math.cos(math.pi / 6), math.sin(math.pi / 6), 0.0, 0.0]  # leans 60 degrees
    env.vector_env._engine.reset(np.array([0]), qpos, qvel, None)
    _, reward, terminated, _, info = env.step(STAND)
    env.close()
    assert terminated
    assert (info["collision"], info["success"]) == (True, False)
    assert info["min_obstacle_distance"] > 0.4
    assert reward == pytest.approx(-5.01, abs=0.1)


@pytest.mark.parametrize("env_id", [LIDAR, DEPTH, ROVER])
def test_info_is_plain_python_in_a_single_env(env_id):
    env = single(BLOCKED, env_id, engine="bullet")
    result = None
    while result is None or not result[2]:
        result = env.step(np.ones(2, np.float32) if env_id == ROVER else AHEAD)
    types = {name: type(figure) for name, figure in result[4].items()}
    flags = ("success", "is_success", "collision", "diverged")
    expected = dict.fromkeys(flags, bool) | {"level": int}
    lengths = ("path_length", "geodesic_distance", "spl", "soft_spl", "min_obstacle_distance")
    assert types == expected | dict.fromkeys(lengths, float) | {"reward_terms": dict}
    assert {type(term) for term in result[4]["reward_terms"].values()} == {float}
    env.close()


@every_mode
def test_info_of_a_vector_is_arrays_with_masks(mode):
    env = make_vec(LIDAR, 2, engine="analytic", autoreset_mode=mode)
    env.reset(seed=0, options={"layout": STRAIGHT})
    for _ in range(28):
        *_, info = env.step(np.stack([STAND, AHEAD]))
        assert info.keys() == {"reward_terms", "_reward_terms"}
    last, _, terminated, truncated, info = env.step(np.stack([STAND, AHEAD]))
    np.testing.assert_array_equal(terminated, [False, True])
    assert not truncated.any()
    if mode is AutoresetMode.SAME_STEP:
        np.testing.assert_array_equal(info["_final_obs"], [False, True])
        assert (info["final_obs"].shape, info["final_obs"].dtype) == ((2,), object)
        assert info["final_obs"][0] is None
        last, info = info["final_obs"], info["final_info"]
    # 0.2152 m to the goal, straight ahead, at 1 m/s.
    assert last[1][36:] == pytest.approx([0.02152, 1.0, 0.0, 1.0, 0.0], abs=1e-6)
    for name in (*NavLidar.metric_docs, "is_success", "diverged"):
        assert info[name].shape == (2,)
        np.testing.assert_array_equal(info[f"_{name}"], [False, True])
        assert info[name][0] == 0
    assert info["path_length"][1] == pytest.approx(2.7848)
    assert info["success"][1]
    env.close()


@every_mode
def test_terms_of_a_vectors_reward_are_those_of_the_step_that_ends_an_episode(mode):
    env = make_vec(LIDAR, 2, engine="analytic", autoreset_mode=mode)
    env.reset(seed=0, options={"layout": BLOCKED})
    for _ in range(7):
        _, reward, terminated, _, info = env.step(np.stack([STAND, AHEAD]))
    assert terminated.tolist() == [False, True]
    terms = info["reward_terms"]
    assert terms["collision"].tolist() == [0.0, -5.0]
    assert terms["step"].tolist() == [-0.01, -0.01]
    assert terms["success"].tolist() == [0.0, 0.0]
    np.testing.assert_allclose(terms["progress"], reward - [-0.01, -5.01], atol=1e-12)
    assert info["_reward_terms"].all()
    alone = single(BLOCKED)
    assert terms["progress"][1] == play(alone, (AHEAD, 7))[1][4]["reward_terms"]["progress"] != 0
    env.close()
    alone.close()


@every_mode
def test_the_episode_after_one_in_a_given_layout_is_in_one_of_the_dataset(mode):
    env = make_vec(LIDAR, 2, engine="analytic", autoreset_mode=mode, level=1)
    env.reset(seed=0, options={"layout": BLOCKED})
    for _ in range(7):
        _, _, terminated, *_ = env.step(np.stack([STAND, AHEAD]))
    assert terminated[1]
    if mode is AutoresetMode.NEXT_STEP:
        env.step(np.stack([STAND, AHEAD]))
    if mode is AutoresetMode.DISABLED:
        env.reset(options={"reset_mask": terminated})
    assert env.task_state["goal"][0] == pytest.approx([3.05, 0.05])
    assert env.task_state["goal"][1] != pytest.approx([3.05, 0.05])
    assert (
        env.task_state["cylinders"][1, :, 0] < 900
    ).sum() == 4  # those of level 1; the rest is padding
    assert env.task_state["path_length"][1] == 0.0
    env.close()


@every_engine
def test_an_observation_is_what_the_data_sheet_says(engine):
    # Heading along +y; the goal is 2 m left of it (bearing 90 degrees).
    layout = {"goal": [-1.95, 0.05], "start": [0.05, 0.05, math.pi / 2]}
    layout["cylinders"] = [[0.05, 2.05, 0.5]]
    env = gym.make(LIDAR, engine=engine).unwrapped
    observation, _ = env.reset(seed=0, options={"layout": layout})
    # Ahead the post, 2 - 0.5 m; right the wall, 4.95 m; left and behind 5.05 m: out of reach.
    assert observation[[0, 9, 18, 27]] == pytest.approx([0.3, 1.0, 1.0, 0.99], abs=1e-6)
    assert observation[36:] == pytest.approx([0.2, 0.0, 1.0, 0.0, 0.0], abs=1e-6)
    # Five physics steps at (0.5, -1): 4 m/s^2 and -20 rad/s^2 for 0.1 s.
    observation, *_ = env.step(np.array([0.5, -1.0], dtype=np.float32))
    assert observation[39:] == pytest.approx([0.4, -2.0], abs=1e-6)
    env.close()


@every_engine
def test_a_depth_observation_is_image_and_goal(engine):
    layout = {"goal": [-1.95, 0.05], "start": [0.05, 0.05, 0.0], "boxes": [[3.05, 0.05, 1.0, 1.0]]}
    env = gym.make(DEPTH, engine=engine).unwrapped
    observation, _ = env.reset(seed=0, options={"layout": layout})
    assert observation["depth"][31, 30:34] == pytest.approx(np.full(4, 0.4), abs=1e-3)  # 2 m / 5
    assert observation["goal"] == pytest.approx([0.2, -1.0, 0.0, 0.0, 0.0], abs=1e-6)
    env.close()


# The middle at time t is (0.05, 2.05 + 1.7 sin(0.5 t)): up at first, back at t = 2 pi = 6.28 s, and
# 0.5 m from a robot at (0.05, 0.05) when sin(0.5 t) = -1.5 / 1.7, at t = 8.445 s: in step 85.
CROSSED = {
    "goal": [3.05, 0.05],
    "start": [0.05, 0.05, 0.0],
    "dynamic_obstacles": [[0.05, 2.05, 0.3, 0.0, 1.7, 0.5, 0.0]],
}


@every_engine
@pytest.mark.parametrize("level", [0, 2, 3])
def test_movers_move_and_hit_who_stands_in_their_way(engine, level):
    env = single(CROSSED, engine=engine, level=level)
    for step in range(1, 86):
        observation, reward, terminated, _, info = env.step(STAND)
        assert terminated == (step == 85)
        if step in (10, 50):  # straight to the left; 2 + 1.7 sin(t / 2) - 0.3
            expected = 1.7 + 1.7 * math.sin(0.05 * step)
            assert observation[9] == pytest.approx(expected / 5, abs=1e-5)
    assert info["collision"]
    assert reward == pytest.approx(-5.01)
    # t = 8.5: 2 + 1.7 sin(4.25) - 0.5
    assert info["min_obstacle_distance"] == pytest.approx(1.5 + 1.7 * math.sin(4.25), abs=1e-9)
    env.close()


def test_a_mover_that_does_not_swing_stands_where_its_phase_puts_it():
    # (0.05, 1.05) + (0, 2) sin(pi / 2) = (0.05, 3.05)
    layout = {**CROSSED, "dynamic_obstacles": [[0.05, 1.05, 0.3, 0.0, 2.0, 0.0, math.pi / 2]]}
    env = gym.make(LIDAR, engine="analytic").unwrapped
    observation, _ = env.reset(seed=0, options={"layout": layout})
    assert observation[9] == pytest.approx(2.7 / 5, abs=1e-6)
    env.close()


@pytest.mark.parametrize("level", range(5))
def test_episodes_begin_at_rest_2_to_8_meters_from_the_goal_and_clear_of_all(level):
    env = make_vec(LIDAR, 200, engine="analytic", level=level)
    observation, _ = env.reset(seed=1)
    xy, state = env.qpos_qvel()[0][:, :2], env.task_state
    for i in range(200):
        cylinders = at_time(state["cylinders"][i], 0.0).tolist()
        room = gap(*xy[i], cylinders, state["boxes"][i].tolist())
        assert room > 0.2  # the robot's radius
        assert state["min_obstacle_distance"][i] == pytest.approx(room - 0.2)
    assert state["geodesic_distance"].min() > 1.9
    assert state["geodesic_distance"].max() < 8.1
    np.testing.assert_array_equal(observation[:, 39:], 0.0)
    heading = np.sort(env.qpos_qvel()[0][:, 2])
    assert heading[0] < -2.8
    assert heading[-1] > 2.8
    assert len(np.unique(xy, axis=0)) == 200
    env.close()


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_layouts_come_from_the_split_asked_for(split):
    env = make_vec(LIDAR, 50, engine="analytic", level=1, split=split)
    env.reset(seed=0)
    colors = {round((goal.sum() + 9.9) / 0.1) % 4 for goal in env.task_state["goal"]}
    assert colors <= {"train": {0, 1}, "val": {2}, "test": {3}}[split]
    assert len(np.unique(env.task_state["goal"], axis=0)) > 8  # of 16
    env.close()


def test_a_layout_of_the_dataset_can_be_asked_for_by_number():
    env = make_vec(LIDAR, 3, engine="analytic", level=1)
    goals = []
    for index in (0, np.int64(7), 0):
        env.reset(seed=5, options={"layout_id": index})
        assert len(np.unique(env.task_state["goal"], axis=0)) == 1
        goals.append(env.task_state["goal"][0].tolist())
    assert goals[0] == goals[2] != goals[1]
    env.close()


def test_a_start_can_be_asked_for_in_every_layout():
    env = make_vec(LIDAR, 3, engine="analytic", level=0)
    env.reset(seed=0, options={"start": [4.05, -4.05, 1.5]})
    assert env.qpos_qvel()[0] == pytest.approx(np.tile([4.05, -4.05, 1.5], (3, 1)))
    env.close()


@pytest.mark.parametrize(
    ("task", "env_id"), [(NavLidar, LIDAR), (NavDepth, DEPTH), (NavRover, ROVER)]
)
def test_discrete_actions_ask_for_the_listed_ctrl(task, env_id):
    engine = "bullet" if env_id == ROVER else "analytic"
    kwargs = {"engine": engine, "level": 0}
    states = []
    for kind, action in (
        ("discrete", np.arange(5)),
        ("continuous", np.array(task.discrete_actions)),
    ):
        env = make_vec(env_id, 5, action=kind, **kwargs)
        robot = env.unwrapped.task.robot
        env.reset(seed=0, options={"start": [0.0, 0.0, 0.0], "layout_id": 3})
        for _ in range(5):
            env.step(action)
        states.append(env.qpos_qvel())
        env.close()
    moved, expected = states
    np.testing.assert_array_equal(moved[0], expected[0])
    v, omega = robot.twist(*moved)
    # Ahead; ahead and left; ahead and right; left and right on the spot.
    assert v[:3].min() > 0.4
    assert np.abs(v[3:]).max() < 0.05
    np.testing.assert_array_equal(np.sign(omega.round(1)), [0, 1, -1, 1, -1])


NOISY = 0.5
"""``domain_randomization``: noise of 0.05 m, 1 of 20 readings lost, half of the episodes late."""


def noisy(num_envs, steps=2, env_id=LIDAR, randomize=NOISY):
    """Return observed and exact ranges of robots that stand still. Shapes (steps, N, 36)."""
    kwargs = {"engine": "analytic", "level": 2, "domain_randomization": randomize}
    env = make_vec(env_id, num_envs, **kwargs)
    seen = [env.reset(seed=0)[0]]
    action = np.zeros((num_envs, 2), dtype=np.float32)
    seen += [env.step(action)[0] for _ in range(steps - 1)]
    qpos, state = env.qpos_qvel()[0], env.task_state
    rays = ClosedForm(state["obstacle_positions"], state["boxes"])
    where = sim_at(rays, slice(None), qpos[:, :2], qpos[:, 2])
    env.close()
    if env_id == DEPTH:
        return np.array([one["depth"] for one in seen]), CAMERA.read(where)
    return np.array([one[:, :36] for one in seen]), SENSOR.read(where)


@pytest.mark.parametrize(("env_id", "num_envs"), [(LIDAR, 400), (DEPTH, 8)])
def test_randomized_readings_are_noisy_and_some_are_lost(env_id, num_envs):
    (seen, *_), exact = noisy(num_envs, 1, env_id)
    clear = (exact > 0.1) & (exact < 0.9)  # noise cannot clip these
    lost = seen == 1.0
    count = clear.sum()
    assert count > 5000
    # Binomial: the standard error of the part lost is sqrt(0.05 * 0.95 / count).
    assert lost[clear].mean() == pytest.approx(0.05, abs=5 * math.sqrt(0.05 * 0.95 / count))
    error = (seen - exact)[clear & ~lost]
    # 0.5 * 0.1 m / 5 m = 0.01, give or take 0.01 / sqrt(2 count), and no bias.
    assert error.std() == pytest.approx(0.01, abs=5 * 0.01 / math.sqrt(2 * count))
    assert error.mean() == pytest.approx(0.0, abs=5 * 0.01 / math.sqrt(count))
    assert np.abs(np.corrcoef(error[:-1], error[1:])[0, 1]) < 5 / math.sqrt(count)


def test_randomized_readings_are_a_step_late_in_some_episodes():
    (first, second, third), _ = noisy(400, 3)
    late = (first == second).all(axis=1)
    # Half of the episodes, give or take sqrt(1 / 4 / 400) = 0.025.
    assert late.mean() == pytest.approx(0.5, abs=0.1)
    # There the first reading is shown again; the noise of every step is another.
    assert (second != third).mean(axis=1).min() > 0.5
    assert (first[~late] != second[~late]).mean(axis=1).min() > 0.5


def test_goal_and_speeds_are_not_disturbed():
    kwargs = {"engine": "analytic", "level": 0}
    exact, disturbed = (make_vec(LIDAR, 20, domain_randomization=r, **kwargs) for r in (0.0, NOISY))
    one, other = exact.reset(seed=0)[0], disturbed.reset(seed=0)[0]
    np.testing.assert_array_equal(one[:, 36:], other[:, 36:])
    assert (one[:, :36] != other[:, :36]).any()
    exact.close()
    disturbed.close()


def test_without_randomization_readings_are_exact():
    seen, exact = noisy(50, 2, randomize=0.0)
    np.testing.assert_array_equal(seen, np.stack([exact, exact]).astype(np.float32))


def test_a_masked_reset_leaves_what_others_read_as_it_was():
    kwargs = {
        "engine": "analytic",
        "domain_randomization": NOISY,
        "autoreset_mode": AutoresetMode.DISABLED,
    }
    env, twin = make_vec(LIDAR, 12, **kwargs), make_vec(LIDAR, 12, **kwargs)
    mask, action = np.arange(12) == 4, np.full((12, 2), 0.3, dtype=np.float32)
    for one in (env, twin):
        one.reset(seed=0)
        one.step(action)
    before, *_ = env.step(action)
    twin.step(action)
    after, _ = env.reset(options={"reset_mask": mask})
    np.testing.assert_array_equal(after[~mask], before[~mask])
    assert (after[mask] != before[mask]).any()
    np.testing.assert_array_equal(env.step(action)[0][~mask], twin.step(action)[0][~mask])
    env.close()
    twin.close()


def test_randomized_robots_weigh_and_pull_differently():
    env = make_vec(LIDAR, 50, engine="analytic", level=0, domain_randomization=0.2)
    env.reset(seed=0)
    masses = np.array([env.robot_params(i).mass for i in range(50)])
    env.step(np.tile(AHEAD, (50, 1)))
    env.close()
    assert 4.0 <= masses.min() < 4.4
    assert 5.6 < masses.max() <= 6.0


def test_a_randomized_robot_goes_as_fast_as_its_motor_is_strong():
    env = make_vec(LIDAR, 50, engine="analytic", domain_randomization=0.2).unwrapped
    # 3 s at up to 1.2 m/s are less than the 8 m to the wall.
    env.reset(seed=0, options={"layout": {"goal": [3.05, 3.05], "start": [-3.05, 0.05, 0.0]}})
    for _ in range(30):
        env.step(np.tile(AHEAD, (50, 1)))
    v, omega = env.task.robot.twist(*env.qpos_qvel())
    # The command is multiplied, so what is reached is the same part of the nominal 1 m/s; by how
    # much the robot weighs, the servo only takes longer or shorter to get there.
    assert v == pytest.approx(env.parameters["motor"] * 1.0, abs=1e-9)
    assert omega == pytest.approx(np.zeros(50), abs=1e-9)
    env.close()
    assert 0.8 <= v.min() < 0.84
    assert 1.16 < v.max() <= 1.2
