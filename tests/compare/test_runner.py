"""Comparisons end to end, and what they refuse before anything is trained."""

import json
from dataclasses import asdict, replace

import pytest

from robolearn.agents import AGENTS
from robolearn.agents.dqn import DQN
from robolearn.agents.ppo import PPO
from robolearn.commands.listing import SB3_AGENTS
from robolearn.compare import runner
from robolearn.compare.runner import CONTESTANTS, Cell, CompareConfig, compare
from robolearn.environments import EnvConfig
from robolearn.errors import RobolearnError
from robolearn.evaluation import evaluate

SWING_UP = EnvConfig(id="robolearn/CartPoleSwingUp-v0", engine="analytic")
BALANCE = EnvConfig(id="robolearn/CartPoleBalance-v0", engine="analytic")
ALL = ("ppo", "sb3-ppo", "dqn", "sb3-dqn")


@pytest.fixture
def config(tmp_path):
    return CompareConfig(
        agents=ALL, env=SWING_UP, steps=64, seeds=2, episodes=3, device="cpu", out=tmp_path / "out"
    )


@pytest.fixture
def untrained(monkeypatch):
    """Fail the test if anything is trained."""

    def train(*_):
        pytest.fail("something was trained before the refusal")

    monkeypatch.setattr(runner, "_run", train)


def lines(config):
    return [json.loads(line) for line in (config.out / "cells.jsonl").read_text().splitlines()]


def test_all_agents_are_compared_in_turn(config):
    cells = compare(config)
    assert [(cell.seed, cell.agent) for cell in cells] == [(s, a) for s in (0, 1) for a in ALL]
    assert lines(config) == [asdict(cell) for cell in cells]
    for cell in cells:
        assert cell.episodes == 3
        assert cell.mean_length == 500.0  # a swing-up is never over early
        assert 0.0 <= cell.min_return <= cell.mean_return <= cell.max_return <= 500.0
        assert cell.steps_per_s == pytest.approx(cell.steps / cell.wall_s)
    assert [cell.actions for cell in cells[:4]] == ["continuous"] * 2 + ["discrete"] * 2
    # 64 steps each; SB3's DQN alone finishes its rollout of 256.
    assert [cell.steps for cell in cells[:4]] == [64, 64, 64, 256]
    assert "InvertedPendulumSwingupBulletEnv-v0" in cells[1].source
    assert "robolearn" in cells[0].source


def test_sb3s_a2c_is_compared_with_either_kind_of_action(config):
    cells = compare(replace(config, agents=("sb3-a2c",), seeds=1))
    cells += compare(
        replace(config, agents=("sb3-a2c",), env=BALANCE, seeds=1, out=config.out / "discrete")
    )
    assert [cell.actions for cell in cells] == ["continuous", "discrete"]
    assert [cell.steps for cell in cells] == [80, 80]  # two rollouts of 8 * 5
    assert cells[0].source == "SB3's defaults, 8 environments"
    assert cells[1].source == "rl-baselines3-zoo, a2c CartPole-v1"


def test_all_that_are_listed_can_be_compared():
    assert (*AGENTS, *SB3_AGENTS) == CONTESTANTS


@pytest.mark.parametrize("name", sorted(runner._DISCRETE_ONLY & set(CONTESTANTS)))
def test_who_needs_discrete_actions_gets_them_where_they_are_offered(config, name):
    (cell,) = compare(replace(config, agents=(name,), seeds=1))
    assert cell.actions == "discrete"


def test_a_cell_is_on_disk_before_it_is_announced(config):
    seen = []

    def on_cell(cell):
        seen.append(cell)
        assert [Cell(**line) for line in lines(config)] == seen

    compare(replace(config, agents=("ppo", "dqn"), seeds=1), on_cell)
    assert len(seen) == 2


def test_what_was_finished_before_an_interruption_stays(config):
    def interrupt(cell):
        if cell.agent == "dqn":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(replace(config, agents=("ppo", "dqn", "sb3-ppo")), interrupt)
    assert [line["agent"] for line in lines(config)] == ["ppo", "dqn"]


def test_every_cell_is_trained_with_its_seed_and_evaluated_on_the_same_episodes(config):
    cells = compare(replace(config, agents=("ppo",), env=BALANCE, steps=256))
    for cell in cells:
        agent = PPO(BALANCE, seed=cell.seed, device="cpu").learn(256)
        assert evaluate(agent, BALANCE, episodes=3).mean == cell.mean_return
        agent.close()
    assert cells[0].mean_return != cells[1].mean_return


def test_sb3_learns_with_the_cells_seed(config):
    cells = compare(replace(config, agents=("sb3-ppo",), env=BALANCE, steps=256))
    assert cells[0].mean_return != cells[1].mean_return


