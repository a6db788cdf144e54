"""Films of rollouts: what each frame shows, in which file."""

import subprocess
import sys
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
from robolearn.video.film import film
from robolearn.video.play import play, play_made
from robolearn.video.recorder import RecordingError
from robolearn.video.schedule import MOST_FRAMES, pace, schedule

SWING_UP = EnvConfig(id="robolearn/CartPoleSwingUp-v0", engine="mujoco")
SMALL = {"size": (128, 96), "jobs": 1, "hold": 0.0}


@pytest.fixture(scope="module")
def idle():
    return play(IDLE, SWING_UP, label="idle", seed=3, max_steps=10)


@pytest.fixture(scope="module")
def right():
    return play(RIGHT, SWING_UP, label="right", seed=3, max_steps=60)


def place(rollout, step):
    state = rollout.state(step)
    return np.concatenate([state["qpos"][0], state["qvel"][0]])


@pytest.mark.slow
def test_panes_start_from_the_same_state_and_stay_in_step(tmp_path):
    skilled = play_made(expert_for, SWING_UP, label="expert", seed=7, max_steps=30)
    clumsy = play(RIGHT, SWING_UP, label="clumsy", seed=7, max_steps=30)
    how = {**SMALL, "jobs": 2, "overlay": False}
    result = film([skilled, clumsy], tmp_path / "a.mp4", **how)
    first = [pane.state.tobytes() for pane in result.shown[0]]
    assert first[0] == first[1]  # bit for bit
    for k, panes in enumerate(result.shown):
        assert [pane.rollout for pane in panes] == [0, 1]
        assert [pane.step for pane in panes] == [k, k]
        for rollout, pane in zip((skilled, clumsy), panes, strict=True):
            np.testing.assert_array_equal(pane.state, place(rollout, k))
    last = result.shown[-1]
    assert abs(last[0].state[0] - last[1].state[0]) > 0.5  # m: skill is unlike
    # Two panes of 128 x 96 with a gap of 4, under a bar of 22 pixels.
    assert frames(result.path).shape == (31, 118, 260, 3)
    panes_alike = []
    for step in (0, 30):  # as pictures, which have no coding noise
        film([skilled, clumsy], tmp_path / f"{step}.png", at=step, **how)
        seen = np.asarray(Image.open(tmp_path / f"{step}.png"))
        panes_alike.append(np.array_equal(seen[22:, :128], seen[22:, 132:]))
    assert panes_alike == [True, False]


@pytest.mark.slow
def test_a_finished_pane_holds_its_last_picture(tmp_path, idle, right):
    result = film([idle, right], tmp_path / "a.mp4", overlay=False, **SMALL)
    assert [panes[0].step for panes in result.shown] == [*range(11), *[10] * 50]
    assert [panes[1].step for panes in result.shown] == list(range(61))
    short = frames(result.path)[:, 22:, :128]
    assert np.abs(short[60] - short[11]).mean() < 1  # nothing but coding noise


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "steps", "rate"),
    [
        ({}, list(range(11)), 50),
        ({"stride": 3}, [0, 3, 6, 9, 10], 17),  # 50 / 3 rounds to 17; the end is always shown
        ({"speed": 2}, [0, 2, 4, 6, 8, 10], 50),
        ({"speed": 0.5, "stride": 5}, [0, 3, 5, 8, 10], 10),  # 2.5 steps a frame, rounded up
        ({"fps": 25}, [0, 2, 4, 6, 8, 10], 25),
        ({"fps": 25, "speed": 2.5}, [0, 5, 10], 25),
        ({"stride": 10, "hold": 0.4}, [0, 10, 10, 10], 5),  # 0.4 s at 5 frames per second are 2
    ],
    ids=str,
)
def test_frames_show_these_steps_at_this_rate(tmp_path, idle, options, steps, rate):
    result = film([idle], tmp_path / "a.mp4", **{**SMALL, **options})
    assert [pane.step for (pane,) in result.shown] == steps
    assert result.frames == number_of_frames(result.path) == len(steps)
    # Times in the file are whole milliseconds, so of few frames the rate is not exact.
    assert properties(result.path).fps == pytest.approx(rate, rel=0.02)


