"""Agents of the user's own, given as ``module:Class``."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_agents import SMALL

from robolearn import PPO, load
from robolearn.agents import AGENTS, agent_class, agent_name
from robolearn.cli import main
from robolearn.errors import RobolearnError

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "own_agent.py"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, from which modules are imported for the time of a test."""
    before, path = set(sys.modules), list(sys.path)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def robolearn(*arguments, cwd):
    """Run a command as installed: the current folder is not where Python looks by itself."""
    line = [sys.executable, "-P", "-m", "robolearn", *map(str, arguments)]
    path = os.pathsep.join(map(str, (ROOT, ROOT / "envs")))
    env = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(line, cwd=cwd, env=env, capture_output=True, text=True)


def test_a_class_in_the_current_folder_is_trained_evaluated_and_resumed(tmp_path):
    shutil.copy(EXAMPLE, tmp_path / "my_agent.py")
    steps = ("--env", "CartPole-v1", "--steps", 512, "--run", "run", "--test-episodes", 5)
    trained = robolearn("train", "my_agent:CrossEntropy", *steps, "--num-envs", 8, cwd=tmp_path)
    assert (trained.returncode, trained.stderr) == (0, "")
    told = robolearn("eval", "run", "--episodes", 5, "--json", cwd=tmp_path)
    assert (told.returncode, told.stderr) == (0, "")
    assert 8 <= json.loads(told.stdout)["mean_return"] <= 500
    assert robolearn("resume", "run", cwd=tmp_path).returncode == 0


@pytest.mark.slow
def test_a_class_of_ones_own_is_compared(tmp_path):
    shutil.copy(EXAMPLE, tmp_path / "my_agent.py")
    options = ("--steps", 512, "--seeds", 1, "--episodes", 2, "--no-videos", "--json")
    where = ("--env", "CartPole-v1", "--out", "compared")
    told = robolearn("compare", "my_agent:CrossEntropy", "ppo", *where, *options, cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    rows = json.loads(told.stdout)["rows"]
    assert [row["agent"] for row in rows] == ["my_agent:CrossEntropy", "ppo"]


def test_the_example_learns_to_balance():
    agent = agent_of(EXAMPLE.parent, "own_agent:CrossEntropy")("CartPole-v1", seed=0)
    agent.learn(60_000)
    obs = np.array([0.0, 0.0, 0.05, 0.0], np.float32)  # falling to the right: push to the right
    assert agent.predict(obs)[0] == 1
    assert agent.predict(-obs)[0] == 0
    agent.close()


def agent_of(folder, name):
    sys.path.insert(0, str(folder))
    try:
        return agent_class(name)
    finally:
        sys.path.remove(str(folder))


def test_a_class_derived_from_ours_is_read_back_as_itself(folder):
    (folder / "calm.py").write_text(
        "from robolearn import PPO\nclass CalmPPO(PPO):\n    calm = True\n"
    )
    cls = agent_class("calm:CalmPPO")
    agent = cls("CartPole-v1", SMALL["ppo"])
    agent.save("agent")
    assert load("agent").calm
    with pytest.raises(RobolearnError, match="holds a 'calm:CalmPPO' agent, not 'ppo'"):
        PPO.load("agent")


def test_names_and_classes_belong_together():
    for name in AGENTS:
        assert agent_name(agent_class(name)) == name


def test_what_a_class_lacks_is_named_with_exit_code_2(folder, capsys):
    (folder / "half.py").write_text(
        "from robolearn.agents.base import BaseAgent\n"
        "class Nothing:\n    pass\n"
        "class Half(BaseAgent):\n    name = 'half'\n"
        "    def __init__(self, env, config=None, *, seed=0, device='auto'): ...\n"
    )
    assert main(["train", "half:Half", "--env", "CartPole-v1"]) == 2
    said = capsys.readouterr().err
    assert "half:Half is no agent: it lacks Config, compile= of __init__." in said
    assert said.count("\n") == 1
    with pytest.raises(RobolearnError, match=r"lacks name, Config, .*iterate, .*env= of __init__"):
        agent_class("half:Nothing")


def test_members_that_an_object_lacks_are_named_before_a_folder_is_made(folder, capsys):
    (folder / "late.py").write_text(
        "from robolearn import PPO\nclass Late(PPO):\n"
        "    def __init__(self, env, config=None, *, seed=0, device='auto', compile='auto'):\n"
        "        super().__init__(env, config, seed=seed)\n        del self.how\n"
    )
    assert main(["train", "late:Late", "--env", "CartPole-v1", "--run", "run"]) == 2
    assert "Late is no agent: it lacks how. Set them in __init__." in capsys.readouterr().err
    assert not (folder / "run").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere:Agent", r"Cannot import 'nowhere' from .*: No module named 'nowhere'"),
        ("broken:Agent", r"Cannot import 'broken' from .*: invalid syntax"),
        ("own:Agnet", r"Unknown class of own 'Agnet'\. Did you mean 'Agent'"),
        ("own:function", r"Unknown class of own 'function'"),
        ("../own:Agent", r"Unknown agent '\.\./own:Agent'.*module:Class"),
    ],
)
def test_a_class_that_is_not_there_is_refused_in_a_line(folder, name, message):
    (folder / "broken.py").write_text("class Agent:\n    !\n")
    (folder / "own.py").write_text("class Agent: ...\ndef function(): ...\n")
    with pytest.raises(RobolearnError, match=message):
        agent_class(name)


def test_code_that_comes_with_a_run_is_not_imported(folder, monkeypatch):
    (folder / "stray.py").write_text("from robolearn import PPO\nclass Stray(PPO): ...\n")
    run = folder / "run"
    agent_class("stray:Stray")("CartPole-v1", SMALL["ppo"]).save(run / "checkpoints" / "000000001")
    del sys.modules["stray"]
    (folder / "stray.py").rename(run / "stray.py")
    monkeypatch.chdir(run)
    with pytest.raises(RobolearnError, match=r"'stray', which lies in that very folder"):
        load("checkpoints/000000001")
    assert "stray" not in sys.modules
