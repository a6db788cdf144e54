"""Robots and sensors of one's own, in files of one's own: the examples."""

import importlib
import math
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from optional_torch import needs_torch
from own_examples import (
    EXAMPLES,
    FOUR_WHEEL,
    SONAR,
    actions,
    array,
    every_engine,
    lines_of,
    make_batch,
)

from robolearn_envs import make_vec
from robolearn_envs.robots import CartPole, DiffDriveRobot, UnicycleRobot, WheeledRobot
from robolearn_envs.sensors import IMU, DepthCamera, Odometry
from robolearn_envs.sensors.raycast import raycast

LIDAR, ROVER = "robolearn/NavLidar-v0", "robolearn/NavRover-v0"


@pytest.fixture(autouse=True)
def examples(monkeypatch):
    """Let the examples be found, as in their folder."""
    monkeypatch.syspath_prepend(str(EXAMPLES))


# --- Robots


def test_an_own_robot_takes_no_more_than_60_lines():
    assert lines_of("my_robot", "FourWheelRobot") <= 60


def heading_after(env, ctrl, seconds):
    """Return by how much the robot has turned, in rad, and how far from its start it is, in m."""
    env.reset(seed=0, options={"layout": {"goal": [3.05, 0.05], "start": [0.05, 0.05, 0.0]}})
    turned, heading = 0.0, 0.0
    for _ in range(round(10 * seconds)):
        env.step(np.array([ctrl], np.float32))
        xy, now = env.task.robot.pose(env.qpos_qvel()[0])
        turned += math.remainder(now[0] - heading, 2 * math.pi)
        heading = now[0]
    return turned, np.abs(xy[0] - 0.05).max()


@pytest.mark.parametrize("ctrl", [0.2, -0.3, 0.5])
def test_an_own_robot_on_four_wheels_turns_alike_on_mujoco_and_bullet(ctrl):
    turned = {}
    for engine in ("mujoco", "bullet"):
        env = make_vec(FOUR_WHEEL, 1, engine=engine, level=0, split="val")
        turned[engine], away = heading_after(env, [-ctrl, ctrl], seconds=3)
        assert away < 0.01  # in place
        env.close()
    # Wheels w to the side and b to the front that slip at a speed of r omega turn the robot, by the
    # balance of Coulomb friction, at r omega w / (w^2 + b^2): 0.04 * 25 * 0.15 / 0.025 = 6 rad/s.
    assert turned["mujoco"] == pytest.approx(3 * 6 * ctrl, rel=0.1)
    assert turned["bullet"] == pytest.approx(turned["mujoco"], rel=0.1)


@pytest.mark.parametrize("engine", ["mujoco", "bullet"])
def test_an_own_robot_drives_straight_on_at_the_speed_of_its_wheels(engine):
    env = make_vec(FOUR_WHEEL, 1, engine=engine, level=0, split="val")
    env.reset(seed=0, options={"layout": {"goal": [3.05, 0.05], "start": [-3.0, 0.0, 0.0]}})
    for _ in range(20):
        env.step(np.full((1, 2), 0.5, np.float32))
    (qpos,), (qvel,) = env.qpos_qvel()
    assert qvel[0] == pytest.approx(0.5, abs=0.01)  # half of 25 rad/s * 0.04 m
    assert qpos[1] == pytest.approx(0.0, abs=0.01)
    env.close()


def test_an_own_robot_passes_gymnasiums_checks_and_is_filmed():
    for env_id in (FOUR_WHEEL, SONAR):
        env = gym.make(env_id, level=1, split="val", render_mode="rgb_array")
        check_env(env.unwrapped, skip_render_check=True)  # which opens a window
        env.reset(seed=0)
        assert env.render().shape == (480, 960, 3)
        env.close()


def test_a_builtin_task_takes_an_own_robot():
    robot = importlib.import_module("my_robot").FourWheelRobot(friction=0.5)
    env = gym.make(ROVER, engine="bullet", robot=robot)
    env.reset(seed=0)
    assert env.unwrapped.vector_env.robot_params(0) == robot
    env.close()


