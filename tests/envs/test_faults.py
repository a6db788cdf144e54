"""Faults that a review of the environments found, each by the review's own input.

Where a test stands in the review: A1 ... A9 (wrong numbers), B3 ... B15 (crashes and broken
contracts) of the environments, C3 ... C14 (software that others wrote).
"""

import copy
import math
import os
import pickle
import time

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode
from optional_torch import needs_torch, torch

from robolearn_envs import ENVS, make_vec
from robolearn_envs.engines import make_engine
from robolearn_envs.maps import generate as generator
from robolearn_envs.maps.dataset import layout_dataset
from robolearn_envs.maps.generate import generate
from robolearn_envs.robots import CartPole, DiffDriveRobot

LIDAR, DEPTH, ROVER = (f"robolearn/Nav{kind}-v0" for kind in ("Lidar", "Depth", "Rover"))
BALANCE, SWING_UP, DMC = (f"robolearn/CartPole{kind}-v0" for kind in ("Balance", "SwingUp", "DMC"))
every_engine = pytest.mark.parametrize("engine", ["mujoco", "bullet", "analytic"])
either_navigation = pytest.mark.parametrize("env_id", [LIDAR, DEPTH])

CROSSED = {
    "goal": [3.05, 0.05],
    "start": [0.05, 0.05, 0.0],
    "dynamic_obstacles": [[0.05, 2.05, 0.3, 0.0, 1.7, 0.5, 0.0]],
}
"""Something crosses the place where the robot stands."""


def nav(env_id=LIDAR, engine="analytic", level=0, **options):
    return gym.make(env_id, engine=engine, level=level, **options)


def cart_poles(env_id=SWING_UP, count=1, engine="analytic", **options):
    return make_vec(env_id, count, engine=engine, **options)


def idle(env):
    return np.zeros(env.action_space.shape, np.float32)


def full(env):
    return np.ones(env.action_space.shape, np.float32)


def drive(env, layout, action, most=300):
    """Drive on until the episode ends; return its length and info."""
    env.reset(seed=0, options={"layout": layout})
    for step in range(1, most + 1):
        _, _, terminated, truncated, info = env.step(np.array(action, np.float32))
        if terminated or truncated:
            return step, info
    raise AssertionError("The episode has not ended.")


def make_diverge(vector_env):
    """Give all environments of an analytic batch a state that is not finite."""
    state = vector_env.get_state()
    state["engine/state"][:] = np.nan
    vector_env.set_state(state)


# --- Wrong numbers


@either_navigation
@pytest.mark.parametrize("strength", [0.6, 0.9])
def test_a_disc_of_any_mass_neither_slips_nor_is_faster_than_its_motor(env_id, strength):  # A1
    count = 50 if env_id == LIDAR else 8  # pictures take their time
    env = make_vec(env_id, count, engine="analytic", level=0, domain_randomization=strength)
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(20):
        env.step(rng.uniform(-1, 1, (count, 2)).astype(np.float32))
        (_, _, heading), (vx, vy, _) = (part.T for part in env.qpos_qvel())
        forward, aside = vx * np.cos(heading) + vy * np.sin(heading), vy * np.cos(heading)
        aside = aside - vx * np.sin(heading)
        # 1 m/s, times the motor's own factor; what does not slip has no speed to the side.
        assert (np.abs(forward) <= env.parameters["motor"] + 1e-12).all()
        assert np.abs(aside).max() < 1e-12
    env.close()


@pytest.mark.filterwarnings("ignore:analytic. the state of env:RuntimeWarning")
def test_an_episode_that_diverged_beside_the_goal_is_no_success():  # A2
    env = nav(on_divergence="truncate")
    layout = {"goal": [0.05, 0.05], "start": [-3.0, 0.0, 0.0]}
    env.reset(seed=0, options={"layout": layout})
    make_diverge(env.unwrapped.vector_env)  # its engine puts it to rest in the origin
    _, reward, terminated, truncated, info = env.step(idle(env))
    assert (reward, terminated, truncated) == (0.0, False, True)
    assert info["diverged"]
    assert not info["success"]
    assert info["spl"] == info["soft_spl"] == info["path_length"] == 0.0
    env.close()


