"""A full disk costs a checkpoint, figures or a video; never the training, nor what was saved."""

import json
import random
import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from often import often
from small_runs import config, newest

import robolearn.session
from robolearn.cli import main
from robolearn.environments import EnvConfig
from robolearn.errors import SaveError
from robolearn.runs.checkpoint import read_checkpoint
from robolearn.train import resume, train

MANY = range(often(1, 10))


@pytest.fixture
def disk(tmp_path):
    """A disk of 2 MB, mounted where only tests look."""
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(path)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.decode().strip()}")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(disk):
    """Leave no room at all on a disk."""
    with (disk / "ballast").open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


@contextmanager
def full_between(disk, first, last):
    """Let a disk be full from one report of the training to another."""
    real, told = robolearn.session.Session._note, 0

    def note(session, report, line):
        nonlocal told
        told += 1
        if told == first:
            fill(disk)
        if told == last:
            (disk / "ballast").unlink()
        real(session, report, line)

    robolearn.session.Session._note = note
    try:
        yield
    finally:
        robolearn.session.Session._note = real


def litter(run):
    return [p.name for p in (run / "checkpoints").iterdir() if p.name.startswith(".")]


def steps_told(run):
    return [json.loads(line)["steps"] for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("k", MANY)
@pytest.mark.filterwarnings("default::robolearn.errors.RobolearnWarning")
def test_full_to_the_end_training_goes_on_and_the_last_save_is_told_to_have_failed(
    k, disk, recwarn
):
    run = disk / "run"
    first = random.Random(k).randrange(5, 35)
    with full_between(disk, first, 0), pytest.raises(SaveError, match="No space left") as caught:
        train(config("dqn mujoco", run, steps=700))
    assert caught.value.exit_code == 3
    told = [str(w.message) for w in recwarn if "Cannot save" in str(w.message)]
    assert len(told) == 1  # one plain warning
    assert litter(run) == []
    state, _ = read_checkpoint(newest(run))  # the one from before is as it was
    assert 0 < state["counters"]["steps"] < 700
    for line in (run / "metrics.jsonl").read_text().splitlines():
        json.loads(line)  # none is torn
    (disk / "ballast").unlink()
    assert not resume(run).interrupted
    assert read_checkpoint(newest(run))[0]["counters"]["steps"] >= 700
    assert steps_told(run) == sorted(steps_told(run))


@pytest.mark.slow
@pytest.mark.parametrize("k", MANY)
@pytest.mark.filterwarnings("default::robolearn.errors.RobolearnWarning")
def test_full_for_a_while_nothing_is_missing_in_the_end(k, disk, tmp_path, recwarn):
    run = disk / "run"
    rng = random.Random(k)
    first = rng.randrange(2, 8)  # of 44 reports; the file's last page has room for 24 lines at most
    with full_between(disk, first, first + rng.randrange(28, 34)):
        train(config("dqn mujoco", run, steps=700))
    whole = train(config("dqn mujoco", tmp_path / "whole", steps=700)).run.path
    assert steps_told(run) == steps_told(whole)
    assert [str(w.message).split(" (")[0] for w in recwarn].count(
        f"Cannot write to {run / 'metrics.jsonl'}"
    ) == 1
    assert litter(run) == []
    assert read_checkpoint(newest(run))[0]["counters"]["steps"] >= 700


@pytest.mark.parametrize("k", MANY)
@pytest.mark.filterwarnings("default::robolearn.errors.RobolearnWarning")
def test_full_under_the_videos_training_and_its_saves_go_on(k, disk, tmp_path, recwarn):
    run = tmp_path / "run"
    disk_videos = disk / "videos"
    disk_videos.mkdir()
    fill(disk)
    real = robolearn.session.BackgroundVideoRecorder
    robolearn.session.BackgroundVideoRecorder = lambda *_: real(disk_videos)
    try:
        result = train(config("dqn mujoco", run, steps=400, video_every=300))
    finally:
        robolearn.session.BackgroundVideoRecorder = real
    assert result.steps >= 400
    assert len(result.video_failures) == 3  # before the first step, when it was due, at the end
    assert all("No space left" in failure for failure in result.video_failures)
    assert sum("No video" in str(w.message) for w in recwarn) == 1
    assert list(disk_videos.iterdir()) == []
    assert read_checkpoint(newest(run))[0]["counters"]["steps"] >= 400


@pytest.mark.slow
def test_the_command_line_says_so_and_exits_with_3(disk, capsys):
    run = disk / "run"
    small = ["--num-envs", "4", "--n-steps", "32", "--batch-size", "64"]
    small += ["--test-episodes", "5"]
    with full_between(disk, 5, 0):
        code = main(
            ["train", "ppo", "--engine", "analytic", "--steps", "1500", "--run", str(run), *small]
        )
    told = capsys.readouterr().err
    assert code == 3
    assert "Traceback" not in told
    assert "The last checkpoint could not be written: No space left on device." in told


@pytest.mark.slow
def test_ffmpeg_dying_does_not_stop_training(tmp_path):
    """A film's encoder is killed; the film fails, the training does not."""
    import signal
    import threading
    import time

    killed = threading.Event()

    def kill():
        while not killed.is_set():
            for entry in Path("/proc").glob("[0-9]*"):
                try:
                    line = (entry / "cmdline").read_bytes()
                except OSError:
                    continue
                if b"ffmpeg" in line and str(tmp_path).encode() in line:
                    import os

                    os.kill(int(entry.name), signal.SIGKILL)
                    killed.set()
            time.sleep(0.01)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    asked = config("ppo analytic", tmp_path / "run", steps=400, video_every=400)
    with pytest.warns(match="No video"):
        result = train(replace(asked, env=EnvConfig(id="CartPole-v1")))  # drawn quickly
    killed.set()
    thread.join()
    assert result.steps >= 400
    assert len(result.video_failures) == 1
    # Of the films of the beginning and of the end one was killed.
    assert len(list((tmp_path / "run" / "videos").glob("*.mp4"))) == 1
    shutil.rmtree(tmp_path / "run")
