"""Hyper-parameters of compared agents next to each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robolearn.compare.cell import Cell
from robolearn.compare.report import NONE


@dataclass(frozen=True)
class Setting:
    """A hyper-parameter over agents."""

    name: str
    values: tuple[str, ...]
    """One per agent; a dash where it has none of that name, or leaves it to SB3's default."""

    @property
    def shared(self) -> bool:
        """Whether several agents have it, which can be held against each other."""
        return sum(value != NONE for value in self.values) > 1

    @property
    def differs(self) -> bool:
        """Whether those that have it differ in it."""
        return len({value for value in self.values if value != NONE}) > 1


def settings(firsts: Sequence[Cell]) -> list[Setting]:
    """Return all hyper-parameters, those agents differ in first.

    Args:
        firsts: A cell of each agent.
    """
    each = [cell.hyper for cell in firsts]
    names = dict.fromkeys(name for hyper in each for name in hyper)
    found = [Setting(name, tuple(_said(hyper, name) for hyper in each)) for name in names]
    return sorted(found, key=lambda setting: not (setting.shared and setting.differs))


def _said(hyper: Mapping[str, Any], name: str) -> str:
    if name not in hyper:
        return NONE
    value = hyper[name]
    return f"{value:g}" if isinstance(value, float) else str(value)
