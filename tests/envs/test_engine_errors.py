"""A simulation that breaks down is put at rest, says where, and leaves the others alone."""

import os
import warnings

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from robolearn_envs import make_vec
from robolearn_envs.engines import ENGINES, make_engine
from robolearn_envs.engines.base import SimulationError, non_finite_envs
from robolearn_envs.robots import CartPole

MODES = list(AutoresetMode)
every_engine = pytest.mark.parametrize("name", ENGINES)
every_mode = pytest.mark.parametrize("mode", MODES, ids=[mode.name for mode in MODES])

# Adding infinities is what these tests are about; NumPy warns of it.
pytestmark = pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")


@pytest.fixture
def engine(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where MuJoCo would leave a log
    engine = new_engine(name)
    yield engine
    engine.close()


def new_engine(name):
    """Return three cart-poles that lean to different sides."""
    options = {"num_threads": 2} if name == "mujoco" else {}
    engine = make_engine(name, CartPole(), 0.01, 3, **options)
    engine.reset(np.arange(3), np.array([[0.0, 0.1], [0.0, 0.2], [0.0, -0.3]]), rest(3), None)
    return engine


def rest(count):
    return np.zeros((count, 2))


def state(engine):
    return np.hstack([engine.qpos, engine.qvel])


def break_env_1(engine, coordinate, number):
    state = np.zeros((1, 4))
    state[0, coordinate] = number
    engine.reset(np.array([1]), state[:, :2], state[:, 2:], None)


@every_engine
@pytest.mark.parametrize("coordinate", range(4), ids=["x", "theta", "x_dot", "theta_dot"])
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_a_state_that_is_not_finite_is_put_at_rest_and_flagged(engine, coordinate, number):
    assert engine.diverged.tolist() == [False] * 3
    break_env_1(engine, coordinate, number)
    assert engine.diverged.tolist() == [False] * 3  # nobody has stepped it yet
    engine.step(np.zeros((3, 1)))
    assert engine.diverged.tolist() == [False, True, False]
    assert np.isfinite(state(engine)).all()
    np.testing.assert_allclose(state(engine)[1], 0.0, atol=1e-9)


@every_engine
def test_a_force_that_is_not_finite_is_put_down_to_its_env(engine):
    engine.step(np.array([[0.0], [0.0], [np.nan]]))
    assert engine.diverged.tolist() == [False, False, True]
    assert np.isfinite(state(engine)).all()


@every_engine
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_the_others_go_on_as_if_nothing_had_happened(engine, name, number):
    alone = new_engine(name)
    force = np.array([[0.5], [-0.2], [0.3]])
    for t in range(20):
        if t == 5:
            break_env_1(engine, 2, number)
        for each in (engine, alone):
            each.step(force)
        np.testing.assert_array_equal(state(engine)[[0, 2]], state(alone)[[0, 2]])
    assert engine.diverged.tolist() == [False, True, False]
    assert alone.diverged.tolist() == [False] * 3
    alone.close()


@every_engine
def test_a_copy_that_broke_goes_on_from_rest_and_stays_flagged(engine):
    break_env_1(engine, 0, np.nan)
    for _ in range(10):
        engine.step(np.ones((3, 1)))
        assert engine.diverged.tolist() == [False, True, False]
        assert np.isfinite(state(engine)).all()
    assert engine.qvel[1, 0] > 0.01  # 1 N pushes about 1 kg for 0.09 s


@every_engine
def test_every_copy_may_break_at_once_and_again(engine):
    for _ in range(2):
        engine.reset(np.arange(3), np.full((3, 2), np.nan), rest(3), None)
        engine.step(np.zeros((3, 1)))
        assert engine.diverged.tolist() == [True] * 3
        assert np.isfinite(state(engine)).all()


@every_engine
def test_a_breakdown_leaves_no_file_behind(engine, tmp_path):
    break_env_1(engine, 0, np.nan)
    for _ in range(3):
        engine.step(np.zeros((3, 1)))
    assert engine.diverged[1]
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["mujoco"])
def test_a_blow_up_that_mujoco_itself_resets_is_flagged_until_we_reset_it(engine, tmp_path):
    # 1e30 N is finite, but MuJoCo calls the acceleration bad and starts again from t = 0.
    engine.step(np.array([[0.0], [0.0], [1e30]]))
    assert engine.diverged.tolist() == [False, False, True]
    engine.step(np.zeros((3, 1)))
    assert engine.diverged.tolist() == [False, False, True]
    engine.reset(np.array([2]), rest(1), rest(1), None)
    engine.step(np.zeros((3, 1)))
    assert engine.diverged.tolist() == [False] * 3


