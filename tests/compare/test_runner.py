"""Comparisons end to end: what is made, what is gone on with, and what is refused before."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from small_cells import AGENTS, short_episodes

from robolearn.agents.ppo import PPO
from robolearn.baselines import sb3
from robolearn.cli import main
from robolearn.compare import contestants, errand, runner, training
from robolearn.compare.cell import Cell
from robolearn.compare.contestants import CompareConfig
from robolearn.compare.errand import Failure
from robolearn.compare.runner import compare, read_cells
from robolearn.compare.training import Progress
from robolearn.config_yaml import write_yaml
from robolearn.environments import HELD_OUT, SEED_SPACING, EnvConfig
from robolearn.errors import RobolearnError
from robolearn.evaluation import evaluate
from robolearn.runs.run import folder_lock

BALANCE = EnvConfig(id="robolearn/CartPoleBalance-v0", engine="analytic")
SOUR = "tests/Sour-v0"


@pytest.fixture
def config(tmp_path):
    return CompareConfig(
        agents=("ppo", "dqn"),
        env=BALANCE,
        steps=256,
        seeds=2,
        episodes=3,
        device="cpu",
        out=tmp_path / "out",
    )


@pytest.fixture
def untrained(monkeypatch):
    """Fail the test if a cell is made."""

    def run_cell(*_):
        pytest.fail("something was trained before the refusal")

    monkeypatch.setattr(runner, "run_cell", run_cell)


def lines(out):
    return (out / "cells.jsonl").read_text().splitlines()


def keys(found):
    return [(each.seed, each.agent) for each in found]


# What a comparison makes.


def test_all_agents_have_their_turn_seed_by_seed(compared):
    assert compared.code == 0
    assert keys(compared.cells) == [(seed, name) for seed in (0, 1) for name in AGENTS]


def test_a_cell_is_on_disk_before_it_is_announced(compared):
    assert [len(seen) for seen in compared.on_disk] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert compared.on_disk[-1] == [each.to_json() for each in compared.cells]


def test_a_cell_tells_how_its_agent_did(compared):
    for each in compared.cells:
        assert each.episodes == len(each.returns) == 3
        assert each.mean_return == pytest.approx(sum(each.returns) / 3)
        assert (each.min_return, each.max_return) == (min(each.returns), max(each.returns))
        assert each.steps_per_s == pytest.approx(each.steps / each.wall_s)
        assert set(each.split) == {"env", "update"}
        assert 0 < sum(each.split.values()) < each.wall_s
        assert each.hyper["gamma"] > 0.9


def test_curves_begin_before_anything_is_learned_and_end_at_the_end(compared):
    for each in compared.cells:
        steps = [point.steps for point in each.curve]
        seconds = [point.seconds for point in each.curve]
        assert (steps[0], steps[-1]) == (0, each.steps)
        assert seconds[-1] == each.wall_s
        assert steps == sorted(set(steps))
        assert seconds == sorted(set(seconds))
    assert len(compared.cells[3].curve) > 5  # dqn shows itself often


def test_a_cell_is_trained_with_its_seed_and_evaluated_on_the_same_episodes(compared):
    first, second = (each for each in compared.cells if each.agent == "ppo")
    with short_episodes():
        agent = PPO(BALANCE, seed=1, device="cpu").learn(512)
        assert tuple(evaluate(agent, BALANCE, episodes=3).returns) == second.returns
    agent.close()
    assert first.returns != second.returns


class Ticking:
    """A clock that moves by a second whenever it is looked at."""

    def __init__(self):
        self.now = 0

    def perf_counter(self):
        self.now += 1
        return self.now


@pytest.mark.slow
@pytest.mark.parametrize("agent", ["dqn", "sb3-dqn"])
def test_training_time_leaves_evaluations_and_films_out(agent, config, monkeypatch):
    clock, looks = Ticking(), []

    def slow(what):
        def counted(*args, **kwargs):
            clock.now += 10_000
            looks.append(what)
            return what(*args, **kwargs)

        return counted

    config = replace(config, agents=(agent,), seeds=1, steps=1024)
    who = contestants.contestant(agent, config)
    monkeypatch.setattr(contestants, "time", clock)
    monkeypatch.setattr(sb3, "time", clock)
    monkeypatch.setattr(training, "evaluate", slow(training.evaluate))
    monkeypatch.setattr(training, "record_episode", slow(training.record_episode))
    config.out.mkdir()
    made = training.run_cell(who, config, 0, lambda _: None)
    assert len(looks) > 6
    assert 0 < made.wall_s < 10_000
    assert made.curve[-2].seconds <= made.curve[-1].seconds == made.wall_s


def test_what_a_first_training_loads_is_not_timed(config, monkeypatch):
    """PyTorch's optimizers load for a second when the first of them is made."""
    trained = []
    monkeypatch.setattr(sb3, "train_sb3", lambda name, *a, **k: trained.append(name))
    contestants.contestant("sb3-ppo", config)
    assert trained == ["ppo"]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_returns_in_processes_of_their_own(config):
    heard = []
    alone = compare(replace(config, seeds=1))
    apart = compare(replace(config, seeds=1, jobs=2, out=config.out / "apart"), heard.append)
    assert keys(apart.cells) == keys(alone.cells)
    assert [each.returns for each in apart.cells] == [each.returns for each in alone.cells]
    curves = [
        [[(point.steps, point.mean_return) for point in each.curve] for each in found.cells]
        for found in (alone, apart)
    ]
    assert curves[0] == curves[1]
    assert {each.agent for each in heard if isinstance(each, Progress)} == {"ppo", "dqn"}


