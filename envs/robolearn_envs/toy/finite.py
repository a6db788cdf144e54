"""A finite Markov decision process as two arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Outcome = tuple[float, int, float, bool]
"""Probability, next state, reward and whether the episode is terminated, as Gymnasium has it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FiniteMDP:
    """What action a does in state s, of S states and A actions. A time limit is no part of it."""

    reward: np.ndarray
    """Expected reward of a in s. Shape (S, A)."""
    continues: np.ndarray
    """Probability that a leads from s to s' and the episode goes on. Shape (S, A, S).

    What a row lacks of 1 is the probability that the episode is terminated.
    """

    def __post_init__(self) -> None:
        """Refuse shapes that do not fit, and what is no probability."""
        shape = np.shape(self.reward)
        if len(shape) != 2 or 0 in shape:
            raise ValueError(f"reward must have shape (S, A), both at least 1, got {shape}.")
        expected = (*shape, shape[0])
        if np.shape(self.continues) != expected:
            raise ValueError(
                f"continues must have shape (S, A, S) = {expected}, got {np.shape(self.continues)}."
            )
        if not np.isfinite(self.reward).all():
            raise ValueError("reward must be finite everywhere, got NaN or infinity.")
        if not (self.continues >= 0).all():
            least = self.continues.min()
            raise ValueError(f"continues must hold probabilities, got {least} as the least.")
        most = self.continues.sum(axis=2).max()
        if not most <= 1 + 1e-9:  # as near as a sum of rounded numbers comes to 1
            raise ValueError(f"Rows of continues must sum to 1 at most, got {most}.")

    @classmethod
    def from_toy_text(cls, outcomes: Mapping[int, Mapping[int, Sequence[Outcome]]]) -> "FiniteMDP":
        """Return the process of a Gymnasium toy-text environment, e.g. FrozenLake or Taxi.

        Args:
            outcomes: ``env.unwrapped.P``: what can come of action a in state s as ``P[s][a]``.

        Raises:
            ValueError: States that have not equally many actions, or no probabilities.
        """
        states, actions = len(outcomes), len(outcomes[0])
        reward = np.zeros((states, actions))
        continues = np.zeros((states, actions, states))
        for s, of_state in outcomes.items():
            if len(of_state) != actions:
                raise ValueError(
                    f"All states must have {actions} actions as state 0 has, "
                    f"got {len(of_state)} in state {s}."
                )
            for a, possible in of_state.items():
                total = sum(probability for probability, *_ in possible)
                if not np.isclose(total, 1.0):
                    raise ValueError(
                        f"Outcomes of action {a} in state {s} must have probabilities that sum "
                        f"to 1, got {total}."
                    )
                for probability, following, paid, terminated in possible:
                    reward[s, a] += probability * paid
                    continues[s, a, following] += probability * (not terminated)
        return cls(reward=reward, continues=continues)
