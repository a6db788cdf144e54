"""From a set of demonstrations to a run, with every learner, on a few steps."""

import json
import os
import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import gymnasium as gym
import minari
import numpy as np
import pytest
import torch
import yaml
from minari.data_collector import EpisodeBuffer

from robolearn.agents.defaults import DQN_SHARED
from robolearn.agents.dqfd import DQfDConfig
from robolearn.agents.load import load_agent
from robolearn.agents.ppo import PPOConfig
from robolearn.cli import main
from robolearn.collect.collector import Collector
from robolearn.commands.imitate import ElsewhereOptions
from robolearn.environments import EnvConfig
from robolearn.errors import RobolearnError
from robolearn.evaluation import evaluate
from robolearn.imitation.demos.record import RecordConfig, record_demos
from robolearn.imitation.demos.saving import write_demos
from robolearn.imitation.demos.storage import find_set, read_demos
from robolearn.imitation.runs import LEARNERS, ImitateConfig, imitate
from robolearn.runs.checkpoint import read_checkpoint
from robolearn.train import resume

BALANCE = EnvConfig(id="robolearn/CartPoleBalance-v0", engine="analytic")
PPO = {"num_envs": 4, "n_steps": 32, "batch_size": 64, "hidden_sizes": (16,)}
DQN = {
    "num_envs": 4,
    "batch_size": 32,
    "buffer_size": 600,
    "hidden_sizes": (16,),
    "value_distribution": "none",
}
TRIALS = {"try_every": 10, "try_episodes": 2}
LITTLE = {"updates": 10, "clone_rate": 1e-6, **TRIALS}
"""So little that poles soon fall, which is quick to measure: test_clone.py has who learns more."""
SETTINGS = {
    "bc": LITTLE,
    "dagger": {"rounds": 2, "round_steps": 40, "round_envs": 4, **LITTLE},
    "ppo": LITTLE,
    "dqfd": {"pretrain_updates": 20, "pretrain_rate": 1e-6, **TRIALS},
    "mixed": {},
    "sqil": {},
    "jump-start": {"horizon": 30, "stages": 3},
}
every_learner = pytest.mark.parametrize("name", SETTINGS)


@pytest.fixture(scope="module")
def demos(tmp_path_factory):
    """Three episodes of 500 steps by the regulator."""
    folder = tmp_path_factory.mktemp("sets") / "balance-v0"
    asked = RecordConfig(env=BALANCE, expert="lqr", out=folder, episodes=3, score_episodes=0)
    assert record_demos(asked).card.steps == 1500
    return folder


def asked_for(name, demos, run, *, hyper=None, settings=None, **changes):
    usual = PPO if LEARNERS[name].agent == "ppo" else DQN
    return ImitateConfig(
        learner=name,
        demos=demos,
        run=run,
        hyper={**usual, **(hyper or {})},
        settings={**SETTINGS[name], **(settings or {})},
        **{"eval_every": 10_000, "eval_episodes": 2, "test_episodes": 5, "episodes": 1, **changes},
    )


@pytest.fixture(scope="module")
def cloned(demos, tmp_path_factory):
    """A run of cloning without any steps; nobody changes it."""
    run = tmp_path_factory.mktemp("runs") / "cloned"
    result = imitate(asked_for("bc", demos, run))
    assert (result.steps, result.interrupted) == (0, False)
    return run


