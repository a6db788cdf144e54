"""A simulation that breaks down says so, and says where."""

import os

import numpy as np
import pytest

from robolearn_envs import make_vec
from robolearn_envs.engines import ENGINES, make_engine
from robolearn_envs.engines.base import EngineError
from robolearn_envs.robots import CartPole

every_engine = pytest.mark.parametrize("name", ENGINES)


@pytest.fixture
def engine(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where MuJoCo would leave a log
    engine = make_engine(name, CartPole(), 0.01, 3, threads=2)
    engine.reset(np.arange(3), np.zeros((3, 2)), np.zeros((3, 2)), None)
    yield engine
    engine.close()


def break_env_1(engine, coordinate, number):
    state = np.zeros((1, 4))
    state[0, coordinate] = number
    engine.reset(np.array([1]), state[:, :2], state[:, 2:], None)


@every_engine
@pytest.mark.parametrize("coordinate", range(4), ids=["x", "theta", "x_dot", "theta_dot"])
@pytest.mark.parametrize("number", [np.nan, np.inf])
# Adding infinities is what this test is about; NumPy warns of it.
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_a_state_that_is_not_finite_raises_and_names_the_env(engine, coordinate, number):
    break_env_1(engine, coordinate, number)
    with pytest.raises(EngineError, match="env 1 is no longer finite"):
        engine.step(np.zeros((3, 1)))


@every_engine
def test_a_force_that_is_not_finite_raises_and_names_the_env(engine):
    with pytest.raises(EngineError, match="env 2 is no longer finite"):
        engine.step(np.array([[0.0], [0.0], [np.nan]]))


@every_engine
def test_a_breakdown_leaves_no_file_behind(engine, tmp_path):
    break_env_1(engine, 0, np.nan)
    with pytest.raises(EngineError):
        engine.step(np.zeros((3, 1)))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["mujoco"])
def test_a_blow_up_that_mujoco_itself_resets_raises_until_we_reset_it(engine):
    # 1e30 N is finite, but MuJoCo calls the acceleration bad and starts again from t = 0.
    with pytest.raises(EngineError, match="env 2 is no longer finite"):
        engine.step(np.array([[0.0], [0.0], [1e30]]))
    with pytest.raises(EngineError, match="env 2 is no longer finite"):
        engine.step(np.zeros((3, 1)))
    engine.reset(np.array([2]), np.zeros((1, 2)), np.zeros((1, 2)), None)
    engine.step(np.zeros((3, 1)))


@every_engine
def test_a_reset_mends_a_broken_copy(engine):
    break_env_1(engine, 1, np.nan)
    with pytest.raises(EngineError):
        engine.step(np.zeros((3, 1)))
    engine.reset(np.arange(3), np.full((3, 2), 0.1), np.zeros((3, 2)), None)
    engine.step(np.zeros((3, 1)))
    state = np.hstack([engine.qpos, engine.qvel])
    assert np.isfinite(state).all()
    np.testing.assert_array_equal(state[1], state[0])


@every_engine
def test_the_error_reaches_who_steps_the_env(name):
    env = make_vec("robolearn/CartPoleSwingUp-v0", 3, engine=name)
    env.reset(seed=0)
    break_env_1(env.unwrapped._engine, 1, np.nan)
    with pytest.raises(EngineError, match="env 1"):
        env.step(np.zeros((3, 1), dtype=np.float32))
    env.close()
