"""Slot machines: which arm pays best, and how one sees which machine it is."""

from copy import copy
from typing import Any, Literal

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Discrete

from robolearn_envs.toy.checks import chosen, whole_number
from robolearn_envs.toy.finite import FiniteMDP

SIDE = 16
"""Pixels along either side of an image."""
SQUARE = 4
"""Pixels along either side of the bright square."""
BRIGHT = 128
"""How much brighter the square is: as many different values as all other pixels have."""


class Bandit(gym.Env[Any, Any]):
    """Pull the best of k arms; each pays differently, and no pull is like another.

    The testbed of Sutton & Barto (2018, section 2.3). With ``context='image'`` there are four
    such machines, with the same arms but each in another order, and a noisy picture tells which
    one it is: the smallest problem that needs eyes.

    Observation: ``Discrete(1)``, always 0, which tells nothing; with ``context='image'`` a ``Box``
    of ``SIDE`` x ``SIDE`` x 1 pixels, uint8 from 0 to 255. A bright square, ``SQUARE`` pixels
    wide, lies anywhere in one quadrant: 0 is upper left, 1 upper right, 2 lower left, 3 lower
    right. Pixels are uniform in whole numbers below ``BRIGHT``, and those of the square
    ``BRIGHT`` more.

    Action: ``Discrete(arms)``, the arm to pull.

    Reward: Normal, with the arm's mean and a standard deviation of 1. The means are drawn from a
    standard normal distribution once for all, by ``problem``. In context c arm a + c (modulo the
    number of arms) pays what arm a pays in context 0.

    Start: In each context equally likely.

    Terminated: After one pull.

    Success: The arm with the largest mean was pulled; ``info["success"]``.
    """

    def __init__(
        self, *, arms: int = 10, problem: int = 0, context: Literal["none", "image"] = "none"
    ) -> None:
        """Build the machine.

        Args:
            arms: How many there are, at least 2.
            problem: Seed of the means. One number is one problem, whatever else is seeded.
            context: 'none', or 'image': four machines, told apart by a picture.

        Raises:
            ValueError: An argument out of range.
        """
        count = whole_number("arms", arms, least=2)
        if context not in ("none", "image"):
            raise ValueError(f"context must be 'none' or 'image', got {context!r}.")
        rng = np.random.default_rng(whole_number("problem", problem, least=0))
        machine = rng.standard_normal(count)
        contexts = 1 if context == "none" else 4
        self.means = np.stack([np.roll(machine, c) for c in range(contexts)])
        """Expected reward of each arm in each context. Shape (contexts, arms)."""
        self.observation_space = (
            Discrete(1) if context == "none" else Box(0, 255, (SIDE, SIDE, 1), np.uint8)
        )
        self.action_space = Discrete(count)
        self._context = 0
        self._shown: Any = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Step up to a machine; there are no options."""
        super().reset(seed=seed)
        if isinstance(self.observation_space, Box):
            self._context = int(self.np_random.integers(len(self.means)))
            self._shown = picture(self._context, self.np_random)
        return copy(self._shown), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Pull an arm; what is seen stays.

        Raises:
            ValueError: No such arm.
        """
        arm, means = chosen(self.action_space, action), self.means[self._context]
        reward = float(self.np_random.normal(means[arm], 1.0))
        return copy(self._shown), reward, True, False, {"success": bool(arm == means.argmax())}

    def mdp(self) -> FiniteMDP:
        """Return the rules as arrays; the states are the contexts, images or not."""
        contexts, arms = self.means.shape
        return FiniteMDP(reward=self.means.copy(), continues=np.zeros((contexts, arms, contexts)))


def picture(context: int, rng: np.random.Generator) -> np.ndarray:
    """Return an image of a context. Shape (SIDE, SIDE, 1), uint8."""
    pixels = rng.integers(BRIGHT, size=(SIDE, SIDE, 1), dtype=np.uint8)
    half = SIDE // 2
    corner = half * np.array(divmod(context, 2)) + rng.integers(half - SQUARE + 1, size=2)
    row, column = corner
    pixels[row : row + SQUARE, column : column + SQUARE] += np.uint8(BRIGHT)
    return pixels