@every_engine
def test_a_reset_mends_a_broken_copy_and_no_other(engine):
    engine.reset(np.array([0, 1]), np.full((2, 2), np.nan), rest(2), None)
    engine.step(np.zeros((3, 1)))
    assert engine.diverged.tolist() == [True, True, False]
    engine.reset(np.array([1]), np.full((1, 2), 0.1), rest(1), None)
    assert engine.diverged.tolist() == [True, False, False]
    engine.reset(np.array([0, 2]), np.full((2, 2), 0.1), rest(2), None)
    assert engine.diverged.tolist() == [False] * 3
    for _ in range(5):
        engine.step(np.full((3, 1), 0.5))
    assert np.isfinite(state(engine)).all()
    np.testing.assert_array_equal(state(engine)[0], state(engine)[2])
    np.testing.assert_array_equal(state(engine)[1], state(engine)[2])
    assert engine.diverged.tolist() == [False] * 3


def test_large_but_finite_numbers_are_not_broken():
    # Their squares are infinite, which a quick check by the sum of squares takes for a breakdown.
    assert non_finite_envs(np.array([[1e200, 1.0], [0.0, -1e200]])) is None
    assert non_finite_envs(np.array([[1e200, 1.0], [0.0, np.nan]])).tolist() == [False, True]
    assert non_finite_envs(np.zeros((0, 3))) is None


# Environments on a diverged engine.

TASKS = {
    "CartPoleSwingUp": {"domain_randomization": 0.3},
    "NavLidar": {"level": 3, "domain_randomization": 0.2},
    "NavRover": {"level": 3, "domain_randomization": 0.2},
    "NavDepth": {"level": 2},
}
EVERYWHERE = [
    (task, name) for task in TASKS for name in ENGINES if (task, name) != ("NavRover", "analytic")
]
everywhere = pytest.mark.parametrize(("task", "name"), EVERYWHERE)


def running(task, name, mode=AutoresetMode.SAME_STEP, on_divergence="raise"):
    """Return three environments in the middle of their first episodes, and actions for them."""
    options = {
        "engine": name,
        "autoreset_mode": mode,
        "on_divergence": on_divergence,
        **TASKS[task],
    }
    env = make_vec(f"robolearn/{task}-v0", 3, **options)
    env.reset(seed=0)
    env.action_space.seed(0)
    actions = env.action_space.sample()
    for _ in range(3):
        env.step(actions)
    return env, actions


def break_velocity_of_env_1(env):
    engine = env.unwrapped._engine
    qpos, qvel = env.unwrapped.qpos_qvel()
    qvel[1, 0] = np.nan
    engine.reset(np.array([1]), qpos[1:2], qvel[1:2], None)


def resetting(env, actions):
    """Step, and begin what ended anew where no autoreset does."""
    told = env.step(actions)
    done = told[2] | told[3]
    if env.metadata["autoreset_mode"] is AutoresetMode.DISABLED and done.any():
        env.reset(options={"reset_mask": done})
    return told


def arrays(observation):
    return list(observation.values()) if isinstance(observation, dict) else [observation]


@everywhere
def test_the_error_reaches_who_steps_the_env_and_names_it(task, name, small_datasets):
    env, actions = running(task, name)
    break_velocity_of_env_1(env)
    with pytest.raises(
        SimulationError, match=f"{name}: the state of env 1 is no longer"
    ) as refusal:
        env.step(actions)
    assert refusal.value.env == 1
    env.reset()  # mends it
    for _ in range(3):
        env.step(actions)
    env.close()


@pytest.mark.slow
@everywhere
@every_mode
def test_on_request_the_episode_is_truncated_instead_and_called_diverged(
    task, name, mode, small_datasets
):
    env, actions = running(task, name, mode, on_divergence="truncate")
    untroubled, _ = running(task, name, mode)
    break_velocity_of_env_1(env)
    expected = resetting(untroubled, actions)
    with pytest.warns(RuntimeWarning, match=f"{name}: the state of env 1 .* was truncated") as told:
        observation, reward, terminated, truncated, info = resetting(env, actions)
    assert len(told) == 1
    assert terminated.tolist() == [False] * 3
    assert truncated.tolist() == [False, True, False]
    assert info["diverged"].tolist() == info["_diverged"].tolist() == [False, True, False]
    assert all(np.isfinite(array).all() for array in arrays(observation))
    assert reward[1] == 0.0
    np.testing.assert_array_equal(reward[[0, 2]], expected[1][[0, 2]])
    for _ in range(5):  # and nothing is warned of any more, or the test would fail
        observation, _, _, truncated, info = resetting(env, actions)
        assert "diverged" not in info
        assert not truncated.any()
        expected = resetting(untroubled, actions)
        for ours, theirs in zip(arrays(observation), arrays(expected[0]), strict=True):
            assert np.isfinite(ours).all()
            np.testing.assert_array_equal(ours[[0, 2]], theirs[[0, 2]])
    env.close()
    untroubled.close()


@every_engine
def test_nothing_is_called_diverged_where_nothing_broke(name):
    env, actions = running("CartPoleSwingUp", name, on_divergence="truncate")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "diverged" not in env.step(actions)[4]
    env.close()


def test_another_answer_to_a_breakdown_is_refused():
    with pytest.raises(ValueError, match=r"'truncat'\. Did you mean 'truncate'"):
        make_vec("robolearn/CartPoleSwingUp-v0", 3, on_divergence="truncat")