@pytest.mark.filterwarnings("ignore:analytic. the state of env:RuntimeWarning")
def test_the_curriculum_does_not_go_up_after_an_episode_that_diverged():  # A2
    env = make_vec(LIDAR, 1, engine="analytic", curriculum=True, on_divergence="truncate")
    env.reset(seed=0, options={"layout": {"goal": [0.05, 0.05], "start": [-3.0, 0.0, 0.0]}})
    make_diverge(env)
    env.step(idle(env))
    env.step(idle(env))  # begins the next episode
    assert env.task_state["level"].tolist() == [0]
    env.close()


@pytest.mark.filterwarnings("ignore:analytic. the state of env:RuntimeWarning")
def test_a_cart_pole_that_diverged_did_not_hold_on():  # A2
    options = {"max_episode_steps": 1, "on_divergence": "truncate", "action": "continuous"}
    env = cart_poles(BALANCE, **options)
    env.reset(seed=0)
    make_diverge(env)  # the origin is upright and centered
    info = env.step(idle(env))[4]
    assert info["diverged"].tolist() == [True]
    assert info["success"].tolist() == [False]
    env.close()


@pytest.mark.parametrize("level", [0, 2])
@pytest.mark.parametrize("begun", [True, False], ids=["begun", "new"])
def test_obstacles_of_a_layout_of_ones_own_move_on_in_another_environment(level, begun):  # A3
    env, other = (make_vec(LIDAR, 1, engine="analytic", level=level) for _ in range(2))
    env.reset(seed=0, options={"layout": CROSSED})
    for _ in range(10):
        env.step(idle(env))
    if begun:
        other.reset(seed=5)
    other.set_state(env.get_state())
    for _ in range(20):
        expected, got = env.step(idle(env)), other.step(idle(other))
        np.testing.assert_array_equal(got[0], expected[0])
    # 3 s after the start: 2.05 + 1.7 sin(0.5 * 3)
    positions = other.task_state["obstacle_positions"]
    assert positions[0, 0, 1] == pytest.approx(2.05 + 1.7 * math.sin(1.5), abs=1e-9)
    for each in (env, other):  # the next episode is one of the level's own
        each.reset()
        each.step(idle(each))
    np.testing.assert_array_equal(other.task_state["goal"], env.task_state["goal"])
    env.close()
    other.close()


@pytest.mark.parametrize(
    "made",
    [
        (BALANCE, 4, {}),
        (BALANCE, 1, {"engine": "mujoco"}),
        (BALANCE, 1, {"domain_randomization": 0.2}),
        (SWING_UP, 1, {}),
    ],
    ids=["number", "engine", "randomization", "task"],
)
def test_the_state_of_other_environments_is_refused_and_changes_nothing(made):  # A4
    source = cart_poles(BALANCE)
    source.reset(seed=3)
    env_id, count, options = made
    env = cart_poles(env_id, count, **options)
    env.reset(seed=0)
    before = env.get_state()
    with pytest.raises(ValueError, match="This is no state of these environments") as refusal:
        env.set_state(source.get_state())
    assert "\n" not in str(refusal.value)
    for name, part in env.get_state().items():
        np.testing.assert_array_equal(part, before[name])
    source.close()
    env.close()


@every_engine
@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))], ids=["copy", "pickle"]
)
def test_a_copy_goes_on_alike_and_leaves_the_original_alone(engine, copied):  # A5, C14
    env = gym.make(SWING_UP, engine=engine)
    env.reset(seed=0)
    env.step(full(env))
    twin = copied(env)
    before = [part.copy() for part in env.unwrapped.vector_env.qpos_qvel()]
    ahead = [twin.step(full(twin)) for _ in range(20)]
    for now, then in zip(env.unwrapped.vector_env.qpos_qvel(), before, strict=True):
        np.testing.assert_array_equal(now, then)
    twin.close()
    for expected in ahead:
        observation, reward, *_ = env.step(full(env))
        np.testing.assert_array_equal(observation, expected[0])
        assert reward == expected[1]
    env.close()


