"""One robot description, every engine: the same motion to rounding."""

import itertools

import numpy as np
import pytest
from optional_torch import torch

from robolearn_envs import make_vec
from robolearn_envs.engines.analytic import AnalyticEngine
from robolearn_envs.engines.bullet import BulletEngine
from robolearn_envs.engines.mujoco import MujocoEngine
from robolearn_envs.robots import CartPole

STARTS, STEPS, DT = 20, 300, 0.01  # 3 s
TOLERANCE = 1e-10  # m, rad, m/s, rad/s
MAKERS = {
    "mujoco": MujocoEngine,
    "bullet": BulletEngine,
    "numpy": AnalyticEngine,
}
if torch is not None:
    MAKERS["torch"] = lambda *args: AnalyticEngine(*args, device="cpu")
PAIRS = list(itertools.combinations(MAKERS, 2))
NOMINAL = {name: np.ones(STARTS) for name in CartPole.randomizable}
FLOAT32 = {"rtol": 2.0**-23, "atol": 1e-9}  # one unit in the last place


def problem():
    """Return 20 random starts, random forces of +-10 N, and robots off by up to 30 %."""
    rng = np.random.default_rng(0)
    qpos = rng.uniform([-1.0, -np.pi], [1.0, np.pi], (STARTS, 2))
    qvel = rng.uniform([-1.0, -3.0], [1.0, 3.0], (STARTS, 2))
    forces = rng.uniform(-10.0, 10.0, (STEPS, STARTS, 1))
    field_scales = {name: rng.uniform(0.7, 1.3, STARTS) for name in CartPole.randomizable}
    return qpos, qvel, forces, field_scales


def simulate(name, field_scales):
    """Return the states of 3 s. Shape (steps, starts, 4)."""
    at_once = 4 if name == "bullet" else STARTS  # a Bullet world takes 28 MB
    parts = [slice(first, first + at_once) for first in range(0, STARTS, at_once)]
    return np.concatenate([simulate_part(name, field_scales, part) for part in parts], axis=1)


def converter(name):
    return torch.from_numpy if name == "torch" else np.asarray


def put(name, engine, rows, qpos, qvel, field_scales):
    """Put the environments ``rows`` into their rows of the states, which have one for each."""
    scales = field_scales
    if name == "torch":  # takes a mask, and rows for all
        mask = np.isin(np.arange(len(qpos)), rows)
        rows, chosen = torch.from_numpy(mask), slice(None)
    else:
        chosen = rows
    convert = converter(name)
    if scales is not None:
        scales = {field: convert(f[chosen]) for field, f in scales.items()}
    engine.reset(rows, convert(qpos[chosen]), convert(qvel[chosen]), scales)


def simulate_part(name, field_scales, part):
    """Return the states of 3 s from these starts. Shape (steps, starts of the part, 4)."""
    qpos, qvel, forces, _ = problem()
    count = len(qpos[part])
    engine = MAKERS[name](CartPole(), count, DT)
    convert = converter(name)
    scales = None if field_scales is None else {n: f[part] for n, f in field_scales.items()}
    put(name, engine, np.arange(count), qpos[part], qvel[part], scales)
    states = np.empty((STEPS, count, 4))
    for step, force in enumerate(forces):
        engine.step(convert(force[part]))
        states[step, :, :2], states[step, :, 2:] = engine.qpos, engine.qvel
    engine.close()
    return states


@pytest.fixture(scope="module")
def nominal():
    return {name: simulate(name, None) for name in MAKERS}


@pytest.fixture(scope="module")
def varied():
    field_scales = problem()[-1]
    return {name: simulate(name, field_scales) for name in MAKERS}


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_engines_agree_over_three_seconds(nominal, one, other):
    assert np.abs(nominal[one] - nominal[other]).max() <= TOLERANCE


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_engines_agree_on_robots_off_by_up_to_30_percent(varied, one, other):
    assert np.abs(varied[one] - varied[other]).max() <= TOLERANCE


def test_the_motion_compared_is_large(nominal):
    # Else agreeing would be easy: every pole turns by over half a radian, some go round.
    turned = np.ptp(nominal["numpy"][:, :, 1], axis=0)
    assert turned.min() > 0.5
    assert turned.max() > 2 * np.pi


@pytest.mark.parametrize("name", MAKERS)
def test_factors_of_one_are_the_nominal_robot(nominal, name):
    assert np.abs(simulate(name, NOMINAL) - nominal[name]).max() <= TOLERANCE


