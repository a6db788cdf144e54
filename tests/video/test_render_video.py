"""Videos of rollouts: what each frame shows, and in which file."""

import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from controllers import IDLE, RIGHT, Constant
from PIL import Image
from playback import frames, number_of_frames, picture, properties

from robolearn.environments import EnvConfig
from robolearn.errors import RobolearnError
from robolearn.imitation.experts import expert_for
from robolearn.runs.stopping import Stopped, stoppable
from robolearn.video.recording import record_episode, record_episode_with
from robolearn.video.render import render_video
from robolearn.video.schedule import MAX_FRAMES, frame_schedule, frame_stride_and_fps
from robolearn.video.writer import RecordingError

SWING_UP = EnvConfig(id="robolearn/CartPoleSwingUp-v0", engine="mujoco")
SMALL = {"size": (128, 96), "num_workers": 1, "freeze_end_s": 0.0}


@pytest.fixture(scope="module")
def idle():
    return record_episode(IDLE, SWING_UP, title="idle", seed=3, max_steps=10)


@pytest.fixture(scope="module")
def right():
    return record_episode(RIGHT, SWING_UP, title="right", seed=3, max_steps=60)


def place(rollout, step):
    state = rollout.render_state(step)
    return np.concatenate([state["qpos"][0], state["qvel"][0]])


@pytest.mark.slow
def test_panes_start_from_the_same_state_and_stay_in_step(tmp_path):
    skilled = record_episode_with(expert_for, SWING_UP, title="expert", seed=7, max_steps=30)
    clumsy = record_episode(RIGHT, SWING_UP, title="clumsy", seed=7, max_steps=30)
    how = {**SMALL, "num_workers": 2, "overlay": False}
    result = render_video([skilled, clumsy], tmp_path / "a.mp4", **how)
    first = [pane.state.tobytes() for pane in result.sources[0]]
    assert first[0] == first[1]  # bit for bit
    for k, panes in enumerate(result.sources):
        assert [pane.rollout for pane in panes] == [0, 1]
        assert [pane.step for pane in panes] == [k, k]
        for rollout, pane in zip((skilled, clumsy), panes, strict=True):
            np.testing.assert_array_equal(pane.state, place(rollout, k))
    last = result.sources[-1]
    assert abs(last[0].state[0] - last[1].state[0]) > 0.5  # m: skill is unlike
    # Two panes of 128 x 96 with a gap of 4, under a bar of 22 pixels.
    assert frames(result.path).shape == (31, 118, 260, 3)
    panes_alike = []
    for step in (0, 30):  # as pictures, which have no coding noise
        render_video([skilled, clumsy], tmp_path / f"{step}.png", at_step=step, **how)
        seen = np.asarray(Image.open(tmp_path / f"{step}.png"))
        panes_alike.append(np.array_equal(seen[22:, :128], seen[22:, 132:]))
    assert panes_alike == [True, False]


@pytest.mark.slow
def test_a_finished_pane_holds_its_last_picture(tmp_path, idle, right):
    result = render_video([idle, right], tmp_path / "a.mp4", overlay=False, **SMALL)
    assert [panes[0].step for panes in result.sources] == [*range(11), *[10] * 50]
    assert [panes[1].step for panes in result.sources] == list(range(61))
    short = frames(result.path)[:, 22:, :128]
    assert np.abs(short[60] - short[11]).mean() < 1  # nothing but coding noise


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "steps", "rate"),
    [
        ({}, list(range(11)), 50),
        ({"stride": 3}, [0, 3, 6, 9, 10], 17),  # 50 / 3 rounds to 17; the end is always shown
        ({"playback_speed": 2}, [0, 2, 4, 6, 8, 10], 50),
        (
            {"playback_speed": 0.5, "stride": 5},
            [0, 3, 5, 8, 10],
            10,
        ),  # 2.5 steps a frame, rounded up
        ({"fps": 25}, [0, 2, 4, 6, 8, 10], 25),
        ({"fps": 25, "playback_speed": 2.5}, [0, 5, 10], 25),
        (
            {"stride": 10, "freeze_end_s": 0.4},
            [0, 10, 10, 10],
            5,
        ),  # 0.4 s at 5 frames per second are 2
    ],
    ids=str,
)
def test_frames_show_these_steps_at_this_rate(tmp_path, idle, options, steps, rate):
    result = render_video([idle], tmp_path / "a.mp4", **{**SMALL, **options})
    assert [pane.step for (pane,) in result.sources] == steps
    assert result.frames == number_of_frames(result.path) == len(steps)
    # Times in the file are whole milliseconds, so of few frames the rate is not exact.
    assert properties(result.path).fps == pytest.approx(rate, rel=0.02)


