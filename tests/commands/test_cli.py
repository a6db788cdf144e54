"""The command line: right words, one line of complaint, the right exit code."""

import json
import signal
import subprocess
import sys
import threading
import warnings

import pytest

from robolearn.cli import COMMANDS, main
from robolearn.errors import RobolearnWarning

BALANCE, SWING_UP = "robolearn/CartPoleBalance-v0", "robolearn/CartPoleSwingUp-v0"

AGENTS = ["dqn", "pqn", "ppo", "a2c", "reinforce", "q-learning", "sarsa"]


def complaint(capsys, *arguments, code=2):
    """Run a command that must fail, and return its one line of complaint."""
    assert main(arguments) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("robolearn: ")
    assert said.err.count("\n") == 1
    return said.err


def train(tmp_path, *options):
    return ("train", "ppo", "--env", BALANCE, "--run", str(tmp_path / "run"), *options)


# What costs no time.


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["list"], ["list", "--json"]],
    ids=" ".join,
)
def test_help_and_list_wait_for_neither_torch_nor_sb3(arguments):
    code = (
        "import sys; from robolearn.cli import main\n"
        f"code = main({arguments!r})\n"
        "heavy = {'torch', 'stable_baselines3', 'mujoco', 'pybullet'} & sys.modules.keys()\n"
        "sys.exit(f'imported {sorted(heavy)}' if heavy else code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_help_names_every_command(capsys):
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"\n  {name} " in said for name in COMMANDS)


def test_no_command_shows_the_help_and_is_bad_input(capsys):
    assert main([]) == 2
    assert capsys.readouterr().out.startswith("usage: robolearn COMMAND")


def test_list_names_environments_engines_and_agents(capsys):
    assert main(["list"]) == 0
    said = capsys.readouterr().out
    for name in (BALANCE, SWING_UP, "robolearn/CartPoleDMC-v0", "bullet", "ppo", "dqn", "sb3-ppo"):
        assert name in said


def test_list_shows_a_dash_where_there_is_no_engine_or_no_limit(capsys):
    assert main(["list"]) == 0
    said = capsys.readouterr().out
    game, bandit = (
        next(line.split() for line in said.splitlines() if line.startswith(f" robolearn/{name}-v0"))
        for name in ("RingWalk", "Bandit")
    )
    assert game == ["robolearn/RingWalk-v0", "-", "discrete", "20"]
    assert bandit == ["robolearn/Bandit-v0", "-", "discrete", "-"]


