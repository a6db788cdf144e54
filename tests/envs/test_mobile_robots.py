"""How the disc and the rover move: on every engine, and by hand."""

import itertools
import math

import numpy as np
import pytest

from robolearn_envs import make_vec
from robolearn_envs.engines import make_engine
from robolearn_envs.robots import DiffDriveRobot, UnicycleRobot

DISC_DT, ROVER_DT = 0.02, 0.01  # s
ENGINES = ("mujoco", "bullet", "analytic")
every_engine = pytest.mark.parametrize("name", ENGINES)
both_engines = pytest.mark.parametrize("name", ["mujoco", "bullet"])


def drive(name, robot, timestep, ctrls, start=(0.0, 0.0, 0.0), field_scales=None):
    """Return positions and velocities after each physics step, under the robot's own servo.

    Args:
        ctrls: One for each step and copy. Shape (T, N, 2).
        field_scales: Of the randomized mass. Shape (N,).
    """
    copies = ctrls.shape[1]
    engine = make_engine(name, robot, timestep, copies)
    xy, heading = np.tile(start[:2], (copies, 1)), np.full(copies, start[2])
    scales = None if field_scales is None else {"mass": np.array(field_scales)}
    engine.reset(np.arange(copies), *robot.rest_state(xy, heading), scales)
    qpos, qvel = [], []
    for ctrl in ctrls:
        engine.step(robot.actuate(engine.qpos, engine.qvel, ctrl, timestep, scales or {}))
        qpos.append(engine.qpos.copy())
        qvel.append(engine.qvel.copy())
    engine.close()
    return np.array(qpos), np.array(qvel)


