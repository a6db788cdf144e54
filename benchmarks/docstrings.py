"""What classes say about themselves, as Markdown."""

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

from robolearn_envs.maps import generate


def plain(number: float) -> str:
    """Return a number in six digits, without an exponent; below 1e-12 it is rounding."""
    return np.format_float_positional(float(f"{round(number, 12):.6g}") + 0.0, trim="-")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    cells = [[" ".join(cell.split()).replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def as_code(text: str) -> str:
    """Return a docstring's text with references and literals as Markdown code."""
    text = re.sub(r":\w+:`~?(?:\w+\.)*(\w+)`", r"`\1`", text)
    return re.sub(r"``([^`]+)``", r"`\1`", text)


def with_numbers(text: str, owner: Any) -> str:
    """Return text in which ``NAME`` is replaced by the number of that name, as Markdown.

    Args:
        text: A docstring, or part of one.
        owner: Class or module that has the numbers; those of ``maps.generate`` are known besides.
    """
    module = owner if isinstance(owner, ModuleType) else sys.modules[owner.__module__]
    known = {**vars(generate), "generate": generate, **vars(module)}

    def number(match: re.Match[str]) -> str:
        first, *rest = match[1].split(".")
        found = getattr(owner, first, known.get(first))
        for name in rest:
            found = getattr(found, name, None)
        numbers: tuple[Any, ...] = found if isinstance(found, tuple) else (found,)
        if numbers and all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers):
            return ", ".join(map(plain, numbers))
        return match[0]

    return as_code(re.sub(r"``([^`]+)``", number, text))


def about(thing: Any, owner: Any = None) -> str:
    """Return a docstring up to its arguments, without the 'Return' of a function."""
    text = re.split(r"\n\n?(?:Args|Returns|Raises):\n", inspect.getdoc(thing) or "")[0].strip()
    text = re.sub(r"^Return (whether )?", "", text)
    return with_numbers(text[0].upper() + text[1:], owner or thing)


def arguments(function: Any, owner: Any) -> dict[str, str]:
    """Return the description of each argument in a docstring."""
    _, _, text = (inspect.getdoc(function) or "").partition("Args:\n")
    text = re.split(r"\n\n?(?:Returns|Raises):\n", text)[0]
    parts = re.split(r"^    \**(\w+): ", text, flags=re.MULTILINE)[1:]
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return {name: with_numbers(said, owner) for name, said in pairs}


def attributes(thing: Any) -> dict[str, str]:
    """Return the docstrings that stand below assignments in a class or module, unchanged.

    Those of a class include what it inherits.
    """
    if isinstance(thing, type):
        bases = [base for base in thing.__mro__ if base.__module__.startswith("robolearn")]
        bodies = [ast.parse(inspect.getsource(base)).body[0] for base in reversed(bases)]
    else:
        bodies = [ast.parse(inspect.getsource(thing))]
    found = {}
    for body in bodies:
        assert isinstance(body, ast.ClassDef | ast.Module)
        for one, after in pairwise(body.body):
            target = one.target if isinstance(one, ast.AnnAssign) else None
            target = one.targets[0] if isinstance(one, ast.Assign) else target
            if target is not None and isinstance(after, ast.Expr):
                said = inspect.cleandoc(str(ast.literal_eval(after.value)))
                found[ast.unparse(target).strip("()")] = said
    return found


def default(function: Any, name: str) -> str:
    """Return an argument's default as code."""
    given = inspect.signature(function).parameters[name].default
    return f"`{given.value if isinstance(given, Enum) else given!r}`"