@pytest.mark.slow
def test_navigation_is_measured_on_layouts_held_out_and_tells_spl(config, monkeypatch):
    splits, seen = [], training.evaluate

    def watched(agent, env, **options):
        splits.append(env.kwargs["split"])
        return seen(agent, env, **options)

    monkeypatch.setattr(training, "evaluate", watched)
    monkeypatch.setattr(training, "_EPISODES", 1)
    env = EnvConfig(id="robolearn/NavLidar-v0", engine="analytic", kwargs={"level": 0})
    found = compare(replace(config, agents=("ppo",), env=env, seeds=1, episodes=1, steps=64))
    assert splits == ["val", "val", "test"]  # before, after, final
    assert 0.0 <= found.cells[0].details["spl"] <= 1.0


# Going on.


def test_more_seeds_and_agents_later_make_only_what_is_missing(config):
    compare(replace(config, agents=("dqn",), seeds=1))
    before, made, real = lines(config.out), [], runner.run_cell

    def counted(who, config, seed, tell):
        made.append((seed, who.name))
        return real(who, config, seed, tell)

    runner.run_cell = counted
    try:
        found = compare(config)
        assert made == [(0, "ppo"), (1, "ppo"), (1, "dqn")]
        assert keys(compare(replace(config, agents=("dqn",))).cells) == [(0, "dqn"), (1, "dqn")]
    finally:
        runner.run_cell = real
    assert len(made) == 3
    assert lines(config.out)[:1] == before
    assert keys(found.cells) == [(0, "ppo"), (0, "dqn"), (1, "ppo"), (1, "dqn")]
    assert len(found.sittings) == 2  # nothing was made in the third one


def test_a_last_line_that_was_cut_is_dropped_and_made_again(config):
    config = replace(config, agents=("dqn",))
    compare(config)
    path = config.out / "cells.jsonl"
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + second[:-40])
    found = compare(config)
    assert keys(found.cells) == [(0, "dqn"), (1, "dqn")]
    again = path.read_bytes().splitlines(keepends=True)
    assert again[0] == first
    assert len(again) == 2
    assert Cell.from_json(again[1]).returns == Cell.from_json(second).returns


def test_a_damaged_line_in_the_middle_is_named(compared, tmp_path):
    whole = (compared.out / "cells.jsonl").read_text().splitlines()
    whole[2] = whole[2][:100]
    path = tmp_path / "cells.jsonl"
    path.write_text("\n".join(whole) + "\n")
    with pytest.raises(RobolearnError, match=r"^Line 3 of .*/cells\.jsonl is damaged \(no JSON\)"):
        read_cells(tmp_path)
    assert path.read_text().splitlines() == whole


@pytest.mark.parametrize(
    "told", ["{}", "[]", '{"sittings": 7}', '{"sittings": [{}]}', '{"sittings": [{"versions": 1}]}']
)
def test_damage_to_what_made_it_is_named(told, config):
    (config.out).mkdir()
    path = config.out / "meta.json"
    path.write_text(told)
    with pytest.raises(RobolearnError, match=r"meta\.json (is damaged|must hold)"):
        runner._sittings(path)


