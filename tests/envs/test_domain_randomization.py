"""Domain randomization by field: what is drawn, what it does, and where it is told."""

import math

import gymnasium as gym
import numpy as np
import pytest
from optional_torch import needs_torch, torch
from scipy import stats

from robolearn_envs import make_vec
from robolearn_envs.sensors import Lidar

LIDAR, ROVER = "robolearn/NavLidar-v0", "robolearn/NavRover-v0"
SWING_UP = "robolearn/CartPoleSwingUp-v0"
NOMINAL = {"cart_mass": 1.0, "pole_mass": 0.1, "pole_length": 1.0}  # kg, kg, m
ALL_KINDS = {
    "cart_mass": 0.1,
    "pole_mass": (0.8, 1.2),
    "motor": (0.5, 1.5),
    "action_delay": (0, 2),
}
WALL = {"goal": [-3.05, 0.05], "start": [3.0, 0.0, 0.0]}
"""The robot looks at the wall at x = 5, 2 m ahead."""
every_engine = pytest.mark.parametrize("engine", ["mujoco", "bullet", "analytic"])


def make(count, randomization, env_id=SWING_UP, *, seed=0, engine="analytic", **options):
    env = make_vec(env_id, count, engine=engine, domain_randomization=randomization, **options)
    env.reset(seed=seed)
    return env


def actions(count, steps, seed=1, width=1):
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (steps, count, width)).astype(np.float32)


def states(env, sequence):
    """Return the states that actions lead through. Shape (T, N, positions and velocities)."""
    found = []
    for row in sequence:
        env.step(row)
        found.append(np.hstack(env.qpos_qvel()))
    return np.array(found)


def test_a_field_is_uniform_in_its_range_and_the_others_are_nominal():
    env = make(1000, {"pole_mass": (0.8, 1.2)})
    robots = [env.robot_params(i) for i in range(1000)]
    factors = np.array([robot.pole_mass / 0.1 for robot in robots])
    assert factors.min() >= 0.8
    assert factors.max() <= 1.2
    assert stats.kstest(factors, stats.uniform(0.8, 0.4).cdf).pvalue > 1e-3
    assert {(robot.cart_mass, robot.pole_length) for robot in robots} == {(1.0, 1.0)}
    assert env.parameters.keys() == {"pole_mass"}
    env.close()


def test_a_number_for_a_factor_is_a_range_around_one():
    pair, number = make(50, {"pole_mass": (0.7, 1.3)}), make(50, {"pole_mass": 0.3})
    np.testing.assert_array_equal(number.parameters["pole_mass"], pair.parameters["pole_mass"])
    pair.close()
    number.close()


def test_a_field_is_drawn_alike_whatever_else_is_randomized():
    alone, among = make(50, {"motor": (0.5, 1.5)}), make(50, ALL_KINDS)
    np.testing.assert_array_equal(alone.parameters["motor"], among.parameters["motor"])
    alone.close()
    among.close()


@every_engine
@pytest.mark.parametrize("field", NOMINAL)
def test_a_randomized_robot_moves_as_one_that_is_built_so(engine, field):
    randomized = make(1, {field: (1.3, 1.3)}, engine=engine)
    built = make(1, 0.0, engine=engine, robot={field: 1.3 * NOMINAL[field]})
    moves = actions(1, 30)
    np.testing.assert_allclose(states(randomized, moves), states(built, moves), atol=1e-9)
    randomized.close()
    built.close()


@pytest.mark.parametrize("engine", ["mujoco", "bullet"])
@pytest.mark.parametrize(
    ("field", "nominal"),
    [("mass", 5.0), ("friction", 1.0), ("max_torque", 0.4), ("velocity_kp", 0.15)],
)
def test_a_randomized_rover_moves_as_one_that_is_built_so(engine, field, nominal):
    options = {"engine": engine, "level": 0}
    randomized = make(1, {field: (0.5, 0.5)}, ROVER, **options)
    built = make(1, 0.0, ROVER, robot={field: 0.5 * nominal}, **options)
    usual = make(1, 0.0, ROVER, **options)
    moves = actions(1, 10, width=2)
    got, expected, other = (states(env, moves) for env in (randomized, built, usual))
    np.testing.assert_allclose(got, expected, atol=1e-9)
    if field != "friction":  # which its motors are too weak to overcome
        assert np.abs(got - other).max() > 1e-4
    for env in (randomized, built, usual):
        env.close()


@pytest.mark.parametrize("engine", ["mujoco", "bullet"])
def test_less_friction_lets_the_wheels_of_a_rover_slip(engine):
    env = make(1, {"friction": (0.02, 0.02)}, ROVER, engine=engine, level=0)
    env.reset(seed=0, options={"layout": {"goal": [3.05, 0.05], "start": [-3.0, 0.05, 0.0]}})
    for _ in range(5):
        env.step(np.ones((1, 2), np.float32))
    # Friction can give it no more than 0.02 * 9.81 m/s^2, for 0.5 s.
    assert 0.9 < env.qpos_qvel()[1][0, 0] / (0.02 * 9.81 * 0.5) < 1.01
    env.close()


