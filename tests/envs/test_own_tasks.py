"""Tasks and engines of one's own, in files of one's own: the examples."""

import importlib
import sys

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from optional_torch import needs_torch
from own_examples import EXAMPLES, REACH, RK4, actions, array, every_engine, lines_of, make_batch

from robolearn_envs import Task, make_vec, register, register_engine
from robolearn_envs.engines import make_engine
from robolearn_envs.robots import CartPole

LIDAR, ROVER = "robolearn/NavLidar-v0", "robolearn/NavRover-v0"
SWING_UP, BALANCE = "robolearn/CartPoleSwingUp-v0", "robolearn/CartPoleBalance-v0"


@pytest.fixture(autouse=True)
def examples(monkeypatch):
    """Let the examples be found, as in their folder."""
    monkeypatch.syspath_prepend(str(EXAMPLES))


# --- Tasks


def test_an_own_task_takes_no_more_than_35_lines():
    assert lines_of("my_task", "CartPoleReach") <= 35


@pytest.mark.parametrize("engine", ["mujoco", "bullet", "analytic"])
def test_an_own_task_passes_gymnasiums_checks(engine):
    env = gym.make(REACH, engine=engine)  # every warning is an error here
    assert env.spec.max_episode_steps == 200
    check_env(env.unwrapped, skip_render_check=True)
    env.close()


def test_an_own_task_is_drawn_with_its_markers():
    env = gym.make(REACH, engine="analytic", render_mode="rgb_array")
    env.reset(seed=0)
    with_marker = env.render()
    state = env.unwrapped.vector_env.get_render_state()
    assert state["target"].shape == (1,)
    env.unwrapped.vector_env.set_render_state({**state, "target": np.array([100.0])})
    without = env.render()
    changed = (with_marker != without).any(axis=-1).mean()
    assert 0.0005 < changed < 0.02  # a ball of 0.1 m
    env.close()


@pytest.mark.parametrize("engine", ["mujoco", "bullet", pytest.param("torch", marks=needs_torch)])
def test_an_own_task_is_the_same_on_every_engine(engine):
    options = {"max_episode_steps": 25, "domain_randomization": 0.2}
    expected, got = (make_batch(REACH, 3, name, **options) for name in ("analytic", engine))
    first, other = expected.reset(seed=4)[0], got.reset(seed=4)[0]
    np.testing.assert_allclose(array(other), first, atol=1e-6)
    for row in actions(3, 60):
        want, have = (env.step(row) for env in (expected, got))
        for one, two in zip(have[:2], want[:2], strict=True):
            np.testing.assert_allclose(array(one), two, atol=1e-6)
        for one, two in zip(have[2:4], want[2:4], strict=True):
            np.testing.assert_array_equal(array(one), two)
    expected.close()
    got.close()


def test_an_own_task_is_alike_alone_and_in_a_batch():
    env = make_vec(REACH, 3, engine="analytic")
    batch = [env.reset(seed=4)[0]]
    moves = actions(3, 20)
    batch += [env.step(row)[0] for row in moves]
    for i in range(3):
        single = gym.make(REACH, engine="analytic")
        np.testing.assert_array_equal(single.reset(seed=4 + i)[0], batch[0][i])
        for row, expected in zip(moves, batch[1:], strict=True):
            np.testing.assert_array_equal(single.step(row[i])[0], expected[i])
        single.close()
    env.close()


@every_engine
def test_terms_of_an_own_reward_are_told_and_weighed(engine):
    plain = make_batch(REACH, 2, engine)
    weighted = make_batch(REACH, 2, engine, reward_weights={"near": 2.0, "effort": 0.0})
    for env in (plain, weighted):
        observation = array(env.reset(seed=0)[0])
    for row in actions(2, 5):
        observation, reward, _, _, info = plain.step(row)
        terms = info["reward_terms"]
        # tolerance: 0.1^(d^2) at a distance of d m; the cost is 0.01 times the square of ctrl
        near = 0.1 ** (array(observation)[:, 5].astype(float) ** 2)
        np.testing.assert_allclose(array(terms["near"]), near, atol=1e-5)
        np.testing.assert_allclose(array(terms["effort"]), -0.01 * row[:, 0] ** 2, atol=1e-6)
        total = array(terms["near"]) + array(terms["effort"])
        np.testing.assert_allclose(array(reward), total, atol=1e-6)
        _, other, _, _, info = weighted.step(row)
        np.testing.assert_allclose(array(other), 2 * array(terms["near"]), atol=1e-6)
        np.testing.assert_allclose(array(info["reward_terms"]["near"]), array(other), atol=1e-6)
    plain.close()
    weighted.close()


