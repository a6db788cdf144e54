import math

import gymnasium as gym
import numpy as np
import pytest
from optional_torch import needs_torch, torch
from scipy import stats

from robolearn_envs.core.backend import ALL
from robolearn_envs.core.rng import uniform
from robolearn_envs.core.sim import Sim
from robolearn_envs.registry import make_task
from robolearn_envs.tasks.cart_pole import CartPoleBalance, CartPoleDMC, CartPoleSwingUp

every_task = pytest.mark.parametrize(
    "task",
    [CartPoleBalance(), CartPoleSwingUp(), CartPoleDMC()],
    ids=["balance", "swing-up", "dmc"],
)
smooth_tasks = pytest.mark.parametrize("task", [CartPoleSwingUp(), CartPoleDMC()])
UPRIGHT, HANGING = 0.0, math.pi
SUCCESS = {"success": True, "is_success": True, "diverged": False}
NO_SUCCESS = {"success": False, "is_success": False, "diverged": False}


def state(x=0.0, theta=UPRIGHT, x_dot=0.0, theta_dot=0.0):
    return np.array([[x, theta]]), np.array([[x_dot, theta_dot]])


def seen(task, qpos, qvel):
    """A cart-pole's task sees its state alone: no engine is asked."""
    duration = task.timestep * task.frame_skip
    return Sim(None, ALL, task.robot, qpos, qvel, {}, {}, {}, duration)


def seen_at(task, **coordinates):
    return seen(task, *state(**coordinates))


def force(task, ctrl=0.0, **coordinates):
    return task.actuate(*state(**coordinates), np.array([[ctrl]]), {})[0, 0]


def reward(task, ctrl=0.0, **coordinates):
    return task.reward(seen_at(task, **coordinates), np.array([[ctrl]]), {})[0]


def starts(task, episodes=20_000):
    draws = uniform(np.arange(episodes), np.zeros(episodes, dtype=np.int64), task.num_reset_draws)
    start = task.begin(draws, None, {})
    return np.hstack([start.qpos, start.qvel])  # (episodes, 4): x, theta, x_dot, theta_dot


@every_task
def test_full_ctrl_is_ten_newtons(task):
    assert force(task, ctrl=1.0) == pytest.approx(10.0)
    assert force(task, ctrl=-0.25) == pytest.approx(-2.5)


@pytest.mark.parametrize(
    ("x", "x_dot", "ctrl", "expected"),
    [
        (2.1, 0.0, 0.0, -30.0),  # 300 N/m * 0.1 m, towards the middle
        (-2.1, 0.0, 0.0, 30.0),
        (2.1, 1.0, 0.0, -45.0),  # moving deeper at 1 m/s: 15 N more
        (2.1, -1.0, 0.0, -15.0),  # moving out: 15 N less
        (-2.1, -1.0, 0.0, 45.0),
        (-2.1, 1.0, 0.0, 15.0),
        (2.1, -3.0, 0.0, 0.0),  # 30 - 45 would pull: it lets go instead
        (-2.1, 3.0, 0.0, 0.0),
        (2.1, 0.0, 0.5, -25.0),  # 5 N of motor on top
        (1.99, 5.0, 0.0, 0.0),  # not touching
        (-1.99, -5.0, 1.0, 10.0),
    ],
)
def test_bumper_pushes_like_a_spring_and_damper_and_never_pulls(x, x_dot, ctrl, expected):
    got = force(CartPoleSwingUp(), x=x, x_dot=x_dot, ctrl=ctrl)
    assert got == pytest.approx(expected)


def test_bumper_does_not_care_about_the_pole():
    still = force(CartPoleSwingUp(), x=2.1)
    assert force(CartPoleSwingUp(), x=2.1, theta=1.0, theta_dot=9.0) == still


@pytest.mark.parametrize("task", [CartPoleBalance(), CartPoleDMC()])
def test_only_swing_up_has_bumpers(task):
    assert force(task, x=2.3, x_dot=1.0) == 0.0