@pytest.mark.parametrize("steps_per_second", [10, 12.5, 50])
@pytest.mark.parametrize("stride", [1, 3, 7, 10])
def test_a_second_of_video_is_a_second_whatever_the_stride(steps_per_second, stride):
    advance, rate = pace(steps_per_second, stride, None, speed=2.0)
    assert advance * rate == pytest.approx(2.0 * steps_per_second)
    # As near to the stride as a whole number of frames per second comes.
    assert abs(rate - steps_per_second / stride) <= 0.5


@pytest.mark.slow
def test_the_longest_film_is_allowed_and_one_frame_more_is_not():
    # 199,998 steps make as many frames; one more shows the last, and one holds it.
    assert len(schedule([MOST_FRAMES - 2], 1.0, 1)) == MOST_FRAMES
    with pytest.raises(ValueError, match="200,000 steps at 1 a frame are more, with 1 for the end"):
        schedule([MOST_FRAMES], 1.0, 1)
    half = MOST_FRAMES // 2
    with pytest.raises(ValueError, match="200,001 steps at 1 a frame are more"):
        schedule([half, half + 1], 1.0, 0, sequence=True)


@pytest.mark.slow
def test_the_first_frame_is_the_recorded_states_picture(tmp_path, right):
    result = film([right], tmp_path / "a.png", at=0, overlay=False, **SMALL)
    env = SWING_UP.make(render_mode="rgb_array", width=128, height=96)
    env.reset(seed=3)
    expected = env.render()
    env.close()
    np.testing.assert_array_equal(picture(result.path), expected)
    seen = frames(film([right], tmp_path / "a.mp4", overlay=False, **SMALL).path)
    assert np.abs(seen[0] - expected).mean() < 2  # nothing but coding noise


@pytest.mark.slow
def test_a_later_navigation_frame_is_as_if_it_had_been_lived_through(tmp_path):
    nav = EnvConfig(id="robolearn/NavLidar-v0", engine="analytic", kwargs={"level": 3})
    drive = Constant(np.array([1.0, 0.2], np.float32))
    rollout = play(drive, nav, label="drive", seed=5, max_steps=8)
    assert rollout.fps == 10  # a step is 0.1 s
    shot = film([rollout], tmp_path / "a.png", at=7, overlay=False, size=(288, 144), jobs=1)
    env = nav.make(render_mode="rgb_array", width=288, height=144)
    env.reset(seed=5)
    for _ in range(7):
        env.step(drive.action)
    np.testing.assert_array_equal(picture(shot.path), env.render())
    env.close()


@pytest.mark.slow
def test_the_same_film_twice_has_the_same_bytes_whatever_the_jobs(tmp_path, right):
    paths = [tmp_path / "one.mp4", tmp_path / "two.mp4"]
    for jobs, path in enumerate(paths, start=1):
        film([right], path, size=(128, 96), jobs=jobs, hold=0.0, stride=3)
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.slow
def test_films_of_several_episodes_show_one_after_the_other(tmp_path, idle, right):
    result = film([idle, right], tmp_path / "a.mp4", sequence=True, stride=10, **SMALL)
    told = [(pane.rollout, pane.step) for (pane,) in result.shown]
    assert told == [(0, 0), (0, 10), *[(1, 10 * k) for k in range(7)]]
    assert result.steps == 70
    assert frames(result.path).shape == (9, 96, 128, 3)


@pytest.mark.slow
def test_a_grid_has_rows(tmp_path, idle):
    rollouts = [replace(idle, label=f"seed {k}") for k in range(3)]
    result = film(rollouts, tmp_path / "a.png", columns=2, **SMALL)
    # Two rows of 96 + 22 and two columns of 128, with gaps of 4.
    assert picture(result.path).shape == (240, 260, 3)


