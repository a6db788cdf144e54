"""Values, Q-values and action probabilities of policies, for the overlay of a video."""

from typing import Any, Protocol, runtime_checkable

import numpy as np

from robolearn.agents.protocols import Policy

POLICY_OUTPUTS = ("value", "q_values", "action_probs")


@runtime_checkable
class SupportsValue(Protocol):
    """A policy with a value function."""

    def value(self, observation: Any, state: Any = None) -> np.ndarray | None:
        """Return V of N observations, in units of reward. Shape (N,); None without a critic."""
        ...


@runtime_checkable
class SupportsQValues(Protocol):
    """A policy with a Q-network."""

    def q_values(self, observation: Any) -> np.ndarray | None:
        """Return Q of N observations. Shape (N, actions); None without a Q-network."""
        ...


@runtime_checkable
class SupportsActionProbs(Protocol):
    """A stochastic policy over discrete actions."""

    def action_probabilities(self, observation: Any, state: Any = None) -> np.ndarray | None:
        """Return action probabilities. Shape (N, actions); None for continuous actions."""
        ...


def policy_outputs(policy: Policy, observation: Any, state: Any) -> dict[str, np.ndarray]:
    """Return the outputs of a policy for one observation, by name, as far as it supports them.

    Args:
        policy: The policy.
        observation: A batch of one.
        state: Recurrent state of the policy before it; None for none.

    Returns:
        ``value``, shape (); ``q_values`` and ``action_probs``, shape (actions,).
    """
    outputs: dict[str, np.ndarray | None] = {}
    if isinstance(policy, SupportsValue):
        outputs["value"] = policy.value(observation, state)
    if isinstance(policy, SupportsQValues):
        outputs["q_values"] = policy.q_values(observation)
    if isinstance(policy, SupportsActionProbs):
        outputs["action_probs"] = policy.action_probabilities(observation, state)
    return {name: np.asarray(rows)[0] for name, rows in outputs.items() if rows is not None}
