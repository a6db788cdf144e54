"""Configurations go to YAML and back, and nothing in the YAML can run."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from robolearn.agents.dqn import DQNConfig
from robolearn.agents.ppo import PPOConfig
from robolearn.config import from_dict, read_yaml, to_dict, write_yaml
from robolearn.errors import RobolearnError


@dataclass(frozen=True, kw_only=True)
class Inner:
    path: Path = Path("a/b")


@dataclass(frozen=True, kw_only=True)
class Outer:
    inner: Inner = Inner()
    table: dict[str, tuple[int, ...]]


@pytest.mark.parametrize(
    "config",
    [PPOConfig(gamma=0.5, hidden=(7, 8, 9), normalise=False), DQNConfig(n_step=9, hidden=())],
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


@pytest.mark.parametrize("content", [b"a: [1", b"\xff\xfe\x00", b"a: b: c"])
def test_what_is_no_yaml_is_refused(tmp_path, content):
    (tmp_path / "c.yaml").write_bytes(content)
    with pytest.raises(RobolearnError, match="is no YAML"):
        read_yaml(tmp_path / "c.yaml")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(RobolearnError, match=r"Cannot read .*No such file"):
        read_yaml(tmp_path / "c.yaml")
