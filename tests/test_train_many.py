"""Runs of many seeds: a folder each, that everything else can use."""

import json
import signal

import pytest
import torch

from robolearn.agents.load import load_agent
from robolearn.agents.multi_seed import MultiSeedPPO
from robolearn.agents.ppo import PPO
from robolearn.cli import main
from robolearn.environments import EnvConfig
from robolearn.errors import DivergedError, RobolearnError, SaveError
from robolearn.evaluation import evaluate
from robolearn.runs.run import RunFolder
from robolearn.train import TrainConfig, resume
from robolearn.train_many import train_many

BALANCE = EnvConfig(id="robolearn/CartPoleBalance-v0", engine="torch")
SMALL = {"num_envs": 4, "n_steps": 32, "batch_size": 64, "hidden_sizes": (16,)}
SEEDS = (4, 2)


def config(path, **changes):
    settings = {"agent": "ppo", "env": BALANCE, "steps": 512, "hyper": SMALL, "device": "cpu"}
    return TrainConfig(run=path, **(settings | changes))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    path = tmp_path_factory.mktemp("many") / "run"
    return path, train_many(config(path), SEEDS, device_choice="for a test")


@pytest.mark.slow
def test_every_seed_has_a_run_folder(done):
    path, results = done
    assert sorted(folder.name for folder in path.iterdir()) == ["seed-0002", "seed-0004"]
    assert [result.run.path.name for result in results] == ["seed-0004", "seed-0002"]
    for seed, result in zip(SEEDS, results, strict=True):
        run = RunFolder.open(result.run.path)
        assert run.config()["seed"] == seed
        told = json.loads((run.path / "meta.json").read_text())
        assert told["computed"][0]["device_choice"] == "for a test"
        assert told["together_with"] == [[4, 2]]
        assert run.pointed("best") == run.pointed("last") == run.checkpoint(512)
        assert (result.steps, result.interrupted) == (512, False)


def test_every_agent_is_the_one_that_learns_alone(done):
    _, results = done
    for seed, result in zip(SEEDS, results, strict=True):
        agent = load_agent(result.run.path, device="cpu")
        twin = PPO(BALANCE, PPO.Config(**SMALL), seed=seed, device="cpu").learn(512)
        assert (agent.seed, agent.steps, agent.config) == (seed, 512, twin.config)
        pairs = zip(agent.net.parameters(), twin.net.parameters(), strict=True)
        assert all((a - b).abs().max() < 1e-5 for a, b in pairs)


def test_figures_are_logged_and_the_final_evaluation_is_that_of_the_agent(done):
    _, results = done
    for result in results:
        lines = (result.run.path / "metrics.jsonl").read_text().splitlines()
        logged = [json.loads(line) for line in lines]
        assert [line["steps"] for line in logged] == [128, 256, 384, 512, 512]
        assert {"train/policy_gradient_loss", "time/fps", "train/learning_rate"} <= logged[0].keys()
        found = json.loads((result.run.path / "eval.json").read_text())
        assert found["episodes"] == 100
        assert found["mean_return"] == logged[-1]["test/mean_reward"] == result.evaluation.mean
        agent = load_agent(result.run.path, device="cpu")
        assert evaluate(agent, BALANCE, episodes=100, seed=0).mean == found["mean_return"]


def test_nothing_is_overwritten(done):
    path, _ = done
    with pytest.raises(RobolearnError, match="already holds something; nothing was changed"):
        train_many(config(path), [9])
    assert not (path / "seed-0009").exists()