def test_the_motor_multiplies_what_is_asked_of_it():
    # Half the motor does with full ctrl what the whole one does with half.
    half, whole = make(1, {"motor": (0.5, 0.5)}), make(1, 0.0)
    ahead = np.ones((20, 1, 1), np.float32)
    np.testing.assert_array_equal(states(half, ahead), states(whole, 0.5 * ahead))
    half.close()
    whole.close()


@pytest.mark.parametrize("delay", [1, 3])
def test_an_action_acts_exactly_so_many_control_steps_later(delay):
    moves = actions(2, 20)
    late = np.concatenate([np.zeros((delay, 2, 1), np.float32), moves[:-delay]])
    undelayed = make(2, 0.0)
    expected = states(undelayed, late)
    for options in ({"randomization": {"action_delay": delay}}, {"action_delay": delay}):
        env = make(2, options.pop("randomization", 0.0), **options)
        np.testing.assert_array_equal(states(env, moves), expected)
        assert env.parameters["action_delay"].tolist() == [delay] * 2
        env.close()
    undelayed.close()


def test_every_environment_has_the_delay_it_drew():
    env = make(30, {"action_delay": (0, 2)})
    delays = env.parameters["action_delay"]
    assert set(delays.tolist()) == {0, 1, 2}
    moves = actions(30, 10)
    got = states(env, moves)
    for i, delay in enumerate(delays.tolist()):
        late = np.concatenate([np.zeros((delay, 1, 1), np.float32), moves[: 10 - delay, i : i + 1]])
        single = make(1, 0.0, seed=i)
        np.testing.assert_array_equal(got[:, i : i + 1], states(single, late))
        single.close()
    env.close()


def test_delays_are_as_often_each_of_their_range():
    env = make(3000, {"action_delay": (1, 3)})
    counts = np.bincount(env.parameters["action_delay"])
    assert counts[0] == 0
    assert stats.chisquare(counts[1:]).pvalue > 1e-3
    env.close()


def test_what_was_asked_before_a_reset_does_not_act_after_it():
    env = make(1, {"action_delay": 2})
    states(env, actions(1, 5))
    env.reset(seed=7)
    fresh = make(1, {"action_delay": 2}, seed=7)
    moves = actions(1, 5, seed=2)
    np.testing.assert_array_equal(states(env, moves), states(fresh, moves))
    env.close()
    fresh.close()


def readings(randomization, steps=100, **options):
    """Return what the lidar reads while the robot stands before the wall. Shape (T, 36), m."""
    env = make_vec(
        LIDAR, 1, engine="analytic", level=0, domain_randomization=randomization, **options
    )
    found = [env.reset(seed=0, options={"layout": WALL})[0][0, :36]]
    found += [env.step(np.zeros((1, 2), np.float32))[0][0, :36] for _ in range(steps)]
    env.close()
    return 5.0 * np.array(found, np.float64)


@pytest.mark.parametrize(
    "noisy",
    [{"randomization": {"lidar_noise": 0.05}}, {"randomization": 0.0, "lidar": Lidar(noise=0.05)}],
    ids=["field", "sensor"],
)
def test_noise_of_the_lidar_is_normal_and_new_at_each_step(noisy):
    clean = readings(0.0)
    off = readings(**noisy) - clean
    seen = off[:, clean[0] < 4.7]  # the others could be clipped
    assert seen.size > 1000
    assert stats.kstest(seen.ravel(), stats.norm(0, 0.05).cdf).pvalue > 1e-3
    # Independent of the step before: the standard error of a correlation of n pairs is n^-0.5.
    before, after = seen[:-1].ravel(), seen[1:].ravel()
    assert abs(np.corrcoef(before, after)[0, 1]) < 4 / math.sqrt(before.size)


def test_a_lost_reading_reads_the_largest_range():
    clean, got = readings(0.0), readings({"lidar_dropout": 0.3})
    near = clean < 4.9
    lost = got[near] == 5.0
    assert abs(lost.mean() - 0.3) < 4 * math.sqrt(0.3 * 0.7 / lost.size)
    np.testing.assert_array_equal(got[near][~lost], clean[near][~lost])


def test_a_number_for_all_fields_is_a_part_of_the_largest_noise():
    env = make(5, 0.2, LIDAR, level=0)
    parameters = env.parameters
    # 0.1 m, 0.1 and 1 times 0.2
    assert parameters["lidar_noise"].tolist() == pytest.approx([0.02] * 5)
    assert parameters["lidar_dropout"].tolist() == pytest.approx([0.02] * 5)
    assert parameters["lidar_latency"].tolist() == pytest.approx([0.2] * 5)
    for factor in ("mass", "motor"):
        assert np.abs(parameters[factor] - 1).max() <= 0.2
    assert "action_delay" not in parameters
    env.close()