def metrics(run):
    """Return the lines of the log without times."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "time/fps"} for line in lines]


def meta(run):
    return json.loads((run / "meta.json").read_text())


def tensors(run, steps):
    files = read_checkpoint(run / "checkpoints" / f"{steps:09d}")[1]
    return {(file, key): t for file, group in files.items() for key, t in group.items()}


# Runs.


@pytest.mark.slow
@every_learner
def test_every_learner_leaves_a_run_that_acts_as_it_was_judged(name, demos, tmp_path):
    result = imitate(asked_for(name, demos, tmp_path / "run", steps=256))
    run = tmp_path / "run"
    assert result.steps == 256
    lines = metrics(run)
    assert (lines[0]["steps"], set(lines[0])) == (
        0,
        {"steps", "eval/mean_reward", "eval/success_rate"},
    )
    assert "test/mean_reward" in lines[-1]
    told = {path.name for path in run.iterdir()}
    assert {"config.yaml", "meta.json", "metrics.jsonl", "checkpoints", "eval.json"} <= told
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert (config["agent"], config["pretrained"]) == (LEARNERS[name].agent, f"{name} {demos}")
    [pretraining] = meta(run)["pretraining"]
    assert (pretraining["learner"], pretraining["demos"]) == (name, str(demos))
    assert pretraining["settings"].items() >= SETTINGS[name].items()
    agent = load_agent(run / "checkpoints" / "000000256")
    again = evaluate(agent, BALANCE, episodes=5)
    assert again.mean == json.loads((run / "eval.json").read_text())["mean_return"]
    if name in ("mixed", "sqil", "dqfd"):
        assert agent.config.num_demo_transitions == 1000  # an episode and its mirror image
        assert tensors(run, 256)["replay", "demo.reward"].shape == (1000,)
    if name == "jump-start":
        assert any("rollout/guide_horizon" in line for line in lines)
        assert pretraining["horizon"] == 30
    if name == "dagger":
        assert pretraining["asked"] == 2 * 40
        assert [made for made, _ in pretraining["curve"]] == [10, 20]


def test_cloning_alone_is_measured_and_saved_at_no_steps(cloned):
    first, last = metrics(cloned)
    assert (first["steps"], last["steps"]) == (0, 0)
    assert {path.name for path in (cloned / "checkpoints").iterdir()} == {
        "000000000",
        "best",
        "last",
    }
    [told] = meta(cloned)["pretraining"]
    [(updates, score)] = told["curve"]
    assert (told["updates"], told["score"]) == (updates, score) == (10, score)
    agent = load_agent(cloned)
    assert agent.steps == 0
    assert last["test/mean_reward"] == evaluate(agent, BALANCE, episodes=5).mean
    assert first["eval/mean_reward"] == evaluate(agent, BALANCE, episodes=2, seed=1).mean


@pytest.mark.slow
def test_a_clone_can_be_evaluated_and_filmed(cloned, tmp_path, capsys):
    assert main(["eval", str(cloned), "--episodes", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["episodes"] == 3
    assert main(["record", str(cloned), "--out", str(tmp_path / "x.mp4"), "--size", "64x64"]) == 0
    assert (tmp_path / "x.mp4").read_bytes()[4:8] == b"ftyp"


def test_a_finished_clone_has_nothing_to_resume(cloned):
    assert resume(cloned) is None


def test_the_same_seed_makes_the_same_run_and_another_one_another(demos, cloned, tmp_path):
    for name, seed in (("same", 0), ("other", 1)):
        imitate(asked_for("bc", demos, tmp_path / name, seed=seed))
    key = ("net", "policy.0.weight")
    own, same, other = (
        tensors(run, 0)[key] for run in (cloned, tmp_path / "same", tmp_path / "other")
    )
    assert torch.equal(own, same)
    assert not torch.equal(own, other)


def test_mirror_images_are_learned_from_only_if_wanted(demos, tmp_path):
    asked = asked_for("mixed", demos, tmp_path / "run", steps=16, mirror=False, episodes=2)
    imitate(asked)
    assert load_agent(tmp_path / "run").config.num_demo_transitions == 1000  # two episodes


def test_it_may_be_learned_elsewhere_with_the_same_spaces(demos, tmp_path):
    where = EnvConfig(id=BALANCE.id, engine="mujoco", kwargs={"robot": {"pole_length": 1.4}})
    imitate(asked_for("bc", demos, tmp_path / "run", env=where))
    assert load_agent(tmp_path / "run").envs.config == where


@contextmanager
def stop_at(step):
    """Ask this process to stop just before the training's environments make this step."""
    real, made = Collector.step, 0

    def counted(collector, actions):
        nonlocal made
        made += collector.num_envs == 4  # those of evaluations are fewer
        if made == step:
            made += 1
            os.kill(os.getpid(), signal.SIGTERM)
        return real(collector, actions)

    Collector.step = counted
    try:
        yield
    finally:
        Collector.step = real


