"""MuJoCo Warp moves as MuJoCo does, to float32, and its state can be shared and put away."""

import functools
import importlib.util
import subprocess
import sys

import numpy as np
import pytest
import torch
from scenes import depth_image, lidar_ranges, random_scenes

from robolearn_envs.engines.mujoco import MujocoEngine
from robolearn_envs.robots import CartPole, DiffDriveRobot, DMControlCartPole, UnicycleRobot

pytestmark = [
    pytest.mark.slow,  # kernels are compiled in every process, and stay in its memory
    pytest.mark.skipif(
        importlib.util.find_spec("mujoco_warp") is None,
        reason="mujoco-warp is not installed: pip install '.[warp]'",
    ),
]

ROBOTS = {
    "cartpole": (CartPole(), 0.01),
    "disc": (UnicycleRobot(), 0.02),
    "rover": (DiffDriveRobot(), 0.005),
}
every_robot = pytest.mark.parametrize("name", ROBOTS)
EPS = 2.0**-24  # relative rounding error of float32


def make(robot, count, timestep, device="cpu"):
    from robolearn_envs.engines.warp import WarpEngine  # optional, and slow to import

    return WarpEngine(robot, count, timestep, device=device)


def tensor(array):
    return torch.tensor(array, dtype=torch.float32)


def rounded(array):
    """Return numbers that float32 holds exactly, as float64."""
    return np.asarray(array).astype(np.float32).astype(np.float64)


def everyone(count):
    return torch.ones(count, dtype=torch.bool)


def put(engine, qpos, qvel, field_scales=None):
    scales = (
        None if field_scales is None else {field: tensor(f) for field, f in field_scales.items()}
    )
    engine.reset(everyone(len(qpos)), tensor(qpos), tensor(qvel), scales)


def state(engine):
    return np.hstack([engine.qpos, engine.qvel])


def start(name, count, seed=0):
    """Return positions and velocities in different places."""
    rng = np.random.default_rng(seed)
    robot = ROBOTS[name][0]
    if name == "cartpole":
        qpos = rng.uniform([-1.0, -np.pi], [1.0, np.pi], (count, 2))
        return rounded(qpos), rounded(rng.uniform([-1.0, -3.0], [1.0, 3.0], (count, 2)))
    # A rover's wheels touch the floor at a gap of 0, which rounding its height would change.
    return robot.rest_state(rng.uniform(-3, 3, (count, 2)), rng.uniform(-3, 3, count))


def running(name, count=4, seed=0, steps=5):
    """Return an engine whose copies are on the move."""
    robot, timestep = ROBOTS[name]
    engine = make(robot, count, timestep)
    put(engine, *start(name, count, seed))
    for force in forces(name, steps, count, seed):
        engine.step(force)
    return engine


def forces(name, steps, count, seed=0):
    """Return random forces that no robot here falls over by. Shape (steps, N, actuated)."""
    size = {"cartpole": 10.0, "disc": 5.0, "rover": 0.3}[name]
    joints = len(ROBOTS[name][0].actuated_joints)
    return tensor(np.random.default_rng(seed).uniform(-size, size, (steps, count, joints)))


def trajectory(engine, sequence):
    """Return the states after every step. Shape (steps, N, positions + velocities)."""
    states = []
    for force in sequence:
        engine.step(force)
        states.append(state(engine))
    return np.array(states)


# The same motion as MuJoCo's.

STARTS, STEPS = 20, 300  # 3 s of a cart-pole
FACTORS = {
    field: rounded(np.random.default_rng(1).uniform(0.7, 1.3, STARTS))
    for field in CartPole.randomizable
}


def reference(name, qvel_error, field_scales, steps):
    """Return MuJoCo's states from a start whose velocities are off by some error."""
    robot, timestep = ROBOTS[name]
    engine = MujocoEngine(robot, STARTS, timestep)
    qpos, qvel = start(name, STARTS)
    engine.reset(np.arange(STARTS), qpos, qvel + qvel_error, field_scales)
    return trajectory(engine, forces(name, steps, STARTS).double().numpy())


def simulate(name, field_scales, steps):
    robot, timestep = ROBOTS[name]
    engine = make(robot, STARTS, timestep)
    put(engine, *start(name, STARTS), field_scales)
    return trajectory(engine, forces(name, steps, STARTS))