def test_a_finished_run_of_one_seed_says_that_it_cannot_be_gone_on_with(done):
    _, results = done
    with pytest.raises(RobolearnError, match="no learning to go on with"):
        resume(results[0].run.path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"agent": "a2c", "hyper": {}}, "Only ppo learns with many seeds at once, got a2c"),
        ({"eval_every": 100, "video_every": 50}, "got eval_every, video_every"),
        ({"hyper": {"gru_hidden_size": 4}}, "gru_hidden_size=4"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(changes, words, tmp_path):
    with pytest.raises(RobolearnError, match=words):
        train_many(config(tmp_path / "run", **changes), SEEDS)
    assert not (tmp_path / "run").exists()


def after_a_round(monkeypatch, happen):
    """Let something happen after the second update."""
    usual = MultiSeedPPO.iterate

    def iterate(self, steps):
        for i, reports in enumerate(usual(self, steps)):
            yield reports
            if i == 1:
                happen()

    monkeypatch.setattr(MultiSeedPPO, "iterate", iterate)


def test_ctrl_c_leaves_what_was_learned_so_far(tmp_path, monkeypatch):
    after_a_round(monkeypatch, lambda: signal.raise_signal(signal.SIGINT))
    results = train_many(config(tmp_path / "run"), SEEDS)
    for seed, result in zip(SEEDS, results, strict=True):
        assert (result.steps, result.interrupted) == (384, True)  # a signal waits for the update
        agent = load_agent(result.run.path, device="cpu")
        assert (agent.seed, agent.steps) == (seed, 384)
        assert not result.run.evaluated


def test_ctrl_c_while_agents_are_evaluated_keeps_what_there_is(tmp_path, monkeypatch):
    def interrupted(agent, *rest, **options):
        signal.raise_signal(signal.SIGINT)
        return evaluate(agent, *rest, **options)

    monkeypatch.setattr("robolearn.train_many.evaluate", interrupted)
    results = train_many(config(tmp_path / "run"), SEEDS)
    assert [result.interrupted for result in results] == [True, True]
    assert [load_agent(result.run.path).steps for result in results] == [512, 512]


def test_the_agents_of_the_other_seeds_are_saved_where_one_diverges(tmp_path, monkeypatch):
    def fail():
        raise DivergedError("Seed 4: The loss is nan.")

    after_a_round(monkeypatch, fail)
    with pytest.raises(DivergedError, match=r"^Seed 4: The loss is nan\. The other agents are in"):
        train_many(config(tmp_path / "run"), SEEDS)
    assert load_agent(tmp_path / "run" / "seed-0002", device="cpu").steps == 256


def test_agents_are_saved_on_the_way(tmp_path, monkeypatch):
    saved = []
    usual = PPO.save

    def save(self, folder):
        saved.append(folder.name)
        usual(self, folder)

    monkeypatch.setattr(PPO, "save", save)
    train_many(config(tmp_path / "run", save_every=256), [1])
    assert saved == ["000000256", "000000512"]


def test_a_full_disk_is_an_error_of_its_own(tmp_path, monkeypatch):
    def save(self, folder):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(PPO, "save", save)
    with pytest.raises(SaveError, match=r"Cannot save to .*: No space left on device"):
        train_many(config(tmp_path / "run"), [1])


def test_too_many_agents_for_the_memory_are_refused_in_a_line(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB.")

    monkeypatch.setattr("robolearn.train_many.MultiSeedPPO", full)
    with pytest.raises(RobolearnError, match=r"^2 agents at once do not fit"):
        train_many(config(tmp_path / "run"), SEEDS)


@pytest.mark.slow
def test_the_command_trains_them_and_tells_of_each(tmp_path, capsys):
    run = tmp_path / "run"
    small = ["--num-envs", "4", "--n-steps", "32", "--batch-size", "64", "--hidden-sizes", "16"]
    options = ["--engine", "torch", "--steps", "256", "--seed", "3", "--seeds", "2"]
    assert main(["train", "ppo", *small, *options, "--run", str(run), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["runs"]
    assert [one["run"] for one in told] == [str(run / "seed-0003"), str(run / "seed-0004")]
    assert all((one["steps"], one["episodes"]) == (256, 100) for one in told)


def test_the_command_refuses_engines_on_the_host_in_a_line(tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["train", "ppo", "--seeds", "2", "--steps", "256", "--run", str(run)]) == 2
    said = capsys.readouterr().err
    assert "Many seeds at once need an engine on the device (torch or warp)" in said
    assert said.count("\n") == 1
    assert not run.exists()
