"""quickstart, from the command line to what it leaves behind."""

import json

import pytest

from robolearn.cli import main
from robolearn.commands.quickstart import ENV, free_name


@pytest.mark.slow
def test_quickstart_trains_both_and_films_them_side_by_side(tmp_path, capsys):
    out, run = tmp_path / "videos" / "quickstart.mp4", tmp_path / "run"
    command = ("quickstart", "--steps", "4096", "--out", str(out), "--run", str(run), "--json")
    assert main(command) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["env"] == ENV
    assert [(row["agent"], row["engine"]) for row in figures["rows"]] == [
        ("robolearn PPO", "mujoco"),
        ("robolearn PPO", "bullet"),
        ("SB3 PPO", "mujoco"),
        ("SB3 PPO", "bullet"),
    ]
    assert all(row["episodes"] == 100 for row in figures["rows"])
    assert figures["video"] == str(out)
    assert out.stat().st_size > 10_000
    assert (run / "eval.json").is_file()


@pytest.mark.parametrize("out", ["clip.avi", "file/clip.mp4"])
def test_quickstart_refuses_a_video_it_cannot_write_before_it_trains(out, tmp_path, capsys):
    (tmp_path / "file").touch()
    run = tmp_path / "run"
    assert main(("quickstart", "--out", str(tmp_path / out), "--run", str(run))) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not run.exists()


def test_quickstart_takes_the_next_free_name(tmp_path):
    path = tmp_path / "quickstart.mp4"
    assert free_name(path) == path
    path.touch()
    (tmp_path / "quickstart-2.mp4").touch()
    assert free_name(path) == tmp_path / "quickstart-3.mp4"