@pytest.mark.slow
@pytest.mark.parametrize(("name", "step"), [("dqfd", 1), ("dqfd", 90), ("ppo", 90)])
def test_stopped_after_pretraining_and_resumed_a_run_ends_bitwise_alike(
    name, step, demos, tmp_path
):
    whole, run = tmp_path / "whole", tmp_path / "run"
    hyper = {"margin_anneal_fraction": 0.5} if name == "dqfd" else {}
    asked = asked_for(name, demos, whole, steps=640, eval_every=320, hyper=hyper)
    imitate(asked)
    with stop_at(step):
        assert imitate(replace(asked, run=run)).interrupted
    assert not resume(run).interrupted
    ours, theirs = tensors(run, 640), tensors(whole, 640)
    assert ours.keys() == theirs.keys()
    assert [key for key, tensor in ours.items() if not torch.equal(tensor, theirs[key])] == []
    assert metrics(run) == metrics(whole)
    assert len([line for line in metrics(run) if line["steps"] == 0]) == 1
    assert meta(run)["pretraining"] == meta(whole)["pretraining"]


# What cannot be is refused, and nothing is left behind.

OTHER = "robolearn/CartPoleSwingUp-v0"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"env": EnvConfig(id=OTHER)}, f"env is {BALANCE.id}, expected {OTHER}"),
        ({"env": replace(BALANCE, kwargs={"num_discrete_actions": 5})}, "action_space is Discrete"),
        ({"env": replace(BALANCE, kwargs={"action": "continuous"})}, "action_space is Discrete"),
        ({"learner": "bd"}, "Unknown learner 'bd'. Did you mean 'bc'"),
        ({"hyper": {"learning_rat": 1e-3}}, "Did you mean 'learning_rate'"),
        ({"hyper": {"batch_size": 10_000}}, "batch_size must be at most"),
        ({"settings": {"updatse": 3}}, "updatse"),
        ({"settings": {"updates": 0}}, "updates must"),
        ({"episodes": 4}, "has 3 episodes, 4 were asked for"),
        ({"episodes": 0}, "has 3 episodes, 0 were asked for"),
        ({"steps": -1}, "steps must be at least 0"),
        ({"seed": -1}, "seed must lie"),
        ({"learner": "dagger", "settings": {}, "expert": "planner"}, "is no expert for"),
        ({"learner": "dagger", "settings": {}, "expert": "nobody"}, "nobody"),
        ({"hyper": {"gru_hidden_size": 8}}, "agent without a GRU, got gru_hidden_size=8"),
    ],
    ids=lambda item: next(iter(item)) if isinstance(item, dict) else "",
)
def test_what_cannot_be_is_refused_and_nothing_left_behind(changes, message, demos, tmp_path):
    asked = replace(asked_for("bc", demos, tmp_path / "run"), **changes)
    with pytest.raises(RobolearnError, match=message):
        imitate(asked)
    assert list(tmp_path.iterdir()) == []


def test_a_set_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(RobolearnError, match="holds no demonstrations"):
        imitate(asked_for("bc", tmp_path / "nothing", tmp_path / "run"))
    assert list(tmp_path.iterdir()) == []


@every_learner
def test_a_run_that_is_there_stays_as_it_is(name, demos, cloned):
    before = {path: path.read_bytes() for path in cloned.rglob("*") if path.is_file()}
    with pytest.raises(RobolearnError, match="already holds something"):
        imitate(asked_for(name, demos, cloned))
    assert {path: path.read_bytes() for path in cloned.rglob("*") if path.is_file()} == before