@pytest.mark.parametrize(
    ("randomization", "message"),
    [
        (
            {"pole_mas": 0.2},
            r"Unknown domain_randomization field .*'pole_mas'\. Did you mean 'pole_ma",
        ),
        ({"gravity": 0.2}, r"Unknown domain_randomization field of .* 'gravity'"),
        (
            {"pole_mass": (-0.5, 1.2)},
            r"\['pole_mass'\] multiplies .* must stay above 0, got \(-0\.5",
        ),
        ({"pole_mass": 1.5}, r"\['pole_mass'\] multiplies .* must stay above 0, got 1\.5"),
        ({"motor": (-1.0, 1.0)}, r"\['motor'\] multiplies .* must stay above 0"),
        ({"pole_mass": (1.2, 0.8)}, r"low <= high, got \(1\.2, 0\.8\)"),
        ({"pole_mass": "a"}, r"must be a number or a pair \(low, high\), got 'a'"),
        ({"pole_mass": None}, r"must be a number or a pair \(low, high\), got None"),
        ({"pole_mass": (1, 2, 3)}, r"must be a number or a pair \(low, high\), got \(1, 2, 3\)"),
        ({"pole_mass": True}, "must be a finite number, got True"),
        ({"pole_mass": (0.8, math.nan)}, "must be a finite number, got nan"),
        ({"action_delay": (0, 1.5)}, r"\['action_delay'\] counts control steps and must be whole"),
        ({"action_delay": -1}, r"\['action_delay'\] must be at least 0, got -1"),
        ({"action_delay": (0, 21)}, r"\['action_delay'\] is at most 20, got \(0, 21\)"),
        (1.0, r"must lie in \[0, 1\), got 1\.0"),
        (-0.1, r"must lie in \[0, 1\), got -0\.1"),
        ("0.2", "domain_randomization must be a finite number, got '0.2'"),
        ([0.8, 1.2], r"domain_randomization must be a finite number, got \[0\.8, 1\.2\]"),
    ],
    ids=str,
)
def test_what_cannot_be_randomized_is_refused(randomization, message):
    with pytest.raises(ValueError, match=message) as refusal:
        make_vec(SWING_UP, 1, engine="analytic", domain_randomization=randomization)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"domain_randomization": {"lidar_noise": -0.1}}, r"lidar_noise'\] must be at least 0"),
        ({"domain_randomization": {"lidar_dropout": 1.5}}, r"lidar_dropout'\] is at most 1, got 1"),
        ({"domain_randomization": {"lidar_latency": (0, 2)}}, r"latency'\] is at most 1, got \(0"),
        ({"lidar": {"noise": -0.1}}, r"lidar_noise must be at least 0, got -0\.1"),
        ({"lidar": {"dropout": 1.5}}, r"lidar_dropout is at most 1, got 1\.5"),
        ({"lidar": {"noise": "a"}}, r"lidar_noise must be a number or a pair"),
        ({"action_delay": 21}, "action_delay is at most 20, got 21"),
        ({"action_delay": 1.5}, r"action_delay counts control steps and must be whole, got 1\.5"),
        ({"action_delay": -1}, "action_delay counts control steps and must be whole, got -1"),
    ],
    ids=str,
)
def test_noise_and_delays_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message) as refusal:
        make_vec(LIDAR, 1, engine="analytic", level=0, **options)
    assert "\n" not in str(refusal.value)


def test_a_public_definition_is_not_randomized():
    with pytest.raises(ValueError, match="fixed public definition") as refusal:
        make_vec("robolearn/CartPoleDMC-v0", 1, domain_randomization=0.2)
    assert "\n" not in str(refusal.value)