@every_engine
def test_an_unknown_term_of_the_reward_is_refused(engine):
    env = make_batch(REACH, 1, engine, reward_weights={"nea": 2.0})
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"Unknown reward term 'nea' .* near, effort") as refusal:
        env.step(np.zeros((1, 1), np.float32))
    assert "\n" not in str(refusal.value)
    env.close()


def test_weights_of_a_reward_without_named_terms_are_refused():
    env = make_vec(BALANCE, 1, engine="analytic", reward_weights={"near": 2.0}, action="continuous")
    env.reset(seed=0)
    with pytest.raises(ValueError, match="reward_weights needs named terms") as refusal:
        env.step(np.zeros((1, 1), np.float32))
    assert "\n" not in str(refusal.value)
    env.close()


def test_a_module_before_an_id_is_imported_wherever_it_is_given(monkeypatch, tmp_path):
    text = (EXAMPLES / "my_task.py").read_text().replace("me/CartPoleReach", "me/Elsewhere")
    (tmp_path / "elsewhere.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    for make in (gym.make, lambda env_id: gym.make_vec(env_id, num_envs=2)):
        env = make("elsewhere:me/Elsewhere-v0")
        env.reset(seed=0)
        env.close()
    assert env.spec.max_episode_steps == 200
    monkeypatch.delitem(sys.modules, "elsewhere")
    importlib.import_module("elsewhere")  # registering it again changes nothing
    gym.make("me/Elsewhere-v0").close()


def test_other_options_work_for_an_own_task_too():
    env = make_vec(
        REACH,
        2,
        engine="bullet",
        robot={"pole_length": 0.5},
        action="discrete",
        num_discrete_actions=3,
        timestep=0.005,
        frame_skip=10,
        max_episode_steps=7,
        autoreset_mode="SameStep",
        action_delay=1,
    )
    assert env.single_action_space.n == 3
    assert env.metadata["render_fps"] == 20  # 1 / (0.005 s * 10)
    env.reset(seed=0)
    for step in range(1, 8):
        _, _, _, truncated, info = env.step(np.array([0, 2]))
        assert truncated.tolist() == [step == 7] * 2
    assert info["final_info"]["success"].shape == (2,)
    env.close()


class WithoutRewardAndEnd(Task):
    robot = CartPole()

    def begin(self, draws, previous, options):
        raise NotImplementedError

    def observe(self, sim, state):
        raise NotImplementedError


class WithoutRobot(Task):
    begin = observe = reward = terminated = lambda self: None


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (WithoutRewardAndEnd, "WithoutRewardAndEnd lacks reward, terminated"),
        (CartPole, "must be a subclass of robolearn_envs.Task"),
        (WithoutRobot, "WithoutRobot lacks a robot"),
        ("Task", "must be a subclass"),
    ],
    ids=str,
)
def test_a_task_that_lacks_something_is_refused_by_name(task, message):
    with pytest.raises(ValueError, match=message) as refusal:
        register("me/Lacking-v0", task)
    assert "\n" not in str(refusal.value)
    assert "me/Lacking-v0" not in gym.registry


def test_an_id_that_is_taken_is_refused():
    importlib.import_module("my_task")
    with pytest.raises(ValueError, match="registered already, for CartPoleReach") as refusal:
        register("me/CartPoleReach-v0", importlib.import_module("my_robot").NavFourWheel)
    assert "\n" not in str(refusal.value)


def test_the_state_of_another_task_is_refused():
    source, env = make_vec(BALANCE, 1, engine="analytic"), make_vec(REACH, 1, engine="analytic")
    source.reset(seed=0)
    env.reset(seed=0)
    message = r"got one of .*CartPoleBalance.*, expected .*CartPoleReach"
    with pytest.raises(ValueError, match=message) as refusal:
        env.set_state(source.get_state())
    assert "\n" not in str(refusal.value)
    source.close()
    env.close()


