"""What Gymnasium and its users may expect of every id, on every engine."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.utils.performance import benchmark_step, benchmark_vector_step
from gymnasium.vector import AutoresetMode, VectorEnv
from tasks_by_name import TASKS, host_engines

from robolearn_envs import ENVS, make_vec
from robolearn_envs.single import RoboEnv
from robolearn_envs.vector import RoboVectorEnv

every_env = pytest.mark.parametrize("env_id", ENVS)
every_engine = pytest.mark.parametrize(
    ("env_id", "engine"),
    [
        (env_id, engine)
        for env_id, name in zip(ENVS, TASKS, strict=True)
        for engine in host_engines(name)
    ],
)
every_action = pytest.mark.parametrize("action", ["continuous", "discrete"])


@pytest.mark.slow
@every_engine
@every_action
def test_env_passes_gymnasiums_checker(env_id, engine, action, monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")  # the checker opens windows too
    kwargs = {"engine": engine, "action": action, "width": 64, "height": 48}
    env = gym.make(env_id, render_mode="rgb_array", **kwargs).unwrapped
    check_env(env)
    env.close()


def test_there_is_an_id_for_each_task():
    assert ENVS == (
        "robolearn/CartPoleBalance-v0",
        "robolearn/CartPoleSwingUp-v0",
        "robolearn/CartPoleDMC-v0",
        "robolearn/NavLidar-v0",
        "robolearn/NavDepth-v0",
        "robolearn/NavRover-v0",
    )


@every_engine
def test_gym_make_builds_the_single_env_on_the_engine_asked_for(env_id, engine):
    env = gym.make(env_id, engine=engine)
    assert isinstance(env.unwrapped, RoboEnv)
    assert env.unwrapped.vector_env.engine_name == engine
    env.close()


@every_env
def test_every_env_runs_on_mujoco_unless_told_otherwise(env_id):
    env = make_vec(env_id, 1)
    assert env.unwrapped.engine_name == "mujoco"
    env.close()


@every_engine
def test_gym_make_vec_builds_the_native_batch(env_id, engine):
    env = gym.make_vec(env_id, num_envs=3, engine=engine)
    assert isinstance(env, VectorEnv)
    assert isinstance(env.unwrapped, RoboVectorEnv)
    observation, info = env.reset(seed=0)
    assert observation in env.observation_space
    assert info == {}
    observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
    assert observation in env.observation_space
    assert (reward.shape, reward.dtype) == ((3,), np.float64)
    assert (terminated.shape, terminated.dtype) == ((3,), np.bool_)
    assert (truncated.shape, truncated.dtype) == ((3,), np.bool_)
    env.close()


@every_env
def test_our_make_vec_is_gymnasiums(env_id):
    env = make_vec(env_id, 2, action="discrete")
    assert env.num_envs == 2
    assert env.spec.id == env_id
    assert isinstance(env.single_action_space, gym.spaces.Discrete)
    env.close()


@every_env
def test_observations_are_float32_with_finite_bounds(env_id):
    env = gym.make(env_id)
    whole = env.observation_space
    for space in whole.values() if isinstance(whole, gym.spaces.Dict) else [whole]:
        assert space.dtype == np.float32
        assert np.isfinite(space.low).all()
        assert np.isfinite(space.high).all()
    env.close()


@pytest.mark.parametrize("env_id", ["robolearn/NavLidar-v0", "robolearn/NavRover-v0"])
def test_a_lidar_observation_is_36_ranges_and_five_numbers(env_id):
    env = gym.make(env_id)
    assert env.observation_space.shape == (41,)
    env.close()


def test_a_depth_observation_is_an_image_and_five_numbers():
    env = gym.make("robolearn/NavDepth-v0")
    shapes = {name: space.shape for name, space in env.observation_space.items()}
    assert shapes == {"depth": (64, 64), "goal": (5,)}
    env.close()


@pytest.mark.parametrize(
    ("env_id", "expected"),
    [
        ("robolearn/CartPoleBalance-v0", gym.spaces.Discrete(2)),
        ("robolearn/CartPoleSwingUp-v0", gym.spaces.Box(-1, 1, (1,), np.float32)),
        ("robolearn/CartPoleDMC-v0", gym.spaces.Box(-1, 1, (1,), np.float32)),
        ("robolearn/NavLidar-v0", gym.spaces.Box(-1, 1, (2,), np.float32)),
        ("robolearn/NavDepth-v0", gym.spaces.Box(-1, 1, (2,), np.float32)),
        ("robolearn/NavRover-v0", gym.spaces.Box(-1, 1, (2,), np.float32)),
    ],
)
def test_default_action_space_is_the_one_of_the_data_sheet(env_id, expected):
    env = gym.make(env_id)
    assert env.action_space == expected
    env.close()


@pytest.mark.parametrize(
    ("env_id", "fps"),
    [
        ("robolearn/CartPoleBalance-v0", 50),  # 1 / (0.01 s * 2)
        ("robolearn/CartPoleSwingUp-v0", 50),
        ("robolearn/CartPoleDMC-v0", 100),  # 1 / 0.01 s
        ("robolearn/NavLidar-v0", 10),  # 1 / (0.02 s * 5)
        ("robolearn/NavDepth-v0", 10),
        ("robolearn/NavRover-v0", 10),  # 1 / (0.01 s * 10)
    ],
)
def test_frames_per_second_are_those_of_real_time(env_id, fps):
    single, vector = gym.make(env_id), make_vec(env_id, 2)
    assert single.metadata["render_fps"] == fps
    assert vector.metadata["render_fps"] == fps
    single.close()
    vector.close()


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_metadata_names_the_autoreset_mode(mode):
    env = make_vec(ENVS[0], 2, engine="analytic", autoreset_mode=mode)
    assert env.metadata["autoreset_mode"] is mode
    env.close()


def test_autoreset_mode_may_be_named_by_its_value():
    env = make_vec(ENVS[0], 2, engine="analytic", autoreset_mode="SameStep")
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    env.close()


def test_metadata_of_one_env_is_not_that_of_another():
    fifty = gym.make("robolearn/CartPoleSwingUp-v0")
    hundred = gym.make("robolearn/CartPoleDMC-v0")
    assert fifty.metadata["render_fps"] == 50
    fifty.close()
    hundred.close()


@every_env
def test_episodes_last_as_long_as_the_data_sheet_says(env_id):
    expected = {"CartPoleBalance-v0": 500, "CartPoleSwingUp-v0": 500, "CartPoleDMC-v0": 1000}
    expected |= {"NavLidar-v0": 300, "NavDepth-v0": 300, "NavRover-v0": 300}
    assert (
        TASKS[env_id.removeprefix("robolearn/")].max_episode_steps == expected[env_id.split("/")[1]]
    )


@pytest.mark.slow
@every_env
def test_observations_stay_in_the_space_under_full_force(env_id):
    env = make_vec(env_id, 2, action="continuous")
    env.reset(seed=0)
    for step in range(50 if "Depth" in env_id else 250):
        full = 1.0 if step % 100 < 70 else -1.0
        observation, *_ = env.step(np.full(env.action_space.shape, full, dtype=np.float32))
        assert observation in env.observation_space
    env.close()


@every_env
def test_gymnasiums_step_benchmark_runs(env_id):
    env = gym.make(env_id)
    assert benchmark_step(env, target_duration=0.05, seed=0) > (20 if "Nav" in env_id else 100)
    env.close()


@every_env
@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_gymnasiums_vector_benchmark_runs(env_id, mode):
    env = make_vec(env_id, 16, autoreset_mode=mode)
    assert benchmark_vector_step(env, target_duration=0.05, seed=0) > 0
    env.close()


@every_engine
def test_closing_twice_does_no_harm(env_id, engine):
    env = make_vec(env_id, 2, engine=engine)
    env.reset(seed=0)
    env.close()
    env.close()
    assert env.closed
