"""Configurations go to YAML and back, and nothing in the YAML can run."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from robolearn.agents.dqn import DQNConfig
from robolearn.agents.ppo import PPOConfig
from robolearn.config import from_dict, to_dict
from robolearn.config_yaml import read_yaml, write_yaml
from robolearn.environments import EnvConfig
from robolearn.errors import RobolearnError
from robolearn.train import TrainConfig


@dataclass(frozen=True, kw_only=True)
class Inner:
    path: Path = Path("a/b")


@dataclass(frozen=True, kw_only=True)
class Outer:
    inner: Inner = Inner()
    table: dict[str, tuple[int, ...]]


@pytest.mark.parametrize(
    "config",
    [
        PPOConfig(gamma=0.5, hidden_sizes=(7, 8, 9), normalize_obs=False, normalize_value=False),
        DQNConfig(n_step=9, hidden_sizes=()),
    ],
    ids=["ppo", "dqn"],
)
def test_an_agents_config_survives_yaml(tmp_path, config):
    write_yaml(tmp_path / "c.yaml", config)
    assert from_dict(type(config), read_yaml(tmp_path / "c.yaml")) == config


def test_nested_configs_become_plain_data():
    plain = {"inner": {"path": "a/b"}, "table": {"x": [1, 2]}}
    assert to_dict(Outer(table={"x": (1, 2)})) == plain


def test_an_unknown_key_is_refused_with_the_nearest_one():
    with pytest.raises(RobolearnError, match=r"Unknown key of PPOConfig 'gama'.*'gamma'"):
        from_dict(PPOConfig, {"gama": 0.9})


def test_a_missing_key_is_refused():
    with pytest.raises(RobolearnError, match=r"Outer: .*table"):
        from_dict(Outer, {})


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['true']",
        "gamma: !!python/object/apply:os.getcwd []",
        "gamma: !!python/name:os.system",
    ],
)
def test_python_tags_are_refused(tmp_path, text):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(RobolearnError, match=r"c\.yaml is no YAML: could not determine"):
        read_yaml(tmp_path / "c.yaml")


@pytest.mark.parametrize("text", ["", "- 1\n- 2", "just words"])
def test_yaml_that_is_no_mapping_is_refused(tmp_path, text):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(RobolearnError, match="must hold a mapping"):
        read_yaml(tmp_path / "c.yaml")


@pytest.mark.slow
@pytest.mark.parametrize(
    "content",
    [
        b"a: [1",
        b"\xff\xfe\x00",
        b"a: b: c",
        b"a: !!int ''",
        b"a: !!bool 5",
        b"a: !!binary x",
        b"a: 0b_",
        b"a: \x00",
        b"{a: 1, a: 2}",
        b"1: a\n1.0: b",
        b"<<: {a: 1}\na: 2",
        b"a: &x 1",
        b"a: *x",
        b"a: &x [*x]",
        b"a: " + b"[" * 5000,
        b"a: " + b"9" * 5000,
    ],
    ids=lambda content: content[:20].decode("latin-1"),
)
def test_what_is_no_yaml_is_refused(tmp_path, content):
    (tmp_path / "c.yaml").write_bytes(content)
    with pytest.raises(RobolearnError, match="is no YAML"):
        read_yaml(tmp_path / "c.yaml")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(RobolearnError, match=r"Cannot read .*No such file"):
        read_yaml(tmp_path / "c.yaml")


def test_a_date_is_the_string_it_is_written_as(tmp_path):
    (tmp_path / "c.yaml").write_text("run: 2024-01-31\nother: 2024-99-99")
    assert read_yaml(tmp_path / "c.yaml") == {"run": "2024-01-31", "other": "2024-99-99"}


def test_values_repeated_by_reference_are_refused_before_they_grow(tmp_path):
    laughs = "".join(f"l{k}: &l{k} [{', '.join([f'*l{k - 1}'] * 9)}]\n" for k in range(1, 12))
    (tmp_path / "c.yaml").write_text("l0: &l0 [ha]\n" + laughs)
    with pytest.raises(RobolearnError, match="anchors and aliases are not allowed"):
        read_yaml(tmp_path / "c.yaml")


def test_yaml_of_more_than_64_kib_is_refused(tmp_path):
    (tmp_path / "c.yaml").write_text("a: " + "b" * 65_533)
    read_yaml(tmp_path / "c.yaml")
    (tmp_path / "c.yaml").write_text("a: " + "b" * 65_534)
    with pytest.raises(RobolearnError, match="65,537 bytes, expected 65,536 at most"):
        read_yaml(tmp_path / "c.yaml")


@dataclass(frozen=True, kw_only=True)
class Everything:
    count: int = 1
    rate: float = 0.5
    flag: bool = False
    name: str = "a"
    kind: Literal["x", "y"] = "x"
    widths: tuple[int, ...] = (1, 2)
    bounds: tuple[float, float] | None = None
    table: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = None
    inner: Inner = Inner()


@pytest.mark.parametrize(
    ("key", "given", "held"),
    [
        ("rate", 1, 1),
        ("rate", math.inf, math.inf),
        ("widths", [], ()),
        ("widths", [3], (3,)),
        ("bounds", [0, 1.5], (0, 1.5)),
        ("bounds", None, None),
        ("table", {"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}),
        ("path", "a/b", Path("a/b")),
        ("path", Path("a/b"), Path("a/b")),
        ("inner", {"path": "c"}, Inner(path=Path("c"))),
        ("inner", Inner(path=Path("c")), Inner(path=Path("c"))),
    ],
)
def test_plain_values_become_what_the_field_holds(key, given, held):
    assert getattr(from_dict(Everything, {key: given}), key) == held


@pytest.mark.parametrize(
    ("key", "given", "message"),
    [
        ("count", 1.5, "count must be an integer, got 1.5."),
        ("count", True, "count must be an integer, got True."),
        ("count", "1", "count must be an integer, got '1'."),
        ("count", {"a": 1}, "count must be an integer, got {'a': 1}."),
        ("count", 2**63, "count must be an integer of 64 bits, got 9223372036854775808."),
        ("count", 1 << 99_999, "count must be an integer of 64 bits, got a number of 100000 bits."),
        ("rate", None, "rate must be a number, got None."),
        ("rate", False, "rate must be a number, got False."),
        ("rate", math.nan, "rate must be a number, got nan."),
        ("rate", 10**400, "rate must be a number of 64 bits, got 1000"),
        ("flag", 1, "flag must be true or false, got 1."),
        ("name", 5, "name must be a string, got 5."),
        ("kind", "z", "kind must be one of 'x', 'y', got 'z'."),
        ("kind", ["x"], "kind must be one of 'x', 'y', got ['x']."),
        ("widths", "abc", "widths must be a list of at most 100, got 'abc'."),
        ("widths", 3, "widths must be a list of at most 100, got 3."),
        ("widths", [1] * 101, "widths must be a list of at most 100, got [1, 1, 1, 1, 1, 1, ...]."),
        ("widths", [1, [2]], "widths[1] must be an integer, got [2]."),
        ("bounds", [1.0], "bounds must be a list of 2, got [1.0]."),
        ("bounds", [0.0, "b"], "bounds[1] must be a number, got 'b'."),
        ("table", [1], "table must be a mapping with names as keys, got [1]."),
        ("table", {1: 2}, "table must be a mapping with names as keys, got {1: 2}."),
        ("path", 7, "path must be a string, got 7."),
        ("inner", 7, "inner must be a mapping, got 7."),
        ("inner", {"path": 7}, "inner.path must be a string, got 7."),
    ],
    ids=lambda item: item if isinstance(item, str) else "",
)
def test_a_value_of_another_kind_is_refused_by_key(key, given, message):
    with pytest.raises(RobolearnError) as caught:
        from_dict(Everything, {key: given})
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("key", [5, None, "a\nb", "a" * 1000])
def test_a_key_that_is_no_name_is_refused_on_one_short_line(key):
    with pytest.raises(RobolearnError, match="Unknown key of PPOConfig") as caught:
        from_dict(PPOConfig, {key: 1})
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("data", [None, [1], "abc"])
def test_a_config_that_is_no_mapping_is_refused(data):
    with pytest.raises(RobolearnError, match="PPOConfig must be a mapping, got"):
        from_dict(PPOConfig, data)


def test_a_training_config_survives_yaml_with_its_environment(tmp_path):
    env = EnvConfig(id="CartPole-v1", kwargs={"sutton_barto_reward": True})
    config = TrainConfig(agent="ppo", env=env, steps=5, run=tmp_path / "run", hyper={"gamma": 0.5})
    write_yaml(tmp_path / "c.yaml", config)
    assert from_dict(TrainConfig, read_yaml(tmp_path / "c.yaml")) == config
