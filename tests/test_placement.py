"""Where a training is computed: as asked for, or where it is fastest; and what fits there."""

import json

import pytest
import torch

from robolearn.accelerate import cuda_problem
from robolearn.agents.defaults import tuned
from robolearn.agents.ppo import PPO
from robolearn.cli import main
from robolearn.environments import EnvConfig
from robolearn.errors import RobolearnError
from robolearn.placement import (
    Place,
    choose_place,
    fastest,
    fits,
    raise_too_large,
    settings,
    speed,
)
from robolearn.session import TrainConfig
from robolearn.train import train

BALANCE = EnvConfig(id="robolearn/CartPoleBalance-v0", engine="analytic")
ON_TORCH = EnvConfig(id="robolearn/CartPoleBalance-v0", engine="torch")
TOO_OLD = (
    "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU\n"
    "driver by downloading and installing a new version."
)
no_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")


def chosen(device, env=BALANCE):
    return choose_place("ppo", env, {}, device=device, compile="auto", seed=0)


def test_a_device_that_is_asked_for_is_not_questioned():
    choice = chosen("cuda:1")
    assert choice.place == Place("cuda:1", BALANCE)
    assert choice.why == "cuda:1, as asked for"


@no_cuda
def test_without_cuda_it_is_the_cpu_and_that_is_said():
    choice = chosen("auto")
    assert choice.place == Place("cpu", BALANCE)
    assert choice.why == f"cpu: torch {torch.__version__} finds no CUDA device: it is built " + (
        "without CUDA"
    )


def test_graphs_are_asked_of_cuda_alone(monkeypatch):
    monkeypatch.setattr("robolearn.placement.cuda_problem", lambda: None)
    usual = EnvConfig(id="robolearn/CartPoleBalance-v0")
    choice = choose_place("ppo", usual, {}, device="auto", compile="graph", seed=0)
    assert choice.place == Place("cuda", usual)


def test_a_stopwatch_chooses_the_device_and_never_the_physics(monkeypatch):
    monkeypatch.setattr("robolearn.placement.cuda_problem", lambda: None)
    usual = EnvConfig(id="robolearn/CartPoleBalance-v0")
    monkeypatch.setattr("robolearn.placement.fastest", lambda places, measured: places)
    places = choose_place("ppo", usual, {}, device="auto", compile="auto", seed=0)
    assert places == [Place("cpu", usual), Place("cuda", usual)]


def test_the_place_of_the_most_steps_a_second_is_chosen_and_all_are_told():
    places = [Place("cpu", BALANCE), Place("cuda", ON_TORCH)]
    choice = fastest(places, lambda place: 31_000.4 if place is places[0] else 12_000.0)
    assert choice.place is places[0]
    assert choice.why == (
        "cpu, the fastest (cpu, engine analytic: 31,000 steps/s; "
        "cuda, engine torch: 12,000 steps/s)"
    )


@pytest.mark.parametrize("env", [BALANCE, ON_TORCH], ids=["analytic", "torch"])
def test_a_trial_learns_and_leaves_nothing_behind(env, monkeypatch):
    monkeypatch.setattr("robolearn.placement.TRIAL", 0.05)
    hyper = {"num_envs": 4, "n_steps": 8, "batch_size": 32}
    before = torch.get_num_threads()
    assert speed("ppo", Place("cpu", env), hyper, compile="auto", seed=0) > 32
    assert torch.get_num_threads() == before


def test_a_place_where_learning_breaks_down_is_the_slowest(monkeypatch):
    monkeypatch.setattr("robolearn.placement.TRIAL", 0.05)
    hyper = {"num_envs": 4, "n_steps": 8, "batch_size": 32, "learning_rate": 1e30}
    assert speed("ppo", Place("cpu", ON_TORCH), hyper, compile="auto", seed=0) == 0.0


@pytest.mark.slow
def test_who_asks_for_too_many_environments_is_told_how_many_fit():
    tried = []

    def few(count):
        tried.append(count)
        return count <= 300

    with pytest.raises(RobolearnError) as caught:
        raise_too_large(4096, torch.device("cpu"), few)
    assert tried == [2048, 1024, 512, 256]
    assert str(caught.value) == (
        "4,096 environments do not fit into the memory of cpu; 256 do: use --num-envs 256, "
        "and another --run."
    )