def test_training_time_leaves_evaluation_out(config, monkeypatch):
    clock = iter(range(0, 1000, 5))
    evaluated = []

    def counted(*args, **kwargs):
        evaluated.append(next(clock))  # a look at the clock costs five seconds
        return evaluate(*args, **kwargs)

    monkeypatch.setattr(runner.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(runner, "evaluate", counted)
    (cell,) = compare(replace(config, agents=("ppo",), seeds=1))
    assert cell.wall_s == 5
    assert len(evaluated) == 1


def test_envs_are_closed_after_training(config, monkeypatch):
    closed = []
    close = DQN.close
    monkeypatch.setattr(DQN, "close", lambda agent: (closed.append(agent), close(agent)))
    compare(replace(config, agents=("dqn",), seeds=1))
    assert len(closed) == 2  # of the trial and of the training


def test_actions_asked_for_are_not_overruled(config, untrained):
    asked = replace(SWING_UP, kwargs={"action": "continuous"})
    for name in ("dqn", "sb3-dqn"):
        with pytest.raises(RobolearnError, match=r"discrete actions, got Box.*--action discrete"):
            compare(replace(config, agents=(name,), env=asked))


def test_discrete_actions_asked_for_hold_for_all(config):
    asked = replace(SWING_UP, kwargs={"action": "discrete"})
    cells = compare(replace(config, env=asked, seeds=1))
    assert [cell.actions for cell in cells] == ["discrete"] * 4


def test_foreign_envs_are_compared(config):
    env = EnvConfig(id="CartPole-v1")
    cells = compare(replace(config, env=env, seeds=1))
    assert [cell.success_rate for cell in cells] == [None] * 4
    assert "zoo" in cells[1].source


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"agents": ("ppo", "sb3-pop")}, r"Unknown agent 'sb3-pop'\. Did you mean 'sb3-ppo'\?"),
        ({"agents": ("sb3-a3c",)}, r"Unknown agent 'sb3-a3c'\. Did you mean 'sb3-a2c'\?"),
        ({"agents": ("sb3-pqn",)}, "Unknown agent 'sb3-pqn'"),
        ({"agents": ()}, "Nothing to compare. Known agents: .*ppo.*sb3-dqn"),
        ({"agents": ("ppo", "dqn", "ppo")}, "'ppo' is listed twice"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"episodes": -1}, "episodes must be at least 1, got -1"),
    ],
)
def test_a_comparison_that_says_nothing_is_refused(config, change, words):
    with pytest.raises(RobolearnError, match=words):
        replace(config, **change)


@pytest.mark.parametrize("last", ["dqn", "sb3-dqn"])
def test_actions_the_last_agent_cannot_take_are_refused_before_the_first_trains(
    config, untrained, last
):
    pendulum = EnvConfig(id="Pendulum-v1")
    with pytest.raises(RobolearnError, match="discrete actions, got Box"):
        compare(replace(config, agents=("ppo", last), env=pendulum))
    assert not config.out.exists()


def test_a_bad_environment_argument_is_refused(config, untrained):
    with pytest.raises(RobolearnError, match="randomize must lie in"):
        compare(replace(config, env=replace(SWING_UP, kwargs={"randomize": 2.0})))


@pytest.mark.parametrize("agents", [("ppo",), ("sb3-a2c",)])
def test_an_unknown_device_is_refused(config, untrained, agents):
    with pytest.raises(RobolearnError, match="device must be"):
        compare(replace(config, agents=agents, device="gpu"))


def test_a_folder_that_holds_a_comparison_is_left_alone(config, untrained):
    config.out.mkdir()
    (config.out / "cells.jsonl").write_text("{}\n")
    with pytest.raises(RobolearnError, match="already holds something; nothing was changed"):
        compare(config)
    assert (config.out / "cells.jsonl").read_text() == "{}\n"


def test_a_folder_that_cannot_be_is_refused(config, untrained, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RobolearnError, match=r"Cannot write to .*file/out: Not a directory"):
        compare(replace(config, out=tmp_path / "file" / "out"))


def test_an_empty_folder_may_be_used(config):
    config.out.mkdir()
    assert len(compare(replace(config, agents=("ppo",), seeds=1))) == 1


def test_navigation_is_compared_on_layouts_held_out_and_tells_spl(tmp_path, monkeypatch):
    seen = []
    real = runner.evaluate

    def watched(agent, env, **options):
        seen.append(env.kwargs["split"])
        return real(agent, env, **options)

    monkeypatch.setattr(runner, "evaluate", watched)
    env = EnvConfig(id="robolearn/NavLidar-v0", engine="analytic", kwargs={"level": 0})
    config = CompareConfig(
        agents=("ppo", "sb3-ppo"), env=env, steps=8192, seeds=1, episodes=2, out=tmp_path / "c"
    )
    cells = runner.compare(config)
    assert seen == ["test", "test"]
    assert all(0.0 <= cell.details["spl"] <= 1.0 for cell in cells)
    assert all(cell.details["level"] == 0.0 for cell in cells)
