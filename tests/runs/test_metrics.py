"""Metrics are one JSON object a line, readable while the run goes on, and TensorBoard's events."""

import json
import os
import warnings
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from robolearn.errors import RobolearnWarning
from robolearn.runs.metrics import MetricsLog


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def events(folder):
    """What TensorBoard reads: steps and figures by name."""
    [path] = (folder / "tb").iterdir()
    reader = EventAccumulator(str(path), size_guidance={"scalars": 0})
    reader.Reload()
    return {
        name: [(event.step, event.value) for event in reader.Scalars(name)]
        for name in reader.Tags()["scalars"]
    }


def sizes(folder):
    [path] = (folder / "tb").iterdir()
    return {
        "metrics": (folder / "metrics.jsonl").stat().st_size,
        "events": path.stat().st_size,
    }


def test_each_report_is_a_line_at_once(tmp_path):
    log = MetricsLog(tmp_path)
    log.write(10, {"loss": 0.5})
    assert lines(tmp_path) == [{"steps": 10, "loss": 0.5}]
    log.write(20, {"loss": 0.25, "return": 3.0})
    assert lines(tmp_path)[1] == {"steps": 20, "loss": 0.25, "return": 3.0}


def test_figures_nobody_knows_yet_are_left_out(tmp_path):
    MetricsLog(tmp_path).write(10, {"loss": 0.5, "return": None})
    assert lines(tmp_path) == [{"steps": 10, "loss": 0.5}]
    assert events(tmp_path) == {"loss": [(10, 0.5)]}


def test_tensorboard_gets_them_too_at_once(tmp_path):
    log = MetricsLog(tmp_path)
    log.write(10, {"loss": 0.5})
    assert events(tmp_path) == {"loss": [(10, 0.5)]}
    log.write(20, {"loss": 0.25, "return": 3.0})
    assert events(tmp_path) == {"loss": [(10, 0.5), (20, 0.25)], "return": [(20, 3.0)]}
    assert [path.name[:19] for path in (tmp_path / "tb").iterdir()] == ["events.out.tfevents"]


def test_a_log_without_offsets_begins_anew(tmp_path):
    for steps in (10, 20):
        MetricsLog(tmp_path).write(steps, {"loss": 0.5})
    assert lines(tmp_path) == [{"steps": 20, "loss": 0.5}]
    assert events(tmp_path) == {"loss": [(20, 0.5)]}


def test_offsets_are_the_sizes_of_the_files(tmp_path):
    log = MetricsLog(tmp_path)
    assert log.offsets == {"metrics": 0, "events": 0}  # nothing is written before the first figure
    for steps in (10, 20):
        log.write(steps, {"loss": 0.5})
        assert log.offsets == sizes(tmp_path)


def test_what_was_written_after_the_offsets_is_cut_off_and_the_rest_goes_on(tmp_path):
    log = MetricsLog(tmp_path)
    log.write(10, {"loss": 0.5})
    kept = log.offsets
    whole = [path.read_bytes() for path in (tmp_path / "metrics.jsonl", *tmp_path.glob("tb/*"))]
    log.write(20, {"loss": 9.0})
    log.write(30, {"loss": 8.0, "other": 1.0})
    again = MetricsLog(tmp_path, kept)
    assert again.offsets == kept == sizes(tmp_path)
    left = [path.read_bytes() for path in (tmp_path / "metrics.jsonl", *tmp_path.glob("tb/*"))]
    assert left == whole
    again.write(20, {"loss": 0.25})
    assert lines(tmp_path) == [{"steps": 10, "loss": 0.5}, {"steps": 20, "loss": 0.25}]
    assert events(tmp_path) == {"loss": [(10, 0.5), (20, 0.25)]}


def test_a_line_that_a_kill_cut_in_half_is_cut_off(tmp_path):
    log = MetricsLog(tmp_path)
    log.write(10, {"loss": 0.5})
    kept = log.offsets
    for path in (tmp_path / "metrics.jsonl", *tmp_path.glob("tb/*")):
        with path.open("ab") as file:
            file.write(b'{"steps": 2')
    MetricsLog(tmp_path, kept).write(20, {"loss": 0.25})
    assert lines(tmp_path) == [{"steps": 10, "loss": 0.5}, {"steps": 20, "loss": 0.25}]
    assert events(tmp_path) == {"loss": [(10, 0.5), (20, 0.25)]}


def test_a_log_that_goes_on_from_before_its_first_figure_is_as_good_as_a_new_one(tmp_path):
    MetricsLog(tmp_path, MetricsLog(tmp_path).offsets).write(10, {"loss": 0.5})
    assert lines(tmp_path) == [{"steps": 10, "loss": 0.5}]
    [path] = (tmp_path / "tb").iterdir()
    versions = [event.file_version for event in EventFileLoader(str(path)).Load()]
    assert versions == ["brain.Event:2", ""]


def test_no_file_is_open_between_two_writes(tmp_path):
    log = MetricsLog(tmp_path)
    log.write(10, {"loss": 0.5})
    descriptors = [*Path("/proc/self/fd").iterdir()]
    opened = [os.readlink(path) for path in descriptors if path.is_symlink()]
    assert opened
    assert not [path for path in opened if path.startswith(str(tmp_path))]


# A full disk.


@pytest.fixture
def full_disk(monkeypatch):
    """Let as many bytes be written as ``room`` says, until there is room for all again."""
    write = os.write

    def limited(descriptor, data):
        if room[0] is None:
            return write(descriptor, data)
        fits = min(room[0], len(data))
        if not fits:
            raise OSError(28, "No space left on device")
        room[0] -= fits
        return write(descriptor, bytes(data)[:fits])

    room = [None]
    monkeypatch.setattr(os, "write", limited)
    return room


@pytest.mark.parametrize("fits", [0, 5], ids=["nothing", "part of it"])
def test_figures_wait_while_the_disk_is_full_and_are_warned_of_once(tmp_path, full_disk, fits):
    log = MetricsLog(tmp_path)
    log.write(10, {"loss": 0.5})
    before = sizes(tmp_path)
    full_disk[0] = fits
    with pytest.warns(RobolearnWarning, match="No space left on device.*training goes on"):
        log.write(20, {"loss": 0.25})
    assert log.offsets == sizes(tmp_path) == before  # none of it, not half
    full_disk[0] = 0
    log.write(30, {"loss": 0.125})  # does not warn again, or would fail here
    assert not log.flush()
    full_disk[0] = None
    assert log.flush()
    assert [line["steps"] for line in lines(tmp_path)] == [10, 20, 30]
    assert events(tmp_path) == {"loss": [(10, 0.5), (20, 0.25), (30, 0.125)]}
    assert log.offsets == sizes(tmp_path)


def test_a_disk_that_fills_up_again_is_warned_of_again(tmp_path, full_disk):
    log = MetricsLog(tmp_path)
    for steps in (10, 20):
        full_disk[0] = 0
        with pytest.warns(RobolearnWarning, match="training goes on"):
            log.write(steps, {"loss": 0.5})
        full_disk[0] = None
        assert log.flush()


def test_nothing_waits_that_was_written(tmp_path):
    log = MetricsLog(tmp_path)
    log.write(10, {"loss": 0.5})
    before = sizes(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert log.flush()
    assert sizes(tmp_path) == before
