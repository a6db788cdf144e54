"""Whatever byte of a checkpoint is wrong, that is noticed, and an older one is used and said."""

import shutil

import numpy as np
import pytest
import torch
from often import often
from small_runs import config, newest

from robolearn.agents.load import load_agent, load_run
from robolearn.cli import main
from robolearn.errors import RobolearnError, RobolearnWarning
from robolearn.runs.checkpoint import read_checkpoint
from robolearn.runs.run import RunFolder, find_checkpoint
from robolearn.train import resume, train


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run with two checkpoints, the newest of which has everything: replay, priorities."""
    path = tmp_path_factory.mktemp("trained") / "run"
    return train(config("dqn mujoco", path, steps=400, save_every=100)).run.path


@pytest.fixture
def run(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "best").unlink()
    return tmp_path / "run"


def older(run):
    return sorted(run.joinpath("checkpoints").glob("[0-9]*"))[-2]


def assert_noticed(run, path):
    with pytest.raises(RobolearnError):
        read_checkpoint(path.parent)
    with pytest.warns(RobolearnWarning, match=f"Using {older(run)} instead"):
        assert find_checkpoint(run) == older(run)


def test_files_cut_anywhere_are_noticed(run):
    rng = np.random.default_rng(0)
    for path in newest(run).iterdir():
        content = path.read_bytes()
        for length in rng.integers(0, len(content), often(8, 100)):
            path.write_bytes(content[:length])
            assert_noticed(run, path)
        path.write_bytes(content)
    assert find_checkpoint(run) == newest(run)


def test_single_flipped_bits_are_noticed(run):
    rng = np.random.default_rng(0)
    files = list(newest(run).iterdir())
    for k in range(often(80, 1000)):
        path = files[k % len(files)]
        content = path.read_bytes()
        changed = bytearray(content)
        changed[rng.integers(len(content))] ^= 1 << rng.integers(8)
        path.write_bytes(changed)
        assert_noticed(run, path)
        path.write_bytes(content)
    assert find_checkpoint(run) == newest(run)


def test_each_missing_file_is_noticed(run):
    for path in list(newest(run).iterdir()):
        content = path.read_bytes()
        path.unlink()
        assert_noticed(run, path)
        path.write_bytes(content)


def test_training_goes_on_from_the_older_one_and_ends_alike(run, trained):
    expected = read_checkpoint(newest(trained))[1]
    damaged = newest(run)
    (damaged / "state.json").write_bytes(b"")
    (run / "eval.json").unlink()
    with pytest.warns(RobolearnWarning, match="state.json"):
        assert not resume(run).interrupted
    again = read_checkpoint(damaged)[1]
    for name, group in expected.items():
        for key, tensor in group.items():
            assert torch.equal(tensor, again[name][key]), (name, key)


def test_a_damaged_pointer_is_passed_over(run):
    (run / "checkpoints" / "last").write_bytes(b"\xff\x00")
    with pytest.warns(RobolearnWarning, match="must name a checkpoint"):
        assert load_agent(run).steps == int(newest(run).name)


def test_where_none_is_left_that_is_said(run):
    for checkpoint in RunFolder.open(run).stored():
        (checkpoint / "manifest.json").write_bytes(b"{")
    with pytest.raises(RobolearnError, match=r"manifest\.json"):
        load_agent(run)
    with pytest.raises(RobolearnError, match=r"manifest\.json"):
        load_run(RunFolder.open(run))


def test_the_command_line_says_it_in_one_line(run, capsys):
    (newest(run) / "online.safetensors").write_bytes(b"")
    assert main(["eval", str(run), "--episodes", "1"]) == 0
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert f"Using {older(run)} instead." in told