def test_ctrl_c_keeps_what_was_finished(config):
    def interrupt(report):
        if isinstance(report, Progress) and (report.seed, report.agent) == (1, "ppo"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(config, interrupt)
    assert keys(read_cells(config.out)) == [(0, "ppo"), (0, "dqn")]


COMMAND = ("ppo", "dqn", "--engine", "analytic", "--steps", "500", "--seeds", "2")
FEW = ("--episodes", "2", "--no-videos", "--device", "cpu", "--out")


def killed(out):
    """Start a comparison in a session of its own, kill it after its first cell, tell who is left.

    Returns:
        The lines that were on disk, and the processes of the session just before and some seconds
        after.
    """
    command = [sys.executable, "-m", "robolearn", "compare", *COMMAND, "--jobs", "2"]
    with subprocess.Popen(
        [*command, *FEW, str(out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        path = out / "cells.jsonl"
        while process.poll() is None and not (path.is_file() and b"\n" in path.read_bytes()):
            time.sleep(0.005)
        family = session(process.pid)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert process.returncode == -signal.SIGKILL, "it was over before it could be killed"
    deadline = time.monotonic() + 15
    while session(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return lines(out), family, session(process.pid)


def session(leader):
    """Return the processes of a session that are alive."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, own = path.read_text().rpartition(")")[2].split()[:4]
        except (OSError, ValueError):
            continue
        if int(own) == leader and state != "Z":
            found.append(int(path.parent.name))
    return found


@pytest.mark.slow
def test_after_a_kill_the_same_command_goes_on_and_makes_nothing_anew(tmp_path, capsys):
    out = tmp_path / "out"
    before, family, left = killed(out)
    assert len(family) >= 2
    assert left == []
    whole = [line for line in before if line.endswith("}")]
    assert 1 <= len(whole) < 4
    assert main(["compare", *COMMAND, "--jobs", "2", *FEW, str(out)]) == 0
    after = lines(out)
    assert after[: len(whole)] == whole
    assert sorted(keys(read_cells(out))) == [(s, a) for s in (0, 1) for a in ("dqn", "ppo")]
    assert len(after) == 4
    sittings = json.loads((out / "meta.json").read_text())["sittings"]
    assert len(sittings) == 2
    page, text = (out / "report.html").read_text(), (out / "report.md").read_text()
    for each in sittings:
        assert each["started"] in page
        assert f"- started: {each['started']}" in text
    assert "--jobs 2" in page  # the command that was killed
    assert "--jobs 2" in text
    assert "Written to" in capsys.readouterr().out


@pytest.mark.slow
def test_a_process_that_dies_is_told_of_and_the_others_go_on(config):
    victims = []

    def kill(report):
        if isinstance(report, Progress) and report.agent == "dqn" and not victims:
            victims.extend(multiprocessing.active_children())
            for victim in victims:
                victim.kill()

    found = compare(replace(config, agents=("dqn",), jobs=2, steps=50_000, seeds=2), kill)
    assert len(victims) == 2
    assert {(each.agent, each.seed) for each in found.failures} == {("dqn", 0), ("dqn", 1)}
    assert (
        found.failures[0].why == "Its process was killed by SIGKILL. The same command tries again."
    )
    assert found.cells == []
    assert multiprocessing.active_children() == []


# Trainings that break down.


class Sour(gym.Env):
    """Episodes of ten steps; what some environments of seed 1's training show is no number."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (3,))
    action_space = gym.spaces.Discrete(2)
    spoiled = False

    def __init__(self, first=0):
        self.first = first
        """Environment of the training from which on they are spoiled."""

    def _observe(self):
        seen = self.np_random.uniform(-1, 1, 3).astype(np.float32)
        return seen * np.nan if self.spoiled and self.steps == 4 else seen

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if seed is not None and seed < HELD_OUT:
            self.spoiled = seed // SEED_SPACING == 1 and seed % SEED_SPACING >= self.first
        self.steps = 0
        return self._observe(), {}

    def step(self, action):
        self.steps += 1
        return self._observe(), float(action), False, self.steps == 10, {}


@pytest.fixture
def sour(config):
    if SOUR not in gym.registry:
        gym.register(SOUR, Sour, disable_env_checker=True)
    # Our PPO learns in more than 8 environments at once, SB3's in 8.
    env = EnvConfig(id=SOUR, kwargs={"first": 8})
    return replace(config, agents=("ppo", "sb3-ppo"), env=env)


def test_a_training_that_breaks_down_does_not_stop_the_others(sour):
    heard = []
    found = compare(sour, heard.append)
    assert keys(found.cells) == [(0, "ppo"), (0, "sb3-ppo"), (1, "sb3-ppo")]
    (failure,) = found.failures
    assert failure[:2] == ("ppo", 1)
    assert "observation of environment" in failure.why
    assert failure in heard
    assert keys(read_cells(sour.out)) == keys(found.cells)


def test_sb3_breaking_down_is_told_as_ours(sour):
    found = compare(replace(sour, agents=("sb3-ppo",), env=EnvConfig(id=SOUR)))
    assert keys(found.cells) == [(0, "sb3-ppo")]
    (failure,) = found.failures
    assert "nan" in failure.why
    assert "\n" not in failure.why


def test_a_training_in_a_process_of_its_own_tells_that_it_broke_down(sour, monkeypatch):
    monkeypatch.setattr(errand, "exit_with_parent", lambda: None)  # this is no child
    monkeypatch.setattr(errand.signal, "signal", lambda *_: None)
    sour.out.mkdir()
    ours, theirs = multiprocessing.Pipe(duplex=False)
    with ours:
        errand.carry_out(theirs, replace(sour, agents=("ppo",)), 1)
        heard = [ours.recv() for _ in range(2)]
    assert [type(each) for each in heard] == [Progress, Failure]
    assert heard[1][:2] == ("ppo", 1)


@pytest.mark.slow
def test_the_command_reports_the_others_and_what_was_left_out(sour, capsys):
    env = ["--env", SOUR, "--steps", "256", "--seeds", "2", "--episodes", "2", "--device", "cpu"]
    gym.registry[SOUR].kwargs["first"] = 8
    try:
        command = ["compare", "ppo", "sb3-ppo", "--no-batch", *env, "--no-videos"]
        assert main([*command, "--out", str(sour.out)]) == 4
    finally:
        del gym.registry[SOUR].kwargs["first"]
    assert "broke down" in capsys.readouterr().err
    for name in ("report.md", "report.html"):
        text = (sour.out / name).read_text()
        assert "Training broke down for ppo with seed 1, which is left out" in text


# What is refused before anything is trained.


@pytest.mark.parametrize("last", ["dqn", "sb3-dqn"])
def test_actions_the_last_agent_cannot_take_are_refused_before_the_first_trains(
    config, untrained, last
):
    pendulum = EnvConfig(id="Pendulum-v1")
    with pytest.raises(RobolearnError, match=r"[Dd]iscrete actions, got Box"):
        compare(replace(config, agents=("ppo", last), env=pendulum))
    assert not config.out.exists()


def test_actions_asked_for_are_not_overruled(config, untrained):
    asked = replace(BALANCE, kwargs={"action": "continuous"})
    for name in ("dqn", "sb3-dqn"):
        with pytest.raises(
            RobolearnError, match=r"[Dd]iscrete actions, got Box.*--action discrete"
        ):
            compare(replace(config, agents=(name,), env=asked))


def test_a_bad_environment_argument_is_refused(config, untrained):
    with pytest.raises(RobolearnError, match="domain_randomization must lie in"):
        compare(replace(config, env=replace(BALANCE, kwargs={"domain_randomization": 2.0})))


@pytest.mark.parametrize("agents", [("ppo",), ("sb3-a2c",)])
def test_an_unknown_device_is_refused(config, untrained, agents):
    with pytest.raises(RobolearnError, match="device must be"):
        compare(replace(config, agents=agents, device="gpu"))


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"steps": 512}, "holds steps=256, got 512; nothing was changed"),
        ({"jobs": 2}, "holds jobs=1, got 2; nothing was changed"),
        ({"episodes": 4}, "holds episodes=3, got 4; nothing was changed"),
        ({"device": "auto"}, "holds device='cpu', got 'auto'; nothing was changed"),
        (
            {"env": replace(BALANCE, kwargs={"domain_randomization": 0.1})},
            "holds env=.*nothing was changed",
        ),
    ],
)
def test_another_comparison_is_left_alone(config, untrained, change, words):
    config.out.mkdir()
    write_yaml(config.out / "config.yaml", config)
    before = contents(config.out)
    with pytest.raises(RobolearnError, match=words):
        compare(replace(config, **change))
    assert contents(config.out) == before


@pytest.mark.parametrize("name", ["cells.jsonl", "notes.txt"])
def test_a_folder_that_holds_something_else_is_left_alone(name, config, untrained):
    config.out.mkdir()
    (config.out / name).write_text("{}\n")
    before = contents(config.out)
    with pytest.raises(RobolearnError, match="already holds something; nothing was changed"):
        compare(config)
    assert contents(config.out) == before


def test_a_folder_that_cannot_be_is_refused(config, untrained, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RobolearnError, match=r"Cannot write to .*file/out: Not a directory"):
        compare(replace(config, out=tmp_path / "file" / "out"))


def test_two_at_once_are_refused(config, untrained):
    config.out.mkdir()
    write_yaml(config.out / "config.yaml", config)
    with (
        folder_lock(config.out, "taken"),
        pytest.raises(RobolearnError, match="is used by another comparison"),
    ):
        compare(config)