def test_list_as_json_is_one_object(capsys):
    assert main(["list", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["agents"] == AGENTS
    assert figures["environments"]["robolearn/CartPoleDMC-v0"]["engines"] == ["mujoco"]


def test_list_tells_of_problems_without_engines_too(capsys):
    assert main(["list", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["environments"]["robolearn/Recommender-v0"] == {
        "engines": [],
        "actions": "discrete",
        "steps": 10,
        "about": "Recommend items to a visitor, who clicks on what pleases and then may leave.",
    }


# Warnings and signals.


def commanded(monkeypatch, command):
    """Let ``robolearn list`` run something else."""
    monkeypatch.setattr("robolearn.commands.listing.main", lambda arguments: command() or 0)
    return main(["list"])


def test_a_warning_of_ours_is_one_line_and_nothing_else(capsys, monkeypatch):
    def command():
        for number in (1, 1, 2):  # the same place and words twice
            warnings.warn(f"Disk {number} is full.", RobolearnWarning, stacklevel=1)

    assert commanded(monkeypatch, command) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        "robolearn: Disk 1 is full.\nrobolearn: Disk 1 is full.\nrobolearn: Disk 2 is full.\n"
    )


@pytest.mark.filterwarnings("default")
def test_a_warning_of_others_is_shown_as_python_does(capsys, monkeypatch):
    assert commanded(monkeypatch, lambda: warnings.warn("Odd.", UserWarning, stacklevel=1)) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith(f"{__file__}:")
    assert lines[0].endswith("UserWarning: Odd.")


def test_how_warnings_are_shown_is_put_back(monkeypatch):
    before = warnings.showwarning, list(warnings.filters)
    commanded(monkeypatch, lambda: None)
    assert (warnings.showwarning, list(warnings.filters)) == before


def test_sigterm_unwinds_what_is_under_way(capsys, monkeypatch):
    cleaned = []

    def command():
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            cleaned.append(True)

    before = signal.getsignal(signal.SIGTERM)
    assert commanded(monkeypatch, command) == 143
    assert cleaned
    assert capsys.readouterr().err == "robolearn: terminated.\n"
    assert signal.getsignal(signal.SIGTERM) == before


def test_ctrl_c_unwinds_what_is_under_way(capsys, monkeypatch):
    assert commanded(monkeypatch, lambda: signal.raise_signal(signal.SIGINT)) == 130
    assert capsys.readouterr().err == "robolearn: stopped.\n"


def test_commands_run_in_threads_too_where_python_takes_no_signals(monkeypatch):
    codes = []
    thread = threading.Thread(target=lambda: codes.append(commanded(monkeypatch, lambda: None)))
    thread.start()
    thread.join()
    assert codes == [0]


# Complaints.


def test_an_unknown_command_gets_the_nearest(capsys):
    assert "Unknown command 'trian'. Did you mean 'train'?" in complaint(capsys, "trian")


def test_an_unknown_agent_gets_the_nearest(capsys, tmp_path):
    said = complaint(capsys, "train", "ppoo", "--run", str(tmp_path / "run"))
    assert "Unknown agent 'ppoo'. Did you mean 'ppo'?" in said


def test_train_refuses_agents_that_need_demonstrations(capsys, tmp_path):
    said = complaint(capsys, "train", "dqfd", "--run", str(tmp_path / "run"))
    assert "dqfd needs demonstrations" in said
    assert "robolearn imitate dqfd --demos SET" in said


def test_train_dqn_has_no_options_of_demonstrations(capsys):
    with pytest.raises(SystemExit):
        main(["train", "dqn", "--help"])
    said = capsys.readouterr().out
    assert "--double-q" in said
    assert not any(word in said for word in ("demo", "margin", "sqil"))


def test_train_without_an_agent_lists_them(capsys):
    known = f"one of: {', '.join(AGENTS)}"
    assert known in complaint(capsys, "train")
    assert known in complaint(capsys, "train", "--steps", "10")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--env", "robolearn/CartPoleBalence-v0"], f"Did you mean '{BALANCE}'?"),
        (["--engine", "bulet"], "'bullet'"),
        (["--env", "CartPole-v1", "--engine", "bullet"], "Leave the engine out"),
        (["--env", "robolearn/CartPoleDMC-v0", "--engine", "bullet"], "mujoco"),
        (["--action", "sideways"], "'continuous' or 'discrete', got 'sideways'"),
        (["--domain-randomization", "1.5"], "domain_randomization must lie in [0, 1), got 1.5"),
        (["--steps", "0"], "steps must be at least 1, got 0"),
        (["--steps", "-5"], "steps must be at least 1, got -5"),
        (["--eval-every", "-1"], "eval_every must not be negative, got -1"),
        (["--save-every", "-1"], "save_every must not be negative, got -1"),
        (["--video-every", "-1"], "video_every must not be negative, got -1"),
        (["--device", "tpu"], "'auto', 'cpu' or 'cuda', got 'tpu'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_trained_is_said_in_a_line_and_leaves_nothing(
    capsys, tmp_path, options, words
):
    assert words in complaint(capsys, *train(tmp_path, *options))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("env_id", [SWING_UP, "Pendulum-v1"])
def test_dqn_refuses_continuous_actions(capsys, tmp_path, env_id):
    options = ("train", "dqn", "--env", env_id, "--run", str(tmp_path / "run"))
    said = complaint(capsys, *options)
    assert "DQN needs Discrete actions" in said
    assert "PPO" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "options",
    [
        ["--num-envs", "0"],
        ["--gamma", "1.5"],
        ["--gamma", "-0.1"],
        ["--gae-lambda", "2"],
        ["--n-steps", "0"],
        ["--n-epochs", "0"],
        ["--batch-size", "0"],
        ["--learning-rate", "-1"],
        ["--clip-range", "-0.2"],
        ["--init-std", "0"],
        ["--hidden-sizes", "0"],
    ],
    ids=" ".join,
)
def test_senseless_hyper_parameters_are_refused(capsys, tmp_path, options):
    said = complaint(capsys, *train(tmp_path, "--engine", "analytic", "--steps", "64", *options))
    name = options[0].removeprefix("--").replace("-", "_")
    assert f"{name} must " in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "options",
    [
        ["--num-envs", "-1"],
        ["--n-step", "0"],
        ["--batch-size", "0"],
        ["--buffer-size", "0"],
        ["--train-freq", "0"],
        ["--gradient-steps", "0"],
        ["--target-update-interval", "0"],
        ["--exploration-initial-eps", "1.5"],
        ["--exploration-fraction", "-1"],
        ["--gamma", "nan"],
    ],
    ids=" ".join,
)
def test_senseless_hyper_parameters_of_dqn_are_refused(capsys, tmp_path, options):
    run = ("train", "dqn", "--run", str(tmp_path / "run"), "--engine", "analytic")
    said = complaint(capsys, *run, "--steps", "64", *options)
    name = options[0].removeprefix("--").replace("-", "_")
    assert f"{name} must " in said
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_option_ends_with_code_2(capsys, tmp_path):
    with pytest.raises(SystemExit) as stop:
        main(train(tmp_path, "--stepz", "3"))
    assert stop.value.code == 2
    assert "--steps" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_left_as_it_is(capsys, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_bytes(b"mine: 1\n")
    said = complaint(capsys, *train(tmp_path))
    assert "already holds something; nothing was changed" in said
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.yaml"]
    assert (tmp_path / "run" / "config.yaml").read_bytes() == b"mine: 1\n"


def test_a_folder_nobody_can_write_is_refused(capsys, tmp_path):
    (tmp_path / "file").write_text("mine")
    assert "Cannot write to" in complaint(capsys, *train(tmp_path / "file"))
    assert "Cannot write to" in complaint(capsys, "train", "ppo", "--run", "/proc/run")


@pytest.mark.parametrize("command", [["eval"], ["record", "--out", "x.mp4"]], ids=lambda c: c[0])
def test_a_missing_run_is_said_in_a_line(capsys, tmp_path, command):
    name, *rest = command
    assert "holds no run" in complaint(capsys, name, str(tmp_path / "nowhere"), *rest)


def test_a_run_without_a_checkpoint_is_said_in_a_line(capsys, tmp_path):
    (tmp_path / "config.yaml").write_text("")
    (tmp_path / "checkpoints").mkdir()
    assert "has no checkpoint yet" in complaint(capsys, "eval", str(tmp_path))
