"""Videos of a training, recorded in the background."""

from dataclasses import replace

import numpy as np
import pytest
from controllers import Constant
from PIL import Image
from playback import frames, properties
from tasks_by_name import TASKS, shorten

from robolearn.cli import main
from robolearn.collect.trajectory_recorder import TrajectoryRecorder
from robolearn.environments import EnvConfig
from robolearn.errors import RobolearnWarning
from robolearn.train import TrainConfig, train
from robolearn.video.background import BackgroundVideoRecorder
from robolearn.video.recording import record_episode
from robolearn.video.render import render_video
from robolearn.video.rollout import Rollout

SWING_UP = "robolearn/CartPoleSwingUp-v0"
SMALL = {"num_envs": 4, "n_steps": 16, "batch_size": 64, "hidden_sizes": (8,)}
SHORT = 24


@pytest.fixture(autouse=True)
def short_episodes(monkeypatch):
    shorten("CartPoleSwingUp-v0", SHORT, monkeypatch.setattr)
    monkeypatch.setattr(TASKS["CartPoleSwingUp-v0"], "success_steps", SHORT // 2)


@pytest.fixture
def of_agents(monkeypatch):
    """Steps of videos of agents that were asked for, of which none is made."""
    steps = []
    monkeypatch.setattr(
        BackgroundVideoRecorder, "request", lambda videos, agent, called: steps.append(called)
    )
    return steps


@pytest.fixture
def of_training(monkeypatch):
    """Steps and rollouts of videos of the training that were asked for, of which none is made."""
    shown = {}
    monkeypatch.setattr(
        BackgroundVideoRecorder,
        "request_rollout",
        lambda videos, rollout, steps: shown.update({steps: rollout}),
    )
    return shown


def config(run, engine="torch", **options):
    env = EnvConfig(id=SWING_UP, engine=engine)
    usual = {
        "steps": 480,
        "video_every": 200,
        "eval_episodes": 2,
        "test_episodes": 5,
        "device": "cpu",
    }
    return TrainConfig(agent="ppo", env=env, run=run, hyper=SMALL, **{**usual, **options})


def pole_at(rollout, angle, like):
    """Return the picture of a pole at an angle, where a rollout begins."""
    env = rollout.env.make(render_mode="rgb_array", width=like.shape[1], height=like.shape[0])
    env.reset(seed=0)
    first = rollout.render_state(0)
    qpos = np.array([[first["qpos"][0, 0], angle]])
    env.unwrapped.vector_env.set_render_state({"qpos": qpos, "qvel": first["qvel"]})
    picture = np.asarray(env.render(), np.int64)
    env.close()
    return picture


@pytest.mark.slow
def test_training_on_a_device_leaves_videos_of_its_episodes(tmp_path, of_agents):
    run = tmp_path / "run"
    command = ["train", "ppo", "--env", SWING_UP, "--engine", "torch", "--device", "cpu"]
    command += ["--steps", "280", "--video-every", "200", "--run", str(run)]
    command += ["--num-envs", "4", "--n-steps", "16", "--batch-size", "64"]
    assert main(command) == 0
    # Rounds have 64 steps, but for the last one.
    assert of_agents == [0, 320]
    (video,), (kept,) = ((run / name).iterdir() for name in ("videos", "rollouts"))
    assert (video.name, kept.name) == ("000000256.mp4", "000000256.npz")
    rollout = Rollout.load(kept)
    assert rollout.title == "exploring, about 256 steps into training"
    assert (len(rollout), rollout.seed, rollout.end_reason) == (SHORT, 0, "truncated")
    angle = rollout.render_states["qpos"][0, 1]
    assert abs(abs(angle) - np.pi) < 0.1 + 1e-6  # rad, as it begins
    assert (properties(video).codec, properties(video).fps) == ("h264", 50)
    seen = frames(video)
    assert len(seen) == SHORT + 1 + 50  # the end stays for a second
    apart = np.s_[:, seen.shape[2] // 3 :]  # of figures and bars
    hangs, stands = (
        np.count_nonzero(
            np.abs(seen[0] - pole_at(rollout, each, seen[0]))[apart].max(axis=-1) > 100
        )
        for each in (angle, 0.0)
    )
    assert hangs < stands / 10  # of pixels that are something else: few but for coding noise


def test_until_an_episode_is_over_the_agent_is_recorded(tmp_path, of_agents, of_training):
    # After 64 steps of all, 16 of each, no environment has lived through 24.
    train(config(tmp_path / "run", steps=300, video_every=60))
    assert of_agents[:2] == [0, 64]
    assert sorted({*of_agents, *of_training}) == [0, 64, 128, 192, 256, 320]
    # In 48 steps of each the first episode, of 23 at most, and another one are over.
    assert {192, 256} <= of_training.keys() <= {128, 192, 256}
    assert not of_training.keys() & set(of_agents)


def test_what_comes_late_is_called_by_the_steps_when_it_was_asked_for(
    tmp_path, of_agents, of_training, monkeypatch
):
    polls = []
    monkeypatch.setattr(
        TrajectoryRecorder, "arrived", property(lambda watch: polls.append(1) or False)
    )
    train(config(tmp_path / "run"))
    assert of_agents == [0, 512]
    assert list(of_training) == [256, 448]  # waited for when the next was due, and at the end
    assert len(polls) > 3


def test_each_is_the_latest_by_then(tmp_path, of_agents, of_training):
    train(config(tmp_path / "run", steps=960, video_every=300))
    assert list(of_training) == [320, 640]  # the end is the agent's
    starts = {tuple(rollout.render_states["qpos"][0]) for rollout in of_training.values()}
    assert len(starts) == 2


@pytest.mark.parametrize("options", [{"video_every": 0}, {"engine": "analytic"}], ids=str)
def test_nothing_is_watched_without_videos_or_on_the_host(
    tmp_path, of_agents, of_training, monkeypatch, options
):
    monkeypatch.setattr(TrajectoryRecorder, "__init__", lambda *_: pytest.fail("somebody watches"))
    train(config(tmp_path / "run", **options))
    assert not of_training


def test_a_rollout_that_cannot_be_written_costs_no_training(tmp_path, of_agents):
    rollout = record_episode(
        Constant(np.zeros(1, np.float32)), EnvConfig(id=SWING_UP), title="idle"
    )
    (tmp_path / "rollouts").write_text("no folder")
    videos = BackgroundVideoRecorder(tmp_path / "videos")
    with pytest.warns(RobolearnWarning, match="No video .*000000007.mp4: File exists"):
        videos.request_rollout(rollout, 7)
    videos.request_rollout(rollout, 7)  # was asked for already
    videos.finish()
    assert len(videos.failures) == 1


def test_a_canceled_training_leaves_rollouts_and_no_partial_videos(tmp_path):
    rollout = record_episode(
        Constant(np.zeros(1, np.float32)), EnvConfig(id=SWING_UP), title="idle"
    )
    videos = BackgroundVideoRecorder(tmp_path / "videos")
    videos.finish()  # training has no time to give from now on
    for steps in (1, 2):
        videos.request_rollout(rollout, steps)
    videos.cancel()
    assert sorted(path.name for path in (tmp_path / "rollouts").iterdir()) == [
        "000000001.npz",
        "000000002.npz",
    ]
    assert not videos.failures
    videos = tmp_path / "videos"
    assert not videos.exists() or not list(videos.iterdir())


@pytest.mark.slow
def test_no_trajectory_is_drawn_of_another_start(tmp_path):
    nav = EnvConfig(id="robolearn/NavLidar-v0", engine="analytic", kwargs={"level": 0})
    begun = record_episode(
        Constant(np.zeros(2, np.float32)), nav, title="still", seed=5, max_steps=1
    )
    pictures = []
    for seed in (5, 6):  # the other one begins elsewhere
        told = render_video(
            [replace(begun, seed=seed)], tmp_path / f"{seed}.png", at_step=0, num_workers=1
        )
        pictures.append(np.asarray(Image.open(told.path)))
    np.testing.assert_array_equal(*pictures)
