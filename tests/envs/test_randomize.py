"""Domain randomization: what ``domain_randomization=r`` draws, and for how long."""

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import brentq

from robolearn_envs import make_vec
from robolearn_envs.engines.analytic import AnalyticEngine
from robolearn_envs.robots import CartPole

SWING_UP = "robolearn/CartPoleSwingUp-v0"
NOMINAL = {"cart_mass": 1.0, "pole_mass": 0.1, "pole_length": 1.0}  # kg, kg, m
N = 1000


def make(num_envs=N, randomize=0.3, engine="analytic"):
    env = make_vec(SWING_UP, num_envs, engine=engine, domain_randomization=randomize)
    env.reset(seed=0)
    return env


def field_scales(env):
    """Return each environment's fields over their nominal values. Shape (N, fields)."""
    robots = [env.robot_params(i) for i in range(env.num_envs)]
    return np.array([[getattr(r, name) / NOMINAL[name] for name in NOMINAL] for r in robots])


def strength(env, ctrl=1.0, x=0.0):
    """Return by how much each motor is stronger than nominal, from how far it moves the cart.

    One step is taken from rest at ``x`` with the pole hanging, and replayed in the closed form
    with the robot that ``env.robot_params`` reports, until a force explains the speed reached.
    """
    count = env.num_envs
    qpos, qvel = np.tile([x, np.pi], (count, 1)), np.zeros((count, 2))
    env._engine.reset(np.arange(count), qpos, qvel, None)
    env.step(np.full((count, 1), ctrl, dtype=np.float32))
    speeds = env.qpos_qvel()[1][:, 0]
    return np.array([explain(env, i, ctrl, x, speeds[i]) for i in range(count)])


def explain(env, index, ctrl, x, speed):
    def miss(factor):
        return replay(env.robot_params(index), env.task, factor * ctrl, x) - speed

    return brentq(miss, 0.0, 3.0, xtol=1e-13)


def replay(robot, task, drive, x):
    engine = AnalyticEngine(robot, 1, task.timestep)
    engine.reset(np.array([0]), np.array([[x, np.pi]]), np.zeros((1, 2)), None)
    for _ in range(task.frame_skip):
        engine.step(task.actuate(engine.qpos, engine.qvel, np.array([[drive]]), {}))
    return engine.qvel[0, 0]


def test_every_field_is_uniform_within_r_of_its_nominal_value():
    env = make()
    drawn = field_scales(env)
    for column in drawn.T:
        assert np.abs(column - 1).max() <= 0.3
        assert stats.kstest(column, stats.uniform(0.7, 0.6).cdf).pvalue > 1e-3
    # The standard error of a correlation of 1000 pairs is 0.03.
    assert np.abs(np.corrcoef(drawn.T) - np.eye(3)).max() < 0.12
    env.close()


@pytest.mark.slow
def test_the_motors_strength_is_uniform_within_r_of_nominal_and_independent():
    env = make()
    drawn = strength(env)
    assert np.abs(drawn - 1).max() <= 0.3 + 1e-6
    assert stats.kstest(drawn, stats.uniform(0.7, 0.6).cdf).pvalue > 1e-3
    for column in field_scales(env).T:
        assert abs(np.corrcoef(drawn, column)[0, 1]) < 0.12
    env.close()


def test_the_motors_strength_scales_its_ctrl_in_proportion():
    env = make(num_envs=20)
    np.testing.assert_allclose(strength(env, ctrl=0.25), strength(env, ctrl=-1.0), rtol=1e-6)
    env.close()


def test_the_bumper_is_not_randomized():
    # In the bumper the motor is still off by its own factor, the spring's push by none.
    env = make(num_envs=20)
    np.testing.assert_allclose(strength(env, x=2.05), strength(env), rtol=1e-6)
    env.close()


def test_gravity_is_not_randomized():
    env = make(num_envs=5)
    assert all(env.robot_params(i).gravity == 9.81 for i in range(5))
    env.close()


def test_no_randomization_is_the_nominal_robot_and_motor():
    env = make(num_envs=5, randomize=0.0)
    assert all(env.robot_params(i) == CartPole(rail_half_length=2.0) for i in range(5))
    np.testing.assert_allclose(strength(env), 1.0, rtol=1e-9)
    env.close()


def test_a_robot_stays_the_same_for_an_episode_and_changes_with_the_next():
    env = make(num_envs=4)
    first = field_scales(env)
    for _ in range(500):
        _, _, _, truncated, _ = env.step(np.zeros((4, 1), dtype=np.float32))
        np.testing.assert_array_equal(field_scales(env), first)
    assert truncated.all()
    env.step(np.zeros((4, 1), dtype=np.float32))
    assert (field_scales(env) != first).all()
    env.close()


def test_a_masked_reset_changes_only_the_robots_it_resets():
    env = make(num_envs=4)
    first = field_scales(env)
    env.reset(options={"reset_mask": np.array([False, True, False, True])})
    changed = (field_scales(env) != first).all(axis=1)
    np.testing.assert_array_equal(changed, [False, True, False, True])
    np.testing.assert_array_equal(field_scales(env)[[0, 2]], first[[0, 2]])
    env.close()


@pytest.mark.parametrize("engine", ["mujoco", "bullet"])
def test_every_engine_draws_the_same_robots_and_starts(engine):
    closed_form, other = make(num_envs=4), make(num_envs=4, engine=engine)
    np.testing.assert_array_equal(field_scales(other), field_scales(closed_form))
    for one, two in zip(other.qpos_qvel(), closed_form.qpos_qvel(), strict=True):
        np.testing.assert_array_equal(one, two)
    closed_form.close()
    other.close()


def test_randomizing_does_not_change_where_episodes_start():
    fixed, varied = make(num_envs=4, randomize=0.0), make(num_envs=4)
    for one, two in zip(fixed.qpos_qvel(), varied.qpos_qvel(), strict=True):
        np.testing.assert_array_equal(one, two)
    fixed.close()
    varied.close()
