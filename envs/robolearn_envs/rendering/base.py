"""The seam between environments and pictures."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from robolearn_envs.robots import Robot
from robolearn_envs.scene_style import WORLD
from robolearn_envs.tasks.base import Marker


class Renderable(Protocol):
    """What can be drawn: a robot, or one with what stands around it. Equal ones look the same."""

    def to_mjcf(self, timestep: float) -> str:
        """Return the MuJoCo model; it has a geom "floor" and a camera "side"."""
        ...


@dataclass(frozen=True)
class MarkedRobot:
    """A robot, and the markers of its task."""

    robot: Robot
    markers: tuple[Marker, ...]

    def to_mjcf(self, timestep: float) -> str:
        """Return the MuJoCo model; markers are spheres."""
        spheres = "".join(
            f'    <geom type="sphere" pos="{x} {y} {z}" size="{size}" rgba="{rgba}" '
            'contype="0" conaffinity="0" mass="0"/>\n'
            for (x, y, z), size, rgba in self.markers
        )
        return self.robot.to_mjcf(timestep, WORLD + spheres)


class Renderer(Protocol):
    """Draws what the camera "side" sees."""

    @property
    def name(self) -> str:
        """One of ``RENDERERS``."""
        ...

    def render(self, robot: Renderable, qpos: np.ndarray) -> np.ndarray:
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