@pytest.mark.parametrize("steps_per_second", [10, 12.5, 50])
@pytest.mark.parametrize("stride", [1, 3, 7, 10])
def test_a_second_of_video_is_a_second_whatever_the_stride(steps_per_second, stride):
    advance, rate = frame_stride_and_fps(steps_per_second, stride, None, playback_speed=2.0)
    assert advance * rate == pytest.approx(2.0 * steps_per_second)
    # As near to the stride as a whole number of frames per second comes.
    assert abs(rate - steps_per_second / stride) <= 0.5


@pytest.mark.slow
def test_the_longest_video_is_allowed_and_one_frame_more_is_not():
    # 199,998 steps make as many frames; one more shows the last, and one holds it.
    assert len(frame_schedule([MAX_FRAMES - 2], 1.0, 1)) == MAX_FRAMES
    with pytest.raises(ValueError, match="200,000 steps at 1 per frame and 1 frames for the end"):
        frame_schedule([MAX_FRAMES], 1.0, 1)
    half = MAX_FRAMES // 2
    with pytest.raises(ValueError, match="200,001 steps at 1 per frame and 0 frames"):
        frame_schedule([half, half + 1], 1.0, 0, concatenate=True)


@pytest.mark.slow
def test_the_first_frame_is_the_recorded_states_picture(tmp_path, right):
    result = render_video([right], tmp_path / "a.png", at_step=0, overlay=False, **SMALL)
    env = SWING_UP.make(render_mode="rgb_array", width=128, height=96)
    env.reset(seed=3)
    expected = env.render()
    env.close()
    np.testing.assert_array_equal(picture(result.path), expected)
    seen = frames(render_video([right], tmp_path / "a.mp4", overlay=False, **SMALL).path)
    assert np.abs(seen[0] - expected).mean() < 2  # nothing but coding noise


@pytest.mark.slow
def test_a_later_navigation_frame_equals_that_of_a_stepped_environment(tmp_path):
    nav = EnvConfig(id="robolearn/NavLidar-v0", engine="analytic", kwargs={"level": 3})
    drive = Constant(np.array([1.0, 0.2], np.float32))
    rollout = record_episode(drive, nav, title="drive", seed=5, max_steps=8)
    assert rollout.fps == 10  # a step is 0.1 s
    shot = render_video(
        [rollout], tmp_path / "a.png", at_step=7, overlay=False, size=(288, 144), num_workers=1
    )
    env = nav.make(render_mode="rgb_array", width=288, height=144)
    env.reset(seed=5)
    for _ in range(7):
        env.step(drive.action)
    np.testing.assert_array_equal(picture(shot.path), env.render())
    env.close()


@pytest.mark.slow
def test_the_same_video_twice_has_the_same_bytes_with_any_number_of_workers(tmp_path, right):
    paths = [tmp_path / "one.mp4", tmp_path / "two.mp4"]
    for jobs, path in enumerate(paths, start=1):
        render_video([right], path, size=(128, 96), num_workers=jobs, freeze_end_s=0.0, stride=3)
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.slow
def test_concatenated_rollouts_are_shown_one_after_the_other(tmp_path, idle, right):
    result = render_video([idle, right], tmp_path / "a.mp4", concatenate=True, stride=10, **SMALL)
    told = [(pane.rollout, pane.step) for (pane,) in result.sources]
    assert told == [(0, 0), (0, 10), *[(1, 10 * k) for k in range(7)]]
    assert result.steps == 70
    assert frames(result.path).shape == (9, 96, 128, 3)


@pytest.mark.slow
def test_a_grid_has_rows(tmp_path, idle):
    rollouts = [replace(idle, title=f"seed {k}") for k in range(3)]
    result = render_video(rollouts, tmp_path / "a.png", grid_columns=2, **SMALL)
    # Two rows of 96 + 22 and two columns of 128, with gaps of 4.
    assert picture(result.path).shape == (240, 260, 3)


@pytest.mark.slow
def test_panes_of_default_size_become_smaller(tmp_path, idle):
    rollouts = [replace(idle, title=str(k)) for k in range(3)]
    result = render_video(rollouts, tmp_path / "a.png", at_step=0, num_workers=1)
    # 1280 / (3 * 640) of 640 x 480 is 426 x 320 (even), with bars of 22 and gaps of 4.
    assert picture(result.path).shape == (342, 3 * 426 + 8, 3)


