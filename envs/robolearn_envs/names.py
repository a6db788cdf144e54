"""Looking things up by name, with a helpful answer where the name is wrong."""

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")

_LISTED = 12  # of more names than this only the nearest are shown


def did_you_mean(kind: str, name: str, known: Iterable[str]) -> str:
    """Return the message for an unknown name: the nearest known one, and the others if few."""
    return f"Unknown {kind} {name[:80]!r}.{suggestion(name, known)}"


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return the nearest known name in words, and the others if few; "" where nothing is near."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    listed = f" Known: {', '.join(names)}." if len(names) <= _LISTED else ""
    return f"{hint}{listed}"


def pick(kind: str, name: str, table: Mapping[str, T]) -> T:
    """Return ``table[name]``.

    Raises:
        ValueError: No such name; the message suggests the nearest.
    """
    if name not in table:
        raise ValueError(did_you_mean(kind, name, table))
    return table[name]
