"""A run folder never touches what was there, and keeps the checkpoints that matter."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from robolearn.errors import RobolearnError
from robolearn.runs.run import RunFolder, claim_folder, find_checkpoint


@dataclass(frozen=True)
class Settings:
    gain: float = 0.5
    where: Path = Path("runs/x")
    widths: tuple[int, ...] = (3, 4)


@pytest.fixture
def run(tmp_path):
    return RunFolder.create(tmp_path / "run", Settings())


def make(run, *steps):
    """Leave folders as checkpoints of these numbers of steps, oldest first."""
    for count in steps:
        run.checkpoint(count).mkdir()
        run.point("last", run.checkpoint(count))


def kept(run):
    return sorted(int(path.name) for path in run.checkpoints.iterdir() if path.is_dir())


def test_a_new_run_says_how_and_by_what_it_was_made(run):
    assert run.config() == {"gain": 0.5, "where": "runs/x", "widths": [3, 4]}
    meta = json.loads((run.path / "meta.json").read_text())
    assert meta.keys() == {"command", "started", "versions", "hardware", "git"}
    assert {"python", "robolearn", "torch", "gymnasium"} <= meta["versions"].keys()
    assert run.checkpoints.is_dir()


def test_parents_are_made(tmp_path):
    assert RunFolder.create(tmp_path / "a" / "b", Settings()).path.is_dir()


def test_an_empty_folder_may_become_a_run(tmp_path):
    assert RunFolder.create(tmp_path, Settings()).config()["gain"] == 0.5


def test_a_folder_with_something_in_it_is_refused_and_unchanged(run):
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    with pytest.raises(RobolearnError, match="already holds something; nothing was changed"):
        RunFolder.create(run.path, Settings(gain=9))
    after = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    assert after == before


def test_a_file_in_the_way_is_refused_and_unchanged(tmp_path):
    (tmp_path / "run").write_text("mine")
    with pytest.raises(RobolearnError, match="already holds something"):
        RunFolder.create(tmp_path / "run", Settings())
    assert (tmp_path / "run").read_text() == "mine"


def test_a_path_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RobolearnError, match=r"Cannot write to .*Not a directory"):
        RunFolder.create(tmp_path / "file" / "run", Settings())
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_place_nobody_can_write_is_refused():
    with pytest.raises(RobolearnError, match="Cannot write to /proc/run"):
        RunFolder.create(Path("/proc/run"), Settings())


def test_claiming_leaves_nothing_in_the_folder(tmp_path):
    claim_folder(tmp_path / "x", "run")
    assert list((tmp_path / "x").iterdir()) == []


def test_only_a_folder_with_a_config_is_a_run(tmp_path, run):
    assert RunFolder.open(run.path) == run
    with pytest.raises(RobolearnError, match=r"holds no run .*robolearn train"):
        RunFolder.open(tmp_path / "elsewhere")


def test_the_newest_two_checkpoints_are_kept(run):
    make(run, 10, 20, 30, 40)
    assert kept(run) == [30, 40]


def test_the_best_checkpoint_is_kept_however_old(run):
    make(run, 10)
    run.point("best", run.checkpoint(10))
    make(run, 20, 30, 40)
    assert kept(run) == [10, 30, 40]


def test_a_checkpoint_that_is_no_longer_the_best_goes(run):
    make(run, 10)
    run.point("best", run.checkpoint(10))
    make(run, 20, 30, 40)
    run.point("best", run.checkpoint(40))
    assert kept(run) == [30, 40]


def test_steps_are_compared_as_numbers(run):
    # As text 1000000000 comes before 999999998.
    make(run, 999_999_998, 999_999_999, 1_000_000_000)
    assert kept(run) == [999_999_999, 1_000_000_000]


def test_what_is_no_checkpoint_is_not_deleted(run):
    (run.checkpoints / "notes").mkdir()
    make(run, 10, 20, 30, 40)
    assert (run.checkpoints / "notes").is_dir()


def test_pointers_name_their_checkpoints(run):
    make(run, 10)
    assert run.pointed("last") == run.checkpoint(10)
    assert run.pointed("best") is None


@pytest.mark.parametrize("content", [b"../../etc\n", b"", b"\xff\xfe000000010", b"/etc/passwd"])
def test_a_pointer_that_names_no_checkpoint_is_refused(run, content):
    (run.checkpoints / "last").write_bytes(content)
    with pytest.raises(RobolearnError, match="must name a checkpoint folder"):
        run.pointed("last")


def test_the_best_checkpoint_is_found_before_the_last(run):
    make(run, 10, 20)
    assert find_checkpoint(run.path) == run.checkpoint(20)
    run.point("best", run.checkpoint(10))
    assert find_checkpoint(run.path) == run.checkpoint(10)


def test_a_checkpoint_folder_is_found_as_itself(tmp_path):
    (tmp_path / "manifest.json").write_text("{}")
    assert find_checkpoint(tmp_path) == tmp_path


def test_a_run_without_a_checkpoint_says_so(run):
    with pytest.raises(RobolearnError, match="has no checkpoint yet"):
        find_checkpoint(run.path)