def test_a_webm_is_vp9(tmp_path, idle):
    result = render_video([idle], tmp_path / "a.webm", comment="made so", **SMALL)
    video = properties(result.path)
    assert (video.codec, video.width, video.height) == ("vp9", 128, 96)
    assert video.pixels.startswith("yuv420p(")
    assert video.comment == "made so"
    assert number_of_frames(result.path) == 11


@pytest.mark.slow
def test_a_gif_has_a_palette_of_its_own(tmp_path, right):
    result = render_video([right], tmp_path / "a.gif", stride=10, overlay=False, **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["a.gif"]
    with Image.open(result.path) as gif:
        assert (gif.format, gif.n_frames, gif.size) == ("GIF", 7, (128, 96))
        gif.seek(6)
        last = np.asarray(gif.convert("RGB"), np.int64)
    still = render_video([right], tmp_path / "a.png", at_step=60, overlay=False, **SMALL)
    assert np.abs(last - picture(still.path)).mean() < 6


@pytest.mark.slow
def test_a_gif_faster_than_browsers_show_is_refused(tmp_path, idle):
    with pytest.raises(ValueError, match="at most 50 frames per second, got 60"):
        render_video([idle], tmp_path / "a.gif", fps=60, **SMALL)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_mp4_begins_with_its_index(tmp_path, idle):
    content = render_video([idle], tmp_path / "a.mp4", **SMALL).path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    video = properties(tmp_path / "a.mp4")
    assert (video.codec, video.pixels) == ("h264", "yuv420p(tv, bt709, progressive)")


@pytest.mark.slow
def test_a_picture_shows_the_end_unless_told_otherwise(tmp_path, right):
    for at, step in ((None, 60), (20, 20)):
        result = render_video(
            [right], tmp_path / f"{at}.png", at_step=at, comment="made so", **SMALL
        )
        assert [pane.step for (pane,) in result.sources] == [step]
        with Image.open(result.path) as image:
            assert image.text["comment"] == "made so"


def test_a_third_party_environment_is_rendered_by_replaying_its_actions(tmp_path):
    rollout = record_episode(Constant(0), EnvConfig(id="CartPole-v1"), title="left", seed=1)
    assert not rollout.render_states
    result = render_video(
        [rollout], tmp_path / "a.mp4", num_workers=2, freeze_end_s=0.0, overlay=False
    )
    assert result.renderer is None
    for k, (pane,) in enumerate(result.sources):
        np.testing.assert_array_equal(pane.state, rollout.observations[k])
    seen = frames(result.path)
    assert len(seen) == len(rollout) + 1
    assert np.abs(seen[-1] - seen[0]).max() > 50


def test_a_replay_with_other_observations_is_refused(tmp_path):
    rollout = record_episode(Constant(0), EnvConfig(id="CartPole-v1"), title="left", seed=1)
    with pytest.raises(
        RobolearnError, match="left cannot be rendered: replayed in CartPole-v1, it has other"
    ):
        render_video([replace(rollout, seed=2)], tmp_path / "a.mp4", num_workers=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_camera_of_navigation_can_be_chosen(tmp_path):
    nav = EnvConfig(id="robolearn/NavRover-v0")
    rollout = record_episode(
        Constant(np.zeros(2, np.float32)), nav, title="rest", seed=0, max_steps=1
    )
    shapes = [
        picture(
            render_video([rollout], tmp_path / f"{name}.png", camera=name, num_workers=1).path
        ).shape
        for name in ("top", "chase", "both")
    ]
    assert shapes == [(480, 480, 3), (480, 640, 3), (480, 960, 3)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"stride": 0}, "stride must be at least 1, got 0"),
        ({"stride": 51}, "stride must be at most the 50 steps of a second, got 51"),
        ({"playback_speed": 0.0}, "playback_speed must be positive, got 0.0"),
        ({"playback_speed": 1e-9}, "200,000 frames; 10 steps at 1e-09 per frame and"),
        (
            {"playback_speed": 5e-324, "fps": 1000},
            "at most 200,000 frames; 10 steps at 0 per frame",
        ),
        ({"fps": 10**9, "freeze_end_s": 1.0}, "and 1,000,000,000 frames for the end are more"),
        ({"fps": 0}, "at least 1 frame per second, got 0"),
        ({"fps": 20, "stride": 2}, "Give stride or fps, not both, got 2 and 20"),
        ({"freeze_end_s": -1.0}, "freeze_end_s must not be negative"),
        ({"camera": "top"}, "Only navigation has cameras to choose from, got 'top'"),
        ({"size": (127, 96)}, "needs even width and height, got 127 x 96"),
        ({"grid_columns": 0}, "grid_columns must be at least 1, got 0"),
        ({"num_workers": 0}, "num_workers must be at least 1, got 0"),
        ({"at_step": 3}, r"at_step is for pictures, \*.png"),
    ],
    ids=str,
)
def test_bad_arguments_are_refused(tmp_path, idle, options, words):
    with pytest.raises(ValueError, match=words):
        render_video([idle], tmp_path / "a.mp4", **{**SMALL, **options})
    assert list(tmp_path.iterdir()) == []