def test_a_randomized_copy_moves_like_a_robot_built_with_those_numbers(varied):
    qpos, qvel, forces, field_scales = problem()
    index = 7
    robot = CartPole(
        cart_mass=1.0 * field_scales["cart_mass"][index],
        pole_mass=0.1 * field_scales["pole_mass"][index],
        pole_length=1.0 * field_scales["pole_length"][index],
    )
    engine = MujocoEngine(robot, 1, DT, num_threads=1)
    engine.reset(np.array([0]), qpos[[index]], qvel[[index]], None)
    for step, force in enumerate(forces):
        engine.step(force[[index]])
        state = np.hstack([engine.qpos[0], engine.qvel[0]])
        for name in MAKERS:
            assert np.abs(state - varied[name][step, index]).max() <= TOLERANCE, name


@pytest.mark.parametrize("field", CartPole.randomizable)
def test_each_factor_alone_changes_the_motion(nominal, field):
    changed = simulate("numpy", {**NOMINAL, field: np.full(STARTS, 1.1)})
    assert np.abs(changed - nominal["numpy"]).max() > 1e-2


@pytest.mark.parametrize("name", MAKERS)
def test_new_factors_replace_the_old_ones_of_the_copies_that_get_them(varied, name):
    qpos, qvel, forces, field_scales = problem()
    count = 5
    engine = MAKERS[name](CartPole(), count, DT)
    wrong = {field: np.full(count, 0.5) for field in field_scales}
    put(name, engine, np.arange(count), qpos[:count], qvel[:count], wrong)
    some = np.array([1, 3])
    right = {field: f[:count] for field, f in field_scales.items()}
    put(name, engine, some, qpos[:count], qvel[:count], right)
    engine.step(converter(name)(forces[0, :count]))
    state = np.hstack([engine.qpos, engine.qvel])
    engine.close()
    error = np.abs(state - varied[name][0, :count]).max(axis=1)
    assert error[some].max() <= TOLERANCE
    assert np.delete(error, some).min() > 1e-6


def play(engine, task, randomize, steps=150):
    """Return observations, rewards and ends of 8 environments under one action sequence."""
    env = make_vec(
        f"robolearn/{task}", 8, engine=engine, action="continuous", domain_randomization=randomize
    )
    rng = np.random.default_rng(1)
    history = [(env.reset(seed=4)[0], np.zeros(8), np.zeros(8, bool))]
    for _ in range(steps):
        actions = rng.uniform(-1, 1, (8, 1)).astype(np.float32)
        observation, reward, terminated, *_ = env.step(actions)
        history.append((observation, reward, terminated))
    env.close()
    return [np.array(column) for column in zip(*history, strict=True)]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["bullet", "analytic"])
@pytest.mark.parametrize("task", ["CartPoleBalance-v0", "CartPoleSwingUp-v0"])
@pytest.mark.parametrize("randomize", [0.0, 0.3])
def test_whole_environments_agree_to_float32(engine, task, randomize):
    observations, rewards, terminated = play("mujoco", task, randomize)
    other_observations, other_rewards, other_terminated = play(engine, task, randomize)
    np.testing.assert_allclose(other_observations, observations, **FLOAT32)
    np.testing.assert_allclose(other_rewards, rewards, atol=1e-9)
    np.testing.assert_array_equal(other_terminated, terminated)
    # Episodes must have ended, or never, as the task has it.
    assert terminated.any() == (task == "CartPoleBalance-v0")


def test_engines_agree_on_the_bumper():
    # Full command to the right for 2 s runs into the bumper at 2 m and bounces.
    runs = {}
    for engine in ("mujoco", "bullet", "analytic"):
        env = make_vec("robolearn/CartPoleSwingUp-v0", 2, engine=engine)
        env.reset(seed=0)
        xs = [env.step(np.ones((2, 1), dtype=np.float32))[0] for _ in range(100)]
        env.close()
        runs[engine] = np.array(xs)
    assert runs["analytic"][:, :, 0].max() > 2.05
    np.testing.assert_allclose(runs["mujoco"], runs["analytic"], **FLOAT32)
    np.testing.assert_allclose(runs["bullet"], runs["analytic"], **FLOAT32)


def test_a_changed_robot_is_the_same_changed_robot_on_every_engine():
    ends = {}
    for engine in ("analytic", "mujoco", "bullet"):
        for length in (1.0, 1.5):  # m
            env = make_vec(
                "robolearn/CartPoleSwingUp-v0", 2, engine=engine, robot={"pole_length": length}
            )
            env.reset(seed=0)
            for _ in range(50):
                env.step(np.full((2, 1), 0.3, dtype=np.float32))
            ends[engine, length] = env.unwrapped.qpos_qvel()[0]
            env.close()
    for engine in ("mujoco", "bullet"):
        np.testing.assert_allclose(ends[engine, 1.5], ends["analytic", 1.5], rtol=0, atol=1e-9)
    assert np.abs(ends["analytic", 1.5] - ends["analytic", 1.0]).max() > 0.01