@pytest.mark.parametrize("engine", ["mujoco", pytest.param("torch", marks=needs_torch)])
@pytest.mark.parametrize("env_id", [SWING_UP, LIDAR])
def test_a_batch_is_pickled_with_its_options_its_state_and_its_spec(engine, env_id):  # C14
    env = make_vec(env_id, 3, engine=engine, domain_randomization=0.2, num_threads=1)
    env.reset(seed=0)
    twin = pickle.loads(pickle.dumps(env))
    np.testing.assert_array_equal(twin.step(full(twin))[0], env.step(full(env))[0])
    assert twin.parameters.keys() == env.parameters.keys() >= {"motor"}
    assert twin.spec.id == env.spec.id == env_id
    env.close()
    twin.close()


def test_a_small_robot_does_not_pass_through_a_thin_wall_between_two_steps():  # A6
    env = nav(robot={"radius": 0.03})
    layout = {
        "goal": [2.05, 0.05],
        "start": [-2.0, 0.05, 0.0],
        "boxes": [[0.03, 0.0, 0.005, 3.0]],
    }
    _, info = drive(env, layout, [1.0, 0.0])
    assert info["collision"]
    assert not info["success"]
    assert info["spl"] == 0.0
    # It stands 0.025 - 0.03 m before the wall where it is stopped, or a step of 0.1 m behind that.
    assert info["path_length"] <= 2.0 + 0.1
    env.close()


def test_an_obstacle_that_crosses_a_robot_between_two_steps_is_noticed_at_once():  # A6
    # At t its middle is at y = 0.05 + 2.5 cos(2 t): 0.475 after step 7, -0.023 after step 8. The
    # robot stands at 0.25: neither is within 0.05 + 0.03 m of it.
    env = nav(robot={"radius": 0.03})
    layout = {
        "goal": [3.05, 0.05],
        "start": [0.05, 0.25, 0.0],
        "dynamic_obstacles": [[0.05, 0.05, 0.05, 0.0, 2.5, 2.0, math.pi / 2]],
    }
    steps, info = drive(env, layout, [0.0, 0.0])
    assert steps == 8
    assert info["collision"]
    assert info["min_obstacle_distance"] == pytest.approx(-0.08, abs=1e-9)  # through its middle
    env.close()


def test_an_obstacle_faster_than_five_meters_a_second_is_refused():  # A6
    env = nav()
    layout = {**CROSSED, "dynamic_obstacles": [[0.05, 0.05, 0.1, 0.0, 4.0, 10.0, 1.4]]}
    with pytest.raises(ValueError, match=r"move at 5\.0 m/s at most, got 40") as refusal:
        env.reset(options={"layout": layout})
    assert "\n" not in str(refusal.value)
    env.close()


@pytest.mark.parametrize("engine", ["mujoco", "bullet"])
def test_a_free_wheel_settles_at_the_speed_it_is_told(engine):  # A7
    robot = DiffDriveRobot()
    physics = make_engine(engine, robot, 0.01, 1)
    qpos, qvel = robot.rest_state(np.zeros((1, 2)), np.zeros(1))
    qpos[:, 2] = 5.0  # in the air
    physics.reset(np.array([0]), qpos, qvel, None)
    speeds = []
    for _ in range(60):
        ctrl = np.array([[0.5, 0.5]])
        physics.step(robot.actuate(physics.qpos, physics.qvel, ctrl, 0.01, {}))
        speeds.append(physics.qvel[0, 6:].copy())
    assert (np.diff(speeds, axis=0) > -1e-9).all()  # it never overshoots
    # Half of 12.5 rad/s.
    assert speeds[-1] == pytest.approx([6.25, 6.25], abs=1e-3)
    physics.close()