@pytest.mark.slow
def test_where_not_even_one_fits_that_is_said():
    with pytest.raises(RobolearnError, match="not even one does"):
        raise_too_large(8, torch.device("cpu"), lambda count: False)


def test_whether_environments_fit_is_seen_by_learning_a_round_from_them():
    assert fits("ppo", Place("cpu", ON_TORCH), {}, 3)
    assert fits("dqn", Place("cpu", ON_TORCH), {"batch_size": 8}, 3)


def test_environments_do_not_fit_where_learning_from_them_runs_out_of_memory(monkeypatch):
    learn, sizes = PPO._update, []

    def update(agent, experience):
        sizes.append(agent.config.num_envs)
        if len(sizes) == 4:  # as late as in a capture
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return learn(agent, experience)

    monkeypatch.setattr(PPO, "_update", update)
    assert not fits("ppo", Place("cpu", ON_TORCH), {}, 3)
    assert sizes == [3, 3, 3, 3]


def test_what_is_not_said_is_learned_with_as_it_was_tuned():
    swing_up = EnvConfig(id="robolearn/CartPoleSwingUp-v0", engine="torch")
    assert settings("ppo", swing_up, {}).num_envs == tuned("ppo", swing_up.id)["num_envs"] != 32
    assert settings("ppo", swing_up, {"num_envs": 8, "batch_size": 16}).num_envs == 8


@pytest.mark.slow
@pytest.mark.parametrize(("agent", "hyper"), [("ppo", {}), ("ppo", {"num_envs": 64})])
def test_a_training_that_runs_out_of_memory_ends_with_that_line(
    agent, hyper, tmp_path, monkeypatch
):
    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB.")

    monkeypatch.setattr("robolearn.train.carry_out", full)
    config = TrainConfig(
        agent=agent, env=ON_TORCH, steps=1, run=tmp_path / "run", device="cpu", hyper=hyper
    )
    asked = hyper.get("num_envs", 32)
    with pytest.raises(
        RobolearnError, match=f"^{asked} environments .* {asked // 2} do: use --num"
    ):
        train(config)


@no_cuda
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--device", "cuda"], "finds no CUDA device: it is built without CUDA. Use --device cpu."),
        (["--device", "tpu"], "device must be 'auto', 'cpu' or 'cuda', got 'tpu'."),
        (["--compile", "graph"], "CUDA graphs need device cuda, this is cpu. Use --compile auto."),
        (
            ["--env", "robolearn/NavRover-v0"],
            "does not run on engine 'torch'; of those on a device",
        ),
        (
            ["--num-workers", "2"],
            "steps batches by itself, got num_workers=2. Leave num_workers out.",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(arguments, line, tmp_path, capsys):
    run = ["train", "ppo", "--engine", "torch", "--steps", "64", "--run", str(tmp_path / "run")]
    assert main([*run, *arguments]) == 2
    said = capsys.readouterr().err.strip()
    assert said.count("\n") == 0
    assert line in said
    assert not (tmp_path / "run").exists()


def test_an_old_driver_is_named(monkeypatch):
    def refuse():
        raise RuntimeError(TOO_OLD)

    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "init", refuse)
    assert cuda_problem() == (
        f"torch {torch.__version__} finds no CUDA device: The NVIDIA driver on your system is too "
        "old (found version 11040). Please update your GPU"
    )


def test_a_run_says_where_it_was_computed_and_why(tmp_path, capsys):
    run = tmp_path / "run"
    small = ["--num-envs", "4", "--n-steps", "8", "--batch-size", "32"]
    options = ["--steps", "64", "--device", "cpu", "--engine", "torch", "--run", str(run)]
    assert main(["train", "ppo", *small, *options]) == 0
    assert capsys.readouterr().out.endswith("\nComputed on cpu, as asked for.\n")
    (computed,) = json.loads((run / "meta.json").read_text())["computed"]
    assert computed == {
        "device_choice": "cpu, as asked for",
        "how": "eager: CUDA graphs need device cuda, this is cpu",
    }