@dataclass(frozen=True, kw_only=True)
class Wheelless(WheeledRobot):
    """A robot whose author forgot the wheels."""


@dataclass(frozen=True, kw_only=True)
class Misnamed(DiffDriveRobot):
    """A robot whose joints are called otherwise than its wheels."""

    joint_names = ("port", "starboard")


class Bodiless(UnicycleRobot):
    """A robot without a model for Bullet or the closed form."""

    forward_dynamics = None

    def to_urdf(self):
        return None


def test_a_robot_that_lacks_something_is_refused_by_name():
    cases = [
        (lambda: Wheelless(), "Wheelless has no wheels: write a property wheels"),
        (lambda: Misnamed(), r"joint_names of Misnamed must name its wheels, in order: \('left'"),
        (lambda: gym.make(LIDAR, robot=CartPole()), "needs a robot that drives, got a CartPole"),
        (
            lambda: gym.make(LIDAR, robot=Bodiless(), engine="bullet"),
            r"Bodiless has no to_urdf\(\), which engine 'bullet' needs",
        ),
        (
            lambda: gym.make(LIDAR, robot=Bodiless(), engine="analytic"),
            r"Bodiless has no forward_dynamics\(\)",
        ),
        (
            lambda: gym.make(ROVER, robot={"wheel_radius": 0.3}),
            r"Wheels and casters of DiffDriveRobot reach 0\.345 m",
        ),
        (lambda: gym.make(LIDAR, robot=5), "robot must be a mapping of fields to numbers, got 5"),
        (lambda: gym.make(FOUR_WHEEL, engine="analytic"), "does not run on engine 'analytic'"),
    ]
    for make, message in cases:
        with pytest.raises(ValueError, match=message) as refusal:
            make()
        assert "\n" not in str(refusal.value)


# --- Sensors


WIDE = {"num_rays": 180, "fov": 1.5 * math.pi, "range_max": 10.0}
"""A lidar of 270 degrees."""


@pytest.mark.parametrize("engine", ["mujoco", "bullet"])
def test_a_lidar_of_270_degrees_at_20_hz_is_the_same_on_every_engine(engine):
    want, have = [], []
    for level in (1, 2, 3, 4):
        options = {"level": level, "split": "val", "lidar": WIDE}
        options |= {"timestep": 0.01, "frame_skip": 5}  # 20 Hz
        pair = [make_vec(LIDAR, 2, engine=name, **options) for name in ("analytic", engine)]
        assert pair[0].metadata["render_fps"] == 20
        assert pair[0].single_observation_space.shape == (185,)
        for seed in range(0, 12, 3):
            moves = actions(2, 3, seed=seed, width=2)
            for env, found in zip(pair, (want, have), strict=True):
                found.append(env.reset(seed=seed)[0])
                found += [env.step(row)[0] for row in moves]
        assert pair[0].task_state["time"] == pytest.approx([3 * 0.05] * 2)
        for env in pair:
            env.close()
    want, have = (10.0 * np.array(part, np.float64)[..., :180] for part in (want, have))
    error = np.abs(have - want)
    assert (want < 10).mean() > 0.9  # there is much to be seen
    assert (error <= 1e-6).mean() >= 0.99
    assert error.max() <= 0.02  # rays that graze a curved surface


def test_rays_of_a_lidar_that_looks_ahead_go_from_right_to_left():
    env = make_vec(LIDAR, 1, engine="analytic", level=0, split="val", lidar=WIDE)
    start = [1.0, 2.0, math.pi / 2]
    obs, _ = env.reset(seed=0, options={"layout": {"goal": [-3.05, 0.05], "start": start}})
    step = 270 / 179  # degrees
    for ray in (0, 60, 179):
        angle = math.pi / 2 + math.radians(ray * step - 135)
        far = np.array([[[math.cos(angle), math.sin(angle)]]])
        none = np.zeros((1, 0, 3)), np.zeros((1, 0, 4))
        expected = raycast(np.array([[1.0, 2.0, 0.2]]), far, *none, 10.0)[0, 0]
        assert 10 * obs[0, ray] == pytest.approx(expected, abs=1e-5)
    # The first looks back to the right, at the wall x = 5; the last back to the left, at x = -5
    # or y = -5: 4 sqrt(2) and 6 sqrt(2) m.
    assert 10 * obs[0, [0, 179]] == pytest.approx([4 * math.sqrt(2), 6 * math.sqrt(2)], abs=1e-5)
    env.close()