@pytest.mark.parametrize("engine", ["mujoco", "bullet"])
def test_wheels_that_slip_do_not_oscillate(engine):  # A7
    env = make_vec(ROVER, 1, engine=engine, level=0, robot={"friction": 0.02})
    env.reset(seed=0, options={"layout": {"goal": [3.05, 0.05], "start": [-3.0, 0.05, 0.0]}})
    speeds = []
    for _ in range(10):
        env.step(np.full((1, 2), 0.5, np.float32))
        speeds.append(env.qpos_qvel()[1][0, 6:].copy())
    assert np.abs(speeds[-1] - speeds[-2]).max() < 0.01
    # The floor holds each wheel back by 0.02 * 5.5 kg * 9.81 m/s^2 / 2 * 0.08 m = 0.0432 N m. A
    # wheel has 0.0015 + 0.4 * 0.25 * 0.08^2 = 0.00214 kg m^2, so that the gain of an implicit step
    # is 0.15 / (1 + 0.15 * 0.01 / 0.00214) = 0.0882 N m s/rad, and it lags 0.0432 / 0.0882
    # rad/s behind.
    assert speeds[-1] == pytest.approx([5.76, 5.76], abs=0.02)
    env.close()


def test_a_picture_of_a_later_episode_shows_its_own_robot():  # A8
    options = {"domain_randomization": 0.3, "render_mode": "rgb_array"}
    env, other = cart_poles(**options), cart_poles(**options)
    env.reset(seed=0)
    first = env.robot_params(0).pole_length
    env.reset()
    other.reset(seed=0)
    other.set_render_state(env.get_render_state(), new_episode=True)
    assert env.robot_params(0).pole_length != first
    assert other.robot_params(0) == env.robot_params(0)
    np.testing.assert_array_equal(other.render()[0], env.render()[0])
    env.close()
    other.close()


@needs_torch
def test_what_is_drawn_of_a_batch_on_a_device_has_its_robots_with_it():  # A8
    host = cart_poles(count=2, domain_randomization=0.3)
    device = cart_poles(count=2, domain_randomization=0.3, engine="torch")
    for env in (host, device):
        env.reset(seed=0)
        env.reset()
    drawn = {name: part.numpy() for name, part in device.get_render_state().items()}
    host_drawn = host.get_render_state()
    assert drawn.keys() == host_drawn.keys()
    np.testing.assert_allclose(drawn["scale.pole_length"], host_drawn["scale.pole_length"], 1e-6)
    device.record_render_states(slice(0, 2))
    before, after = device.step_fn(torch.zeros(2, 1)).render_states
    # x, theta, their velocities, and three factors
    assert before.shape == after.shape == (2, 7)
    assert before[:, 6].tolist() == after[:, 6].tolist() == drawn["scale.pole_length"].tolist()
    host.close()
    device.close()


def test_a_straight_way_has_spl_1_and_a_detour_what_it_is_longer():  # A9
    env = nav()
    layout = {"goal": [2.05, 0.05], "start": [-1.95, 0.05, 0.0]}
    _, straight = drive(env, layout, [1.0, 0.0])
    # 4 m to the goal's middle; it is reached 0.3 m before that.
    assert straight["geodesic_distance"] == pytest.approx(3.7, abs=1e-6)
    # It comes to be within 0.3 m only at the end of a step, of 0.1 m at most.
    assert 3.7 <= straight["path_length"] <= 3.8
    assert straight["spl"] == pytest.approx(3.7 / straight["path_length"], abs=1e-6)
    env.reset(options={"layout": layout})
    ended = False
    for step in range(200):  # a quarter of a meter back first
        action = [-1.0 if step < 5 else 1.0, 0.0]
        _, _, ended, _, detour = env.step(np.array(action, np.float32))
        if ended:
            break
    assert detour["success"]
    assert detour["path_length"] > 4.0
    # The old definition, 4 m of 4 m, did not see it.
    assert detour["spl"] == pytest.approx(3.7 / detour["path_length"], abs=1e-6)
    env.close()


# --- Crashes and broken contracts


@pytest.mark.parametrize(
    ("env_id", "limit"),
    [(BALANCE, 500), (SWING_UP, 500), (DMC, 1000), (LIDAR, 300), (DEPTH, 300), (ROVER, 300)],
)
def test_the_spec_of_an_id_names_its_time_limit(env_id, limit):  # B3, C8
    assert env_id in ENVS
    assert gym.spec(env_id).max_episode_steps == limit