def test_a_single_environment_tells_what_it_drew_at_every_step():
    env = gym.make(SWING_UP, engine="analytic", domain_randomization=ALL_KINDS)
    _, first = env.reset(seed=3)
    drawn = first["domain_randomization"]
    assert drawn.keys() == ALL_KINDS.keys()
    assert isinstance(drawn["action_delay"], int)
    robot = env.unwrapped.vector_env.robot_params(0)
    assert robot.pole_mass == pytest.approx(0.1 * drawn["pole_mass"])
    assert env.step(np.zeros(1, np.float32))[4]["domain_randomization"] == drawn
    _, second = env.reset()
    assert second["domain_randomization"] != drawn
    env.close()


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_a_batch_tells_what_is_drawn_where_an_episode_begins(mode):
    env = make_vec(
        SWING_UP,
        3,
        engine="analytic",
        domain_randomization={"pole_mass": 0.3},
        autoreset_mode=mode,
        max_episode_steps=4,
    )
    _, info = env.reset(seed=0)
    assert info["_domain_randomization"].tolist() == [True] * 3
    drawn = info["domain_randomization"]["pole_mass"]
    np.testing.assert_array_equal(drawn, env.parameters["pole_mass"])
    env.reset(options={"reset_mask": np.array([True, False, False])})
    idle = np.zeros((3, 1), np.float32)
    told = [env.step(idle)[4].get("_domain_randomization") for _ in range(3)]
    assert told == [None] * 3
    info = env.step(idle)[4]
    if mode == "NextStep":  # the step after the last one begins the next episode
        assert "domain_randomization" not in info
        info = env.step(idle)[4]
    assert info["_domain_randomization"].tolist() == [True] * 3
    again = info["domain_randomization"]["pole_mass"]
    np.testing.assert_array_equal(again, env.parameters["pole_mass"])
    assert (again != drawn).all()
    env.close()


def test_a_masked_reset_tells_only_of_those_it_resets():
    env = make(3, {"pole_mass": 0.3})
    _, info = env.reset(options={"reset_mask": np.array([False, True, False])})
    drawn = info["domain_randomization"]
    assert drawn["_pole_mass"].tolist() == [False, True, False]
    assert drawn["pole_mass"][1] == env.parameters["pole_mass"][1]
    assert drawn["pole_mass"][[0, 2]].tolist() == [0.0, 0.0]
    env.close()


@every_engine
def test_a_state_holds_what_was_drawn_and_what_was_asked(engine):
    env, other = make(2, ALL_KINDS, engine=engine), make(2, ALL_KINDS, engine=engine, seed=9)
    states(env, actions(2, 5))
    state = env.get_state()
    for name, part in env.parameters.items():
        np.testing.assert_array_equal(state[f"parameters/{name}"], part)
    other.set_state(state)
    assert [other.robot_params(i) for i in range(2)] == [env.robot_params(i) for i in range(2)]
    moves = actions(2, 10, seed=3)
    np.testing.assert_array_equal(states(other, moves), states(env, moves))
    env.close()
    other.close()


@pytest.mark.parametrize(
    ("env_id", "randomization", "width"),
    [
        (SWING_UP, ALL_KINDS, 1),
        (LIDAR, {"mass": 0.4, "lidar_noise": (0.0, 0.1), "lidar_latency": 0.5}, 2),
        (LIDAR, 0.3, 2),
    ],
    ids=["cart-pole", "fields", "all"],
)
def test_single_environments_are_the_rows_of_a_batch(env_id, randomization, width):
    options = {"engine": "analytic", "domain_randomization": randomization}
    env = make_vec(env_id, 3, **options)
    observation, info = env.reset(seed=5)
    moves = actions(3, 20, width=width)
    batch = [observation] + [env.step(row)[0] for row in moves]
    for i in range(3):
        single = gym.make(env_id, **options)
        observation, own = single.reset(seed=5 + i)
        assert own["domain_randomization"] == {
            name: info["domain_randomization"][name][i] for name in own["domain_randomization"]
        }
        np.testing.assert_array_equal(observation, batch[0][i])
        for row, expected in zip(moves, batch[1:], strict=True):
            np.testing.assert_array_equal(single.step(row[i])[0], expected[i])
        single.close()
    env.close()


@needs_torch
@pytest.mark.parametrize(
    ("env_id", "randomization", "width"),
    [
        (SWING_UP, ALL_KINDS, 1),
        (
            LIDAR,
            {
                "mass": 0.4,
                "motor": 0.2,
                "lidar_noise": 0.05,
                "lidar_dropout": 0.1,
                "action_delay": 2,
            },
            2,
        ),
        (LIDAR, 0.3, 2),
    ],
    ids=["cart-pole", "fields", "all"],
)
def test_a_batch_on_a_device_draws_and_does_the_same(env_id, randomization, width):
    options = {"domain_randomization": randomization, "max_episode_steps": 12}
    options |= {} if env_id == SWING_UP else {"level": 0, "split": "val"}
    host = make_vec(env_id, 4, engine="analytic", **options)
    device = make_vec(env_id, 4, engine="torch", dtype=torch.float64, **options)
    expected, got = host.reset(seed=5)[0], device.reset(seed=5)[0]
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-6)
    for row in actions(4, 30, width=width):  # through two resets
        expected, got = host.step(row), device.step(torch.from_numpy(row))
        np.testing.assert_allclose(got[0].numpy(), expected[0], atol=1e-6)
        np.testing.assert_allclose(got[1].numpy(), expected[1], atol=1e-6)
        assert device.parameters.keys() == host.parameters.keys()
        for name, part in host.parameters.items():
            np.testing.assert_allclose(device.parameters[name].numpy(), part, atol=1e-6)
    host.close()
    device.close()
