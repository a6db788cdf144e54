"""Hyper-parameters of compared agents next to each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robolearn.compare.cell import Cell
from robolearn.compare.contestants import SB3
from robolearn.compare.report import NONE

_OURS: Mapping[str, Mapping[str, str]] = {
    "dqn": {
        "batch_size": "batch",
        "buffer_size": "capacity",
        "exploration_final_eps": "epsilon_end",
        "exploration_fraction": "epsilon_fraction",
        "exploration_initial_eps": "epsilon_start",
        "gradient_steps": "updates",
        "learning_starts": "warmup",
        "train_freq": "collect_steps",
    },
    "ppo": {
        "batch_size": "minibatch",
        "clip_range": "clip",
        "ent_coef": "entropy",
        "n_epochs": "epochs",
        "n_steps": "rollout_steps",
    },
    "a2c": {"ent_coef": "entropy", "n_steps": "rollout_steps"},
}
"""Our names for what SB3 calls otherwise, by algorithm."""


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
    """Return all hyper-parameters by our names for them, those agents differ in first.

    Args:
        firsts: A cell of each agent.
    """
    each = [_named(cell) for cell in firsts]
    names = dict.fromkeys(name for hyper in each for name in hyper)
    found = [Setting(name, tuple(_said(hyper, name) for hyper in each)) for name in names]
    return sorted(found, key=lambda setting: not (setting.shared and setting.differs))


def _named(cell: Cell) -> dict[str, Any]:
    if cell.agent not in SB3:
        return dict(cell.hyper)
    algorithm, _ = SB3[cell.agent]
    names = _OURS[algorithm]
    return {names.get(name, name): value for name, value in cell.hyper.items()}


def _said(hyper: Mapping[str, Any], name: str) -> str:
    if name not in hyper:
        return NONE
    value = hyper[name]
    return f"{value:g}" if isinstance(value, float) else str(value)
