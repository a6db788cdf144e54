"""Recommending to visitors with hidden tastes."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Discrete

from robolearn_envs.toy.checks import chosen, probability, whole_number
from robolearn_envs.toy.finite import FiniteMDP

FACTORS = 3
"""Numbers that tell a taste."""


class Recommender(gym.Env[Any, Any]):
    """Recommend items to a visitor, who clicks on what pleases and then may leave.

    Who visits is told, who likes what is to be found out: a bandit for each user, which are tied
    together by who comes next.

    Observation: Who visits, ``Discrete(users)``.

    Action: The item to recommend, ``Discrete(items)``.

    Reward: 1 for a click, else 0. User i clicks on item j with probability sigmoid(u_i . v_j),
    where u_i and v_j are ``FACTORS`` numbers each, drawn from a standard normal distribution once
    for all, by ``problem``.

    Next: After a click the user leaves with probability ``leave`` and one of the others comes,
    each equally likely. Otherwise the user stays.

    Start: With each user equally likely.

    Terminated: Never.
    """

    def __init__(
        self, *, users: int = 5, items: int = 8, leave: float = 0.1, problem: int = 0
    ) -> None:
        """Draw the tastes.

        Args:
            users: How many there are, at least 2.
            items: How many there are, at least 2.
            leave: Probability that a user leaves after a click, in [0, 1].
            problem: Seed of the tastes. One number is one problem, whatever else is seeded.

        Raises:
            ValueError: An argument out of range.
        """
        people = whole_number("users", users, least=2)
        goods = whole_number("items", items, least=2)
        rng = np.random.default_rng(whole_number("problem", problem, least=0))
        tastes = rng.standard_normal((people, FACTORS))
        kinds = rng.standard_normal((goods, FACTORS))
        self.clicks = 1 / (1 + np.exp(-tastes @ kinds.T))
        """Probability of a click by each user on each item. Shape (users, items)."""
        self.observation_space = Discrete(people)
        self.action_space = Discrete(goods)
        self._leave = probability("leave", leave)
        self._user = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Let somebody in; there are no options."""
        super().reset(seed=seed)
        self._user = int(self.np_random.integers(len(self.clicks)))
        return self._user, {}

    def step(self, action: Any) -> tuple[int, float, bool, bool, dict[str, Any]]:
        """Recommend an item.

        Raises:
            ValueError: No such item.
        """
        item = chosen(self.action_space, action)
        click = self.np_random.random() < self.clicks[self._user, item]
        if click and self.np_random.random() < self._leave:
            further = self.np_random.integers(1, len(self.clicks))
            self._user = int((self._user + further) % len(self.clicks))
        return self._user, float(click), False, False, {}

    def mdp(self) -> FiniteMDP:
        """Return the rules as arrays; the time limit is no part of them."""
        users = len(self.clicks)
        gone = self._leave * self.clicks[:, :, None]  # (users, items, 1)
        stays = np.eye(users)[:, None, :]  # (users, 1, users)
        continues = (1 - gone) * stays + gone / (users - 1) * (1 - stays)
        return FiniteMDP(reward=self.clicks.copy(), continues=continues)
