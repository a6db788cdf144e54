"""demos record, list, info and merge, from the command line to what they print and leave."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from gymnasium.spaces import Discrete
from test_demos_record import signal_at_step
from test_demos_storage import episode, made_by_minari, same, store

import robolearn.commands.demos
from robolearn.cli import main
from robolearn.environments import EnvConfig
from robolearn.imitation.demos.card import read_card
from robolearn.imitation.demos.storage import read_demos
from robolearn_envs.vector import RoboVectorEnv

BALANCE = "robolearn/CartPoleBalance-v0"
QUICK = ("--env", BALANCE, "--engine", "analytic", "--score-episodes", "0")


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Run a command of demos in a folder of its own; return exit code, output and complaint."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def command(*arguments):
        code = main(["demos", *map(str, arguments)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return command


def test_help_is_quick():
    code = """
import sys
from robolearn.cli import main
assert main(["demos", "--help"]) == 0
slow = {"torch", "h5py", "minari", "mujoco"} & sys.modules.keys()
sys.exit(f"imported {slow}" if slow else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in ("record", "list", "info", "lint", "replay", "merge", "--human"):
        assert name in done.stdout


def test_every_subcommand_has_a_module_with_help(run, capsys):
    for name in robolearn.commands.demos.SUBCOMMANDS:
        with pytest.raises(SystemExit) as ended:
            run(name, "--help")
        assert ended.value.code == 0
        assert f"robolearn demos {name}" in capsys.readouterr().out


def test_an_unknown_subcommand_is_refused(run):
    code, _, complaint = run("lst")
    assert code == 2
    assert "Did you mean 'list'" in complaint
    assert run()[0] == 2


def test_a_set_is_recorded_listed_and_told_of(run):
    code, said, _ = run("record", *QUICK, "--episodes", 2, "--out", "demos/b", "--noise", "0.1")
    assert code == 0
    assert said.startswith("demos/b-v0: 2 episodes, ")
    assert "steps per second" in said
    code, said, _ = run("list", "--json")
    (row,) = json.loads(said)["sets"]
    card = read_card_of("demos/b-v0")
    assert row == {
        "set": "demos/b-v0",
        "env": BALANCE,
        "engine": "analytic",
        "expert": "lqr",
        "noise": 0.1,
        "episodes": 2,
        "steps": card.steps,
        "return": card.mean_return,
        "success": card.success_rate,
    }
    code, said, _ = run("list")
    assert "CartPoleBalance-v0  analytic  lqr     0.1    2" in said
    code, said, _ = run("info", "demos/b", "--json")
    assert json.loads(said)["sha256"] == card.sha256
    code, said, _ = run("info", "demos/b-v0")
    assert card.sha256 in said
    assert "weights [5.0, 3.0, 0.4, 0.15]" in said


def read_card_of(folder):
    return read_card(Path(folder) / "card.json")


def test_recording_where_something_is_is_refused(run):
    assert run("record", *QUICK, "--episodes", 1, "--out", "x")[0] == 0
    code, said, complaint = run("record", *QUICK, "--episodes", 1, "--out", "x")
    assert (code, said) == (2, "")
    assert "x-v0 already holds something" in complaint
    code, said, _ = run("record", *QUICK, "--episodes", 1, "--out", "x", "--resume")
    assert code == 0
    assert "nothing to do" in said


@pytest.mark.slow
@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_says_how_to_go_on(run, which):
    asked = ("record", "--env", "robolearn/NavLidar-v0", "--level", 0, "--score-episodes", 0)
    with signal_at_step(RoboVectorEnv, 60, which):
        code, said, _ = run(*asked, "--episodes", 12, "--out", "nav")
    assert code == 0
    assert "Go on: the same with --resume" in said
    _, said, _ = run("info", "nav")
    assert "of 12 asked for" in said
    code, said, _ = run(*asked, "--episodes", 12, "--out", "nav", "--resume", "--json")
    told = json.loads(said)
    assert (code, told["episodes"], told["stopped"]) == (0, 12, False)


def test_sets_of_others_are_listed_and_told_of(run, monkeypatch, tmp_path):
    made_by_minari(monkeypatch, tmp_path)
    _, said, _ = run("list", tmp_path / "theirs", "--json")
    (row,) = json.loads(said)["sets"]
    assert (row["env"], row["expert"], row["episodes"]) == ("CartPole-v1", "random", 3)
    _, said, _ = run("info", tmp_path / "theirs" / "cartpole" / "random-v3")
    assert "cartpole/random-v3" in said


def test_a_damaged_set_is_passed_over_with_a_word(run, tmp_path):
    store(tmp_path / "demos" / "good-v0", [episode(3, 0)])
    store(tmp_path / "demos" / "bad-v0", [episode(3, 0)])
    (tmp_path / "demos" / "bad-v0" / "card.json").write_text("{")
    code, said, complaint = run("list", "--json")
    assert code == 0
    assert [row["set"] for row in json.loads(said)["sets"]] == ["demos/good-v0"]
    assert "bad-v0/card.json is damaged" in complaint


def test_where_there_are_no_sets_that_is_said(run, tmp_path):
    (tmp_path / "demos").mkdir()
    assert "holds no demonstrations yet" in run("list")[1]
    code, _, complaint = run("list", "nowhere")
    assert (code, complaint.count("\n")) == (2, 1)


# Merging.


def sets(tmp_path, first=None, second=None):
    """Store two sets, of seeds 0 and 1, and of seed 5."""
    store(tmp_path / "a-v0", [episode(4, 0), episode(3, 1)], env=first)
    store(tmp_path / "b-v1", [episode(2, 5)], env=second)
    return tmp_path / "a-v0", tmp_path / "b-v1"


def test_merged_sets_have_all_episodes_one_set_after_the_other(run, tmp_path):
    mujoco = EnvConfig(id="robolearn/NavLidar-v0", engine="mujoco", kwargs={"level": 2})
    bullet = EnvConfig(id="robolearn/NavLidar-v0", engine="bullet", kwargs={"level": 2})
    a, b = sets(tmp_path, mujoco, bullet)
    code, said, _ = run("merge", a, b, "--out", "c")
    assert code == 0
    assert said.startswith("c-v0: 3 episodes, 9 steps")
    merged = read_demos(tmp_path / "c-v0")
    assert [one.seed for one in merged.episodes] == [0, 1, 5]
    before = [*read_demos(a).episodes, *read_demos(b).episodes]
    for one, other in zip(merged.episodes, before, strict=True):
        assert same(one.observation, other.observation)
        assert same(one.clean_action, other.clean_action)
        assert same(dict(one.state), dict(other.state))
        assert (one.success, one.total) == (other.success, other.total)
    assert merged.env == EnvConfig(id="robolearn/NavLidar-v0", kwargs={"level": 2})
    card = read_card(tmp_path / "c-v0" / "card.json")
    assert [(one.name, one.episodes) for one in card.merged_from] == [("a-v0", 2), ("b-v1", 1)]
    assert [one.sha256 for one in card.merged_from] == [
        read_card(folder / "card.json").sha256 for folder in (a, b)
    ]
    assert card.merged_from[1].env == {**card.merged_from[0].env, "engine": "bullet"}


def test_sets_of_different_environments_are_not_merged(run, tmp_path):
    first = EnvConfig(id="robolearn/NavLidar-v0")
    a, b = sets(tmp_path, first, EnvConfig(id="robolearn/NavRover-v0"))
    code, _, complaint = run("merge", a, b, "--out", "c")
    assert code == 2
    assert "env is 'robolearn/NavRover-v0', expected 'robolearn/NavLidar-v0'" in complaint
    assert not (tmp_path / "c-v0").exists()


def test_sets_with_other_spaces_are_not_merged(run, tmp_path):
    a, _ = sets(tmp_path)
    three = Discrete(3)
    other = store(tmp_path / "d-v0", [episode(2, 5, action_space=three)], action_space=three)
    code, _, complaint = run("merge", a, other, "--out", "c")
    assert code == 2
    assert "action_space is 'Discrete(3)', expected 'Discrete(2)'" in complaint


def test_one_set_is_not_merged(run, tmp_path):
    a, _ = sets(tmp_path)
    code, _, complaint = run("merge", a, "--out", "c")
    assert code == 2
    assert "two sets at least, got 1" in complaint


def test_a_merged_set_is_not_gone_on_with(run, tmp_path):
    env = EnvConfig(id=BALANCE, engine="analytic")
    a, b = sets(tmp_path, env, env)
    run("merge", a, b, "--out", "c")
    code, _, complaint = run("record", *QUICK, "--out", "c", "--resume")
    assert code == 2
    assert "nothing to go on with" in complaint


def test_nothing_is_left_where_the_disk_cannot_be_written(run, tmp_path):
    if os.geteuid() == 0:
        (tmp_path / "file").write_text("")
        out = tmp_path / "file" / "set"
    else:
        (tmp_path / "closed").mkdir(mode=0o500)
        out = tmp_path / "closed" / "set"
    code, said, complaint = run("record", *QUICK, "--episodes", 1, "--out", out)
    assert (code, said) == (3, "")
    assert complaint.startswith("robolearn: Cannot write to ")