@pytest.mark.slow
def test_panes_whose_size_nobody_chose_become_smaller(tmp_path, idle):
    rollouts = [replace(idle, label=str(k)) for k in range(3)]
    result = film(rollouts, tmp_path / "a.png", at=0, jobs=1)
    # 1280 / (3 * 640) of 640 x 480 is 426 x 320 (even), with bars of 22 and gaps of 4.
    assert picture(result.path).shape == (342, 3 * 426 + 8, 3)


def test_a_webm_is_vp9(tmp_path, idle):
    result = film([idle], tmp_path / "a.webm", comment="made so", **SMALL)
    video = properties(result.path)
    assert (video.codec, video.width, video.height) == ("vp9", 128, 96)
    assert video.pixels.startswith("yuv420p(")
    assert video.comment == "made so"
    assert number_of_frames(result.path) == 11


@pytest.mark.slow
def test_a_gif_has_a_palette_of_its_own(tmp_path, right):
    result = film([right], tmp_path / "a.gif", stride=10, overlay=False, **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["a.gif"]
    with Image.open(result.path) as gif:
        assert (gif.format, gif.n_frames, gif.size) == ("GIF", 7, (128, 96))
        gif.seek(6)
        last = np.asarray(gif.convert("RGB"), np.int64)
    still = film([right], tmp_path / "a.png", at=60, overlay=False, **SMALL)
    assert np.abs(last - picture(still.path)).mean() < 6


@pytest.mark.slow
def test_a_gif_faster_than_browsers_show_is_refused(tmp_path, idle):
    with pytest.raises(ValueError, match="at most 50 frames per second, got 60"):
        film([idle], tmp_path / "a.gif", fps=60, **SMALL)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_mp4_begins_with_its_index(tmp_path, idle):
    content = film([idle], tmp_path / "a.mp4", **SMALL).path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    video = properties(tmp_path / "a.mp4")
    assert (video.codec, video.pixels) == ("h264", "yuv420p(tv, bt709, progressive)")


@pytest.mark.slow
def test_a_picture_shows_the_end_unless_told_otherwise(tmp_path, right):
    for at, step in ((None, 60), (20, 20)):
        result = film([right], tmp_path / f"{at}.png", at=at, comment="made so", **SMALL)
        assert [pane.step for (pane,) in result.shown] == [step]
        with Image.open(result.path) as image:
            assert image.text["comment"] == "made so"


def test_what_a_foreign_environment_shows_is_lived_through_again(tmp_path):
    rollout = play(Constant(0), EnvConfig(id="CartPole-v1"), label="left", seed=1)
    assert not rollout.states
    result = film([rollout], tmp_path / "a.mp4", jobs=2, hold=0.0, overlay=False)
    assert result.renderer is None
    for k, (pane,) in enumerate(result.shown):
        np.testing.assert_array_equal(pane.state, rollout.observations[k])
    seen = frames(result.path)
    assert len(seen) == len(rollout) + 1
    assert np.abs(seen[-1] - seen[0]).max() > 50


def test_a_foreign_rollout_that_leads_elsewhere_is_refused(tmp_path):
    rollout = play(Constant(0), EnvConfig(id="CartPole-v1"), label="left", seed=1)
    with pytest.raises(RobolearnError, match="left cannot be drawn: lived through again, CartPole"):
        film([replace(rollout, seed=2)], tmp_path / "a.mp4", jobs=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_camera_of_navigation_can_be_chosen(tmp_path):
    nav = EnvConfig(id="robolearn/NavRover-v0")
    rollout = play(Constant(np.zeros(2, np.float32)), nav, label="rest", seed=0, max_steps=1)
    shapes = [
        picture(film([rollout], tmp_path / f"{name}.png", camera=name, jobs=1).path).shape
        for name in ("top", "chase", "both")
    ]
    assert shapes == [(480, 480, 3), (480, 640, 3), (480, 960, 3)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"stride": 0}, "stride must be at least 1, got 0"),
        ({"stride": 51}, "stride must be at most 50, the steps of a second, got 51"),
        ({"speed": 0.0}, "speed must be positive, got 0.0"),
        ({"speed": 1e-9}, "at most 200,000 frames; 10 steps at 1e-09 a frame are more"),
        ({"speed": 5e-324, "fps": 1000}, "at most 200,000 frames; 10 steps at 0 a frame"),
        ({"fps": 10**9, "hold": 1.0}, "are more, with 1,000,000,000 for the end"),
        ({"fps": 0}, "at least 1 frame per second, got 0"),
        ({"fps": 20, "stride": 2}, "Say stride or fps"),
        ({"hold": -1.0}, "hold must not be negative"),
        ({"camera": "top"}, "Only navigation has cameras to choose from, got 'top'"),
        ({"size": (127, 96)}, "needs even width and height, got 127 x 96"),
        ({"columns": 0}, "columns must be at least 1, got 0"),
        ({"jobs": 0}, "jobs must be at least 1, got 0"),
        ({"at": 3}, r"at is for pictures, \*.png"),
    ],
    ids=str,
)
def test_arguments_that_make_no_sense_are_refused(tmp_path, idle, options, words):
    with pytest.raises(ValueError, match=words):
        film([idle], tmp_path / "a.mp4", **{**SMALL, **options})
    assert list(tmp_path.iterdir()) == []


