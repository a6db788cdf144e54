"""A token that goes round a ring."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Discrete

from robolearn_envs.toy.checks import chosen, whole_number
from robolearn_envs.toy.finite import FiniteMDP


class RingWalk(gym.Env[Any, Any]):
    """Move a token round a ring so that it stands on even numbers as often as it can.

    All moves are odd, so that even and odd take turns; but the ring is odd too, and whoever
    steps over its end from an even number lands on an even one. It pays to be there at the right
    time: what an action earns at once does not tell which is best.

    Observation: Where the token is, ``Discrete(states)``.

    Action: ``Discrete(actions)``; action a moves the token on by 2 a + 1, modulo the number of
    states. By default by 1 or by 3.

    Reward: 1 where the token arrives on an even number (0 is even), else 0.

    Start: Anywhere, each place equally likely.

    Terminated: Never.
    """

    def __init__(self, *, states: int = 11, actions: int = 2) -> None:
        """Build the ring.

        Args:
            states: How many places there are; odd, at least 5.
            actions: How many moves there are, at least 2; the longest is less than a round.

        Raises:
            ValueError: Numbers of which there is no game.
        """
        self._places = whole_number("states", states, least=5)
        self._moves = whole_number("actions", actions, least=2)
        if self._places % 2 == 0:
            raise ValueError(f"states must be odd, got {states}.")
        if self._moves > self._places // 2:
            raise ValueError(
                f"actions must be at most {states // 2} with {states} states, got {actions}."
            )
        self.observation_space = Discrete(self._places)
        self.action_space = Discrete(self._moves)
        self._place = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Put the token somewhere; there are no options."""
        super().reset(seed=seed)
        self._place = int(self.np_random.integers(self._places))
        return self._place, {}

    def step(self, action: Any) -> tuple[int, float, bool, bool, dict[str, Any]]:
        """Move the token.

        Raises:
            ValueError: No such action.
        """
        move = chosen(self.action_space, action)
        self._place = int(arrival(self._place, move, self._places))
        return self._place, float(pay(self._place)), False, False, {}

    def mdp(self) -> FiniteMDP:
        """Return the rules as arrays; the time limit is no part of them."""
        reached = arrival(np.arange(self._places)[:, None], np.arange(self._moves), self._places)
        return FiniteMDP(reward=pay(reached), continues=np.eye(self._places)[reached])


def arrival(place: Any, action: Any, places: int) -> Any:
    """Return where the token arrives; broadcasts."""
    return (place + 2 * action + 1) % places


def pay(place: Any) -> Any:
    """Return the reward for arriving at a place: 1.0 where it is even, else 0.0."""
    return 1.0 - place % 2
