"""From train to eval to record, on a few steps."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from robolearn.agents.dqn import RAINBOW
from robolearn.agents.load import load_agent
from robolearn.agents.ppo import PPO
from robolearn.cli import main
from robolearn.runs.checkpoint import read_checkpoint
from robolearn.video import background
from robolearn.video.background import BackgroundVideoRecorder
from robolearn_envs.engines.base import SimulationError

BALANCE = "robolearn/CartPoleBalance-v0"
SMALL = ("--num-envs", "4", "--n-steps", "32", "--batch-size", "64", "--hidden-sizes", "16")
SMALL = (*SMALL, "--test-episodes", "10")
CHECKPOINT = re.compile(r"\d{9}")


def command(run, *options, steps=1024, seed=0):
    where = ("--env", BALANCE, "--engine", "analytic", "--run", str(run))
    return ("train", "ppo", *where, "--steps", str(steps), "--seed", str(seed), *SMALL, *options)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run; nobody changes it."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    assert main(command(folder)) == 0
    return folder


def metrics(run):
    """The lines of metrics.jsonl without what depends on the clock."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "time/fps"} for line in lines]


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def one_object(capsys):
    """The JSON object that is all of the standard output."""
    said = capsys.readouterr().out
    return json.loads(said)


# train


@pytest.mark.slow
def test_a_run_folder_holds_what_the_design_says(run):
    names = {path.name for path in run.iterdir()}
    told = {"config.yaml", "meta.json", "metrics.jsonl", "tb", "checkpoints", "eval.json"}
    assert names == told | {".lock"}  # by which it is kept to one process
    stored = {path.name for path in (run / "checkpoints").iterdir()}
    assert {"last", "best"} <= stored
    steps = {name for name in stored if CHECKPOINT.fullmatch(name)}
    assert stored == steps | {"last", "best"}
    assert "000001024" in steps
    assert len(steps) <= 3
    assert (run / "checkpoints" / "last").read_text() == "000001024\n"


def test_the_config_says_everything_that_was_asked(run):
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["agent"] == "ppo"
    keeping = {"num_workers": 0, "step_timeout": 60.0, "on_divergence": "raise"}
    assert config["env"] == {"id": BALANCE, "engine": "analytic", "kwargs": {}, **keeping}
    assert config["steps"] == 1024
    assert config["hyper"]["n_steps"] == 32
    assert config["hyper"]["learning_rate"] == 3e-3  # tuned for this environment


def test_the_last_checkpoint_has_made_all_steps(run):
    assert read_checkpoint(run / "checkpoints" / "000001024")[0]["counters"]["steps"] == 1024


def test_metrics_tell_updates_and_evaluations(run):
    lines = metrics(run)
    # 1024 steps in rollouts of 4 * 32 = 128: eight updates.
    assert [line["steps"] for line in lines if "train/policy_gradient_loss" in line] == list(
        range(128, 1025, 128)
    )
    assert [line["steps"] for line in lines[-2:]] == [1024, 1024]
    assert "eval/mean_reward" in lines[-2]
    assert "test/mean_reward" in lines[-1]


def test_the_final_evaluation_is_written(run):
    figures = json.loads((run / "eval.json").read_text())
    assert figures["env"] == BALANCE
    assert figures["steps"] == 1024
    assert figures["episodes"] == 10
    assert figures["mean_return"] == metrics(run)[-1]["test/mean_reward"]


@pytest.mark.slow
def test_the_same_seed_twice_gives_the_same_run(run, tmp_path, capsys):
    assert main(command(tmp_path / "again")) == 0
    assert metrics(tmp_path / "again") == metrics(run)
    weights = [
        (folder / "checkpoints" / "000001024" / "net.safetensors").read_bytes()
        for folder in (run, tmp_path / "again")
    ]
    assert weights[0] == weights[1]


def test_another_seed_gives_another_run(run, tmp_path):
    assert main(command(tmp_path / "other", seed=1)) == 0
    assert metrics(tmp_path / "other") != metrics(run)


def test_a_run_already_there_is_left_as_it_is(run, capsys):
    before = content(run)
    assert main(command(run)) == 2
    assert "nothing was changed" in capsys.readouterr().err
    assert content(run) == before


