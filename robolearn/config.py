"""Frozen configuration dataclasses, to and from plain dictionaries and YAML."""

import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

import yaml

from robolearn.errors import RobolearnError
from robolearn_envs.names import did_you_mean

T = TypeVar("T")


def to_dict(config: Any) -> dict[str, Any]:
    """Return a configuration as plain dictionaries and lists."""
    return {key: _plain(value) for key, value in asdict(config).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def from_dict(cls: type[T], data: Mapping[str, Any]) -> T:
    """Return a configuration from a dictionary.

    Raises:
        RobolearnError: A key the class does not have, or a value it refuses.
    """
    known = {field.name for field in fields(cls)}  # type: ignore[arg-type]
    for key in data:
        if key not in known:
            raise RobolearnError(did_you_mean(f"key of {cls.__name__}", key, known))
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in data.items()}
    try:
        return cls(**values)
    except TypeError as error:
        raise RobolearnError(f"{cls.__name__}: {error}.") from error


def check_ranges(config: Any, ranges: Mapping[str, tuple[float, float]]) -> None:
    """Refuse numbers, or members of tuples, outside their range; both bounds are allowed.

    Raises:
        RobolearnError: A number outside, or not a number.
    """
    for name, (low, high) in ranges.items():
        setting = getattr(config, name)
        for number in setting if isinstance(setting, tuple) else (setting,):
            if not low <= number <= high:
                allowed = f"lie in [{low}, {high}]" if high < math.inf else f"be at least {low}"
                raise RobolearnError(f"{name} must {allowed}, got {number}.")


def write_yaml(path: Path, config: Any) -> None:
    """Write a configuration as YAML."""
    path.write_text(yaml.safe_dump(to_dict(config), sort_keys=False))


def read_yaml(path: Path) -> dict[str, Any]:
    """Read YAML that is one mapping; the safe loader runs nothing.

    Raises:
        RobolearnError: No such file, not YAML, or not a mapping.
    """
    try:
        data = yaml.safe_load(path.read_text())
    except OSError as error:
        raise RobolearnError(f"Cannot read {path}: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RobolearnError(f"{path} is no YAML: {str(error).splitlines()[0]}.") from error
    if not isinstance(data, dict):
        raise RobolearnError(f"{path} must hold a mapping, got {type(data).__name__}.")
    return data
