"""A run that was stopped or killed goes on in a new process as if nothing had happened."""

import json
import random
import time
from dataclasses import replace

import gymnasium as gym
import pytest
from often import often
from small_runs import (
    RUNS,
    assert_same,
    command,
    config,
    finished,
    metrics,
    newest,
    signal_at,
)
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from robolearn.environments import EnvConfig
from robolearn.errors import RobolearnError, RobolearnWarning
from robolearn.runs.checkpoint import read_checkpoint
from robolearn.runs.run import RunFolder
from robolearn.train import resume, train

# Steps of 4 environments at which a run is stopped: in the middle of a rollout, of an episode, of
# the warm-up. Fifty cases at full count.
STOPS = often(1, 5)
NAMES = list(RUNS) if often(0, 1) else ["dqn mujoco", "a2c bullet", "ppo workers bullet"]
CASES = [(name, k) for name in NAMES for k in range(STOPS)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return uninterrupted runs, each made once."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = train(config(name, tmp_path_factory.mktemp("whole") / "run")).run.path
        return made[name]

    return get


@pytest.mark.slow
@pytest.mark.parametrize(("name", "k"), CASES)
def test_stopped_anywhere_and_resumed_in_a_new_process_a_run_ends_bitwise_alike(
    name, k, whole, tmp_path
):
    step = random.Random(f"{name} {k}").randrange(2, 370)
    with signal_at(step):
        result = train(config(name, tmp_path / "run"))
    assert result.interrupted
    code, output, complaints = finished(command("resume", tmp_path / "run"))
    assert (code, complaints) == (0, "")
    assert "Done after 1,5" in output
    assert_same(whole(name), tmp_path / "run")
    told = json.loads((tmp_path / "run" / "meta.json").read_text())["resumed"]
    assert [one["exact"] for one in told] == [True]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ppo analytic", "pqn foreign"])
def test_stopped_again_and_again_a_run_ends_bitwise_alike(name, whole, tmp_path):
    with signal_at(77):
        result = train(config(name, tmp_path / "run"))
    for step in (1, 2, 61, 40):  # also before anything new was learned
        assert result.interrupted
        with signal_at(step):
            result = resume(tmp_path / "run")
    assert not resume(tmp_path / "run").interrupted
    assert_same(whole(name), tmp_path / "run")


@pytest.mark.slow
def test_tensorboard_is_cut_to_the_checkpoint_and_not_told_twice(whole, tmp_path):
    with signal_at(150):
        train(config("ppo analytic", tmp_path / "run"))
    resume(tmp_path / "run")
    for tag in ("train/policy_gradient_loss", "eval/mean_reward"):
        ours, theirs = (scalars(run, tag) for run in (tmp_path / "run", whole("ppo analytic")))
        assert ours == theirs
        assert len({step for step, _ in ours}) == len(ours) > 5


def scalars(run, tag):
    events = EventAccumulator(str(run / "tb"), size_guidance={"scalars": 0}).Reload()
    return [(event.step, event.value) for event in events.Scalars(tag)]


@pytest.mark.slow
def test_the_same_seed_twice_tells_the_same_but_for_times(whole, tmp_path):
    again = train(config("dqn mujoco", tmp_path / "run")).run.path
    assert metrics(again) == metrics(whole("dqn mujoco"))
    assert len(metrics(again)) > 50


def test_a_finished_run_is_left_as_it_is(whole, capsys):
    run = whole("ppo analytic")
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    assert resume(run) is None
    after = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    assert {p for p in after if after[p] != before.get(p)} <= {run / ".lock"}


@pytest.mark.slow
def test_a_run_killed_before_its_last_evaluation_makes_it_up(whole, tmp_path):
    train(config("ppo analytic", tmp_path / "run"))
    (tmp_path / "run" / "eval.json").unlink()
    result = resume(tmp_path / "run")
    assert result.evaluation is not None
    assert_same(whole("ppo analytic"), tmp_path / "run")


class Forgetful(gym.Env):
    """Begins every episode at a number no seed fixes."""

    observation_space = gym.spaces.Box(0.0, 1.0, (1,))
    action_space = gym.spaces.Discrete(2)
    unseeded = random.Random()

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.low + self.unseeded.random(), {}

    def step(self, action):
        return self.observation_space.low + self.unseeded.random(), 1.0, False, False, {}


def test_environments_that_cannot_be_put_back_begin_anew_and_that_is_said(tmp_path):
    gym.register("tests/Forgetful-v0", Forgetful, max_episode_steps=30)
    asked = config("ppo analytic", tmp_path / "run")
    with signal_at(77):
        train(replace(asked, env=EnvConfig(id="tests/Forgetful-v0")))
    with pytest.warns(RobolearnWarning, match="approximate"):
        result = resume(tmp_path / "run")
    assert result.steps >= 1500
    told = json.loads((tmp_path / "run" / "meta.json").read_text())["resumed"]
    assert [one["exact"] for one in told] == [False]


def test_one_process_at_a_time_trains_a_run(tmp_path):
    with signal_at(77):
        train(config("ppo analytic", tmp_path / "run", steps=4000))
    with (
        RunFolder.open(tmp_path / "run").lock(),
        pytest.raises(RobolearnError, match="another process"),
    ):
        resume(tmp_path / "run")


# Kills


def wait_for_growth(run, process):
    """Wait until the run has told something more than now."""
    log = run / "metrics.jsonl"
    size = log.stat().st_size if log.exists() else 0
    while process.poll() is None and (not log.exists() or log.stat().st_size <= size):
        time.sleep(0.005)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(often(1, 10)))
def test_killed_at_random_moments_of_training_and_saving_a_run_ends_bitwise_alike(part, tmp_path):
    """SIGKILL, then resume, again and again; checkpoints after every rollout of 128 steps."""
    whole = train(config("dqn mujoco", tmp_path / "whole", steps=2000, save_every=128)).run.path
    asked = ["dqn", "--env", RUNS["dqn mujoco"][1].id, "--engine", "mujoco", "--seed", 3]
    asked += ["--steps", 2000, "--save-every", 128, "--num-envs", 4]
    asked += [
        "--buffer-size",
        600,
        "--learning-starts",
        200,
        "--hidden-sizes",
        16,
        "--prioritized-replay",
        "--n-step",
        3,
    ]
    asked += ["--value-distribution", "none", "--eval-episodes", 2, "--test-episodes", 2]
    rng, kills, runs = random.Random(part), 0, 0
    while kills < often(2, 20):
        run = tmp_path / f"run{runs}"
        runs += 1
        arguments = ["train", *asked, "--run", run]
        while True:
            process = command(*arguments)
            wait_for_growth(run, process)
            time.sleep(rng.uniform(0, 0.4))
            process.kill()
            code, _, complaints = finished(process)
            if code == 0:
                break
            assert code == -9, complaints
            kills += 1
            if not list((run / "checkpoints").glob("[0-9]*")):
                break  # before the first checkpoint there is nothing to go on from
            told = [line["steps"] for line in metrics_of_killed(run)]
            saved = int(newest(run).name)
            read_checkpoint(newest(run))
            assert max(told) - saved <= 128 + 16  # an interval, and the round that ends it
            arguments = ["resume", run]
            if kills >= often(2, 20):
                code, _, complaints = finished(command(*arguments))
                assert (code, complaints) == (0, "")
                break
        if code == 0:
            assert_same(whole, run)
    assert not list((run / "checkpoints").glob(".*.tmp"))


def metrics_of_killed(run):
    """Return the whole lines of a log that may end in the middle of one."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines(True)[:-1]]
