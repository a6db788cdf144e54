"""``robolearn compare``, from the command line to what it leaves behind."""

import io
import json
from contextlib import redirect_stderr
from functools import partial

import gymnasium as gym
import numpy as np
import pytest
from rich.console import Console

from robolearn.cli import main
from robolearn.commands import compare as command
from robolearn.compare import films
from robolearn.compare.contestants import CompareConfig
from robolearn.compare.errand import Failure
from robolearn.compare.runner import read_cells
from robolearn.compare.training import Progress
from robolearn.environments import EnvConfig

BALANCE = EnvConfig(id="robolearn/CartPoleBalance-v0", engine="analytic")
SMALL = ("--engine", "analytic", "--steps", "256", "--episodes", "2", "--device", "cpu")


def refused(capsys, *arguments):
    """Run a comparison that must be refused, and return its one line of complaint."""
    assert main(("compare", *arguments)) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return said.err


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished comparison of one agent, and what was said meanwhile."""
    out, said = tmp_path_factory.mktemp("done") / "out", io.StringIO()
    with redirect_stderr(said), pytest.MonkeyPatch.context() as patch:
        patch.setattr(films, "PANE", (96, 72))  # as large ones take longer to draw
        patch.setattr(films, "render_video", partial(films.render_video, num_workers=1))
        assert main(("compare", "dqn", *SMALL, "--seeds", "2", "--out", str(out))) == 0
    return out, said.getvalue()


@pytest.mark.slow
def test_videos_are_in_the_report_unless_they_are_not_wanted(done, tmp_path):
    out, _ = done
    videos = {path.name for path in (out / "videos").iterdir()}
    assert videos == {"side-by-side.mp4", "progress.mp4", "seeds.mp4"}
    assert (out / "report.html").read_text().count("<video ") == 3
    bare = tmp_path / "bare"
    plain = ("compare", "dqn", *SMALL, "--seeds", "1", "--no-videos", "--out", str(bare))
    assert main(plain) == 0
    assert not (bare / "videos").exists()
    assert "<video " not in (bare / "report.html").read_text()


def test_progress_is_told_on_stderr_and_the_report_on_stdout(done, capsys):
    out, said = done
    assert "2 of 2 trainings done" in said
    assert said.endswith("\n")
    again = ("compare", "dqn", *SMALL, "--seeds", "2", "--no-videos", "--out", str(out))
    assert main(again) == 0
    printed = capsys.readouterr().out
    assert "IQM of return" in printed
    assert printed.splitlines()[-1].endswith("report.html, report.md, table.csv.")
    assert "\N{HORIZONTAL ELLIPSIS}" not in printed


def test_json_is_one_object_with_the_threshold_asked_for(done, capsys):
    out, _ = done
    few = ("--seeds", "2", "--no-videos", "--threshold", "-1", "--json")
    assert main(("compare", "dqn", *SMALL, *few, "--out", str(out))) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["env"], told["threshold"], told["pairs"]) == (BALANCE.id, -1.0, [])
    (row,) = told["rows"]
    assert (row["agent"], row["seeds"], row["reached"], row["steps_to_bar"]) == ("dqn", 2, 2, 0)
    assert row["mean_return"] == pytest.approx(np.mean([c.mean_return for c in read_cells(out)]))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("ppo", "sb3-pop"), "Unknown agent 'sb3-pop'. Did you mean 'sb3-ppo'?"),
        (("ppo", "--steps", "0"), "steps must be at least 1, got 0."),
        (("ppo", "--seeds", "0"), "seeds must be at least 1, got 0."),
        (("ppo", "--jobs", "-2"), "jobs must be at least 1, got -2."),
        (("ppo", "--threshold", "nan"), "threshold must be a number, got nan."),
        (("ppo", "dqn", "--env", "Pendulum-v1"), "needs Discrete actions, got Box"),
        (("ppo", "--env", "CartPole-v9"), "CartPole-v9"),
    ],
)
def test_bad_input_is_refused_in_one_line_before_a_folder_is_made(
    arguments, words, tmp_path, capsys
):
    assert words in refused(capsys, *arguments, "--out", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_another_comparison_in_the_folder_is_refused_and_nothing_changed(done, capsys):
    out, _ = done
    before = contents(out)
    said = refused(capsys, "dqn", *SMALL, "--steps", "999", "--seeds", "2", "--out", str(out))
    assert f"{out} holds steps=256, got 999; nothing was changed." in said
    assert contents(out) == before


def test_a_folder_of_something_else_is_left_alone(tmp_path, capsys):
    (tmp_path / "config.yaml").write_text("agent: ppo\nsteps: 256\n")
    said = refused(capsys, "ppo", *SMALL, "--out", str(tmp_path))
    assert "nothing was changed" in said
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_a_damaged_line_is_one_line_of_complaint(done, tmp_path, capsys):
    out, _ = done
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("config.yaml", "meta.json"):
        (copy / name).write_bytes((out / name).read_bytes())
    first, second = (out / "cells.jsonl").read_text().splitlines()
    (copy / "cells.jsonl").write_text(f"{first}\n{second[:50]}\n")
    said = refused(capsys, "dqn", *SMALL, "--seeds", "2", "--out", str(copy))
    assert f"Line 2 of {copy / 'cells.jsonl'} is damaged" in said


def test_ctrl_c_says_so_and_keeps_what_was_finished(tmp_path, capsys, monkeypatch):
    hear = command.Board.hear

    def interrupt(board, report):
        hear(board, report)
        if isinstance(report, Progress) and report.seed == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(command.Board, "hear", interrupt)
    out = tmp_path / "out"
    assert main(("compare", "dqn", *SMALL, "--seeds", "2", "--out", str(out))) == 130
    said = capsys.readouterr()
    assert said.err.splitlines()[-1] == "robolearn: stopped."
    assert said.out == ""
    assert [cell.seed for cell in read_cells(out)] == [0]


class Blank(gym.Env):
    """Has no pictures; ends after five steps."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (2,))
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.steps += 1
        return np.zeros(2, np.float32), 1.0, False, self.steps == 5, {}


