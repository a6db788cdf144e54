"""The seam between environments and pictures."""

from typing import Protocol, TypeAlias

import numpy as np

from robolearn_envs.robots import CartPole, ControlSuiteCartPole

Drawable: TypeAlias = CartPole | ControlSuiteCartPole
"""A robot that can be drawn; its fields are plain numbers, not arrays."""


class Renderer(Protocol):
    """Draws robots as their MJCF's camera "side" sees them."""

    @property
    def name(self) -> str:
        """One of ``RENDERERS``."""
        ...

    def render(self, robot: Drawable, qpos: np.ndarray) -> np.ndarray:
        """Return a new picture; anything slow is redone only for a robot unlike the last one.

        Args:
            robot: What to draw.
            qpos: Joint positions, m or rad. Shape (joints,).

        Returns:
            Shape (height, width, 3), uint8, RGB.
        """
        ...

    def close(self) -> None:
        """Release what the renderer holds; safe to call twice."""
        ...


class RendererUnavailable(RuntimeError):
    """A renderer cannot work on this machine; the message says why."""