def test_train_as_json_is_one_object(tmp_path, capsys):
    assert main(command(tmp_path / "run", "--json", steps=128)) == 0
    figures = one_object(capsys)
    assert figures["run"] == str(tmp_path / "run")
    assert figures["steps"] == 128
    assert figures["episodes"] == 10
    assert figures["seconds"] > 0


def test_train_says_how_to_go_on(tmp_path, capsys):
    assert main(command(tmp_path / "run", steps=128)) == 0
    said = capsys.readouterr().out
    assert said.startswith("Done after 128 steps")
    assert f"robolearn record {tmp_path / 'run'} --out" in said


def test_checkpoints_come_as_often_as_asked(tmp_path):
    assert main(command(tmp_path / "run", "--save-every", "256", "--eval-every", "1024")) == 0
    stored = [path.name for path in (tmp_path / "run" / "checkpoints").iterdir() if path.is_dir()]
    assert sorted(stored) == ["000000768", "000001024"]  # the newest two
    evaluated = [line["steps"] for line in metrics(tmp_path / "run") if "eval/mean_reward" in line]
    assert set(evaluated) == {1024}


def test_a_gymnasium_environment_is_trained_by_its_id(tmp_path, capsys):
    options = ("--env", "CartPole-v1", "--run", str(tmp_path / "run"), "--steps", "128", "--json")
    assert main(("train", "dqn", *options)) == 0
    assert one_object(capsys)["success_rate"] is None


# eval