def test_time_aware_observations_find_the_time_limit():  # B3, C8
    env = gym.wrappers.TimeAwareObservation(gym.make(BALANCE, engine="analytic"))
    first, _ = env.reset(seed=0)
    assert first.shape == env.step(0)[0].shape == (5,)
    env.close()


@pytest.mark.parametrize("limit", [20, 1000])
def test_a_single_environment_ends_at_the_time_limit_it_was_made_with(limit):  # B3
    env = gym.make(SWING_UP, engine="analytic", max_episode_steps=limit)
    assert env.spec.max_episode_steps == limit
    env.reset(seed=0)
    truncated = [env.step(idle(env))[3] for _ in range(limit)]
    assert truncated.index(True) == limit - 1
    env.close()


@pytest.mark.parametrize("limit", [20, 1000])
def test_a_batch_ends_at_the_time_limit_it_was_made_with(limit):  # B3
    env = gym.make_vec(SWING_UP, num_envs=2, engine="analytic", max_episode_steps=limit)
    env.reset(seed=0)
    truncated = [env.step(idle(env))[3].any() for _ in range(limit)]
    assert truncated.index(True) == limit - 1
    env.close()


def test_the_metrics_are_there_at_a_time_limit_of_ones_own():  # B3
    env = nav(max_episode_steps=20)
    steps, info = drive(env, CROSSED, [0.0, 0.0])
    assert steps == 20
    assert info["success"] is False
    assert info["spl"] == 0.0
    assert info["path_length"] == 0.0
    env.close()


def test_final_observations_are_one_for_each_environment_that_ended():  # B4
    env = make_vec(DEPTH, 2, engine="analytic", level=0, autoreset_mode="SameStep")
    env.reset(seed=0, options={"layout": {"goal": [3.05, 0.05], "start": [0.05, 0.05, 0.0]}})
    env.reset(options={"reset_mask": np.array([False, True]), "layout": {"goal": [-3.05, 0.05]}})
    forward = np.array([[1.0, 0.0], [0.0, 0.0]], np.float32)
    for _ in range(60):
        observation, _, terminated, _, info = env.step(forward)
        if terminated.any():
            break
    final = info["final_obs"]
    assert info["_final_obs"].tolist() == [True, False]
    assert final.dtype == object
    assert final.shape == (2,)
    assert final[1] is None
    assert env.single_observation_space.contains(final[0])
    assert final[0]["goal"][0] < 0.03  # within 0.3 m of the goal, over 10 m
    assert observation["goal"][0, 0] > 0.1  # where the next episode begins
    env.close()


def test_the_seed_that_gymnasium_draws_leads_back_to_the_same_episode():  # B5
    env = gym.make(BALANCE, engine="analytic")
    first, _ = env.reset()
    seed = env.unwrapped.np_random_seed
    assert seed > 2**63  # Gymnasium's have 128 bits
    other, _ = env.reset(seed=7)
    assert env.unwrapped.np_random_seed == 7
    again, _ = env.reset(seed=seed)
    assert not np.array_equal(other, first)
    np.testing.assert_array_equal(again, first)
    env.close()


@pytest.mark.parametrize("seed", [[3, 4], (3, 4), np.array([3, 4]), 3], ids=str)
@pytest.mark.parametrize("engine", ["analytic", pytest.param("torch", marks=needs_torch)])
def test_seeds_may_be_a_list_a_tuple_an_array_or_the_first_of_them(engine, seed):  # B5
    env = cart_poles(BALANCE, 2, engine=engine)
    got = np.asarray(env.reset(seed=seed)[0])
    for row, one in enumerate((3, 4)):
        single = gym.make(BALANCE, engine="analytic")
        np.testing.assert_allclose(got[row], single.reset(seed=one)[0], atol=1e-6)
        single.close()
    env.close()


