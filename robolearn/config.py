"""Frozen configuration dataclasses, to and from plain dictionaries."""

import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from pathlib import Path
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from robolearn.errors import RobolearnError
from robolearn.files import shown
from robolearn_envs.names import did_you_mean

T = TypeVar("T")

_LONGEST_LIST = 100  # as hidden layers, of which a file of 64 KiB could name thousands
_LONGEST_NAME = 60  # characters; looking for what resembles it takes their square
_PLAIN = {int: "an integer", float: "a number", bool: "true or false", str: "a string"}


def to_dict(config: Any) -> dict[str, Any]:
    """Return a configuration as plain dictionaries and lists."""
    return {key: _plain(value) for key, value in asdict(config).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def from_dict(cls: type[T], data: Any, where: str = "") -> T:
    """Return a configuration from a dictionary.

    Args:
        cls: Its class. Values are held against the annotations of its fields.
        data: Plain values by the fields' names; lists where the class has tuples.
        where: What the names of keys in messages begin with.

    Raises:
        RobolearnError: A key the class does not have, or a value it refuses.
    """
    if not isinstance(data, Mapping):
        raise _mismatch(where.removesuffix(".") or cls.__name__, "a mapping", data)
    settable = {field.name: field for field in fields(cls) if field.init}  # type: ignore[arg-type]
    for key in data:
        if not isinstance(key, str) or len(key) > _LONGEST_NAME or not key.isprintable():
            raise RobolearnError(f"Unknown key of {cls.__name__} {shown(key)}.")
        if key not in settable:
            raise RobolearnError(did_you_mean(f"key of {cls.__name__}", key, settable))
    for name, field in settable.items():
        if name not in data and field.default is MISSING and field.default_factory is MISSING:
            raise RobolearnError(f"{cls.__name__}: the key {where}{name} is missing.")
    kinds = get_type_hints(cls)
    return cls(**{key: _fit(kinds[key], value, f"{where}{key}") for key, value in data.items()})


def _fit(kind: Any, given: Any, key: str) -> Any:
    """Return a plain value as a field with annotation ``kind`` holds it.

    Raises:
        RobolearnError: It is none of that kind.
    """
    origin, options = get_origin(kind) or kind, get_args(kind)
    if kind is Any or (given is None and NoneType in options):
        return given
    if NoneType in options:
        (kind,) = (option for option in options if option is not NoneType)
        return _fit(kind, given, key)
    if origin is Literal:
        if given not in options:
            raise _mismatch(key, f"one of {', '.join(map(repr, options))}", given)
        return given
    if origin is tuple:
        return _fit_tuple(options, given, key)
    if origin in (dict, Mapping):
        if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
            raise _mismatch(key, "a mapping with names as keys", given)
        return {name: _fit(options[1], item, f"{key}.{name}") for name, item in given.items()}
    if is_dataclass(kind):
        nested: Any = kind
        return given if isinstance(given, nested) else from_dict(nested, given, f"{key}.")
    if kind is Path:
        return Path(given) if isinstance(given, Path) else Path(_fit(str, given, key))
    return _fit_plain(kind, given, key)


def _fit_tuple(options: tuple[Any, ...], given: Any, key: str) -> tuple[Any, ...]:
    if not isinstance(given, list | tuple) or len(given) > _LONGEST_LIST:
        raise _mismatch(key, f"a list of at most {_LONGEST_LIST}", given)
    kinds = (options[0],) * len(given) if options[-1] is Ellipsis else options
    if len(given) != len(kinds):
        raise _mismatch(key, f"a list of {len(kinds)}", given)
    pairs = enumerate(zip(kinds, given, strict=True))
    return tuple(_fit(kind, item, f"{key}[{k}]") for k, (kind, item) in pairs)


def _fit_plain(kind: type, given: Any, key: str) -> Any:
    """Return a number, truth value or string; an integer is a number, a truth value is neither."""
    kinds = (int, float) if kind is float else kind
    if not isinstance(given, kinds) or isinstance(given, bool) is not (kind is bool):
        raise _mismatch(key, _PLAIN[kind], given)
    if isinstance(given, int) and abs(given) >= 2**63:
        raise _mismatch(key, f"{_PLAIN[kind]} of 64 bits", given)
    if isinstance(given, float) and math.isnan(given):
        raise _mismatch(key, _PLAIN[kind], given)
    return given


def _mismatch(key: str, expected: str, given: Any) -> RobolearnError:
    return RobolearnError(f"{key} must be {expected}, got {shown(given)}.")


def check_ranges(config: Any, ranges: Mapping[str, tuple[float, float]]) -> None:
    """Refuse numbers, or members of tuples, outside their range; both bounds and None are allowed.

    Raises:
        RobolearnError: A number outside, or not a number.
    """
    for name, (low, high) in ranges.items():
        setting = getattr(config, name)
        if setting is None:
            continue
        for number in setting if isinstance(setting, tuple) else (setting,):
            if not low <= number <= high:
                allowed = f"lie in [{low}, {high}]" if high < math.inf else f"be at least {low}"
                raise RobolearnError(f"{name} must {allowed}, got {number}.")