@pytest.mark.parametrize("field_scales", [None, FACTORS], ids=["nominal", "different"])
def test_cart_poles_move_as_in_mujoco_to_float32(field_scales):
    # A step rounds each number a few times, off by up to EPS times 16 rad/s, the size of the
    # largest. As signs are random, 300 steps add up to sqrt(300) of these; an unstable pole
    # multiplies them, by how much MuJoCo itself tells from starts that are off by the sum. Three
    # such errors are allowed, as a step rounds more than one number.
    sum_of_roundings = np.sqrt(STEPS) * EPS * 16.0
    exact = reference("cartpole", 0.0, field_scales, STEPS)
    off = np.stack(
        [
            np.abs(reference("cartpole", error, field_scales, STEPS) - exact).max(axis=-1)
            for error in sum_of_roundings * np.array([[1.0, 1.0], [1.0, -1.0], [0.0, 1.0]])
        ]
    )
    allowed = 3 * np.maximum.accumulate(off.max(axis=0))  # shape (STEPS, STARTS)
    error = np.abs(simulate("cartpole", field_scales, STEPS) - exact).max(axis=-1)
    assert (error <= allowed).all(), (error / allowed).max()
    assert np.median(allowed) < 1e-3  # so the bound says something
    assert np.ptp(exact[:, :, 1], axis=0).min() > 0.5  # rad, every pole turns far


def test_a_single_step_of_a_cart_pole_is_off_by_a_few_roundings():
    # Numbers are below 4, in rad or rad/s: a rounding is off by up to 4 * EPS = 2.4e-7.
    error = simulate("cartpole", FACTORS, 1) - reference("cartpole", 0.0, FACTORS, 1)
    assert np.abs(error).max() < 4 * 2.4e-7


def test_different_factors_make_different_cart_poles():
    # Else the comparisons above would show nothing.
    apart = np.abs(simulate("cartpole", FACTORS, 50) - simulate("cartpole", None, 50))
    assert np.median(apart[-1].max(axis=-1)) > 0.1


@pytest.mark.parametrize("field_scales", [None, {"mass": FACTORS["pole_mass"]}])
def test_discs_move_as_in_mujoco_to_float32(field_scales):
    # Nothing grows here but what is summed up: 100 roundings of numbers below 32.
    exact = reference("disc", 0.0, field_scales, 100)
    assert np.abs(exact).max() < 32
    assert np.abs(simulate("disc", field_scales, 100) - exact).max() < 100 * EPS * 32