@every_engine
def test_an_own_sensor_reads_what_is_there(engine):
    env = make_batch(SONAR, 1, engine, level=0, split="val")
    obs = array(env.reset(seed=0)[0])[0]
    assert obs.shape == (3 + 5,)
    xy, heading = (part[0] for part in env.task.robot.pose(array(env.qpos_qvel()[0])))
    for k, middle in enumerate((0.0, math.pi / 2, -math.pi / 2)):
        nearest = 4.0
        for turn in (-0.25, -0.125, 0.0, 0.125, 0.25):
            cos, sin = math.cos(heading + middle + turn), math.sin(heading + middle + turn)
            # To the walls at +-5 m
            ahead = min((5 - np.sign(v) * p) / abs(v) for v, p in zip((cos, sin), xy, strict=True))
            nearest = min(nearest, ahead)
        assert obs[k] == pytest.approx(nearest, abs=1e-5)
    env.close()


def test_an_own_sensor_has_noise_that_can_be_randomized():
    options = {"engine": "analytic", "level": 0, "split": "val"}
    clean, noisy = (
        make_vec(SONAR, 200, domain_randomization=r, **options)
        for r in (0.0, {"sonar_noise": 0.02})
    )
    want, have = (env.reset(seed=0)[0][:, :3].astype(np.float64) for env in (clean, noisy))
    off = (have - want)[want < 3.9]
    assert off.std() == pytest.approx(0.02, rel=4 / math.sqrt(2 * off.size))
    lost = make_vec(SONAR, 20, domain_randomization={"sonar_dropout": 1.0}, **options)
    assert (lost.reset(seed=0)[0][:, :3] == 4.0).all()
    for env in (clean, noisy, lost):
        env.close()


ODOMETRY, ACCELERATION = slice(0, 6), slice(6, 9)


@every_engine
def test_odometry_and_imu_tell_how_a_disc_has_moved(engine):
    env = make_batch(LIDAR, 1, engine, level=0, split="val", sensors=(Odometry(), IMU()))
    obs = array(env.reset(seed=0)[0])[0]
    assert obs[:9] == pytest.approx([0, 0, 1, 0, 0, 0, 0, 0, 0], abs=1e-6)
    start = array(env.qpos_qvel()[0])[0]
    obs = array(env.step(np.array([[1.0, 0.0]], np.float32))[0])[0]
    # 4 m/s^2 for 5 steps of 0.02 s: 0.4 m/s; 0.02^2 * 4 * (1 + 2 + 3 + 4 + 5) = 0.024 m
    assert obs[ODOMETRY] == pytest.approx([0.0024, 0, 1, 0, 0.4, 0], abs=1e-6)
    assert obs[ACCELERATION] == pytest.approx([0.4, 0, 0], abs=1e-5)
    for _ in range(3):
        obs = array(env.step(np.array([[1.0, 0.5]], np.float32))[0])[0]
    # It goes at 1 m/s and 1 rad/s, and its velocity turns by 0.1 rad in 0.1 s.
    assert obs[4:6] == pytest.approx([1.0, 1.0], abs=1e-6)
    expected = [1 - math.cos(0.1), math.sin(0.1), 1.0]
    assert obs[ACCELERATION] == pytest.approx(expected, abs=1e-5)
    now = array(env.qpos_qvel()[0])[0]
    away, first = now[:2] - start[:2], start[2]
    ahead = away[0] * math.cos(first) + away[1] * math.sin(first)
    left = away[1] * math.cos(first) - away[0] * math.sin(first)
    turned = now[2] - first
    expected = [ahead / 10, left / 10, math.cos(turned), math.sin(turned)]
    assert obs[:4] == pytest.approx(expected, abs=1e-6)
    env.close()