# --- Engines


def energy(robot, qpos, qvel):
    """Return kinetic and potential energy of cart-poles in J. Shape (N,)."""
    theta, x_dot, theta_dot = qpos[:, 1], qvel[:, 0], qvel[:, 1]
    half = robot.pole_length / 2
    vx = x_dot + half * theta_dot * np.cos(theta)
    vz = -half * theta_dot * np.sin(theta)
    spin = robot.pole_mass * robot.pole_length**2 / 12 * theta_dot**2
    moving = robot.cart_mass * x_dot**2 + robot.pole_mass * (vx**2 + vz**2) + spin
    return moving / 2 + robot.pole_mass * robot.gravity * half * np.cos(theta)


def test_an_own_engine_keeps_the_energy_better_than_semi_implicit_euler():
    importlib.import_module("my_engine")
    robot, drift = CartPole(), {}
    for name in ("analytic", "rk4"):
        engine = make_engine(name, robot, 0.01, 2)
        engine.reset(np.arange(2), np.array([[0.0, 1.0], [0.0, 2.0]]), np.zeros((2, 2)), None)
        begun = energy(robot, engine.qpos, engine.qvel)
        for _ in range(300):
            engine.step(np.zeros((2, 1)))
        drift[name] = np.abs(energy(robot, engine.qpos, engine.qvel) - begun).max()
        engine.close()
    assert drift["rk4"] < 1e-7 < 1e-4 < drift["analytic"]


def test_an_own_engine_runs_the_tasks_of_the_package():
    own = make_vec(RK4, 3, engine="rk4", domain_randomization=0.2)
    usual = make_vec(SWING_UP, 3, engine="analytic", domain_randomization=0.2)
    np.testing.assert_array_equal(own.reset(seed=0)[0], usual.reset(seed=0)[0])
    for row in actions(3, 10):
        expected, got = usual.step(row)[0], own.step(row)[0]
    np.testing.assert_allclose(got, expected, atol=0.02)  # an error of the step's first power
    assert np.abs(got - expected).max() > 1e-5
    own.close()
    usual.close()


@pytest.mark.parametrize("env_id", [SWING_UP, LIDAR, REACH])
def test_an_own_engine_passes_gymnasiums_checks(env_id):
    importlib.import_module("my_engine")
    env = gym.make(env_id, engine="rk4")
    check_env(env.unwrapped, skip_render_check=True)
    env.close()


def test_an_own_engine_takes_lidar_moving_obstacles_and_states():
    importlib.import_module("my_engine")
    options = {"level": 3, "split": "val", "domain_randomization": 0.2}
    env, other = (make_vec(LIDAR, 3, engine="rk4", **options) for _ in range(2))
    usual = make_vec(LIDAR, 3, engine="analytic", **options)
    np.testing.assert_array_equal(env.reset(seed=0)[0], usual.reset(seed=0)[0])
    other.reset(seed=7)
    for row in actions(3, 5, width=2):
        env.step(row)
    other.set_state(env.get_state())
    for row in actions(3, 10, seed=2, width=2):
        np.testing.assert_array_equal(other.step(row)[0], env.step(row)[0])
    for each in (env, other, usual):
        each.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mujoco", "my_engine:RungeKutta"), "Engine 'mujoco' is registered already"),
        (("torch", "my_engine:RungeKutta"), "Engine 'torch' is registered already"),
        (("mine", "my_engine.RungeKutta"), "entry_point must be 'module:Class', got 'my_engine"),
    ],
    ids=str,
)
def test_an_engine_that_cannot_be_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message) as refusal:
        register_engine(*arguments)
    assert "\n" not in str(refusal.value)


def test_an_own_engine_says_what_a_robot_lacks():
    importlib.import_module("my_engine")
    with pytest.raises(ValueError, match=r"DiffDriveRobot has no forward_dynamics\(\)") as refusal:
        gym.make(ROVER, engine="rk4")
    assert "\n" not in str(refusal.value)
