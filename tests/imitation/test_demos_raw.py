"""Lint on disk: also sets that are refused when they are read to be learned from."""

import json
import shutil

import h5py
import numpy as np
import pytest

from robolearn.cli import main
from robolearn.errors import RobolearnError
from robolearn.imitation.demos.raw import lint_file
from robolearn.imitation.demos.storage import read_demos

BALANCE = "robolearn/CartPoleBalance-v0"


@pytest.fixture(scope="module")
def balanced(tmp_path_factory):
    """A set of two episodes with noise, as `robolearn demos record` writes it."""
    folder = tmp_path_factory.mktemp("sets") / "balance-v0"
    options = ("--env", BALANCE, "--action", "continuous", "--episodes", "2", "--noise", "0.1")
    assert main(["demos", "record", *options, "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def copy(balanced, tmp_path):
    """A copy without its card, so that it may be edited."""
    folder = tmp_path / "copy-v0"
    shutil.copytree(balanced, folder)
    (folder / "card.json").unlink()
    return folder


def edit(folder, name, change):
    """Replace an array of a set by what a function makes of it; None leaves it out."""
    with h5py.File(folder / "data" / "main_data.hdf5", "r+") as file:
        array = change(file[name][()])
        del file[name]
        if array is not None:
            file[name] = array


def serious(linted):
    return [(f.severity, f.kind, f.episode, f.key) for f in linted.findings if f.severity != "note"]


@pytest.mark.slow
def test_a_set_just_recorded_is_sound(balanced):
    linted = lint_file(balanced)
    assert linted.sound
    assert serious(linted) == []
    assert [f.kind for f in linted.findings] == ["success", "saturation", "noise"]
    assert len(linted.demos.episodes) == 2


def test_a_set_is_read_as_it_is_for_learning(balanced):
    for ours, theirs in zip(
        lint_file(balanced).demos.episodes, read_demos(balanced).episodes, strict=True
    ):
        np.testing.assert_array_equal(ours.observation, theirs.observation)
        for name in ("action", "reward", "terminated", "truncated", "clean_action"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
        assert (ours.seed, ours.success) == (theirs.seed, theirs.success)
        assert ours.state.keys() == theirs.state.keys() == {"qpos", "qvel"}


def test_only_the_episodes_asked_for_are_looked_at(balanced):
    assert len(lint_file(balanced, episodes=1).demos.episodes) == 1


def first_nan(array):
    array[3] = np.nan
    return array


@pytest.mark.parametrize(
    ("name", "change", "found"),
    [
        ("observations", first_nan, ("finite", "observation")),
        ("observations", lambda array: array[:-1], ("length", "observation")),
        ("actions", lambda array: array[:, 0], ("shape", "action")),
        ("rewards", first_nan, ("finite", "reward")),
        ("terminations", lambda array: array[:-1], ("length", "terminated")),
        ("infos/expert_action", lambda array: array[..., None], ("shape", "clean_action")),
        ("infos/state/qpos", first_nan, ("finite", "state['qpos']")),
        ("actions", lambda array: None, ("file", "action")),
        ("actions", lambda array: np.full(500, b"left"), ("file", "action")),
        ("truncations", lambda array: h5py.SoftLink("/elsewhere"), ("file", "truncated")),
    ],
)
def test_what_is_refused_for_learning_is_found(copy, name, change, found):
    kind, key = found
    edit(copy, f"episode_1/{name}", change)
    with pytest.raises(RobolearnError):
        read_demos(copy)
    assert serious(lint_file(copy)) == [("error", kind, 1, key)]


def test_a_link_instead_of_infos_is_found(copy):
    with h5py.File(copy / "data" / "main_data.hdf5", "r+") as file:
        del file["episode_0/infos"]
        file["episode_0/infos"] = h5py.SoftLink("/episode_1/infos")
    linted = lint_file(copy)
    assert serious(linted) == [("error", "file", None, "")]
    assert "link" in linted.findings[-1].text


def test_an_end_inside_an_episode_is_found(copy):
    def end(array):
        array[10] = True
        return array

    edit(copy, "episode_0/truncations", end)
    with pytest.raises(RobolearnError):
        read_demos(copy)
    assert serious(lint_file(copy)) == [("error", "end", 0, "")]


def test_an_episode_that_is_missing_is_found(copy):
    with h5py.File(copy / "data" / "main_data.hdf5", "r+") as file:
        del file["episode_1"]
    linted = lint_file(copy)
    assert serious(linted) == [("error", "file", None, "")]
    assert len(linted.demos.episodes) == 1


def test_a_seed_that_is_no_number_is_found(copy):
    with h5py.File(copy / "data" / "main_data.hdf5", "r+") as file:
        file["episode_0"].attrs["seed"] = "seven"
    assert serious(lint_file(copy)) == [("error", "file", 0, "seed")]


def test_a_return_that_the_infos_state_is_held_against_the_rewards(copy):
    # As Gymnasium's RecordEpisodeStatistics tells it: at the last step, 0 before.
    with h5py.File(copy / "data" / "main_data.hdf5", "r+") as file:
        for k, told in enumerate((500.0, 480.0)):
            returns = np.zeros(501)
            returns[-1] = told
            file[f"episode_{k}/infos/episode/r"] = returns
    assert serious(lint_file(copy)) == [("error", "return", 1, "reward")]


def test_a_card_of_another_return_is_found(balanced, tmp_path):
    folder = tmp_path / "other-v0"
    shutil.copytree(balanced, folder)
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**card, "mean_return": 499.0}))
    linted = lint_file(folder)
    assert serious(linted) == [("error", "card", None, "")]
    (found,) = [f.text for f in linted.findings if f.kind == "card"]
    assert found == "the card says mean_return is 499.0, but it is 500.0."