@pytest.mark.parametrize(("task", "far"), [(CartPoleSwingUp(), 0.5), (CartPoleDMC(), 2.0)])
@pytest.mark.parametrize(
    ("coordinates", "ctrl", "expected"),  # x in units of the distance that counts as far
    [
        ({}, 0.0, 1.0),
        ({"theta": HANGING}, 0.0, 0.0),
        ({"theta": math.pi / 3}, 0.0, 0.75),  # (1 + 1/2) / 2
        ({"x": 1.0}, 0.0, 0.55),  # (1 + 0.1) / 2
        ({"x": -0.5}, 0.0, 0.7811707),  # (1 + 0.1^(1/4)) / 2 = (1 + 0.5623413) / 2
        ({}, 1.0, 0.8),  # (4 + 0) / 5
        ({}, -0.5, 0.95),  # (4 + 0.75) / 5
        ({"theta_dot": -5.0}, 0.0, 0.55),  # (1 + 0.1) / 2
        ({"x_dot": 9.0}, 0.0, 1.0),  # the cart's speed is free
        # 1/2 upright * 0.55 centered * 0.95 gentle * 0.55 slow
        ({"theta": math.pi / 2, "x": 1.0, "theta_dot": 5.0}, 0.5, 0.1436875),
    ],
)
def test_smooth_reward_is_upright_centered_gentle_and_slow(task, far, coordinates, ctrl, expected):
    meters = {**coordinates, "x": far * coordinates.get("x", 0.0)}
    got = reward(task, ctrl, **meters)
    assert got == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_balance_earns_one_a_step_even_for_the_last():
    assert reward(CartPoleBalance()) == 1.0
    assert reward(CartPoleBalance(), x=3.0, theta=1.0, ctrl=1.0) == 1.0


@pytest.mark.parametrize(
    ("x", "theta", "expected"),
    [
        (2.3999, 0.0, False),
        (2.4001, 0.0, True),
        (-2.4001, 0.0, True),
        (0.0, 0.20943, False),  # 12 deg are 0.2094395 rad
        (0.0, 0.20945, True),
        (0.0, -0.20945, True),
    ],
)
def test_balance_ends_past_2_4_meters_or_12_degrees(x, theta, expected):
    task = CartPoleBalance()
    assert task.terminated(seen_at(task, x=x, theta=theta), {})[0] == expected
    assert task.success_condition(seen_at(task, x=x, theta=theta))[0] != expected


@smooth_tasks
def test_swing_up_never_terminates(task):
    assert not task.terminated(seen_at(task, x=50.0, theta=HANGING, theta_dot=99.0), {})[0]


@smooth_tasks
@pytest.mark.parametrize(
    ("x", "theta", "expected"),
    [
        (0.2499, 0.0, True),
        (-0.2499, 0.0, True),
        (0.2501, 0.0, False),
        (-0.2501, 0.0, False),
        # cos(0.1) = 0.995004 and cos(0.1001) = 0.994994
        (0.0, 0.1, True),
        (0.0, -0.1001, False),
        (0.0, 2 * math.pi, True),  # a full turn later it stands again
        (0.0, HANGING, False),
    ],
)
def test_swing_up_holds_where_the_pole_stands_over_the_middle(task, x, theta, expected):
    assert task.success_condition(seen_at(task, x=x, theta=theta))[0] == expected


def test_balance_observes_the_state_in_the_order_of_gymnasiums_cartpole():
    task = CartPoleBalance()
    observed = task.observe(seen_at(task, x=0.1, theta=0.2, x_dot=0.3, theta_dot=0.4), {})
    np.testing.assert_array_equal(observed, [[0.1, 0.3, 0.2, 0.4]])


@smooth_tasks
def test_swing_up_observes_the_angle_as_cosine_and_sine(task):
    sim = seen_at(task, x=0.1, theta=math.pi / 6, x_dot=0.3, theta_dot=0.4)
    observed = task.observe(sim, {})
    # cos 30 deg = sqrt(3)/2, sin 30 deg = 1/2
    np.testing.assert_allclose(observed, [[0.1, math.sqrt(3) / 2, 0.5, 0.3, 0.4]], rtol=1e-15)