def test_an_existing_video_is_kept(tmp_path, idle):
    (tmp_path / "a.mp4").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="choose another --out"):
        render_video([idle], tmp_path / "a.mp4", **SMALL)
    assert (tmp_path / "a.mp4").read_bytes() == b"mine"


def test_states_of_another_environment_are_refused(tmp_path, idle):
    strange = replace(
        idle, render_states={name: rows[:, :1] for name, rows in idle.render_states.items()}
    )
    with pytest.raises(RobolearnError, match=r"idle: q\w+ has shape \(1,\), in robolearn/CartPole"):
        render_video([strange], tmp_path / "a.mp4", **SMALL)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("import os; os.abort()", "was killed by SIGABRT"),
        ("import os; os.kill(os.getpid(), 9)", "was killed by SIGKILL"),
        ("import sys; sys.exit('no more disks')", "exited with status 1: no more disks"),
        ("print('no pickle', flush=True)", "exited with status 0"),
        ("import sys; sys.stdin.close()", "exited with status 0"),
        ("print('no pickle', flush=True); import time; time.sleep(600)", "sent no readable reply"),
    ],
)
@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_rendering_process_that_dies_gives_one_line_and_leaves_nothing(
    tmp_path, idle, monkeypatch, command, reason, num_workers
):
    monkeypatch.setattr("robolearn.video.render_worker._COMMAND", command)
    before = children()
    with pytest.raises(RecordingError, match=rf"^A rendering process {reason}\.$"):
        render_video([idle], tmp_path / "a.mp4", **{**SMALL, "num_workers": num_workers})
    assert list(tmp_path.iterdir()) == []
    assert children() == before


def test_a_rendering_process_killed_while_it_renders_leaves_nothing(tmp_path, idle, monkeypatch):
    dies = "from robolearn.video import render_worker as r; render = r.RenderWorker.render; "
    dies += "r.RenderWorker.render = lambda self, refs: "
    dies += "exit(7) if refs[0].step == 6 else render(self, refs); r.main()"
    monkeypatch.setattr("robolearn.video.render_worker._COMMAND", dies)
    before = children()
    with pytest.raises(RecordingError, match=r"^A rendering process exited with status 7"):
        render_video([idle], tmp_path / "a.mp4", **SMALL)
    assert list(tmp_path.iterdir()) == []
    assert children() == before


def test_a_request_to_stop_ends_the_rendering_processes(tmp_path, idle, monkeypatch):
    monkeypatch.setattr("robolearn.video.render_worker._COMMAND", "import time; time.sleep(600)")
    before = children()
    timer = threading.Timer(0.5, signal.raise_signal, (signal.SIGINT,))
    timer.start()
    with pytest.raises(Stopped), stoppable():
        render_video([idle], tmp_path / "a.mp4", **SMALL)
    timer.join()
    assert children() == before


def children():
    """Return the process ids of our children, zombies included."""
    path = Path(f"/proc/self/task/{os.getpid()}/children")
    return set(path.read_text().split())


def test_rendering_processes_use_the_parents_check_of_egl(tmp_path, idle, monkeypatch):
    monkeypatch.setattr("robolearn.video.render.egl_error", lambda: "No EGL today.")
    assert render_video([idle], tmp_path / "a.png", **SMALL).renderer == "software-rays"


@pytest.mark.slow
def test_opengl_stays_out_of_the_callers_process(tmp_path, idle):
    idle.save(tmp_path / "idle.npz")
    code = f"""
import sys
from pathlib import Path
from robolearn.video.render import render_video
from robolearn.video.rollout import Rollout
folder = Path({str(tmp_path)!r})
render_video([Rollout.load(folder / "idle.npz")], folder / "a.png", size=(64, 48), num_workers=1)
sys.exit("OpenGL" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_rendering_processes_do_not_import_torch():
    code = "import robolearn.video.render_worker, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_paths_are_plain(tmp_path: Path, idle):
    odd = tmp_path / "50% of -it %d.mp4"  # nothing of a name is ffmpeg's to interpret
    assert render_video([idle], odd, **SMALL).path.stat().st_size > 0
    assert [path.name for path in tmp_path.iterdir()] == [odd.name]