def test_episodes_edited_after_the_card_was_written_are_found(balanced, tmp_path):
    folder = tmp_path / "other-v0"
    shutil.copytree(balanced, folder)
    edit(folder, "episode_0/rewards", lambda array: array / 2)
    linted = lint_file(folder)
    assert {f.kind for f in linted.findings if f.severity == "error"} == {"card"}
    told = {f.text.split()[3] for f in linted.findings if f.kind == "card"}
    assert {"sha256", "mean_return", "min_return"} <= told  # 250 and 500 instead of 500 each


def test_no_set_at_all_is_refused(tmp_path):
    with pytest.raises(RobolearnError, match="holds no demonstrations"):
        lint_file(tmp_path)


# The command.


def test_the_command_ends_well_on_a_sound_set(balanced, capsys):
    assert main(["demos", "lint", str(balanced), "--no-probe"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "note: 2 of 2 episodes with a known outcome are a success."
    assert said[-1] == f"{balanced}: episodes 2, errors 0, warnings 0."


def test_the_command_tries_no_clone_of_a_set_with_errors(copy, capsys):
    edit(copy, "episode_1/rewards", first_nan)
    assert main(["demos", "lint", str(copy)]) == 2
    said = capsys.readouterr().out
    assert "error: episode 1: reward holds nan at step 3, expected finite numbers.\n" in said
    assert "cloning" not in said
    assert "errors 1" in said


def test_the_command_prints_one_json_object(balanced, capsys):
    assert main(["demos", "lint", str(balanced), "--no-probe", "--episodes", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["sound"] is True
    assert told["episodes"] == 1
    assert told["findings"][0] == {
        "severity": "note",
        "kind": "success",
        "text": "1 of 1 episodes with a known outcome are a success.",
        "episode": None,
        "key": "",
    }


def test_the_replay_command_tells_each_episode(balanced, capsys):
    assert main(["demos", "replay", str(balanced)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == (
        "episode 0: 500 of 500 steps, bit for bit as recorded; return 500 (success), "
        "now 500 (success)"
    )
    assert said[-1] == f"{BALANCE} on mujoco: 2 of 2 bit for bit, 2 within 1e-06."


def test_the_replay_command_on_another_engine_prints_json(balanced, capsys):
    options = ("--episode", "1", "--engine", "analytic", "--json")
    assert main(["demos", "replay", str(balanced), *options]) == 0
    told = json.loads(capsys.readouterr().out)
    (one,) = told["episodes"]
    assert (told["engine"], told["film"], one["episode"], one["exact"]) == (
        "analytic",
        None,
        1,
        False,
    )


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--episode", "2"), "has episodes 0..1, got 2"),
        (("--episode", "0", "--episodes", "1"), "not both"),
        (("--engine", "newton"), "engine"),
        (("--out", "x.avi"), "Videos are .mp4, .webm, .gif, .png files"),
    ],
)
def test_the_replay_command_refuses_what_cannot_be_in_one_line(
    balanced, capsys, options, complaint
):
    assert main(["demos", "replay", str(balanced), *options]) == 2
    said = capsys.readouterr()
    assert complaint in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""
