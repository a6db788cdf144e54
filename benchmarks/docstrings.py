"""What classes say of themselves, as markdown."""

import ast
import inspect
import re
import sys
from collections.abc import Iterable, Sequence
from enum import Enum
from itertools import pairwise
from types import ModuleType
from typing import Any

import numpy as np

from robolearn_envs import sensors
from robolearn_envs.arenas import layouts


def plain(number: float) -> str:
    """Return a number in six digits, without an exponent; below 1e-12 it is rounding."""
    return np.format_float_positional(float(f"{round(number, 12):.6g}") + 0.0, trim="-")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    cells = [[" ".join(cell.split()).replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def told(text: str, owner: Any) -> str:
    """Return text in which ``NAME`` is the number of that name, else `NAME`.

    Args:
        text: A docstring, or part of one.
        owner: Class or module whose numbers are meant; a dotted name is one of an arena's module.
    """
    module = owner if isinstance(owner, ModuleType) else sys.modules[owner.__module__]
    known = {"sensors": sensors, "layouts": layouts, **vars(module)}

    def number(match: re.Match[str]) -> str:
        first, *rest = match[1].split(".")
        found = getattr(owner, first, known.get(first))
        for name in rest:
            found = getattr(found, name, None)
        numbers: tuple[Any, ...] = found if isinstance(found, tuple) else (found,)
        if all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers):
            return ", ".join(map(plain, numbers))
        return f"`{match[1]}`"

    return re.sub(r"``([^`]+)``", number, re.sub(r":\w+:`(\w+)`", r"`\1`", text))


def about(thing: Any, owner: Any = None) -> str:
    """Return a docstring up to its arguments, without the 'Return' of a function."""
    text = re.split(r"\n\n?(?:Args|Returns|Raises):\n", inspect.getdoc(thing) or "")[0].strip()
    text = re.sub(r"^Return (whether )?", "", text)
    return told(text[0].upper() + text[1:], owner or thing)


def arguments(function: Any, owner: Any) -> dict[str, str]:
    """Return what a docstring says of each argument."""
    _, _, text = (inspect.getdoc(function) or "").partition("Args:\n")
    text = re.split(r"\n\n?(?:Returns|Raises):\n", text)[0]
    parts = re.split(r"^    \**(\w+): ", text, flags=re.MULTILINE)[1:]
    return {name: told(said, owner) for name, said in zip(parts[::2], parts[1::2], strict=True)}


def attributes(thing: Any) -> dict[str, str]:
    """Return the docstrings that stand below assignments in a class or module."""
    body = ast.parse(inspect.getsource(thing)).body
    body = body[0].body if isinstance(body[0], ast.ClassDef) else body
    found = {}
    for one, after in pairwise(body):
        target = one.target if isinstance(one, ast.AnnAssign) else None
        target = one.targets[0] if isinstance(one, ast.Assign) else target
        if target is not None and isinstance(after, ast.Expr):
            said = str(ast.literal_eval(after.value))
            found[ast.unparse(target).strip("()")] = told(inspect.cleandoc(said), thing)
    return found


def default(function: Any, name: str) -> str:
    """Return an argument's default as code."""
    given = inspect.signature(function).parameters[name].default
    return f"`{given.value if isinstance(given, Enum) else given!r}`"
