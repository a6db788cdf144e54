"""How commands read their options and print; imports nothing slow."""

import json
from collections.abc import Sequence
from typing import Any, TypeVar

import tyro

T = TypeVar("T")


def parse(cls: type[T], arguments: Sequence[str], command: str, default: T | None = None) -> T:
    """Return a command's options; bad ones end the program with exit code 2."""
    prog = f"robolearn {command}"
    if default is None:
        return tyro.cli(cls, args=arguments, prog=prog)
    return tyro.cli(cls, args=arguments, prog=prog, default=default)


def print_json(figures: Any) -> None:
    """Print one JSON object and nothing else."""
    print(json.dumps(figures, indent=2))