def test_balance_starts_uniformly_near_upright():
    for coordinate in starts(CartPoleBalance()).T:
        assert stats.kstest(coordinate, stats.uniform(-0.05, 0.1).cdf).pvalue > 1e-3
        assert np.abs(coordinate).max() <= 0.05


def test_swing_up_starts_uniformly_near_hanging():
    offset = starts(CartPoleSwingUp()) - [0.0, math.pi, 0.0, 0.0]
    for coordinate, width in zip(offset.T, (0.1, 0.1, 0.05, 0.05), strict=True):
        assert stats.kstest(coordinate, stats.uniform(-width, 2 * width).cdf).pvalue > 1e-3
        assert np.abs(coordinate).max() <= width + 1e-12


def test_dmc_starts_are_independent_normals_about_hanging():
    offset = starts(CartPoleDMC()) - [0.0, math.pi, 0.0, 0.0]
    for coordinate in offset.T:
        assert stats.kstest(coordinate, stats.norm(0.0, 0.01).cdf).pvalue > 1e-3
    # The standard error of a correlation of 20,000 pairs is 0.007. The squares too: the two
    # normals that Box and Muller make from one pair of draws share their radius.
    for pairs in (offset, offset**2):
        assert np.abs(np.corrcoef(pairs.T) - np.eye(4)).max() < 0.03


@needs_torch
@every_task
def test_task_functions_are_the_same_on_torch(task):
    rng = np.random.default_rng(0)
    arrays = {
        "qpos": rng.uniform([-2.5, -7.0], [2.5, 7.0], (300, 2)),
        "qvel": rng.uniform(-9.0, 9.0, (300, 2)),
        "ctrl": rng.uniform(-1.0, 1.0, (300, 1)),
        "draws": rng.uniform(0.01, 0.99, (300, task.num_reset_draws)),
    }
    on_numpy = outputs(task, **arrays)
    on_torch = outputs(task, **{name: torch.from_numpy(a) for name, a in arrays.items()})
    for name, expected in on_numpy.items():
        got = on_torch[name].numpy()
        assert got.dtype == expected.dtype, name
        np.testing.assert_allclose(got, expected, rtol=1e-13, atol=1e-14, err_msg=name)


def outputs(task, qpos, qvel, ctrl, draws):
    start = task.begin(draws, None, {})
    sim = seen(task, qpos, qvel)
    changed = task.after_step(sim, start.state)
    return {
        "begin_qpos": start.qpos,
        "begin_qvel": start.qvel,
        "actuate": task.actuate(qpos, qvel, ctrl, {}),
        "observe": task.observe(sim, changed),
        "reward": task.reward(sim, ctrl, changed),
        "terminated": task.terminated(sim, changed),
        "success_condition": task.success_condition(sim),
        "success_streak": changed["success_streak"],
        "success": task.metrics(sim, changed)["success"],
    }


@every_task
def test_rewards_lie_between_zero_and_one(task):
    rng = np.random.default_rng(1)
    qpos, qvel = rng.normal(0, 3, (1000, 2)), rng.normal(0, 10, (1000, 2))
    rewards = task.reward(seen(task, qpos, qvel), rng.uniform(-1, 1, (1000, 1)), {})
    assert rewards.shape == (1000,)
    assert rewards.min() >= 0.0
    assert rewards.max() <= 1.0


def with_time_limit(name, **options):
    """Return a single environment with its TimeLimit, and nothing that checks it."""
    return gym.make(f"robolearn/{name}", disable_env_checker=True, **options)


def play(env, upright_after, steps):
    """Idle ``steps`` steps; after ``upright_after`` of them stand the pole up at rest, exactly.

    Upright at rest is an (unstable) equilibrium: with no force it stays there for good.
    """
    env.reset(seed=0)
    for step in range(1, steps + 1):
        *_, terminated, truncated, info = env.step(np.zeros(1, dtype=np.float32))
        if step in upright_after:
            put(env, **upright_after[step])
    return terminated, truncated, info


