"""The options of ``learn``."""

import io
import sys

import numpy as np
import pytest
from rich.console import Console
from small_agents import build, every_agent

from robolearn.errors import RobolearnError
from robolearn.progress import ProgressLine


@every_agent
def test_a_callback_gets_every_update_and_stops_the_training(name):
    seen = []

    def stop_at_the_second(update):
        seen.append(update)
        return len(seen) < 2

    agent = build(name).learn(100_000, callback=stop_at_the_second)
    assert len(seen) == 2
    assert agent.steps == seen[-1].steps < 100_000
    agent.learn(64)  # and it can learn on
    assert agent.steps > seen[-1].steps
    agent.close()


def test_a_callback_that_returns_nothing_lets_the_training_go_on():
    steps = []
    build("ppo").learn(256, callback=lambda update: steps.append(update.steps)).close()
    assert steps == [64, 128, 192, 256]  # rollouts of 4 environments x 16 steps


def test_progress_changes_nothing_of_what_is_learned():
    obs = np.random.default_rng(0).uniform(-1, 1, (100, 4)).astype(np.float32)
    shown, silent = (build("ppo").learn(256, progress=progress) for progress in (True, False))
    np.testing.assert_array_equal(shown.value(obs), silent.value(obs))


def test_without_a_terminal_progress_is_a_line_at_each_tenth(capsys):
    build("ppo").learn(640, progress=True).close()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10  # 10 rollouts of 64 steps
    assert lines[0].startswith("PPO: 64/640 steps, ")
    assert lines[-1].startswith("PPO: 640/640 steps, ")
    assert "return " in lines[-1]  # a pole falls within 100 steps of each environment


def test_progress_counts_the_steps_of_this_call(capsys):
    agent = build("ppo").learn(640)
    capsys.readouterr()
    agent.learn(64, progress=True).close()
    assert capsys.readouterr().err.startswith("PPO: 64/64 steps")


def test_on_a_terminal_progress_is_a_bar(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    assert Console(stderr=True).is_terminal
    with ProgressLine("PPO", 100, plain=True) as line:
        line.update(50, 1000.0, 12.5)
    assert "50/100 steps" in screen.getvalue()
    assert "return 12.5" in screen.getvalue()
    assert "━" in screen.getvalue()


def test_steps_and_seed_may_be_of_any_kind_of_whole_number():
    agent = build("ppo", seed=np.int64(3)).learn(1.28e2)  # pyright: ignore[reportArgumentType]
    assert (agent.steps, agent.seed, type(agent.seed)) == (128, 3, int)
    agent.close()
    with pytest.raises(RobolearnError, match=r"steps must be a whole number, got 10\.5"):
        agent.learn(10.5)  # pyright: ignore[reportArgumentType]
    with pytest.raises(RobolearnError, match="seed must be a whole number, got 'x'"):
        build("ppo", seed="x")  # pyright: ignore[reportArgumentType]