def test_a_set_of_who_knows_where_needs_to_be_told(demos, tmp_path):
    known = read_demos(demos)
    nowhere = tmp_path / "nowhere-v0"
    card = find_set(demos).card
    write_demos(
        nowhere,
        known.episodes[:1],
        env=None,
        observation_space=known.observation_space,
        action_space=known.action_space,
        describe=lambda tally: replace(card, env=None, **tally.figures()),
    )
    with pytest.raises(RobolearnError, match="does not say where it was recorded: add --env ID"):
        imitate(asked_for("bc", nowhere, tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    imitate(asked_for("bc", nowhere, tmp_path / "run", env=BALANCE))
    assert load_agent(tmp_path / "run").envs.config == BALANCE


@contextmanager
def interrupted_in(folder, number):
    """Send this process a signal once a folder is there, and has been for a moment."""
    done = threading.Event()

    def watch():
        while not folder.is_dir() and not done.is_set():
            time.sleep(0.005)
        time.sleep(0.2)
        if not done.is_set():
            os.kill(os.getpid(), number)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


ENDLESS = {"updates": 10_000_000, "try_every": 10_000_000}


def test_interrupted_while_it_pretrains_it_leaves_no_run(demos, tmp_path):
    run = tmp_path / "run"
    with interrupted_in(run, signal.SIGINT), pytest.raises(KeyboardInterrupt):
        imitate(asked_for("bc", demos, run, settings=ENDLESS))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_command_too_leaves_no_run_if_it_is_stopped_before_it_began(
    number, code, demos, tmp_path, capsys
):
    run = tmp_path / "run"
    options = ["--updates", "10000000", "--try-every", "10000000", "--hidden-sizes", "16"]
    with interrupted_in(run, number):
        assert main(["imitate", "bc", "--demos", str(demos), "--run", str(run), *options]) == code
    assert capsys.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


# The command.

FEW = ("--updates", "10", "--try-every", "10", "--try-episodes", "2", "--hidden-sizes", "16")
FEW = (*FEW, "--test-episodes", "5")
FEW = (*FEW, "--clone-rate", "1e-6")


def test_the_command_tells_where_the_run_is_and_how_to_see_it(demos, tmp_path, capsys):
    run = tmp_path / "run"
    line = ["imitate", "bc", "--demos", str(demos), "--run", str(run), "--episodes", "2", *FEW]
    assert main(line) == 0
    said = capsys.readouterr().out
    assert said.startswith("Done after 0 steps")
    assert f"robolearn record {run} --out" in said
    [told] = meta(run)["pretraining"]
    assert told["settings"] == {
        "updates": 10,
        "batch": 4096,
        "clone_rate": 1e-6,
        "try_every": 10,
        "try_episodes": 2,
    }
    config = load_agent(run).config
    assert config == PPOConfig(
        hidden_sizes=(16,), learning_rate=3e-3, n_epochs=10
    )  # tuned for Balance


def test_the_command_prints_one_json_object(demos, tmp_path, capsys):
    run = tmp_path / "run"
    options = ["--steps", "32", "--num-envs", "4", "--hidden-sizes", "16", "--json", "--no-mirror"]
    options += ["--test-episodes", "5"]
    line = ["imitate", "sqil", "--demos", str(demos), "--run", str(run), *options]
    assert main(line) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["run"], told["steps"], told["interrupted"]) == (str(run), 32, False)
    assert told["episodes"] == 5
    expected = DQfDConfig(
        **DQN_SHARED,
        num_envs=4,
        hidden_sizes=(16,),
        num_demo_transitions=1500,
        demo_ratio=0.5,
        sqil_rewards=True,
        value_distribution="c51",  # tuned for Balance
        v_min=0.0,
        v_max=1 / (1 - 0.99),  # of rewards of 0 and 1
    )
    assert load_agent(run).config == expected


@pytest.mark.parametrize("name", [None, *SETTINGS])
def test_help_tells_the_learners_and_the_options_of_each(name, capsys):
    line = ["imitate", "--help"] if name is None else ["imitate", name, "--help"]
    try:
        code = main(line)
    except SystemExit as ended:
        code = ended.code
    assert not code
    said = capsys.readouterr().out
    if name is None:
        assert all(f"  {one}" in said and kind.says in said for one, kind in LEARNERS.items())
        return
    options = [f"--{key.replace('_', '-')}" for key in SETTINGS[name]]
    assert all(option in said for option in ("--demos", "--mirror", "--gamma", *options))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ([], "Which learner? robolearn imitate LEARNER --demos SET, one of: bc, dagger"),
        (["--demos", "x"], "Which learner?"),
        (["nosuch"], "Unknown learner 'nosuch'. Known: bc, dagger, "),
        (["dqn"], "Unknown learner 'dqn'."),
        (["bc", "--demos", "/nosuch"], "/nosuch holds no demonstrations"),
    ],
)
def test_what_cannot_be_asked_is_said_in_a_line(line, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["imitate", *line]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"robolearn: {words}")
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("line", [["--demos"], ["--env"], [], ["--nosuch", "3"]])
def test_options_that_are_none_are_refused_without_a_traceback(line, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["imitate", "bc", *line])
    assert ended.value.code == 2
    assert "imitate bc" in capsys.readouterr().err


