"""quickstart; tests/test_wheel.py runs all of it."""

import pytest

from robolearn.cli import main
from robolearn.commands.quickstart import free_name


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