def put(env, **coordinates):
    env.unwrapped.vector_env._engine.reset(np.array([0]), *state(**coordinates), None)


@pytest.fixture
def swing_up():
    env = with_time_limit("CartPoleSwingUp-v0", engine="analytic")
    yield env
    env.close()


def test_swing_up_succeeds_if_it_stood_for_the_last_two_seconds(swing_up):
    # 2 s are 100 steps of 0.02 s: upright from the 401st of 500 on.
    terminated, truncated, info = play(swing_up, {400: {}}, steps=500)
    assert (terminated, truncated, info) == (False, True, SUCCESS)


def test_swing_up_fails_if_it_stood_a_step_less(swing_up):
    *_, info = play(swing_up, {401: {}}, steps=500)
    assert info == NO_SUCCESS


def test_swing_up_fails_if_it_fell_at_the_very_end(swing_up):
    *_, info = play(swing_up, {300: {}, 499: {"theta": 1.0}}, steps=500)
    assert info == NO_SUCCESS


def test_swing_up_forgets_the_last_episodes_standing(swing_up):
    play(swing_up, {400: {}}, steps=500)
    *_, info = play(swing_up, {401: {}}, steps=500)
    assert info == NO_SUCCESS


def test_dmc_succeeds_if_it_stood_for_the_last_two_seconds():
    env = with_time_limit("CartPoleDMC-v0")
    # 2 s are 200 steps of 0.01 s.
    terminated, truncated, info = play(env, {800: {}}, steps=1000)
    assert (terminated, truncated, info) == (False, True, SUCCESS)
    *_, info = play(env, {801: {}}, steps=1000)
    assert info == NO_SUCCESS
    env.close()


@pytest.fixture
def balance():
    env = with_time_limit("CartPoleBalance-v0", engine="analytic", action="continuous")
    yield env
    env.close()


def test_balance_succeeds_if_it_never_fell(balance):
    balance.reset(seed=0)
    put(balance)
    for _ in range(499):
        *_, terminated, truncated, info = balance.step(np.zeros(1))
        assert (terminated, truncated, info) == (False, False, NO_SUCCESS)
    *_, terminated, truncated, info = balance.step(np.zeros(1))
    assert (terminated, truncated, info) == (False, True, SUCCESS)


def test_balance_that_falls_is_terminated_without_success(balance):
    balance.reset(seed=0)
    put(balance, theta=0.3)
    *_, terminated, truncated, info = balance.step(np.zeros(1))
    assert (terminated, truncated, info) == (True, False, NO_SUCCESS)


def test_falling_on_the_last_step_is_both_terminated_and_truncated(balance):
    balance.reset(seed=0)
    put(balance)
    for _ in range(499):
        balance.step(np.zeros(1))
    put(balance, theta=0.3)
    *_, terminated, truncated, info = balance.step(np.zeros(1))
    assert (terminated, truncated, info) == (True, True, NO_SUCCESS)


@pytest.mark.parametrize(
    ("count", "ctrls"), [(2, [-1, 1]), (3, [-1, 0, 1]), (5, [-1, -0.5, 0, 0.5, 1])]
)
def test_discrete_actions_are_evenly_spaced_from_full_left_to_full_right(count, ctrls):
    task = make_task("robolearn/CartPoleSwingUp-v0", {"num_discrete_actions": count})
    assert [ctrl for (ctrl,) in task.discrete_actions] == ctrls


@pytest.mark.parametrize("count", [1, 0, 102, 2.0, True])
def test_no_other_number_of_discrete_actions_is_taken(count):
    with pytest.raises(
        ValueError, match=r"num_discrete_actions must be an integer in 2\.\.101, got"
    ):
        make_task("robolearn/CartPoleBalance-v0", {"num_discrete_actions": count})
