"""Environments that a user's module registers, in rendering processes and in workers."""

import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from controllers import Constant
from playback import frames, picture

from robolearn.environments import EnvConfig, described
from robolearn.errors import RobolearnError
from robolearn.video.background import BackgroundVideoRecorder
from robolearn.video.recording import record_episode
from robolearn.video.render import render_video
from robolearn.video.rollout import Rollout

MODULE = """
import gymnasium as gym
import numpy as np


class Lamp(gym.Env):
    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    observation_space = gym.spaces.Box(0.0, 1.0, (1,), np.float32)
    action_space = gym.spaces.Box(0.0, 1.0, (1,), np.float32)

    def __init__(self, render_mode=None, red=0):
        self.render_mode, self.red = render_mode, red

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.level = np.zeros(1, np.float32)
        return self.level, {}

    def step(self, action):
        self.level = np.clip(self.level + action, 0, 1).astype(np.float32)
        return self.level, 1.0, False, False, {}

    def render(self):
        color = [self.red, round(200 * float(self.level[0])), 0]
        return np.full((48, 64, 3), color, np.uint8)


gym.register("Mine/Lamp-v0", Lamp, max_episode_steps=4)
"""
QUARTER = np.full(1, 0.25, np.float32)


@pytest.fixture
def lamp(tmp_path, monkeypatch):
    """Yield the id of an environment in a module that only a folder of the user has."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "my_lamp.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path / "mine"))
    yield "my_lamp:Mine/Lamp-v0"
    sys.modules.pop("my_lamp", None)
    gym.registry.pop("Mine/Lamp-v0", None)


def test_a_users_environment_is_rendered_by_its_module_and_id(lamp, tmp_path):
    env = EnvConfig(id=lamp, kwargs={"red": 100})
    rollout = record_episode(Constant(QUARTER), env, title="lamp")
    assert (len(rollout), rollout.end_reason) == (4, "truncated")
    rollout.save(tmp_path / "a.npz")
    how = {"overlay": False, "freeze_end_s": 0.0}
    path = render_video([Rollout.load(tmp_path / "a.npz")], tmp_path / "a.mp4", **how).path
    # The level rises by a quarter of 200 with each step; coding is exact to some levels.
    expected = [[100, green, 0] for green in (0, 50, 100, 150, 200)]
    np.testing.assert_allclose(frames(path).mean(axis=(1, 2)), expected, atol=4)
    still = render_video([rollout, rollout], tmp_path / "a.png", at_step=2, num_workers=1)
    assert (picture(still.path)[-8:, -8:] == [100, 100, 0]).all()


def test_a_users_environment_runs_in_workers_by_its_module_and_id(lamp):
    envs = EnvConfig(id=lamp, num_workers=2).make_vec(3)
    try:
        envs.reset(seed=0)
        obs, *_ = envs.step(np.array([[0.25], [0.5], [1.0]], np.float32))
    finally:
        envs.close()
    np.testing.assert_array_equal(obs, [[0.25], [0.5], [1.0]])


def test_the_current_folder_is_known_to_rendering_processes_and_workers(tmp_path):
    (tmp_path / "light.py").write_text(MODULE)
    (tmp_path / "controllers.py").write_text("raise ImportError('of the test')")
    code = f"""
import sys
assert {str(tmp_path)!r} not in sys.path  # as where the command line is a script
from pathlib import Path
import numpy as np
from robolearn.environments import EnvConfig
from robolearn.video.recording import record_episode
from robolearn.video.render import render_video

class Quarter:
    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        return np.full((len(observation), 1), 0.25, np.float32), state

if __name__ == "__main__":
    env = EnvConfig(id="light:Mine/Lamp-v0", num_workers=2)
    envs = env.make_vec(2)
    envs.reset(seed=0)
    envs.close()
    render_video([record_episode(Quarter(), env, title="a")], Path("a.png"), num_workers=1)
"""
    subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, check=True, timeout=120)
    assert picture(tmp_path / "a.png").shape == (48, 64, 3)


def test_videos_of_a_training_import_the_users_module(lamp, tmp_path):
    rollout = record_episode(Constant(QUARTER), EnvConfig(id=lamp), title="lamp")
    videos = BackgroundVideoRecorder(tmp_path / "videos", lamp)
    videos.request_rollout(rollout, 7)
    videos.finish()
    assert videos.failures == []
    assert len(frames(tmp_path / "videos" / "000000007.mp4")) == 5 + 10  # the end stays for 1 s


def test_a_file_has_no_module_imported(lamp):
    with pytest.raises(RobolearnError, match="registered by a module that is not imported"):
        described({"id": lamp})
    assert "my_lamp" not in sys.modules
    EnvConfig(id=lamp)  # as a user writes it
    assert described({"id": lamp}) == EnvConfig(id=lamp)


@pytest.mark.parametrize(
    ("env_id", "words"),
    [
        ("no_such_module:Mine/Lamp-v0", "Cannot import 'no_such_module' of environment"),
        ("os:Mine/Nothing-v0", "os:Mine/Nothing-v0"),
    ],
)
def test_what_a_module_does_not_register_is_refused_in_a_line(env_id, words):
    with pytest.raises(RobolearnError, match=words) as refused:
        EnvConfig(id=env_id)
    assert "\n" not in str(refused.value)