@pytest.mark.parametrize("engine", ["analytic", pytest.param("torch", marks=needs_torch)])
def test_an_environment_without_a_seed_of_its_own_gets_a_new_one(engine):  # B5
    env = cart_poles(BALANCE, 2, engine=engine)
    drawn = [np.asarray(env.reset(seed=[None, 3])[0]) for _ in range(2)]
    assert not np.array_equal(drawn[0][0], drawn[1][0])
    np.testing.assert_array_equal(drawn[0][1], drawn[1][1])
    env.close()


@pytest.mark.parametrize("seed", [[1.5, 2], [-1, 2], -1, 1.5, [1, 2, 3], [True, 2]], ids=str)
@pytest.mark.parametrize("engine", ["analytic", pytest.param("torch", marks=needs_torch)])
def test_what_is_no_seed_is_refused_and_changes_nothing(engine, seed):  # B5
    env = cart_poles(BALANCE, 2, engine=engine)
    env.reset(seed=0)
    before = env.get_state()
    with pytest.raises(ValueError, match="seed must") as refusal:
        env.reset(seed=seed)
    assert "\n" not in str(refusal.value)
    for name, part in env.get_state().items():
        np.testing.assert_array_equal(part, before[name])
    env.close()


@needs_torch
@pytest.mark.parametrize(
    "options",
    [
        {"render_mode": None},
        {"num_threads": 1},
        {"bullet_damping": False},
        {"on_divergence": "truncate"},
        {"view": None},
    ],
    ids=str,
)
def test_a_script_may_switch_to_a_device_with_the_keywords_of_the_host(options):  # B6
    for engine in ("analytic", "torch"):
        env = cart_poles(count=2, engine=engine, **options)
        env.reset(seed=0)
        env.close()


@needs_torch
@pytest.mark.parametrize(
    "options",
    [{"render_mode": "rgb_array"}, {"bullet_damping": True}, {"on_divergence": "raise"}],
    ids=str,
)
def test_what_a_device_cannot_do_is_refused_by_name(options):  # B6
    (name,) = options
    with pytest.raises(ValueError, match=f"{name} is for environments on the host") as refusal:
        cart_poles(engine="torch", **options)
    assert "\n" not in str(refusal.value)


def test_a_simulation_that_overflows_prints_nothing_and_leaves_no_file(
    tmp_path, monkeypatch, capfd
):  # B7
    monkeypatch.chdir(tmp_path)  # where MuJoCo would leave a log
    engine = make_engine("mujoco", CartPole(), 0.01, 3)
    engine.reset(np.arange(3), np.zeros((3, 2)), np.zeros((3, 2)), None)
    engine.step(np.array([[0.0], [0.0], [1e30]]))
    assert engine.diverged.tolist() == [False, False, True]
    assert os.listdir(tmp_path) == []
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""
    engine.close()


@pytest.mark.parametrize("make", [gym.make, gym.make_vec])
def test_no_keyword_makes_another_task_of_an_id(make):  # B8
    with pytest.raises(TypeError, match="unexpected keyword argument 'task'"):
        make(LIDAR, task="CartPoleBalance-v0", engine="analytic")


@pytest.mark.parametrize("env_id", [LIDAR, DEPTH, SWING_UP])
def test_rendering_needs_a_reset_first(env_id):  # B9
    for env in (
        gym.make(env_id, engine="analytic", render_mode="rgb_array").unwrapped,
        make_vec(env_id, 1, engine="analytic", render_mode="rgb_array"),
    ):
        with pytest.raises(ResetNeeded, match="reset"):
            env.render()
        env.close()


def test_rendering_without_a_mode_warns_and_returns_nothing():  # B9
    env = gym.make(SWING_UP, engine="analytic").unwrapped
    env.reset(seed=0)
    with pytest.warns(UserWarning, match="without a render_mode"):
        assert env.render() is None
    env.close()


GAP = [[0.0, 2.75, 0.1, 2.25], [0.0, -2.75, 0.1, 2.25]]
"""A wall across the arena but for a gap of 1 m."""