def test_where_to_learn_is_where_it_was_recorded_but_for_what_is_asked():
    recorded = EnvConfig(id="robolearn/NavLidar-v0", engine="analytic", kwargs={"level": 2})
    assert ElsewhereOptions().config(recorded) == recorded
    assert ElsewhereOptions().config(None) is None
    changed = ElsewhereOptions(engine="mujoco", level=3, domain_randomization=("0.2",)).config(
        recorded
    )
    assert changed == EnvConfig(
        id=recorded.id, engine="mujoco", kwargs={"level": 3, "domain_randomization": 0.2}
    )
    assert ElsewhereOptions(env=recorded.id, level=1).config(recorded) == replace(
        recorded, kwargs={"level": 1}
    )
    other = ElsewhereOptions(env=BALANCE.id, engine="bullet").config(recorded)
    assert other == EnvConfig(id=BALANCE.id, engine="bullet")
    assert ElsewhereOptions(env=BALANCE.id).config(None) == EnvConfig(id=BALANCE.id)


# Sets that others made.


def balanced(seed):
    """Return an episode of CartPole-v1 by someone who pushes where the pole falls to."""
    with gym.make("CartPole-v1") as env:
        seen, actions, rewards, ends = [env.reset(seed=seed)[0]], [], [], []
        while not ends or not any(ends[-1]):
            _, x_dot, theta, theta_dot = seen[-1]
            actions.append(int(theta + 0.5 * theta_dot + 0.05 * x_dot > 0))
            obs, reward, terminated, truncated, _ = env.step(actions[-1])
            seen.append(obs)
            rewards.append(reward)
            ends.append((terminated, truncated))
    terminations, truncations = map(list, zip(*ends, strict=True))
    return EpisodeBuffer(
        seed=seed,
        observations=seen,
        actions=actions,
        rewards=rewards,
        terminations=terminations,
        truncations=truncations,
    )


@pytest.mark.slow
def test_a_set_that_plain_minari_made_teaches_our_cloning(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "theirs"))
    buffers = [balanced(seed) for seed in range(2)]
    assert [sum(buffer.rewards) for buffer in buffers] == [500.0, 500.0]
    told = {"algorithm_name": "rule", "author": "x", "author_email": "x@y"}
    told |= {"code_permalink": "z", "description": "w"}
    with gym.make("CartPole-v1") as env:
        minari.create_dataset_from_buffers(
            "cartpole/rule-v0", buffers, env=env, eval_env="CartPole-v1", **told
        )
    run, demos = tmp_path / "run", tmp_path / "theirs" / "cartpole" / "rule-v0"
    options = ["--updates", "200", "--try-every", "200", "--try-episodes", "1"]
    options += ["--clone-rate", "1e-2", "--json"]
    assert main(["imitate", "bc", "--demos", str(demos), "--run", str(run), *options]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["mean_return"] > 200  # of 500; random actions return 22
    agent = load_agent(run)
    assert agent.envs.config == EnvConfig(id="CartPole-v1")
    obs, done = np.array(buffers[0].observations[:-1]), buffers[0].actions
    assert (agent.predict(obs, deterministic=True)[0] == done).mean() > 0.8