@pytest.mark.parametrize("engine", ["mujoco", "bullet"])
def test_odometry_and_imu_tell_how_a_rover_has_moved(engine):
    env = make_vec(ROVER, 1, engine=engine, level=0, split="val", sensors=(Odometry(), IMU()))
    start = [-3.0, 0.05, 0.5]
    env.reset(seed=0, options={"layout": {"goal": [3.05, 0.05], "start": start}})
    for _ in range(20):
        obs, *_ = env.step(np.array([[0.3, 0.5]], np.float32))
    before = env.qpos_qvel()[1][0]
    obs = env.step(np.array([[0.3, 0.5]], np.float32))[0][0]
    (qpos,), (qvel,) = env.qpos_qvel()
    heading = 2 * math.atan2(qpos[6], qpos[3])
    away = qpos[:2] - start[:2]
    assert obs[0] == pytest.approx(
        (away[0] * math.cos(0.5) + away[1] * math.sin(0.5)) / 10, abs=1e-5
    )
    assert obs[1] == pytest.approx(
        (away[1] * math.cos(0.5) - away[0] * math.sin(0.5)) / 10, abs=1e-5
    )
    turned = [math.cos(heading - 0.5), math.sin(heading - 0.5)]
    assert obs[2:4] == pytest.approx(turned, abs=1e-4)
    # Wheels of 0.3 and 0.5 times 1 m/s, 0.3 m apart: 0.4 m/s and 2/3 rad/s.
    assert obs[4:6] == pytest.approx([0.4, 0.667], abs=0.02)
    change = (qvel - before)[:2] / (10 * 0.1)
    left = change[1] * math.cos(heading) - change[0] * math.sin(heading)
    assert obs[7:9] == pytest.approx([left, qvel[5]], abs=1e-4)
    assert obs[7] == pytest.approx(0.4 * 0.667 / 10, rel=0.05)  # v omega, in 10 m/s^2
    env.close()


@needs_torch
def test_odometry_starts_anew_with_each_episode():
    options = {"level": 0, "split": "val", "sensors": (Odometry(), IMU()), "max_episode_steps": 5}
    for engine in ("analytic", "torch"):
        env = make_batch(LIDAR, 2, engine, **options)
        env.reset(seed=0)
        ahead = np.ones((2, 2), np.float32)
        for _ in range(5):
            obs = array(env.step(ahead)[0])
        assert (obs[:, 0] > 0.01).all()
        obs = array(env.step(ahead)[0])  # begins the next episode
        assert obs[:, :9] == pytest.approx(np.tile([0, 0, 1, 0, 0, 0, 0, 0, 0], (2, 1)), abs=1e-6)
        env.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"lidar": {"num_ray": 180}},
            r"Unknown field of Lidar 'num_ray'\. Did you mean 'num_rays'",
        ),
        ({"lidar": {"num_rays": 0}}, r"num_rays of Lidar must be an integer in 1\.\.4096, got 0"),
        ({"lidar": {"num_rays": 1.5}}, "num_rays of Lidar must be an integer"),
        ({"lidar": {"fov": 7.0}}, r"fov of Lidar must be a number in 0\.001\.\.6\.28319, got 7"),
        ({"lidar": {"range_max": -1}}, "range_max of Lidar must be a number"),
        ({"lidar": 5}, "lidar must be a Lidar or a mapping of its fields, got 5"),
        ({"sensors": (DepthCamera(),), "lidar": WIDE}, "NavLidar has no lidar to change"),
    ],
    ids=str,
)
def test_a_sensor_that_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message) as refusal:
        make_vec(LIDAR, 1, engine="analytic", level=0, split="val", **options)
    assert "\n" not in str(refusal.value)
