"""Navigation from the command line."""

import json

import pytest

from robolearn.cli import main

NAV = ["--env", "robolearn/NavLidar-v0", "--engine", "analytic"]


def run(capsys, *arguments):
    code = main(list(arguments))
    out, err = capsys.readouterr()
    return code, out, err


def test_the_expert_is_evaluated_by_name(capsys):
    code, out, _ = run(capsys, "eval", "expert", *NAV, "--level", "0", "--episodes", "5", "--json")
    figures = json.loads(out)
    assert code == 0
    assert (figures["level"], figures["split"], figures["episodes"]) == (0, "test", 5)
    assert figures["success_rate"] == 1.0
    assert figures["mean_spl"] == pytest.approx(1.0, abs=0.1)
    assert figures["mean_collision"] == 0.0


@pytest.mark.slow
def test_training_takes_a_level_and_is_judged_on_layouts_held_out(capsys, tmp_path):
    folder = tmp_path / "run"
    options = ["--level", "1", "--steps", "256", "--run", str(folder), "--curriculum"]
    small = ["--num-envs", "4", "--n-steps", "32", "--batch-size", "64"]
    small += ["--test-episodes", "5"]
    code, out, _ = run(capsys, "train", "ppo", *NAV, *options, *small, "--json")
    assert code == 0
    assert "mean_spl" in json.loads(out)
    code, out, _ = run(capsys, "eval", str(folder), "--level", "0", "--episodes", "2", "--json")
    figures = json.loads(out)
    assert code == 0
    assert (figures["level"], figures["split"]) == (0, "test")
    assert "curriculum" not in figures


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["eval", "expert"], "--env"),
        (["eval", "expert", *NAV, "--level", "9"], "level must be one of 0..4, got 9"),
        (["eval", "expert", *NAV, "--split", "tset"], "split"),
        (["eval", "expert", "--env", "CartPole-v1"], "no expert"),
        (
            ["train", "ppo", "--env", "robolearn/CartPoleBalance-v0", "--level", "1"],
            "Unknown option of CartPoleBalance-v0 'level'",
        ),
        (["train", "ppo", *NAV, "--level", "7"], "level must be one of 0..4, got 7"),
        (["train", "ppo", "--env", "CartPole-v1", "--level", "1"], "level"),
        (["train", "dqn", *NAV], "--action discrete"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(capsys, tmp_path, monkeypatch, arguments, told):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert told in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["train", "compare"])
def test_no_agent_can_be_trained_on_the_layouts_it_is_judged_on(
    capsys, tmp_path, monkeypatch, command
):
    monkeypatch.chdir(tmp_path)
    out = ["--out", "out"] if command == "compare" else []
    with pytest.raises(SystemExit) as left:
        main([command, "ppo", *NAV, "--split", "test", "--steps", "64", *out])
    assert left.value.code == 2
    assert "--split" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_usual_number_of_steps_is_the_environments(capsys):
    for env, steps in (("robolearn/NavDepth-v0", 300_000), ("CartPole-v1", 100_000)):
        with pytest.raises(SystemExit):
            main(["train", "ppo", "--env", env, "--help"])
        assert f"(default: {steps})" in capsys.readouterr().out