def test_a_layout_whose_only_gap_is_plugged_for_ever_is_refused():  # B10
    env = nav()
    layout = {"goal": [3.05, 0.05], "start": [-3.0, 0.0, 0.0], "boxes": GAP}
    plug = [[0.0, 0.0, 0.3, 0.001, 0.0, 0.5, 0.0]]  # swings by 1 mm
    with pytest.raises(ValueError, match=r"cut off|cannot be solved") as refusal:
        env.reset(options={"layout": {**layout, "dynamic_obstacles": plug}})
    assert "\n" not in str(refusal.value)
    passing = [[0.0, 0.0, 0.3, 2.0, 0.0, 0.5, 0.0]]  # leaves it by 2 m
    env.reset(options={"layout": {**layout, "dynamic_obstacles": passing}})
    assert env.unwrapped.vector_env.task_state["geodesic_distance"][0] == pytest.approx(6.05, 0.03)
    env.close()


def test_the_rail_ends_where_its_length_says():  # B11
    env = cart_poles(robot={"rail_half_length": 1.0})
    env.reset(seed=0)
    farthest = 0.0
    for _ in range(100):
        env.step(full(env))
        farthest = max(farthest, env.qpos_qvel()[0][0, 0])
    # The motor's work on the way, 10 N (1.1 + d), is at least the bumper's 300 N/m d^2 / 2.
    assert 1.0 < farthest < 1.0 + 0.31
    env.close()


def test_wheels_that_stick_out_of_the_robots_circle_are_refused():  # B11
    # Half of 1 m and half a wheel's width, and its radius ahead: hypot(0.08, 0.52) = 0.526.
    with pytest.raises(ValueError, match=r"reach 0\.526 m .* radius=0\.2") as refusal:
        gym.make(ROVER, robot={"wheel_separation": 1.0})
    assert "\n" not in str(refusal.value).split(" was raised from")[0]


def test_numbers_of_numpy_are_numbers():  # B12
    env = cart_poles(robot={"pole_length": np.float32(1.5)}, num_discrete_actions=np.int64(3))
    assert env.robot_params(0).pole_length == 1.5
    env.close()
    env = cart_poles(num_discrete_actions=np.int64(3), action="discrete")
    assert env.single_action_space.n == 3
    env.close()


@every_engine
def test_without_gravity_a_pole_stays_where_it_is(engine):  # B12
    env = cart_poles(engine=engine, robot={"gravity": 0.0})
    env.reset(seed=0)
    (start,), (speed,) = env.qpos_qvel()
    for _ in range(50):
        env.step(idle(env))
    # Nothing acts on it for 1 s. Its middle of mass goes on at a constant speed, and so do, at
    # speeds as small as these, cart and pole.
    assert env.qpos_qvel()[0][0] == pytest.approx(start + speed, abs=2e-3)
    env.close()


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ROBOLEARN_CACHE", str(tmp_path))
    layout_dataset.cache_clear()
    yield tmp_path
    layout_dataset.cache_clear()


@pytest.mark.usefixtures("empty_cache")
def test_the_first_reset_of_navigation_ever_takes_less_than_two_seconds():  # B13
    env = gym.make(LIDAR, engine="analytic")
    begun = time.perf_counter()
    env.reset(seed=0)
    assert time.perf_counter() - begun < 2.0
    env.close()


def test_layouts_are_those_that_rejecting_candidates_in_order_gives():  # B13
    def in_order(count):
        candidate = 0
        while count:
            draws = generator._Draws(4002, candidate)  # of level 4, split 2
            layout = generator._candidate(generator.LEVELS[4], generator.SPLITS["test"], draws)
            candidate += 1
            if layout is not None:
                count -= 1
                yield layout

    for got, expected in zip(generate(4, "test", 8), in_order(8), strict=True):
        for part, other in zip(got, expected, strict=True):
            np.testing.assert_array_equal(part, other)


