"""SIGTERM and Ctrl-C end a training within seconds, with a checkpoint and without orphans."""

import os
import random
import signal
import time
from pathlib import Path

import pytest
from often import often
from small_runs import assert_same, command, config, finished, newest, signal_at

import robolearn.session
from robolearn.runs.checkpoint import read_checkpoint
from robolearn.train import resume, train

SWINGUP = "robolearn/CartPoleSwingUp-v0"
TRAININGS = [
    ["ppo", "--env", SWINGUP, "--engine", "mujoco", "--video-every", "4096"],
    ["ppo", "--env", SWINGUP, "--engine", "bullet", "--num-workers", "2", "--num-envs", "16"],
    ["dqn", "--env", "CartPole-v1", "--eval-every", "500"],
]


def descendants(pid):
    """Return the processes that a process and its children began."""
    children = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
        children.setdefault(parent, []).append(int(entry.name))
    found, left = [], [pid]
    while left:
        left += (own := children.get(left.pop(), []))
        found += own
    return found


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("k", range(often(3, 50)))
def test_a_training_asked_to_end_saves_and_leaves_no_process(k, tmp_path):
    run, rng = tmp_path / "run", random.Random(k)
    arguments = [*TRAININGS[k % len(TRAININGS)], "--steps", "10000000", "--run", str(run)]
    process = command("train", *arguments, start_new_session=True)
    while process.poll() is None and not (run / "metrics.jsonl").exists():
        time.sleep(0.01)
    time.sleep(rng.uniform(0, often(1, 4)))
    family = descendants(process.pid)
    began = time.monotonic()
    process.send_signal(rng.choice([signal.SIGTERM, signal.SIGINT]))
    code, output, complaints = finished(process, 60)
    assert time.monotonic() - began <= 5
    assert (code, complaints) == (0, "")
    assert "Go on with: robolearn resume" in output
    read_checkpoint(newest(run))
    deadline = time.monotonic() + 2  # for ffmpeg to see that nobody writes to it any more
    while any(map(alive, family)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in family if alive(pid)]
    assert not list((run / "videos").glob(".*")) if (run / "videos").exists() else True


@pytest.mark.slow
def test_a_signal_to_the_whole_group_leaves_workers_to_the_training(tmp_path):
    """As systemd and batch systems send it."""
    run = tmp_path / "run"
    process = command(
        "train", *TRAININGS[1], "--steps", "10000000", "--run", str(run), start_new_session=True
    )
    while process.poll() is None and not (run / "metrics.jsonl").exists():
        time.sleep(0.01)
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGTERM)
    code, _, complaints = finished(process, 60)
    assert (code, complaints) == (0, "")
    assert read_checkpoint(newest(run))[0]["learning"]["collector"]["num_dropped"] == 0


@pytest.mark.slow
def test_the_second_signal_ends_it_at_once(tmp_path):
    run = tmp_path / "run"
    process = command("train", "ppo", "--env", SWINGUP, "--steps", "1000000", "--run", str(run))
    while process.poll() is None and not (run / "metrics.jsonl").exists():
        time.sleep(0.01)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    code, _, complaints = finished(process, 10)
    assert code in (0, 130)  # 0 if it had saved by then
    assert "Traceback" not in complaints


def test_handlers_are_put_back_after_a_training(tmp_path):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with signal_at(9):
        train(config("ppo analytic", tmp_path / "run"))
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


@pytest.mark.slow
def test_a_request_during_an_evaluation_is_obeyed_and_the_evaluation_made_up(tmp_path, monkeypatch):
    evaluated = []

    def evaluate(*arguments, **options):
        evaluated.append(options["episodes"])
        if len(evaluated) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*arguments, **options)

    real = robolearn.session.evaluate
    monkeypatch.setattr(robolearn.session, "evaluate", evaluate)
    assert train(config("ppo analytic", tmp_path / "run")).interrupted
    assert evaluated == [2, 2]
    monkeypatch.setattr(robolearn.session, "evaluate", real)
    whole = train(config("ppo analytic", tmp_path / "whole")).run.path
    resume(tmp_path / "run")
    assert_same(whole, tmp_path / "run")