def drive(engine, convert, scales):
    """Return x, y, heading of rovers whose wheels follow ctrls for 2 s. Shape (400, N, 3)."""
    robot, timestep = ROBOTS["rover"]
    ctrls = np.random.default_rng(2).uniform(-1, 1, (4, STARTS, 2))
    poses = []
    for step in range(400):
        ctrl = convert(rounded(ctrls[step // 100]))
        engine.step(robot.actuate(engine.qpos, engine.qvel, ctrl, timestep, scales))
        xy, heading = robot.pose(engine.qpos)
        poses.append(np.column_stack([xy, heading]))
    return np.array(poses)


VARIED = {
    "mass": FACTORS["cart_mass"],
    "friction": FACTORS["pole_mass"],
    "max_torque": FACTORS["pole_length"],
    "velocity_kp": FACTORS["cart_mass"][::-1].copy(),
}
"""Factors of all that is randomized of a rover."""


@functools.cache
def driven(engine_name, varied):
    robot, timestep = ROBOTS["rover"]
    field_scales = VARIED if varied else None
    if engine_name == "warp":
        engine = make(robot, STARTS, timestep)
        put(engine, *start("rover", STARTS), field_scales)
        return drive(engine, tensor, {n: tensor(f) for n, f in (field_scales or {}).items()})
    engine = MujocoEngine(robot, STARTS, timestep)
    engine.reset(np.arange(STARTS), *start("rover", STARTS), field_scales)
    return drive(engine, np.asarray, field_scales or {})


@pytest.mark.parametrize("varied", [False, True], ids=["nominal", "different"])
def test_rovers_drive_as_in_mujoco(varied):
    # Friction and servo damp errors of the velocities, so what remains is the sum of the roundings
    # of a position below 4 m: 400 steps of at most 4 * EPS, in m or rad.
    exact, poses = driven("mujoco", varied), driven("warp", varied)
    error = poses - exact
    error[:, :, 2] = np.arctan2(np.sin(error[:, :, 2]), np.cos(error[:, :, 2]))  # without turns
    assert np.abs(exact[:, :, :2]).max() < 4
    assert np.abs(error).max() < 400 * 4 * EPS < 1e-4
    way = np.linalg.norm(np.diff(exact[:, :, :2], axis=0), axis=-1).sum(axis=0)
    assert way.min() > 0.1  # m, every rover drives, and is not only turning


def test_what_varies_of_a_rover_matters_to_that_comparison():
    apart = np.abs(driven("warp", True) - driven("warp", False))[:, :, :2].max(axis=(0, 2))
    assert np.median(apart) > 1e-3  # m, ten times the tolerance


# States that are put, kept and put back.


@every_robot
def test_the_state_stays_in_the_same_storage(name):
    engine = running(name)
    tensors = qpos, qvel, diverged = engine.qpos, engine.qvel, engine.diverged
    kept, before = engine.get_state(), state(engine)
    break_copy_1(engine, "force", np.nan)
    assert (np.hstack([qpos, qvel]) != before).any(axis=1).all()  # seen through the old tensors
    assert diverged.tolist() == [False, True, False, False]
    put(engine, *start(name, 4, seed=3), {f: np.full(4, 1.1) for f in ROBOTS[name][0].randomizable})
    engine.set_state(kept)
    for now, then in zip((engine.qpos, engine.qvel, engine.diverged), tensors, strict=True):
        assert now.data_ptr() == then.data_ptr()
    np.testing.assert_array_equal(np.hstack([qpos, qvel]), before)
    assert qpos.dtype == qvel.dtype == torch.float32


@every_robot
@pytest.mark.parametrize("randomized", [False, True])
def test_a_reset_touches_only_the_copies_in_the_mask(name, randomized):
    engine, untouched = running(name), running(name)
    robot = ROBOTS[name][0]
    qpos, qvel = (tensor(each) for each in start(name, 4, seed=3))
    qpos[0] = qvel[3] = torch.nan  # what is given for the others does not matter
    field_scales = (
        {f: tensor([0.5, 1.5, 0.6, 0.5]) for f in robot.randomizable} if randomized else None
    )
    engine.reset(torch.tensor([False, True, True, False]), qpos, qvel, field_scales)
    np.testing.assert_array_equal(engine.qpos[1:3], qpos[1:3])
    np.testing.assert_array_equal(engine.qvel[1:3], qvel[1:3])
    sequence = forces(name, 20, 4, seed=4)
    changed, unchanged = trajectory(engine, sequence), trajectory(untouched, sequence)
    np.testing.assert_array_equal(changed[:, [0, 3]], unchanged[:, [0, 3]])
    assert (changed[0, [1, 2]] != unchanged[0, [1, 2]]).any(axis=1).all()


@every_robot
def test_a_copy_that_is_reset_forgets_what_was_before(name):
    # The contact solver starts from its last solution, which must not leak into a new episode.
    used, fresh = running(name, seed=5, steps=30), make(ROBOTS[name][0], 4, ROBOTS[name][1])
    qpos, qvel = start(name, 4, seed=3)
    if name == "rover":
        qpos[:, 2] -= 4e-4  # m, as deep as its wheels stand in the floor, so that it is needed
    for engine in (used, fresh):
        put(engine, qpos, qvel)
    sequence = forces(name, 20, 4, seed=4)
    np.testing.assert_array_equal(trajectory(used, sequence), trajectory(fresh, sequence))


def test_new_factors_replace_the_old_ones_and_only_where_asked():
    put_at = start("cartpole", 4)
    sequence = forces("cartpole", 20, 4)
    engines = [make(CartPole(), 4, 0.01) for _ in range(3)]
    light, heavy, mixed = engines
    put(light, *put_at, {"cart_mass": np.full(4, 0.7)})
    put(heavy, *put_at, {"cart_mass": np.full(4, 1.3)})
    put(mixed, *put_at, {"cart_mass": np.full(4, 0.7)})
    qpos, qvel = (tensor(each) for each in put_at)
    some = torch.tensor([False, True, False, False])
    mixed.reset(some, qpos, qvel, {"cart_mass": torch.full((4,), 1.3)})
    mixed.reset(torch.tensor([True, False, False, False]), qpos, qvel, None)  # stays light
    states = [trajectory(engine, sequence) for engine in engines]
    np.testing.assert_array_equal(states[2][:, 1], states[1][:, 1])
    np.testing.assert_array_equal(states[2][:, [0, 2, 3]], states[0][:, [0, 2, 3]])
    assert (states[0][-1] != states[1][-1]).any(axis=1).all()


@every_robot
def test_a_snapshot_continues_bitwise_also_in_another_engine(name):
    robot, timestep = ROBOTS[name]
    engine = running(name, steps=30)
    mask = torch.tensor([False, True, False, False])
    field_scales = {field: torch.full((4,), 1.2) for field in robot.randomizable}
    engine.reset(mask, *(tensor(each) for each in start(name, 4, seed=3)), field_scales)
    engine.step(forces(name, 1, 4, seed=6)[0])
    kept = engine.get_state()
    sequence = forces(name, 30, 4, seed=4)
    expected = trajectory(engine, sequence)
    engine.set_state(kept)
    np.testing.assert_array_equal(trajectory(engine, sequence), expected)
    other = make(robot, 4, timestep)
    other.set_state(kept)
    np.testing.assert_array_equal(trajectory(other, sequence), expected)


# Copies that break down.


def break_copy_1(engine, how, number):
    """Step copies of which one is given a state or a force that is not finite."""
    count, joints = engine.qvel.shape[0], engine._dofs.shape[0]
    force = torch.zeros(count, joints)
    if how == "force":
        force[1] = number
    else:
        qpos, qvel = engine.qpos.clone(), engine.qvel.clone()
        (qpos if how == "qpos" else qvel)[1, 0] = number
        engine.reset(torch.arange(count) == 1, qpos, qvel, None)
        assert not engine.diverged.any()  # nobody has stepped it yet
    engine.step(force)


@every_robot
@pytest.mark.parametrize("how", ["qpos", "qvel", "force"])
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_a_copy_that_breaks_down_is_flagged_and_the_others_go_on(name, how, number):
    engine, untroubled = running(name), running(name)
    initial = make(ROBOTS[name][0], 1, ROBOTS[name][1]).qpos[0]
    break_copy_1(engine, how, number)
    untroubled.step(torch.zeros(4, len(ROBOTS[name][0].actuated_joints)))
    assert engine.diverged.tolist() == [False, True, False, False]
    np.testing.assert_array_equal(engine.qpos[1], initial)
    np.testing.assert_array_equal(engine.qvel[1], np.zeros(engine.qvel.shape[1]))
    sequence = forces(name, 20, 4, seed=4)
    states, expected = trajectory(engine, sequence), trajectory(untroubled, sequence)
    np.testing.assert_array_equal(states[:, [0, 2, 3]], expected[:, [0, 2, 3]])
    assert np.isfinite(states).all()
    assert (states[-1, 1] != states[0, 1]).any()  # it goes on too
    assert engine.diverged.tolist() == [False, True, False, False]


@pytest.mark.parametrize("force", [1e30, -1e30, 1e11])  # the last in its acceleration alone
def test_a_blow_up_to_finite_numbers_is_flagged_as_mujoco_does(force):
    pushed = np.array([[0.0], [force]])
    engine, mujoco = make(CartPole(), 2, 0.01), MujocoEngine(CartPole(), 2, 0.01)
    engine.step(tensor(pushed))
    mujoco.step(pushed)
    assert engine.diverged.tolist() == mujoco.diverged.tolist() == [False, True]


@every_robot
def test_a_reset_mends_a_broken_copy_and_no_other(name):
    engine = running(name)
    fresh = make(ROBOTS[name][0], 4, ROBOTS[name][1])
    qpos, qvel = (tensor(each) for each in start(name, 4, seed=3))
    engine.reset(everyone(4), qpos * torch.nan, qvel, None)
    engine.step(forces(name, 1, 4)[0])
    assert engine.diverged.tolist() == [True] * 4
    engine.reset(torch.tensor([False, True, False, True]), qpos, qvel, None)
    assert engine.diverged.tolist() == [True, False, True, False]
    engine.reset(everyone(4), qpos, qvel, None)
    assert engine.diverged.tolist() == [False] * 4
    fresh.reset(everyone(4), qpos, qvel, None)
    sequence = forces(name, 20, 4, seed=4)
    np.testing.assert_array_equal(trajectory(engine, sequence), trajectory(fresh, sequence))
    assert engine.diverged.tolist() == [False] * 4


# Sensors.


@pytest.mark.parametrize("sensor", [lidar_ranges, depth_image])
def test_sensors_see_what_they_see_in_mujoco(sensor):
    engine, mujoco = make(UnicycleRobot(), 1, 0.02), MujocoEngine(UnicycleRobot(), 1, 0.02)
    seen = {"cylinders": 0, "boxes": 0}
    for scene in random_scenes((2, 4), 10, seed=3):
        single = [tensor(each) for each in scene]
        xy, heading, cylinders, boxes = (each.double().numpy() for each in single)
        engine.set_obstacles(slice(None), *single[2:])
        mujoco.set_obstacles(slice(None), cylinders, boxes)
        near = sensor(engine, slice(None), *single[:2])
        expected = sensor(mujoco, slice(None), xy, heading)
        np.testing.assert_allclose(near, expected, rtol=0, atol=1e-5)
        for kind, shapes in (("cylinders", cylinders), ("boxes", boxes)):
            seen[kind] += shapes.shape[1]
    assert min(seen.values()) > 0


def test_cylinders_are_seen_where_they_move_to():
    engine, mujoco = make(UnicycleRobot(), 2, 0.02), MujocoEngine(UnicycleRobot(), 2, 0.02)
    xy, heading = np.zeros((2, 2)), np.zeros(2)
    posts, boxes = np.array([[[2.0, 0.0, 0.5]], [[3.0, 0.0, 0.5]]]), np.zeros((2, 0, 4))
    moved = np.array([[[0.0, 2.5, 9.9, 0.0]], [[0.0, -3.0, 9.9, 0.0]]])  # radii are not looked at
    for each, convert in ((engine, tensor), (mujoco, np.asarray)):
        each.set_obstacles(slice(None), convert(posts), convert(boxes))
    # Rays 0 and 9 point along +x and +y, and meet the nearer side of a post of 0.5 m.
    assert lidar_ranges(engine, slice(None), tensor(xy), tensor(heading))[:, 0].tolist() == [
        1.5,
        2.5,
    ]
    for each, convert in ((engine, tensor), (mujoco, np.asarray)):
        each.set_obstacle_positions(convert(moved))
    ranges = lidar_ranges(engine, slice(None), tensor(xy), tensor(heading))
    assert ranges[0, 9].item() == pytest.approx(2.0)
    np.testing.assert_allclose(ranges, lidar_ranges(mujoco, slice(None), xy, heading), atol=1e-5)


# The rest.


def test_the_public_control_suite_cart_pole_moves_as_in_mujoco_and_stops_at_its_limit():
    # Its task is on MuJoCo alone, by definition; the engine can move it. 10 N reach the soft stop
    # at 1.8 m in 0.65 s. A hundred roundings of numbers below 16 are 1e-4.
    engine, mujoco = make(DMControlCartPole(), 2, 0.01), MujocoEngine(DMControlCartPole(), 2, 0.01)
    pushed = np.array([[10.0], [-10.0]])
    states, expected = [], []
    for _ in range(100):
        engine.step(tensor(pushed))
        mujoco.step(pushed)
        states.append(state(engine))
        expected.append(state(mujoco))
    np.testing.assert_allclose(states, expected, rtol=0, atol=100 * EPS * 16)
    assert 1.8 < np.abs(expected)[:, :, 0].max() < 2.0


def test_nothing_is_printed_to_standard_output():
    code = """
import torch
from robolearn_envs.engines.warp import WarpEngine
from robolearn_envs.robots import CartPole
WarpEngine(CartPole(), 2, 0.01).step(torch.zeros(2, 1))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use")
@every_robot
def test_a_captured_graph_does_what_single_steps_do(name):
    robot, timestep = ROBOTS[name]
    engine, eager = (make(robot, 64, timestep, device="cuda") for _ in range(2))
    qpos, qvel = (tensor(each).cuda() for each in start(name, 64))
    field_scales = {
        field: torch.linspace(0.8, 1.2, 64, device="cuda") for field in robot.randomizable
    }
    mask = (torch.arange(64) % 2 == 0).cuda()
    force = forces(name, 1, 64)[0].cuda()

    def advance(which):
        which.reset(mask, qpos, qvel, field_scales)
        for _ in range(3):
            which.step(force)

    advance(engine)  # so that all is loaded
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        advance(engine)
    for _ in range(5):
        graph.replay()
    for _ in range(6):
        advance(eager)
    np.testing.assert_allclose(state_on_host(engine), state_on_host(eager), rtol=0, atol=1e-4)


def state_on_host(engine):
    return torch.cat([engine.qpos, engine.qvel], dim=1).cpu().numpy()
