"""A differential-drive rover on real wheels."""

from dataclasses import dataclass
from typing import ClassVar

from robolearn_envs.robots.wheeled import Caster, Wheel, WheeledRobot


@dataclass(frozen=True, kw_only=True)
class DiffDriveRobot(WheeledRobot):
    """Two driven wheels left and right, a frictionless caster in front and one behind."""

    caster_radius: float = 0.03
    """Radius of the casters in m."""
    caster_offset: float = 0.14
    """From the middle to the casters in m."""
    caster_clearance: float = 0.001
    """From the casters to the floor in m when the robot stands level: so the wheels carry it."""

    joint_names: ClassVar[tuple[str, ...]] = ("left", "right")

    @property
    def wheels(self) -> tuple[Wheel, ...]:
        """One to the left, one to the right."""
        half = self.wheel_separation / 2
        return Wheel("left", 0.0, half), Wheel("right", 0.0, -half)

    @property
    def casters(self) -> tuple[Caster, ...]:
        """One in front, one behind."""
        radius, gap = self.caster_radius, self.caster_clearance
        ahead = self.caster_offset
        return Caster("front", ahead, radius, gap), Caster("rear", -ahead, radius, gap)