@pytest.mark.usefixtures("empty_cache")
def test_layouts_are_those_of_earlier_versions():  # B13
    # As version 0.1.0 dealt them: goal, sum of the walls, first cylinder.
    expected = [
        ([2.55, 4.25], 21.2, [-1.52, -1.94, 0.5]),
        ([-3.35, 2.95], -2.3, [-0.17, 2.41, 0.2]),
        ([-2.15, -1.05], 11.2, [-1.31, 1.13, 0.5]),
        ([-2.65, 2.25], 11.4, [-3.07, 3.48, 0.2]),
    ]
    env = make_vec(LIDAR, 1, engine="analytic", level=4, split="test")
    for layout_id, (goal, walls, cylinder) in enumerate(expected):
        env.reset(seed=0, options={"layout_id": layout_id})
        state = env.task_state
        standing = state["boxes"][0][state["boxes"][0, :, 0] < 100]
        assert state["goal"][0] == pytest.approx(goal)
        assert standing.sum() == pytest.approx(walls)
        assert state["cylinders"][0, 0, :3] == pytest.approx(cylinder)
    env.close()


@pytest.mark.filterwarnings("ignore:analytic. the state of env:RuntimeWarning")
def test_the_info_of_a_single_environment_says_that_it_diverged():  # B14
    env = gym.make(SWING_UP, engine="analytic", on_divergence="truncate")
    _, info = env.reset(seed=0)
    assert info["diverged"] is False
    make_diverge(env.unwrapped.vector_env)
    _, reward, terminated, truncated, info = env.step(idle(env))
    assert (reward, terminated, truncated) == (0.0, False, True)
    assert info["diverged"] is True
    env.close()


def test_a_single_environment_takes_the_options_of_every_environment():  # B14
    for options in ({"num_threads": 1}, {"num_threads": 2}, {"on_divergence": "raise"}):
        gym.make(SWING_UP, engine="mujoco", **options).close()
    with pytest.raises(TypeError, match=r"'autoreset_mode': it is for gymnasium\.make_vec"):
        gym.make(SWING_UP, autoreset_mode="SameStep")


@pytest.mark.parametrize("engine", ["analytic", pytest.param("torch", marks=needs_torch)])
def test_the_spec_of_a_batch_with_an_autoreset_mode_is_json(engine):  # B15
    env = gym.make_vec(SWING_UP, num_envs=2, engine=engine, autoreset_mode=AutoresetMode.SAME_STEP)
    again = gym.make_vec(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()), num_envs=2)
    assert again.autoreset_mode is env.autoreset_mode is AutoresetMode.SAME_STEP
    assert again.engine_name == engine
    env.close()
    again.close()


# --- Software that others wrote


@pytest.mark.parametrize("make", [gym.make, gym.make_vec])
def test_an_unknown_keyword_is_a_type_error_in_pythons_words(make):  # C3
    # TorchRL's GymEnv tries frameskip= and looks for these words.
    with pytest.raises(TypeError, match="unexpected keyword argument 'frameskip'"):
        make(SWING_UP, frameskip=4)


@pytest.mark.parametrize("mode", list(AutoresetMode), ids=lambda mode: mode.name)
@pytest.mark.parametrize("engine", ["analytic", pytest.param("torch", marks=needs_torch)])
def test_a_batch_says_its_autoreset_mode_as_gymnasiums_does(engine, mode):  # C4
    env = cart_poles(count=2, engine=engine, autoreset_mode=mode)
    assert env.autoreset_mode is env.metadata["autoreset_mode"] is mode
    env.close()


@pytest.mark.parametrize("env_id", [SWING_UP, LIDAR])
@pytest.mark.parametrize("options", [{}, {"domain_randomization": 0.2}], ids=["", "randomized"])
def test_the_info_has_the_same_keys_and_kinds_at_every_step(env_id, options):  # C12
    env = gym.make(env_id, engine="analytic", max_episode_steps=30, **options)
    _, first = env.reset(seed=0)
    assert first["success"] is False
    truncated = False
    while not truncated:
        *_, truncated, info = env.step(idle(env))
        assert kinds(info) == kinds(first)
    env.close()


def kinds(info):
    return {
        name: kinds(part) if isinstance(part, dict) else type(part) for name, part in info.items()
    }
