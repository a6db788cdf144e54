"""A run folder never touches what was there, and keeps the checkpoints that matter."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from robolearn.errors import RobolearnError, RobolearnWarning
from robolearn.runs.checkpoint import write_checkpoint
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
    """Leave checkpoints of these numbers of steps, oldest first."""
    for count in steps:
        write_checkpoint(run.checkpoint(count), {"steps": count}, {})
        run.point("last", run.checkpoint(count))


def damage(run, steps):
    (run.checkpoint(steps) / "state.json").write_text("nonsense")


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


def test_a_checkpoint_folder_is_found_as_itself(run):
    make(run, 10, 20)
    assert find_checkpoint(run.checkpoint(10)) == run.checkpoint(10)


def test_a_damaged_checkpoint_that_was_named_itself_is_refused(run):
    make(run, 10, 20)
    damage(run, 10)
    with pytest.raises(RobolearnError, match=r"state\.json is damaged"):
        find_checkpoint(run.checkpoint(10))


@pytest.mark.parametrize(
    ("damaged", "expected"),
    [((10,), 30), ((10, 30), 20)],
    ids=["the best", "the best and the last"],
)
def test_a_damaged_checkpoint_is_passed_over_and_named(run, damaged, expected):
    make(run, 10)
    run.point("best", run.checkpoint(10))
    make(run, 20, 30)
    for steps in damaged:
        damage(run, steps)
    with pytest.warns(RobolearnWarning) as warned:
        assert find_checkpoint(run.path) == run.checkpoint(expected)
    assert len(warned) == len(damaged)
    for steps, warning in zip(damaged, warned, strict=True):
        assert f"{run.checkpoint(steps)}/state.json is damaged" in str(warning.message)
        assert f"Using {run.checkpoint(expected)} instead" in str(warning.message)


def test_a_damaged_checkpoint_that_is_not_wanted_is_not_spoken_of(run):
    make(run, 10, 20)
    run.point("best", run.checkpoint(10))
    damage(run, 20)
    assert find_checkpoint(run.path) == run.checkpoint(10)


def test_a_pointer_that_is_damaged_is_passed_over_and_named(run):
    make(run, 10, 20)
    (run.checkpoints / "best").write_text("../../etc\n")
    with pytest.warns(RobolearnWarning, match=r"best must name a checkpoint .* Looking at others"):
        assert find_checkpoint(run.path) == run.checkpoint(20)


def test_a_run_of_damaged_checkpoints_says_so(run):
    make(run, 10, 20)
    damage(run, 10)
    damage(run, 20)
    with pytest.raises(RobolearnError, match=r"20/state\.json is damaged"):
        find_checkpoint(run.path)


# Going on with a run.


def test_stored_checkpoints_come_newest_first_whatever_their_names_are(run):
    assert run.stored() == []
    for steps in (999_999_999, 5, 1_000_000_000):
        run.checkpoint(steps).mkdir()
    for other in (".000000007.123.tmp", "12", "last.txt", "notes"):
        (run.checkpoints / other).mkdir()
    found = [int(path.name) for path in run.stored()]
    assert found == [1_000_000_000, 999_999_999, 5]


def test_a_run_whose_checkpoints_are_gone_has_none_stored(run):
    run.checkpoints.rmdir()
    assert run.stored() == []


def test_sweeping_deletes_what_a_kill_left_half_written_and_nothing_else(run):
    make(run, 10, 20)
    (run.checkpoints / "notes").mkdir()
    expected = sorted(path.name for path in run.checkpoints.iterdir())
    half = run.checkpoints / ".000000030.123.tmp"
    half.mkdir()
    (half / "net.safetensors").write_bytes(b"half")
    (run.checkpoints / ".000000020.123.old").mkdir()
    (run.checkpoints / ".last.tmp").write_text("0000")
    run.sweep()
    assert sorted(path.name for path in run.checkpoints.iterdir()) == expected


def test_what_is_newer_than_where_a_run_goes_on_is_forgotten(run):
    make(run, 10, 20)
    for steps in (30, 1_000_000_000):
        run.checkpoint(steps).mkdir()  # damaged: empty
    (run.checkpoints / "notes").mkdir()
    run.forget_after(run.checkpoint(20))
    assert kept_checkpoints(run) == [10, 20]
    assert (run.checkpoints / "notes").is_dir()
    run.forget_after(run.checkpoint(20))
    assert kept_checkpoints(run) == [10, 20]


def kept_checkpoints(run):
    return sorted(int(path.name) for path in run.stored())


LOCKING = """
import sys
from pathlib import Path
from robolearn.errors import RobolearnError
from robolearn.runs.run import RunFolder
try:
    with RunFolder(Path(sys.argv[1])).lock():
        print("locked", flush=True)
        sys.stdin.read()
except RobolearnError as error:
    sys.exit(f"{error.exit_code} {error}")
"""


def locking(run):
    """Start another process that locks the run until its input ends."""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen([sys.executable, "-c", LOCKING, str(run.path)], text=True, **pipes)


@pytest.mark.slow
def test_a_run_that_is_trained_is_locked_to_other_processes(run):
    with run.lock():
        out, complaint = locking(run).communicate(timeout=60)
    assert out == ""
    assert complaint == (
        f"2 {run.path} is being trained by another process. Wait for it, or stop it.\n"
    )
    out, complaint = locking(run).communicate(timeout=60)
    assert (out, complaint) == ("locked\n", "")


@pytest.mark.slow
def test_a_killed_process_leaves_no_lock_behind(run):
    other = locking(run)
    assert other.stdout.readline() == "locked\n"
    with pytest.raises(RobolearnError, match="is being trained by another process"), run.lock():
        pass
    other.kill()
    other.communicate(timeout=60)
    with run.lock():
        pass


def test_a_lock_is_freed_when_training_fails(run):
    with pytest.raises(ZeroDivisionError), run.lock():
        raise ZeroDivisionError
    with run.lock():
        pass


def test_what_is_told_is_added_to_what_made_the_run(run):
    made = json.loads((run.path / "meta.json").read_text())
    run.tell("resumed", {"steps": 10})
    run.tell("resumed", {"steps": 20})
    assert json.loads((run.path / "meta.json").read_text()) == {
        **made,
        "resumed": [{"steps": 10}, {"steps": 20}],
    }


def test_what_is_told_of_a_run_whose_meta_is_gone_is_kept(run):
    (run.path / "meta.json").unlink()
    run.tell("resumed", {"steps": 10})
    assert json.loads((run.path / "meta.json").read_text()) == {"resumed": [{"steps": 10}]}


def test_a_run_is_evaluated_once_its_evaluation_is_written(run):
    assert not run.evaluated
    run.write_evaluation({"mean": 3.0})
    assert run.evaluated
    assert json.loads((run.path / "eval.json").read_text()) == {"mean": 3.0}


def test_a_run_without_a_checkpoint_says_so(run):
    with pytest.raises(RobolearnError, match="has no checkpoint yet"):
        find_checkpoint(run.path)