@pytest.mark.slow
def test_an_environment_without_pictures_is_reported_without_videos(tmp_path, capsys):
    if "tests/Blank-v0" not in gym.registry:
        gym.register("tests/Blank-v0", Blank, disable_env_checker=True)
    few = ("--env", "tests/Blank-v0", "--steps", "64", "--seeds", "1", "--episodes", "2")
    assert main(("compare", "dqn", *few, "--out", str(tmp_path / "out"))) == 0
    assert "robolearn: No videos: " in capsys.readouterr().err
    assert "<video " not in (tmp_path / "out" / "report.html").read_text()


def test_each_of_sb3s_agents_has_its_twin_behind_it():
    assert command._with_batches(("ppo", "sb3-ppo", "dqn", "sb3-dqn")) == (
        *("ppo", "sb3-ppo", "sb3-ppo-batch", "dqn", "sb3-dqn", "sb3-dqn-batch"),
    )
    assert command._with_batches(("sb3-ppo-batch", "sb3-ppo")) == ("sb3-ppo-batch", "sb3-ppo")


def test_the_board_tells_how_far_each_training_is(done, tmp_path):
    cell = read_cells(done[0])[0]
    config = CompareConfig(agents=("dqn", "ppo"), env=BALANCE, steps=1, seeds=2, out=tmp_path)
    board = command.Board(config)
    board.hear(cell)
    board.hear(Progress("dqn", 1, 0.25, 12.34))
    board.hear(Failure("ppo", 0, "nan"))
    console = Console(width=80)
    with console.capture() as captured:
        console.print(board.table())
    title, _, *lines = [line.split() for line in captured.get().splitlines()]
    assert title == ["2", "of", "4", "trainings", "done"]
    assert lines[0] == ["dqn", f"{cell.mean_return:.1f}", "12.3", "at", "25%"]
    assert lines[1] == ["ppo", "broke", "down", "-"]
