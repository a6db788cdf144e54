"""The seam between environments and pictures."""

from typing import Protocol

import numpy as np


class Drawable(Protocol):
    """What can be drawn: a robot, or one with what stands around it. Equal ones look the same."""

    def to_mjcf(self, timestep: float) -> str:
        """Return the MuJoCo model; it has a geom "floor" and a camera "side"."""
        ...


class Renderer(Protocol):
    """Draws what the camera "side" sees."""

    @property
    def name(self) -> str:
        """One of ``RENDERERS``."""
        ...

    def render(self, robot: Drawable, qpos: np.ndarray) -> np.ndarray:
        """Return a new picture; anything slow is redone only for a robot unlike the last one.

        Args:
            robot: What to draw.
            qpos: All positions of its MJCF, m or rad. Shape (positions,).

        Returns:
            Shape (height, width, 3), uint8, RGB.
        """
        ...

    def close(self) -> None:
        """Release what the renderer holds; safe to call twice."""
        ...


class RendererUnavailable(RuntimeError):
    """A renderer cannot work on this machine; the message says why."""
