"""The training loop: what is due when, and which agent is called the best."""

import json
import signal
from dataclasses import replace

import pytest

from robolearn.agents.load import load_agent
from robolearn.agents.ppo import PPO
from robolearn.buffers.rollout_buffer import RolloutBuffer
from robolearn.environments import EnvConfig
from robolearn.errors import RobolearnError
from robolearn.evaluation import evaluate
from robolearn.runs.run import RunFolder
from robolearn.session import Every
from robolearn.train import TrainConfig, resume, train

BALANCE = EnvConfig(id="robolearn/CartPoleBalance-v0", engine="analytic")
SMALL = {"num_envs": 4, "n_steps": 32, "batch_size": 64, "hidden_sizes": (16,)}


@pytest.fixture
def config(tmp_path):
    return TrainConfig(
        agent="ppo",
        env=BALANCE,
        steps=1280,
        run=tmp_path / "run",
        hyper=SMALL,
        eval_episodes=5,
        test_episodes=10,
    )


def evaluations(run):
    """Steps and mean return of each evaluation, in order."""
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    return [
        (line["steps"], line["eval/mean_reward"]) for line in lines if "eval/mean_reward" in line
    ]


def test_something_is_due_once_in_every_period():
    every = Every(100)
    # Asked at these steps; 500 passes several ends of periods and counts once.
    asked = {64: False, 128: True, 192: False, 200: True, 500: True, 599: False, 600: True}
    found = {}
    for steps in asked:
        found[steps] = every.due(steps)
        if found[steps]:
            every.done(steps)
    assert found == asked


def test_what_is_due_stays_due_until_it_is_done():
    every = Every(100)
    assert every.next == 100
    assert every.due(150)
    assert every.due(150)
    every.done(150)
    assert every.next == 200
    assert not every.due(199)


def test_what_is_done_at_the_end_of_a_period_is_due_at_the_end_of_the_next():
    every = Every(100)
    every.done(300)
    assert every.next == 400


def test_nothing_is_due_in_periods_of_zero():
    every = Every(0)
    assert not any(every.due(steps) for steps in (0, 1, 1000))
    every.done(1000)
    assert not every.due(2000)


@pytest.mark.slow
def test_the_best_agent_is_the_latest_of_those_with_the_highest_return(config):
    run = train(config).run
    found = evaluations(run)
    assert len(found) >= 10
    highest = max(score for _, score in found)
    latest = [steps for steps, score in found if score == highest][-1]
    assert run.pointed("best") == run.checkpoint(latest)


@pytest.mark.slow
def test_the_result_is_that_of_the_agent_left_behind(config):
    result = train(config)
    assert (result.steps, result.interrupted, result.video_failures) == (1280, False, ())
    last = result.run.pointed("last")
    assert last is not None
    again = evaluate(load_agent(last), BALANCE, episodes=10)
    assert again.returns.tolist() == result.evaluation.returns.tolist()


def signaled(monkeypatch, *numbers):
    """Let signals come while a PPO that has made 640 steps learns from 128 more."""
    learn = PPO._update

    def update(agent, rollout):
        if agent.steps == 640:
            for number in numbers:
                signal.raise_signal(number)
        return learn(agent, rollout)

    monkeypatch.setattr(PPO, "_update", update)


def weights(run):
    return (run.checkpoint(1280) / "net.safetensors").read_bytes()


every_signal = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@pytest.mark.slow
@every_signal
def test_a_signal_keeps_what_was_learned(config, monkeypatch, number):
    signaled(monkeypatch, number)
    before = signal.getsignal(number)
    result = train(config)
    assert signal.getsignal(number) is before
    assert result.interrupted
    assert result.evaluation is None
    assert result.steps == 768  # the update under way is made to its end
    last = result.run.pointed("last")
    assert last is not None
    assert load_agent(last).steps == 768
    assert not result.run.evaluated


@pytest.mark.slow
@every_signal
def test_a_run_that_was_stopped_goes_on_to_the_agent_it_would_have_become(
    config, monkeypatch, tmp_path, number
):
    whole = train(config)
    with monkeypatch.context() as patch:
        signaled(patch, number)
        stopped = train(replace(config, run=tmp_path / "stopped")).run
    result = resume(stopped.path)
    assert result is not None
    assert (result.steps, result.interrupted) == (1280, False)
    assert weights(stopped) == weights(whole.run)
    assert evaluations(stopped) == evaluations(whole.run)
    assert result.evaluation.returns.tolist() == whole.evaluation.returns.tolist()
    assert resume(stopped.path) is None  # nothing is left to do


def test_a_signal_before_the_first_step_of_a_rollout_keeps_what_was_learned(config, monkeypatch):
    begin, begun = RolloutBuffer.begin, []

    def beginning(buffer, noise):
        begin(buffer, noise)
        begun.append(noise)
        if len(begun) == 6:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(RolloutBuffer, "begin", beginning)
    result = train(replace(config, eval_every=10**6, save_every=10**6))
    assert result.interrupted
    assert [path.name for path in result.run.stored()] == ["000000640"]


def test_a_second_signal_interrupts_at_once(config, monkeypatch):
    signaled(monkeypatch, signal.SIGTERM, signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        train(config)
    last = RunFolder.open(config.run).pointed("last")
    assert last is not None
    assert load_agent(last).steps == 640


@pytest.mark.slow
def test_evaluating_and_saving_do_not_change_what_is_learned(config, tmp_path):
    watched = train(config).run
    alone = train(replace(config, run=tmp_path / "alone", eval_every=10**6, save_every=10**6)).run
    weights = [(run.checkpoint(1280) / "net.safetensors").read_bytes() for run in (watched, alone)]
    assert weights[0] == weights[1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"eval_episodes": 0}, "eval_episodes must be at least 1, got 0"),
        ({"test_episodes": 0}, "test_episodes must be at least 1, got 0"),
        ({"video_every": -1}, "video_every must not be negative, got -1"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(config, changes, words):
    with pytest.raises(RobolearnError, match=words):
        replace(config, **changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"agent": "pp0"}, "Did you mean 'ppo'"),
        ({"hyper": {"gama": 0.9}}, "Did you mean 'gamma'"),
        ({"hyper": {"gamma": 1.5}}, "gamma must lie in"),
        ({"device": "tpu"}, "got 'tpu'"),
    ],
)
def test_what_cannot_be_trained_leaves_nothing(config, changes, words):
    with pytest.raises(RobolearnError, match=words):
        train(replace(config, **changes))
    assert not config.run.exists()