def test_rainbow_is_all_of_its_parts_over_the_tuned_settings(tmp_path):
    small = ["--num-envs", "4", "--hidden-sizes", "8", "--buffer-size", "400", "--steps", "64"]
    quick = ["--eval-episodes", "1", "--test-episodes", "1", "--run", str(tmp_path / "run")]
    command = ["train", "dqn", "--env", "CartPole-v1", "--rainbow", *small, *quick]
    assert main([*command, "--n-step", "2", "--gamma", "0.9", "--device", "cpu"]) == 0
    hyper = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["hyper"]
    assert {name: hyper[name] for name in RAINBOW} == {**RAINBOW, "n_step": 2}
    agent = load_agent(tmp_path / "run")
    assert (agent.config.v_min, agent.config.v_max) == pytest.approx((0.0, 10.0))


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["--no-double-q"], "--rainbow sets double_q=True, got double_q=False. Leave out one"),
        (["--no-noisy-nets"], "--rainbow sets noisy_nets=True, got noisy_nets=False"),
        (
            ["--value-distribution", "none"],
            "--rainbow sets value_distribution=c51, got value_distribution=none",
        ),
        (["--n-step", "1"], "--rainbow sets n_step=3, got n_step=1"),
    ],
)
def test_options_that_contradict_rainbow_are_refused(tmp_path, capsys, option, words):
    command = ["train", "dqn", "--env", "CartPole-v1", "--rainbow", *option]
    assert main([*command, "--run", str(tmp_path / "run")]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_eval_as_json_is_one_object(run, capsys):
    assert main(["eval", str(run), "--episodes", "7", "--json"]) == 0
    figures = one_object(capsys)
    assert figures["episodes"] == 7
    assert (figures["env"], figures["engine"]) == (BALANCE, "analytic")


def test_eval_of_the_last_checkpoint_repeats_the_runs_own_evaluation(run, capsys):
    last = run / "checkpoints" / "000001024"
    assert main(["eval", str(last), "--episodes", "10", "--json"]) == 0
    own = json.loads((run / "eval.json").read_text())
    assert one_object(capsys)["mean_return"] == own["mean_return"]


def test_eval_on_another_engine_and_with_randomization(run, capsys):
    options = ("--engine", "mujoco", "--domain-randomization", "0.1", "--episodes", "3", "--json")
    assert main(["eval", str(run), *options]) == 0
    assert one_object(capsys)["engine"] == "mujoco"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--episodes", "0"], "episodes must be at least 1, got 0"),
        (["--engine", "bulet"], "'bullet'"),
        (["--env", "robolearn/CartPoleSwingUp-v0"], "does not fit"),
        (["--env", "CartPole-v7"], "Did you mean 'CartPole-v1'?"),
        (["--domain-randomization", "2"], "domain_randomization must lie in [0, 1)"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_evaluated_is_said_in_a_line(run, capsys, options, words):
    assert main(["eval", str(run), *options]) == 2
    said = capsys.readouterr()
    assert words in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


# record


@pytest.mark.slow
def test_record_writes_the_video_and_says_so(run, tmp_path, capsys):
    out = tmp_path / "x.mp4"
    assert main(["record", str(run), "--out", str(out), "--size", "160x120", "--json"]) == 0
    figures = one_object(capsys)
    assert figures["video"] == str(out)
    assert figures["steps"] == figures["returns"][0]
    assert figures["frames"] == figures["steps"] + 1 + 50  # the start, and a second for the end
    assert out.read_bytes()[4:8] == b"ftyp"
    assert [path.name for path in tmp_path.iterdir()] == ["x.mp4"]


TINY = ("--size", "128x96", "--json")


@pytest.mark.slow
def test_agents_are_shown_side_by_side_from_the_same_start(run, tmp_path, capsys):
    out, kept = tmp_path / "x.png", tmp_path / "mine.npz"
    assert main(["record", str(run), "--out", str(out), "--keep", str(kept), *TINY]) == 0
    alone = one_object(capsys)["returns"]
    both = ["record", str(run), "expert", str(kept), "--out", str(tmp_path / "y.png"), *TINY]
    assert main(both) == 0
    mine, expert, again = one_object(capsys)["returns"]
    assert [mine] == [again] == alone
    assert expert == 500


@pytest.mark.slow
def test_agents_that_do_not_begin_alike_are_refused(run, tmp_path, capsys):
    out, kept = tmp_path / "x.png", tmp_path / "mine.npz"
    assert main(["record", str(run), "--out", str(out), "--keep", str(kept), *TINY]) == 0
    capsys.readouterr()
    other = ["record", str(run), str(kept), "--seed", "1", "--out", str(tmp_path / "y.png")]
    assert main(other) == 2
    assert "do not begin in the same state" in capsys.readouterr().err


@pytest.mark.slow
def test_a_grid_shows_as_many_seeds_as_eval_counts(run, tmp_path, capsys):
    out = tmp_path / "x.png"
    assert main(["record", str(run), "--grid", "3", "--out", str(out), *TINY]) == 0
    returns = one_object(capsys)["returns"]
    assert main(["eval", str(run), "--episodes", "3", "--json"]) == 0
    assert sum(returns) / 3 == pytest.approx(one_object(capsys)["mean_return"])


@pytest.mark.slow
def test_an_existing_video_is_kept_unless_told_otherwise(run, tmp_path, capsys):
    out = tmp_path / "x.mp4"
    out.write_bytes(b"mine")
    arguments = ["record", str(run), "--out", str(out), "--size", "160x120"]
    assert main(arguments) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert out.read_bytes() == b"mine"
    assert main([*arguments, "--overwrite"]) == 0
    assert out.read_bytes()[4:8] == b"ftyp"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--size", "161x120"], "two even numbers such as 640x480, got '161x120'"),
        (["--size", "big"], "got 'big'"),
        (["--size", "0x0"], "got '0x0'"),
        (["--stride", "0"], "stride must be at least 1, got 0"),
        (["--episodes", "0"], "episodes must be at least 1, got 0"),
        (["--fps", "0"], "at least 1 frame per second, got 0"),
        (["--out", "x.avi"], "Videos are .mp4, .webm, .gif, .png files, got 'x.avi'"),
        (["--camera", "top"], "Only navigation has cameras to choose from, got 'top'"),
        (["--grid", "4", "--progress"], "--grid and --progress do not go together"),
        (["--grid", "0"], "grid must be at least 1, got 0"),
        (["--grid", "65"], "at most 64 panes, got 65"),
        (["--progress", "--seed", "1"], "leave out --seed"),
        (["--speed", "1e-9"], "at most 200,000 frames"),
        (["--progress"], "kept 0 rollouts of its training"),
        (["--keep", "x.mp4"], "*.npz, got 'x.mp4'"),
        (["--at", "3"], "at_step is for pictures"),
        (["--out", "/dev/null/x.mp4"], "choose another --out"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_recorded_is_said_in_a_line(
    run, tmp_path, capsys, monkeypatch, options, words
):
    monkeypatch.chdir(tmp_path)
    assert main(["record", str(run), "--out", "x.mp4", *options]) == 2
    said = capsys.readouterr()
    assert words in said.err
    assert said.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("what", "options", "words"),
    [
        (["expert"] * 65, [], "at most 64 panes, got 65"),
        (["a.npz"], ["--seed", "1"], "leave out --seed"),
        (["a.npz", "b.npz"], ["--seed", "1"], "leave out --seed"),
        (["a.npz"], ["--level", "2", "--split", "val"], "leave out --level and --split"),
        (["a.npz", "expert"], ["--engine", "bullet"], "leave out --engine"),
        (["a.npz"], ["--grid", "1"], "leave out --grid"),
        (["--from-dump", "a"], ["--seed", "1"], "leave out --seed"),
        (["--from-dump", "a"], ["--env", BALANCE], "leave out --env"),
        (["--from-dump", "a"], ["--stride", "2", "--jobs", "1"], "out --stride and --jobs"),
        (["--from-dump", "a"], ["--fps", "9", "--speed", "2"], "out --fps and --speed"),
        (["--from-dump", "a"], ["--at", "3", "--no-overlay"], "out --at and --no-overlay"),
    ],
    ids=lambda value: " ".join(value[:4]) if isinstance(value, list) else "",
)
def test_options_that_nothing_would_come_of_are_refused(
    tmp_path, capsys, monkeypatch, what, options, words
):
    monkeypatch.chdir(tmp_path)
    assert main(["record", *what, "--out", "x.mp4", *options]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.slow
def test_an_existing_rollout_is_kept_unless_told_otherwise(run, tmp_path, capsys):
    kept = tmp_path / "mine.npz"
    kept.write_bytes(b"mine")
    arguments = ["record", str(run), "--out", str(tmp_path / "x.png"), "--keep", str(kept), *TINY]
    assert main(arguments) == 2
    assert "choose another --keep or pass --overwrite" in capsys.readouterr().err
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"mine"]
    assert main([*arguments, "--overwrite"]) == 0
    assert kept.read_bytes() != b"mine"


@pytest.mark.parametrize("steps", ["abc", "[1]", "-3", "1" + "0" * 400])
def test_progress_of_a_damaged_run_is_refused_in_a_line(run, tmp_path, capsys, steps):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    config = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(re.sub(r"(?m)^steps:.*$", f"steps: {steps}", config))
    (copy / "rollouts").mkdir()
    for name in ("000000000.npz", "000001024.npz", "\N{SUPERSCRIPT TWO}.npz"):
        (copy / "rollouts" / name).touch()
    assert main(["record", str(copy), "--progress", "--out", str(tmp_path / "x.mp4")]) == 2
    said = capsys.readouterr().err
    assert "config.yaml is damaged: steps must be a whole number, got" in said
    assert said.count("\n") == 1


@pytest.mark.slow
def test_videos_on_the_way_are_made_in_the_background(tmp_path, capfd):
    # An untrained agent's pole soon falls, and Gymnasium's pictures are drawn in 3 ms.
    short = ("--env", "CartPole-v1", "--steps", "128", "--run", str(tmp_path / "run"), *SMALL)
    assert main(("train", "ppo", *short, "--video-every", "128")) == 0
    videos = tmp_path / "run" / "videos"
    assert sorted(path.name for path in videos.iterdir()) == ["000000000.mp4", "000000128.mp4"]
    assert (videos / "000000128.mp4").read_bytes()[4:8] == b"ftyp"
    assert "No video" not in capfd.readouterr().out
    kept = tmp_path / "run" / "rollouts"
    assert sorted(path.name for path in kept.iterdir()) == ["000000000.npz", "000000128.npz"]
    montage = ["record", str(tmp_path / "run"), "--progress", "--json"]
    assert main([*montage, "--out", str(tmp_path / "x.mp4")]) == 0
    assert len(one_object(capfd)["returns"]) == 2


def test_a_video_waits_until_it_takes_no_more_than_its_share_of_the_training(
    run, tmp_path, monkeypatch
):
    now = [1000.0]
    monkeypatch.setattr(background, "time", SimpleNamespace(monotonic=lambda: now[0]))
    (tmp_path / "videos").mkdir()
    videos = BackgroundVideoRecorder(tmp_path / "videos")
    videos.request(load_agent(run), 7)
    now[0] += 199.0  # the first video is estimated to take 10 s, a twentieth of 200 s
    videos.poll()
    waited = videos._running is None
    now[0] += 1.0
    videos.poll()
    began = videos._running is not None
    videos.cancel()
    assert waited
    assert began


@pytest.mark.slow
def test_a_rollout_left_by_a_killed_recording_is_replaced(tmp_path):
    folder = tmp_path / "videos"
    left = tmp_path / "rollouts" / "000000007.npz"
    for path in (folder, left.parent):
        path.mkdir()
    left.write_bytes(b"left")
    videos = BackgroundVideoRecorder(folder)
    videos.request(PPO("CartPole-v1", device="cpu"), 7)
    videos.finish()
    assert videos.failures == []
    assert left.read_bytes() != b"left"


# Things that go wrong on the way, in a process of their own.


def robolearn(*arguments, **options):
    line = [sys.executable, "-m", "robolearn", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(line, **pipes, **options)


def wait_for(path: Path, process):
    give_up = time.monotonic() + 60
    while not path.exists() and process.poll() is None and time.monotonic() < give_up:
        time.sleep(0.05)
    assert path.exists(), process.communicate()


@pytest.mark.slow
def test_ctrl_c_saves_and_says_so(tmp_path):
    run = tmp_path / "run"
    process = robolearn(*command(run, steps=100_000_000), "--save-every", "256")
    wait_for(run / "checkpoints" / "last", process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out.startswith("Stopped after ")
    assert "Traceback" not in err
    assert out.endswith(f" steps. Go on with: robolearn resume {run}\n")
    steps = int(out.split()[2].replace(",", ""))
    assert (run / "checkpoints" / "last").read_text() == f"{steps:09d}\n"
    assert load_agent(run / "checkpoints" / f"{steps:09d}").steps == steps
    assert not (run / "eval.json").exists()
    assert [path.name for path in run.rglob("*") if path.name.startswith(".")] == [".lock"]


@pytest.mark.slow
def test_a_full_disk_is_said_once_on_the_way_and_at_the_end(tmp_path):
    # Files may grow to 8 kB: the state does, the network's 100 kB do not.
    def little_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))

    run = tmp_path / "run"
    options = (*command(run), "--hidden-sizes", "128", "128")
    process = robolearn(*options, preexec_fn=little_room)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 3, err
    warned, failed = err.splitlines()
    assert warned.startswith(f"robolearn: Cannot save to {run / 'checkpoints' / '000000128'} (")
    assert warned.endswith("training goes on, and older checkpoints are as they were.")
    assert failed.startswith("robolearn: The last checkpoint could not be written: ")
    assert list((run / "checkpoints").iterdir()) == []


def test_figures_that_are_not_finite_end_the_run_with_code_4(tmp_path, capsys):
    assert main(command(tmp_path / "run", "--learning-rate", "1e38")) == 4
    said = capsys.readouterr().err
    assert "Try a lower learning_rate" in said
    assert said.count("\n") == 1


def test_a_run_that_breaks_down_gives_up_its_videos(tmp_path, capsys, monkeypatch):
    learn = PPO._update

    def update(agent, rollout):
        if agent.steps:
            raise SimulationError("the pole flew away")
        return learn(agent, rollout)

    monkeypatch.setattr(PPO, "_update", update)
    assert main(command(tmp_path / "run", "--video-every", "128")) == 4
    assert capsys.readouterr().err == "robolearn: the pole flew away\n"
    assert list((tmp_path / "run" / "videos").iterdir()) == []


def test_a_reader_that_goes_away_is_no_error():
    read, write = os.pipe()
    os.close(read)
    line = [sys.executable, "-m", "robolearn", "list"]
    done = subprocess.run(line, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert "Traceback" not in done.stderr
    assert done.stderr == ""
