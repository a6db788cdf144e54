"""Configurations as YAML files, of which reading runs nothing."""

from collections import Counter
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from robolearn.config import to_dict
from robolearn.errors import RobolearnError
from robolearn.files import read_bytes, shown

_LARGEST_FILE = 64 * 1024  # bytes; ours have less than two thousand
_ERRORS = (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, RecursionError)
"""What PyYAML raises of garbage: ``!!int ''`` is an IndexError, ``!!bool 5`` a KeyError."""


def write_yaml(path: Path, config: Any) -> None:
    """Write a configuration as YAML."""
    path.write_text(yaml_text(config))


def yaml_text(config: Any) -> str:
    """Return a configuration as YAML."""
    return yaml.safe_dump(to_dict(config), sort_keys=False)


class _PlainLoader(yaml.SafeLoader):
    """Makes only plain values, each written out: what is repeated by reference can be endless."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if getattr(self.peek_event(), "anchor", None) is not None:  # an alias has one too
            raise yaml.YAMLError("anchors and aliases are not allowed, write the value out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        mapping = super().construct_mapping(node, deep=True)
        if len(mapping) != len(node.value):
            keys = [key.value for key, _ in node.value]
            twice = [key for key, count in Counter(keys).items() if count > 1] or keys
            raise yaml.YAMLError(f"the key {shown(twice[0])} is there twice")
        return mapping


_PlainLoader.add_constructor("tag:yaml.org,2002:timestamp", _PlainLoader.construct_yaml_str)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read YAML that is one mapping; nothing in it runs or refers to something else in it.

    Raises:
        RobolearnError: Unreadable, too large, not YAML, or not a mapping.
    """
    text = read_bytes(path, _LARGEST_FILE)
    try:
        data = yaml.load(text.decode("utf-8"), _PlainLoader)
    except _ERRORS as error:
        said = "it nests too deeply" if isinstance(error, RecursionError) else str(error)
        first = (said.splitlines() or [type(error).__name__])[0]
        raise RobolearnError(f"{path} is no YAML: {first[:200]}.") from error
    if not isinstance(data, dict):
        raise RobolearnError(f"{path} must hold a mapping, got {type(data).__name__}.")
    return data