def held(seed, hold, steps, copies=1):
    """Return random ctrls in [-1, 1], each held for ``hold`` steps. Shape (steps, copies, 2)."""
    drawn = np.random.default_rng(seed).uniform(-1, 1, (-(-steps // hold), copies, 2))
    return np.repeat(drawn, hold, axis=0)[:steps]


def steady(left, right, steps, copies=1):
    return np.tile([float(left), float(right)], (steps, copies, 1))


@pytest.fixture(scope="module", params=[None, (0.8, 1.0, 1.1, 1.2)], ids=["nominal", "randomized"])
def ten_seconds(request):
    """Discs under random ctrls for 10 s, on every engine."""
    ctrls = held(seed=0, hold=5, steps=500, copies=4)
    return {
        name: drive(name, UnicycleRobot(), DISC_DT, ctrls, field_scales=request.param)
        for name in ENGINES
    }


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(ENGINES, 2)))
def test_engines_move_the_disc_alike_for_ten_seconds(ten_seconds, one, other):
    for here, there in zip(ten_seconds[one], ten_seconds[other], strict=True):
        assert np.abs(here - there).max() <= 1e-9


def test_the_motion_compared_is_large(ten_seconds):
    qpos, _ = ten_seconds["analytic"]
    path = np.linalg.norm(np.diff(qpos[:, :, :2], axis=0), axis=-1).sum(axis=0)
    assert path.min() > 2.0  # m
    assert np.ptp(qpos[:, :, 2], axis=0).min() > 0.9  # rad


@every_engine
def test_a_disc_never_slips_sideways(name):
    qpos, qvel = drive(name, UnicycleRobot(), DISC_DT, held(seed=1, hold=5, steps=500))
    heading = qpos[:, :, 2]
    sideways = -qvel[:, :, 0] * np.sin(heading) + qvel[:, :, 1] * np.cos(heading)
    assert np.abs(sideways).max() < 1e-12
    assert np.abs(qvel[:, :, :2]).max() > 0.3  # it did move


@every_engine
def test_a_disc_reaches_the_commanded_speeds_at_its_accelerations(name):
    start = (1.0, -2.0, math.pi / 2)  # forward is +y
    qpos, qvel = drive(name, UnicycleRobot(), DISC_DT, steady(1.0, 0.0, 15), start)
    # 4 m/s^2 * 0.02 s = 0.08 m/s a step, up to 1 m/s in the 13th.
    expected = [0.08 * k for k in range(1, 13)] + [1.0] * 3
    assert qvel[:, 0, 1] == pytest.approx(np.array(expected), abs=1e-12)
    # The way: 0.02 s times the speed after each step, 0.02 * (0.08 * 78 + 3) = 0.1848 m.
    assert qpos[-1, 0] == pytest.approx([1.0, -2.0 + 0.1848, math.pi / 2], abs=1e-12)


@every_engine
def test_a_disc_turns_up_to_speed_and_brakes_again(name):
    ctrls = np.concatenate([steady(0, -0.8, 6), steady(0, 0.1, 6)])
    _, qvel = drive(name, UnicycleRobot(), DISC_DT, ctrls)
    # 20 rad/s^2 * 0.02 s = 0.4 rad/s a step, to -0.8 * 2 = -1.6 and back to 0.1 * 2 = 0.2.
    expected = [-0.4, -0.8, -1.2, -1.6, -1.6, -1.6, -1.2, -0.8, -0.4, 0.0, 0.2, 0.2]
    assert qvel[:, 0, 2] == pytest.approx(np.array(expected), abs=1e-12)


@every_engine
def test_a_disc_in_a_curve_drives_a_circle(name):
    qpos, qvel = drive(name, UnicycleRobot(), DISC_DT, steady(0.5, 0.25, 629 + 30))
    settled = qpos[30:, 0]
    # 0.5 m/s and 0.5 rad/s: a circle of radius 1 m, once round in 2 pi / 0.5 = 12.57 s.
    middle = settled[:, :2] - np.stack([np.sin(settled[:, 2]), -np.cos(settled[:, 2])], axis=-1)
    assert np.ptp(middle, axis=0).max() < 0.01
    assert settled[-1, 2] - settled[0, 2] == pytest.approx(628 * 0.02 * 0.5, abs=1e-9)
    assert np.hypot(*qvel[-1, 0, :2]) == pytest.approx(0.5, abs=1e-9)


@every_engine
@pytest.mark.parametrize("factor", [0.3, 0.5, 2.0])
def test_a_disc_that_weighs_something_else_never_slips_either_and_settles(name, factor):
    ctrls = np.concatenate([held(seed=1, hold=5, steps=300), steady(0.6, -0.4, 100)])
    qpos, qvel = drive(name, UnicycleRobot(), DISC_DT, ctrls, field_scales=(factor,))
    heading = qpos[:, :, 2]
    sideways = -qvel[:, :, 0] * np.sin(heading) + qvel[:, :, 1] * np.cos(heading)
    assert np.abs(sideways).max() < 1e-12
    speed = np.hypot(qvel[:, 0, 0], qvel[:, 0, 1])
    assert speed.max() <= 1.0 + 1e-9  # nothing is overshot
    assert np.abs(qvel[:, 0, 2]).max() <= 2.0 + 1e-9
    assert speed[-1] == pytest.approx(0.6, abs=1e-9)
    assert qvel[-1, 0, 2] == pytest.approx(-0.8, abs=1e-9)


@every_engine
def test_a_disc_that_weighs_more_than_its_servo_thinks_lags(name):
    _, qvel = drive(
        name, UnicycleRobot(), DISC_DT, steady(1.0, 1.0, 1, copies=2), field_scales=(1.25, 0.8)
    )
    # The motor pushes with 5 kg * 4 m/s^2 at the most, that is 0.08 / 1.25 and 0.08 / 0.8 m/s.
    assert np.hypot(qvel[0, :, 0], qvel[0, :, 1]) == pytest.approx([0.064, 0.1], abs=1e-12)
    # And twists for 0.4 rad/s: the inertia of a uniform disc is off by the same factor.
    assert qvel[0, :, 2] == pytest.approx([0.32, 0.5], abs=1e-12)


def test_a_command_beyond_the_actuators_is_asked_of_them_as_it_can_be():
    disc, rover = UnicycleRobot(), DiffDriveRobot()
    v, omega = np.array([0.5]), np.array([-1.0])
    assert disc.twist_to_ctrl(v, omega)[0] == pytest.approx([0.5, -0.5])
    # Wheels 0.15 m off the middle, of radius 0.08 m: (0.5 +- 0.15) / 0.08 = 8.125 and 4.375 rad/s
    # of 12.5; it turns right, so the left wheel is the faster.
    assert rover.twist_to_ctrl(v, omega)[0] == pytest.approx([0.65, 0.35])
    # Straight on at 2 m/s both are slowed down to full ctrl; so in a curve.
    assert rover.twist_to_ctrl(np.array([2.0]), np.array([0.0]))[0] == pytest.approx([1.0, 1.0])
    assert rover.twist_to_ctrl(2 * v, 2 * omega)[0] == pytest.approx([1.0, 0.35 / 0.65])


def path_length(qpos):
    return np.linalg.norm(np.diff(qpos[:, :2], axis=0), axis=-1).sum()


SEQUENCES = {
    "curve": steady(0.8, 0.6, 1000),
    "held for 1 s": held(seed=3, hold=100, steps=1000),
    "drawn each 0.1 s": held(seed=4, hold=10, steps=1000),
}


@pytest.mark.parametrize("ctrls", SEQUENCES.values(), ids=SEQUENCES)
def test_engines_move_the_rover_nearly_alike_for_ten_seconds(ctrls):
    rover = DiffDriveRobot()
    one, other = (drive(name, rover, ROVER_DT, ctrls)[0][:, 0] for name in ("mujoco", "bullet"))
    distance = path_length(one)
    assert distance > 1.0  # m
    assert np.linalg.norm(one[-1, :2] - other[-1, :2]) <= 0.03 * distance
    turned = rover.pose(one)[1] - rover.pose(other)[1]
    assert np.abs(np.angle(np.exp(1j * turned))).max() <= 0.15  # rad


@both_engines
def test_a_rover_at_full_speed_rolls_wheel_speed_times_radius(name):
    qpos, qvel = drive(
        name, DiffDriveRobot(), ROVER_DT, steady(1, 1, 700), (-3.0, 1.0, math.pi / 2)
    )
    # 12.5 rad/s * 0.08 m = 1 m/s: 5 m from 2 s to 7 s, straight along +y.
    assert qpos[-1, 0, 1] - qpos[199, 0, 1] == pytest.approx(5.0, rel=0.01)
    assert qpos[-1, 0, 0] == pytest.approx(-3.0, abs=0.01)
    assert qvel[-1, 0, 6:] == pytest.approx([12.5, 12.5], rel=0.01)


@both_engines
def test_a_rover_starts_with_what_its_motors_push(name):
    _, qvel = drive(name, DiffDriveRobot(), ROVER_DT, steady(1, 1, 10))
    # Two torques of 0.4 N m at 0.08 m push with 10 N. They move 5 + 2 * 0.25 kg and spin wheels
    # of 0.4 * 0.25 * 0.08^2 + 0.0015 = 0.00214 kg m^2, with the rotors, which feel like 0.00214 /
    # 0.08^2 = 0.334 kg each: 10 / 6.169 = 1.621 m/s^2, 0.1621 m/s after 0.1 s.
    assert qvel[-1, 0, 0] == pytest.approx(0.1621, rel=0.01)


@both_engines
def test_a_rover_with_opposite_wheels_turns_on_the_spot(name):
    qpos, qvel = drive(name, DiffDriveRobot(), ROVER_DT, steady(-0.3, 0.3, 500))
    # 0.3 * 12.5 rad/s * 0.08 m / 0.15 m = 2 rad/s, anticlockwise.
    assert qvel[-1, 0, 5] == pytest.approx(2.0, rel=0.03)
    assert np.abs(qpos[:, 0, :2]).max() < 0.02


@both_engines
def test_a_heavier_rover_is_slower_off_the_mark(name):
    _, qvel = drive(
        name, DiffDriveRobot(), ROVER_DT, steady(1, 1, 20, copies=2), field_scales=(0.8, 1.2)
    )
    # 4 kg and 6 kg of chassis: 10 N on 5.169 and 7.169 kg as above.
    assert qvel[-1, 0, 0] / qvel[-1, 1, 0] == pytest.approx(7.169 / 5.169, rel=0.02)


def test_a_wheels_servo_is_an_implicit_step_by_hand():
    rover = DiffDriveRobot()
    qpos, qvel = rover.rest_state(np.zeros((3, 2)), np.zeros(3))
    qvel[:, 6:] = [2.0, -1.0]
    ctrl = np.tile([0.2, 1.0], (3, 1))
    scales = {"velocity_kp": np.array([1.0, 2.0, 1.0]), "max_torque": np.array([1.0, 1.0, 0.5])}
    torque = rover.actuate(qpos, qvel, ctrl, 0.01, scales)
    # Left 0.2 * 12.5 - 2 = 0.5 rad/s are missing. 0.15 / (1 + 0.15 * 0.01 / 0.00214) = 0.0881868
    # N m s/rad, and of twice the gain 0.3 / (1 + 0.3 * 0.01 / 0.00214) = 0.1249027.
    assert torque[:, 0] == pytest.approx([0.0440934, 0.0624514, 0.0440934], abs=1e-7)
    # Right 13.5 rad/s are: more than 0.4 N m can do, or half of that.
    assert torque[:, 1] == pytest.approx([0.4, 0.4, 0.2])
    np.testing.assert_array_equal(rover.actuate(qpos, qvel, ctrl, 0.01, {})[0], torque[0])


def test_a_wheel_in_the_air_does_not_overshoot_whatever_the_gain():
    # Of the inertia it has at least an implicit step with any gain takes a part of the way.
    rover = DiffDriveRobot(velocity_kp=50.0, max_torque=100.0)
    qpos, qvel = rover.rest_state(np.zeros((1, 2)), np.zeros(1))
    speeds = []
    for _ in range(20):
        torque = rover.actuate(qpos, qvel, np.array([[0.4, 0.4]]), 0.01, {})
        qvel[:, 6:] += torque / 0.00214 * 0.01
        speeds.append(qvel[0, 6])
    assert (np.diff(speeds) >= -1e-12).all()
    assert speeds[-1] == pytest.approx(5.0)


@both_engines
@pytest.mark.parametrize("friction", [0.05, 0.1])
def test_on_ice_a_rover_speeds_up_as_its_friction_lets_it(name, friction):
    rover = DiffDriveRobot()
    engine = make_engine(name, rover, ROVER_DT, 1)
    scales = {"friction": np.array([friction])}
    engine.reset(np.arange(1), *rover.rest_state(np.zeros((1, 2)), np.zeros(1)), scales)
    speeds = []
    for _ in range(60):
        engine.step(rover.actuate(engine.qpos, engine.qvel, np.ones((1, 2)), ROVER_DT, scales))
        speeds.append(engine.qvel[0, 0])
    engine.close()
    # The motors could push with 10 N, the floor takes mu of what stands on the wheels. Of 5.5 kg
    # the rear caster carries N so that 0.14 m N holds up to the motors' torque, 0.08 m mu (W - N).
    expected = friction * 9.81 / (1 + friction * 0.08 / 0.14)
    assert (speeds[-1] - speeds[19]) / 0.4 == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(("lean", "expected"), [(44.0, False), (46.0, True), (180.0, True)])
@pytest.mark.parametrize("axis", [0, 1], ids=["over a wheel", "over the front"])
def test_a_rover_has_tipped_when_it_leans_more_than_45_degrees(lean, expected, axis):
    qpos = np.zeros((1, 9))
    half = math.radians(lean) / 2
    qpos[0, 3], qpos[0, 4 + axis] = math.cos(half), math.sin(half)
    assert DiffDriveRobot().has_tipped_over(qpos)[0] == expected


@pytest.mark.slow
@both_engines
def test_a_rover_stays_upright_and_finite_under_random_actions(name):
    env = make_vec("robolearn/NavRover-v0", 4, engine=name, level=3, autoreset_mode="SameStep")
    env.reset(seed=0)
    env.action_space.seed(0)
    for _ in range(250):
        observation, reward, *_ = env.step(env.action_space.sample())
        assert np.isfinite(observation).all()
        assert np.isfinite(reward).all()
        height, upright = env.qpos_qvel()[0][:, 2], ~env.task_state["tipped_over"]
        assert upright.all()
        assert np.abs(height - 0.08).max() < 0.01  # on its wheels
    env.close()
