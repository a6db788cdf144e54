"""What agents think while they act, for those that tell."""

from typing import Any, Protocol, runtime_checkable

import numpy as np

from robolearn.agents.protocols import Policy

THOUGHTS = ("value", "q", "probabilities")
"""Names of what a picture can show."""


@runtime_checkable
class TellsValue(Protocol):
    """A critic: ours with a value network, SB3's policy gradients."""

    def value(self, observation: Any, state: Any = None) -> np.ndarray | None:
        """Return V of N observations, in units of reward, shape (N,); None where there is none."""
        ...


@runtime_checkable
class TellsQ(Protocol):
    """A Q-learner."""

    def q_values(self, observation: Any) -> np.ndarray | None:
        """Return Q of N observations, shape (N, actions); None where there is none."""
        ...


@runtime_checkable
class TellsProbabilities(Protocol):
    """A policy gradient."""

    def action_probabilities(self, observation: Any, state: Any = None) -> np.ndarray | None:
        """Return how likely each action is, shape (N, actions); None of continuous ones."""
        ...


def thoughts_of(agent: Policy, observation: Any, state: Any) -> dict[str, np.ndarray]:
    """Return what an agent thinks of one observation, by name; only what it tells.

    Args:
        agent: Who.
        observation: A batch of one.
        state: The agent's memory before it; None for none.

    Returns:
        ``value``, shape (); ``q`` or ``probabilities``, shape (actions,).
    """
    told: dict[str, np.ndarray | None] = {}
    if isinstance(agent, TellsValue):
        told["value"] = agent.value(observation, state)
    if isinstance(agent, TellsQ):
        told["q"] = agent.q_values(observation)
    if isinstance(agent, TellsProbabilities):
        told["probabilities"] = agent.action_probabilities(observation, state)
    return {name: np.asarray(rows)[0] for name, rows in told.items() if rows is not None}
