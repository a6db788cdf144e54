"""A recorded episode that can be rendered later and elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from robolearn.config import check_ranges, from_dict, to_dict
from robolearn.environments import EnvConfig, described
from robolearn.errors import RobolearnError
from robolearn.files import shown
from robolearn.video.policy_outputs import POLICY_OUTPUTS
from robolearn.video.rollout_io import (
    MAX_STEPS,
    prefix_keys,
    read_array,
    read_prefixed,
    read_rollout,
    write_rollout,
)

EndReason: TypeAlias = Literal[
    "unfinished", "success", "collision", "out_of_bounds", "truncated", "terminated"
]
"""Why an episode ended; 'unfinished' if recording stopped before its end."""
_MAX_TITLE = 300  # characters
_STATES, _OUTPUTS = "render_states.", "policy_outputs."


@dataclass(frozen=True, kw_only=True)
class RolloutMetadata:
    """The parts of a rollout that are stored as JSON."""

    title: str
    """Name of the policy; shown above a pane."""
    env: EnvConfig
    """The environment."""
    seed: int
    """Seed of the environment's reset."""
    fps: float
    """Steps per second of simulated time."""
    terminated: bool = False
    """Whether the last step terminated the episode."""
    truncated: bool = False
    """Whether the last step truncated the episode."""
    success: bool | None = None
    """None where the environment does not report it, or the episode is unfinished."""
    end_reason: EndReason = "unfinished"

    def __post_init__(self) -> None:
        """Refuse numbers out of range, and a title of several lines."""
        check_ranges(self, {"seed": (0, 2**63), "fps": (1e-3, 1e4)})
        if len(self.title) > _MAX_TITLE or not self.title.isprintable():
            raise RobolearnError(f"title must be a line of text, got {shown(self.title)}.")


@dataclass(frozen=True, kw_only=True)
class Rollout(RolloutMetadata):
    """One recorded episode, or its beginning."""

    actions: np.ndarray
    """As the environment takes them. Shape (T, ...)."""
    rewards: np.ndarray
    """Shape (T,)."""
    render_states: Mapping[str, np.ndarray] = field(default_factory=dict)
    """States of a robolearn environment by name, as ``RoboVectorEnv.show`` takes them, before the
    first step and after each. Shapes (T + 1, ...), or (1, ...) where all are the same."""
    observations: np.ndarray | None = None
    """Flat observations of a third-party environment, which is rendered by replaying its actions;
    they must come again. Shape (T + 1, D); None where observations have no fixed size."""
    policy_outputs: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Outputs of the policy before each step, as far as it has them: ``value``, shape (T,), in
    units of reward; ``q_values`` or ``action_probs``, shape (T, actions)."""

    def __len__(self) -> int:
        """Return the number of steps T."""
        return len(self.rewards)

    @property
    def episode_return(self) -> float:
        """Undiscounted sum of rewards."""
        return float(self.rewards.sum())

    def render_state(self, step: int) -> dict[str, np.ndarray]:
        """Return the render state after some steps, by name. Shapes (1, ...)."""
        return {n: rows[[min(step, len(rows) - 1)]] for n, rows in self.render_states.items()}

    def save(self, path: Path) -> None:
        """Write the rollout to an npz file, atomically.

        Raises:
            OSError: Disk full or not writable.
        """
        metadata = {entry.name: getattr(self, entry.name) for entry in fields(RolloutMetadata)}
        arrays = {"actions": self.actions, "rewards": self.rewards}
        if self.observations is not None:
            arrays["observations"] = self.observations
        arrays |= prefix_keys(_STATES, self.render_states)
        arrays |= prefix_keys(_OUTPUTS, self.policy_outputs)
        write_rollout(path, {**metadata, "env": to_dict(self.env)}, arrays)

    @classmethod
    def load(cls, path: Path) -> "Rollout":
        """Read a rollout that ``save`` wrote. The file cannot run code or name other files.

        Raises:
            RobolearnError: Unreadable, damaged, of an older version, or with impossible content.
        """
        stored, arrays = read_rollout(path)
        rewards = read_array(path, arrays, "rewards", len(arrays["rewards"]), ndim=1)
        steps = len(rewards)
        if not 1 <= steps <= MAX_STEPS or rewards.dtype != np.float64:
            raise RobolearnError(f"{path} has {steps:,} rewards of {rewards.dtype}.")
        observations = None
        if "observations" in arrays:
            observations = read_array(path, arrays, "observations", steps + 1, ndim=2)
        states = read_prefixed(path, arrays, _STATES, None, (steps + 1, 1))
        if states and not {"qpos", "qvel"} <= states.keys():
            raise RobolearnError(f"{path} has render states without qpos and qvel.")
        outputs = read_prefixed(path, arrays, _OUTPUTS, POLICY_OUTPUTS, (steps,))
        for name, rows in outputs.items():
            if rows.ndim != 1 + (name != "value"):
                raise RobolearnError(f"{path}: policy output {name} has shape {rows.shape}.")
        try:
            env = described(stored.get("env"))
            if env is None:
                raise RobolearnError("it does not say which environment it is of.")
            metadata = from_dict(RolloutMetadata, {**stored, "env": env})
        except RobolearnError as error:
            raise RobolearnError(f"{path}: {error}") from error
        return cls(
            **vars(metadata),
            actions=read_array(path, arrays, "actions", steps),
            rewards=rewards,
            render_states=states,
            observations=observations,
            policy_outputs=outputs,
        )
