"""An episode kept as states, so that it can be drawn later and elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from robolearn.config import to_dict
from robolearn.environments import EnvConfig, described
from robolearn.errors import RobolearnError
from robolearn.files import shown
from robolearn.video.stored import (
    LONGEST,
    choice_in,
    named,
    number_in,
    numbers_in,
    read_rollout,
    states_in,
    thoughts_in,
    write_rollout,
)

ENDINGS = ("", "success", "collision", "fell", "time is up", "over")
"""How an episode can end; "" is one cut short."""
_LONGEST_LABEL = 200  # characters


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """One episode, or its beginning, of a controller: enough to draw it anywhere."""

    label: str
    """Who acts; shown above a pane."""
    env: EnvConfig
    """Of the episode."""
    seed: int
    """The environment was reset with."""
    fps: float
    """Steps per second of simulated time."""
    actions: np.ndarray
    """As the environment takes them. Shape (T, ...)."""
    rewards: np.ndarray
    """Shape (T,)."""
    states: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Of a robolearn environment what ``RoboVectorEnv.show`` draws, by name, before the first step
    and after each; (1, ...) of what is always the same. Shapes (T + 1, ...)."""
    observations: np.ndarray | None = None
    """Of a foreign environment, flat: it is lived through again, and may not lead elsewhere. Shape
    (T + 1, D); None where observations have no fixed width."""
    terminated: bool = False
    """The last step entered an absorbing state."""
    truncated: bool = False
    """The last step came to the time limit."""
    success: bool | None = None
    """None where the environment does not say, or the episode did not end."""
    ending: str = ""
    """One of ``ENDINGS``."""
    thoughts: Mapping[str, np.ndarray] = field(default_factory=dict)
    """What the agent thought before each step, as far as it tells: ``value``, shape (T,), in units
    of reward; ``q`` or ``probabilities``, shape (T, actions)."""

    def __len__(self) -> int:
        """Return the number of steps T."""
        return len(self.rewards)

    @property
    def total(self) -> float:
        """Undiscounted return."""
        return float(self.rewards.sum())

    def state(self, step: int) -> dict[str, np.ndarray]:
        """Return the state after some steps, by name. Shapes (1, ...), as ``show`` takes them."""
        return {name: rows[[min(step, len(rows) - 1)]] for name, rows in self.states.items()}

    def save(self, path: Path) -> None:
        """Write the rollout to an npz, whole or not at all.

        Raises:
            OSError: Disk full or not writable.
        """
        facts = {
            "label": self.label,
            "env": to_dict(self.env),
            "seed": self.seed,
            "fps": self.fps,
            "terminated": self.terminated,
            "truncated": self.truncated,
            "success": self.success,
            "ending": self.ending,
        }
        seen = {} if self.observations is None else {"observations": self.observations}
        steps = {"actions": self.actions, "rewards": self.rewards, **seen}
        states, thoughts = named("state.", self.states), named("thought.", self.thoughts)
        write_rollout(path, facts, {**steps, **states, **thoughts})

    @classmethod
    def load(cls, path: Path) -> "Rollout":
        """Read a rollout that ``save`` wrote; nothing in it can run code or name other files.

        Raises:
            RobolearnError: Unreadable, damaged, or something in it that cannot be.
        """
        facts, arrays = read_rollout(path)
        rewards = numbers_in(path, arrays, "rewards", len(arrays["rewards"]), axes=1)
        steps = len(rewards)
        if not 1 <= steps <= LONGEST or rewards.dtype != np.float64:
            raise RobolearnError(f"{path} has {steps:,} rewards of {rewards.dtype}.")
        label = facts.get("label")
        if not isinstance(label, str) or len(label) > _LONGEST_LABEL or not label.isprintable():
            raise RobolearnError(f"{path}: label must be a line of text, got {shown(label)}.")
        env = described(facts.get("env"))
        if env is None:
            raise RobolearnError(f"{path} does not say which environment it is of.")
        seen = arrays.get("observations")
        return cls(
            label=label,
            env=env,
            seed=int(number_in(path, facts, "seed", 0, 2**62)),
            fps=float(number_in(path, facts, "fps", 1e-3, 1e4)),
            actions=numbers_in(path, arrays, "actions", steps),
            rewards=rewards,
            states=states_in(path, arrays, steps),
            observations=None
            if seen is None
            else numbers_in(path, arrays, "observations", steps + 1, axes=2),
            terminated=choice_in(path, facts, "terminated", (True, False)),
            truncated=choice_in(path, facts, "truncated", (True, False)),
            success=choice_in(path, facts, "success", (True, False, None)),
            ending=choice_in(path, facts, "ending", ENDINGS),
            thoughts=thoughts_in(path, arrays, steps),
        )
