"""Demonstrations in memory: episodes, and what there is to learn from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from robolearn.environments import EnvConfig
from robolearn.spaces import flatten_batch


@dataclass(frozen=True, kw_only=True)
class Demonstration:
    """One recorded episode of T steps."""

    observation: Any
    """What was acted on, and what the last step reached. As a batch of T + 1 of the space."""
    action: np.ndarray
    """What was executed, as the environment takes it. Shape (T, ...)."""
    reward: np.ndarray
    """Shape (T,), float64."""
    terminated: np.ndarray
    """Shape (T,), bool; true at the last step at most."""
    truncated: np.ndarray
    """Shape (T,), bool; true at the last step at most."""
    clean_action: np.ndarray | None = None
    """What the expert wanted, before noise; None where nobody says. Shape (T, ...)."""
    state: Mapping[str, np.ndarray] = field(default_factory=dict)
    """State of the simulation, by name: of robolearn environments qpos and qvel, m, rad and per s.
    Shapes (T + 1, ...)."""
    success: bool | None = None
    """None where the environment does not say."""
    seed: int | None = None
    """``reset(seed=...)`` of a single environment begins this episode; None where nobody says."""

    def __len__(self) -> int:
        """Return the number of steps T."""
        return len(self.reward)

    @property
    def total(self) -> float:
        """Undiscounted return."""
        return float(self.reward.sum())

    @property
    def wanted(self) -> np.ndarray:
        """What the expert wanted, as far as is known: else what was executed. Shape (T, ...)."""
        return self.action if self.clean_action is None else self.clean_action


class Shown(NamedTuple):
    """All steps of some demonstrations, one after the other: S of them."""

    obs: np.ndarray
    """What was acted on. Shape (S, D), float32."""
    action: np.ndarray
    """What was executed, as the environment takes it. Shape (S, ...)."""
    wanted: np.ndarray
    """What the expert wanted, as the environment takes it. Shape (S, ...)."""
    reward: np.ndarray
    """Shape (S,), float32."""
    next_obs: np.ndarray
    """What the step reached. Shape (S, D), float32."""
    terminated: np.ndarray
    """Shape (S,), bool."""
    done: np.ndarray
    """The episode, or what was recorded of it, ends here. Shape (S,), bool."""


def joined(*parts: Shown) -> Shown:
    """Return the steps of all parts, one after the other."""
    return Shown(*(np.concatenate(fields) for fields in zip(*parts, strict=True)))


@dataclass(frozen=True, kw_only=True)
class Demonstrations:
    """Recorded episodes of one environment."""

    env: EnvConfig | None
    """Where they were recorded; None where nobody says."""
    observation_space: gym.Space
    action_space: gym.Space
    episodes: Sequence[Demonstration]
    name: str = "demonstrations"
    """What messages call them: where they lie."""

    def first(self, count: int) -> "Demonstrations":
        """Return the first ``count`` episodes."""
        return Demonstrations(
            env=self.env,
            observation_space=self.observation_space,
            action_space=self.action_space,
            episodes=self.episodes[:count],
            name=self.name,
        )

    @property
    def returns(self) -> np.ndarray:
        """Undiscounted returns. Shape (episodes,)."""
        return np.array([episode.total for episode in self.episodes])

    def steps(self) -> Shown:
        """Return all their steps."""
        flat = [
            flatten_batch(self.observation_space, one.observation, len(one) + 1)
            for one in self.episodes
        ]
        ends = [np.arange(len(one)) == len(one) - 1 for one in self.episodes]
        return Shown(
            obs=np.concatenate([obs[:-1] for obs in flat]),
            action=np.concatenate([one.action for one in self.episodes]),
            wanted=np.concatenate([one.wanted for one in self.episodes]),
            reward=np.concatenate([one.reward for one in self.episodes]).astype(np.float32),
            next_obs=np.concatenate([obs[1:] for obs in flat]),
            terminated=np.concatenate([one.terminated for one in self.episodes]),
            done=np.concatenate(ends),
        )
