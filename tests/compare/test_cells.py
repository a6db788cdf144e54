"""A cell as a line of a file: it comes back as it was, and what is no cell is refused."""

import json
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_cells import cell

from robolearn.agents import AGENTS
from robolearn.baselines.rows import Linear
from robolearn.commands.listing import SB3_AGENTS
from robolearn.compare.cell import Cell
from robolearn.compare.contestants import CONTESTANTS, CompareConfig, contestant
from robolearn.compare.page import find
from robolearn.environments import EnvConfig
from robolearn.errors import RobolearnError

BALANCE = EnvConfig(id="robolearn/CartPoleBalance-v0", engine="analytic")


def line(**changes):
    """Return the line of a cell with other values in it; None leaves a key out."""
    told = json.loads(cell(success_rate=0.5).to_json()) | changes
    return json.dumps({key: given for key, given in told.items() if given is not None})


def test_a_cell_comes_back_as_it_was():
    full = cell(
        "sb3-dqn",
        3,
        success_rate=0.25,
        details={"spl": 0.1},
        hyper={"hidden": [64, 64], "clip": None, "name": 'a "word"\n'},
        curve=((0, 0.125, -3.5), (10, 1 / 3, 2.0)),
    )
    assert Cell.from_json(full.to_json()) == full
    assert "\n" not in full.to_json()


@pytest.mark.parametrize(
    ("damaged", "words"),
    [
        ("", "no JSON"),
        ('{"agent": "ppo"', "no JSON"),
        ("[" * 100_000, "no JSON"),
        (b"\xff\xfe", "no JSON"),
        ("1" * 5000, "no JSON"),
        ("[]", "no cell"),
        ("null", "no cell"),
        (line(agent=None), "the key agent is missing"),
        (line(agent=7), "agent must be a string, got 7"),
        (line(seed="0"), "seed must be an integer, got '0'"),
        (line(seed=2**70), "seed must be an integer of 64 bits"),
        (line(color="red"), "key of Cell 'color'"),
        (line(mean_return=float("nan")), "mean_return must be a number"),
        (line(mean_return=float("inf")), "a figure that is none: inf"),
        (line(wall_s=1e300), "a figure that is none: 1e"),
        (line(wall_s=0), "took no time"),
        (line(details={"spl": float("inf")}), "a figure that is none"),
        (line(details=[]), "details must be a mapping"),
        (line(split={"env": "long"}), "split.env must be a number, got 'long'"),
        (line(returns=None), "no returns"),
        (line(returns=[]), "no returns"),
        (line(returns=7), "no returns"),
        (line(returns=[90.0]), "1 returns of 2 episodes"),
        (line(returns=[90.0, float("nan")]), "a figure that is none: nan"),
        (line(returns=[90.0, [1.0]]), "a figure that is none"),
        (line(returns=[0.0] * 100_001, episodes=100_001), "no returns"),
        (line(curve=None), "no curve"),
        (line(curve=3), "no curve"),
        (line(curve=[]), "no curve"),
        (line(curve=[7]), "curve must be a mapping, got 7"),
        (line(curve=[{"steps": 1}]), "curve.seconds is missing"),
        (
            line(curve=[{"steps": 1, "seconds": 1e200, "mean_return": 0}]),
            "a figure that is none: 1e",
        ),
        (line(hyper={"a": [[[[[[[[[0]]]]]]]]]}), "nest too deeply"),
    ],
)
def test_what_is_no_cell_is_refused(damaged, words):
    with pytest.raises(RobolearnError, match=words) as caught:
        Cell.from_json(damaged)
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(key=st.sampled_from(sorted(json.loads(line()))), given_=anything)
def test_whatever_stands_in_a_line_it_is_a_cell_that_can_be_reported_or_none(key, given_):
    try:
        read = Cell.from_json(json.dumps(json.loads(line()) | {key: given_}))
    except RobolearnError:
        return
    assert find("title", [read, replace(read, seed=read.seed + 1)]).rows


def test_all_that_are_listed_can_be_compared():
    assert {*AGENTS, *SB3_AGENTS} <= set(CONTESTANTS)
    assert {f"{name}-batch" for name in SB3_AGENTS} <= set(CONTESTANTS)


@pytest.mark.parametrize("name", ["dqn", "pqn", "sb3-dqn"])
def test_who_needs_discrete_actions_gets_them_where_they_are_offered(name, tmp_path):
    swing_up = EnvConfig(id="robolearn/CartPoleSwingUp-v0", engine="analytic")
    config = CompareConfig(agents=(name,), env=swing_up, steps=1, out=tmp_path)
    assert contestant(name, config).actions == "discrete"
    assert contestant("ppo", config).actions == "continuous"


def test_where_hyper_parameters_come_from_is_told(tmp_path):
    config = CompareConfig(agents=("ppo", "sb3-ppo"), env=BALANCE, steps=1000, out=tmp_path)
    ours, theirs = (contestant(name, config) for name in config.agents)
    assert ours.source == "robolearn, tuned for robolearn/CartPoleBalance-v0"
    assert theirs.source == "rl-baselines3-zoo, ppo CartPole-v1; 8 behind a DummyVecEnv"
    assert contestant("sb3-ppo-batch", config).source.endswith("; 8 in a batch of ours")
    assert ours.hyper["gamma"] == 0.99
    assert (theirs.hyper["num_envs"], theirs.hyper["n_steps"]) == (8, 32)
    short = contestant("sb3-ppo", replace(config, steps=100))  # 100 / 8 is 12.5
    assert short.hyper["n_steps"] == 13


def test_a_schedule_is_told_in_words(tmp_path):
    config = CompareConfig(agents=("sb3-ppo",), env=BALANCE, steps=1, out=tmp_path)
    assert str(Linear(0.25, 0.125)) == "0.25, falling linearly to 0.125"
    assert contestant("sb3-ppo", config).hyper["learning_rate"] == "0.001, falling linearly to 0"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"agents": ("ppo", "sb3-pop")}, r"Unknown agent 'sb3-pop'\. Did you mean 'sb3-ppo'\?"),
        ({"agents": ("sb3-a3c",)}, r"Unknown agent 'sb3-a3c'\. Did you mean 'sb3-a2c'\?"),
        ({"agents": ()}, "Nothing to compare. Known agents: .*ppo.*sb3-dqn"),
        ({"agents": ("ppo", "dqn", "ppo")}, "'ppo' is listed twice"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"jobs": 0}, "jobs must be at least 1, got 0"),
        ({"episodes": -1}, "episodes must be at least 1, got -1"),
        ({"episodes": 100_001}, "episodes must be at most 100,000, got 100,001"),
    ],
)
def test_a_comparison_that_says_nothing_is_refused(change, words, tmp_path):
    config = CompareConfig(agents=("ppo",), env=BALANCE, steps=1, out=tmp_path)
    with pytest.raises(RobolearnError, match=words):
        replace(config, **change)
