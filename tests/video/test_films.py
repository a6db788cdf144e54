import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from playback import frames, properties

import robolearn_envs  # noqa: F401 - registers the environments
from robolearn.video import RecordingError, record, record_side_by_side

PUSH_RIGHT = np.array([1.0], dtype=np.float32)


def make(env_id="robolearn/CartPoleSwingUp-v0", steps=10, **options) -> gym.Env:
    options = {"render_mode": "rgb_array", "width": 128, "height": 96, **options}
    return gym.make(env_id, max_episode_steps=steps, **options)


def idle(observation, start):
    return np.zeros(1, dtype=np.float32)


def right(observation, start):
    return PUSH_RIGHT


@pytest.fixture
def env():
    made = make()
    yield made
    made.close()


@pytest.mark.parametrize(("stride", "expected"), [(1, 10), (2, 5), (3, 3), (10, 1)])
def test_there_is_a_frame_for_every_stride_steps(tmp_path, env, stride, expected):
    result = record(idle, env, tmp_path / "a.mp4", seed=0, stride=stride)
    assert (result.steps, result.frames) == (10, expected)
    assert len(frames(result.path)) == expected


def test_strides_run_on_over_episodes(tmp_path, env):
    # Two episodes of 10 steps are 20 steps; frames after steps 3, 6, 9, 12, 15, 18.
    result = record(idle, env, tmp_path / "a.mp4", seed=0, episodes=2, stride=3)
    assert (result.steps, result.frames, len(result.returns)) == (20, 6, 2)


@pytest.mark.parametrize(("stride", "expected"), [(1, 50), (2, 25), (3, 17)])
def test_videos_play_in_real_time(tmp_path, env, stride, expected):
    # A step is 0.02 s, so 50 steps per second; 50 / 3 rounds to 17. Times in the file are whole
    # milliseconds, and 0.058 s for one of these few frames reads as 17.24 per second.
    result = record(idle, env, tmp_path / "a.mp4", seed=0, stride=stride)
    assert properties(result.path).fps == pytest.approx(expected, abs=0.3)


def test_a_given_rate_is_kept(tmp_path, env):
    result = record(idle, env, tmp_path / "a.mp4", seed=0, fps=12)
    assert properties(result.path).fps == 12


def test_a_video_shows_what_the_environment_does(tmp_path):
    env = make(steps=60)
    result = record(right, env, tmp_path / "a.mp4", seed=0, overlay=False)
    seen = frames(result.path)
    assert seen.shape == (60, 96, 128, 3)
    assert seen.std() > 20
    columns = [np.nonzero(f[..., 2] - f[..., 0] > 90)[1].mean() for f in (seen[0], seen[-1])]
    # Starting within 0.1 m of the middle (column 63.5) and pushed to the right with 10 N for 1.2 s,
    # the cart of about 1.1 kg would be 6.5 m away: it is at the bumper, 2 m or 2 * 23 pixels right.
    assert columns[0] == pytest.approx(63.5, abs=4)
    assert columns[1] > 63.5 + 30
    env.close()


def test_returns_are_those_of_the_episodes(tmp_path):
    env = make("robolearn/CartPoleBalance-v0", steps=500)
    # Balance pays 1 a step, and a cart pushed always to one side drops the pole early.
    result = record(lambda observation, start: 1, env, tmp_path / "a.mp4", seed=0, episodes=2)
    assert sum(result.returns) == result.steps
    assert all(3 < episode < 100 for episode in result.returns)
    env.close()


def test_the_policy_sees_the_state_it_acts_in_and_where_an_episode_begins(tmp_path, env):
    seen, starts = [], []

    def watch(observation, start):
        seen.append(observation)
        starts.append(start)
        return PUSH_RIGHT

    record(watch, env, tmp_path / "a.mp4", seed=3, episodes=2)
    again, expected = make(), []
    observation, _ = again.reset(seed=3)
    for k in range(20):
        expected.append(observation)
        observation, *_ = again.step(PUSH_RIGHT)
        if k == 9:
            observation, _ = again.reset()
    np.testing.assert_array_equal(seen, expected)
    assert starts == [k % 10 == 0 for k in range(20)]
    again.close()


def test_the_caption_is_on_the_frames_unless_switched_off(tmp_path, env):
    captioned = record(idle, env, tmp_path / "a.mp4", seed=0)
    plain = record(idle, env, tmp_path / "b.mp4", seed=0, overlay=False)
    difference = np.abs(frames(captioned.path) - frames(plain.path)).mean(axis=(0, 3))
    assert difference[:24].max() > 60
    assert difference[48:].mean() < 4  # coding noise


def test_the_renderer_is_named(tmp_path, env):
    result = record(idle, env, tmp_path / "a.mp4", seed=0)
    assert result.renderer in ("mujoco-egl", "software-rays")