def test_an_existing_video_is_kept(tmp_path, idle):
    (tmp_path / "a.mp4").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="choose another --out"):
        film([idle], tmp_path / "a.mp4", **SMALL)
    assert (tmp_path / "a.mp4").read_bytes() == b"mine"


def test_states_of_another_environment_are_refused(tmp_path, idle):
    strange = replace(idle, states={name: rows[:, :1] for name, rows in idle.states.items()})
    with pytest.raises(RobolearnError, match=r"idle: q\w+ has shape \(1,\), of robolearn/CartPole"):
        film([strange], tmp_path / "a.mp4", **SMALL)
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_dies_is_noticed_and_leaves_no_file(tmp_path, idle, monkeypatch):
    monkeypatch.setattr("robolearn.video.painters._COMMAND", "import os; os.abort()")
    with pytest.raises(RecordingError, match="A process that draws ended"):
        film([idle], tmp_path / "a.mp4", **SMALL)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_process_that_promises_more_than_memory_holds_is_no_reason_to_wait(
    tmp_path, idle, monkeypatch
):
    promise = "import struct, sys, time; sys.stdout.buffer.write(struct.pack('<cQ', b'P', 2**62))"
    wait = "sys.stdout.flush(); time.sleep(600)"
    monkeypatch.setattr("robolearn.video.painters._COMMAND", f"{promise}; {wait}")
    with pytest.raises(RecordingError, match="A process that draws ended"):
        film([idle], tmp_path / "a.mp4", **SMALL)
    assert list(tmp_path.iterdir()) == []


def test_the_processes_that_draw_believe_what_is_known_of_egl(tmp_path, idle, monkeypatch):
    monkeypatch.setattr("robolearn.video.film.egl_problem", lambda: "No EGL today.")
    assert film([idle], tmp_path / "a.png", **SMALL).renderer == "software-rays"


@pytest.mark.slow
def test_opengl_stays_out_of_the_callers_process(tmp_path, idle):
    idle.save(tmp_path / "idle.npz")
    code = f"""
import sys
from pathlib import Path
from robolearn.video.film import film
from robolearn.video.rollout import Rollout
folder = Path({str(tmp_path)!r})
film([Rollout.load(folder / "idle.npz")], folder / "a.png", size=(64, 48), jobs=1)
sys.exit("OpenGL" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_processes_that_draw_do_not_import_torch():
    code = "import robolearn.video, robolearn.video.painter, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_paths_are_plain(tmp_path: Path, idle):
    odd = tmp_path / "50% of -it %d.mp4"  # nothing of a name is ffmpeg's to interpret
    assert film([idle], odd, **SMALL).path.stat().st_size > 0
    assert [path.name for path in tmp_path.iterdir()] == [odd.name]