@pytest.mark.parametrize("name", ["NavLidar-v0", "NavDepth-v0", "NavRover-v0"])
def test_navigation_is_filmed_with_map_and_chase_view(tmp_path, name):
    env = make(f"robolearn/{name}", steps=8, level=3, width=288, height=144)
    forward = np.array([1.0, 0.2], dtype=np.float32)
    plain = record(lambda *_: forward, env, tmp_path / "a.mp4", seed=0, overlay=False)
    seen = frames(plain.path)
    assert seen.shape == (8, 144, 288, 3)
    assert properties(plain.path).fps == 10  # a step is 0.1 s
    # Both halves show something, and something that changes.
    for half in (seen[:, :, :144], seen[:, :, 144:]):
        assert half.std() > 10
        assert np.abs(half[-1] - half[0]).mean() > 1
    env.close()


def test_the_caption_of_a_navigation_video_does_not_cover_the_map(tmp_path):
    env = make("robolearn/NavLidar-v0", steps=4, level=1, width=480, height=240)
    forward = np.array([1.0, 0.2], dtype=np.float32)
    films = [
        record(lambda *_: forward, env, tmp_path / f"{on}.mp4", seed=0, overlay=on)
        for on in (True, False)
    ]
    difference = np.abs(frames(films[0].path) - frames(films[1].path)).mean(axis=(0, 3))
    assert difference[:, :232].max() < 25  # coding noise
    assert difference[:30, 240:].max() > 60
    env.close()


def test_any_gymnasium_environment_can_be_filmed(tmp_path):
    env = gym.make("CartPole-v1", render_mode="rgb_array")
    result = record(lambda observation, start: 0, env, tmp_path / "a.mp4", seed=0)
    assert result.renderer is None
    assert len(frames(result.path)) == result.steps
    env.close()


def test_a_stride_longer_than_the_recording_is_an_error_and_no_file(tmp_path, env):
    with pytest.raises(RecordingError, match="after 10 steps, before its first frame at step 11"):
        record(idle, env, tmp_path / "a.mp4", seed=0, stride=11)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["episodes", "stride"])
def test_counts_below_one_are_refused(tmp_path, env, name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        record(idle, env, tmp_path / "a.mp4", seed=0, **{name: 0})


def test_an_environment_that_does_not_render_is_refused(tmp_path):
    env = make(render_mode=None)
    with pytest.raises(ValueError, match="got render_mode=None"):
        record(idle, env, tmp_path / "a.mp4", seed=0)
    env.close()


def test_an_existing_video_is_noticed_before_anything_is_simulated(tmp_path, env):
    (tmp_path / "a.mp4").touch()

    def never(observation, start):
        raise AssertionError("The policy was asked.")

    with pytest.raises(FileExistsError, match="choose another --out"):
        record(never, env, tmp_path / "a.mp4", seed=0)


def test_side_by_side_panes_start_alike_and_follow_their_own_policy(tmp_path):
    envs = {"idle": make(steps=40), "right": make(steps=40)}
    result = record_side_by_side(
        {"idle": idle, "right": right},
        envs,
        tmp_path / "a.mp4",
        seed=0,
        max_steps=40,
        overlay=False,
    )
    seen = frames(result.path)
    # Two panes of 128 x 96 with a gap of 4 under a bar of 24.
    assert seen.shape == (40, 120, 260, 3)
    panes = seen[:, 24:, :128], seen[:, 24:, 132:]
    apart = np.abs(panes[0] - panes[1]).mean(axis=(1, 2, 3))
    assert apart[0] < 2 < apart[-1]
    for env in envs.values():
        env.close()


def test_a_finished_pane_holds_its_last_picture_until_all_are_over(tmp_path):
    envs = {"short": make(steps=5), "long": make(steps=20)}
    policies = {"short": right, "long": right}
    result = record_side_by_side(policies, envs, tmp_path / "a.mp4", seed=0, max_steps=50)
    assert (result.steps, result.frames) == (20, 20)
    short = frames(result.path)[:, 24:, :128]
    assert np.abs(short[19] - short[5]).mean() < 1  # nothing but coding noise
    for env in envs.values():
        env.close()


def test_side_by_side_stops_at_max_steps(tmp_path, env):
    result = record_side_by_side(
        {"a": idle}, {"a": env}, tmp_path / "a.mp4", seed=0, max_steps=6, stride=2
    )
    assert (result.steps, result.frames) == (6, 3)


def test_labels_that_do_not_match_are_refused(tmp_path, env):
    with pytest.raises(ValueError, match=r"policies \['a'\] and environments \['b'\]"):
        record_side_by_side({"a": idle}, {"b": env}, tmp_path / "a.mp4", seed=0, max_steps=5)


def test_importing_the_video_package_does_not_import_torch():
    code = "import robolearn.video, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
