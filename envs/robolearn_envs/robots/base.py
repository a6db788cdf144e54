"""What every robot is."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, ClassVar, NamedTuple, Protocol, Self, TypeVar

from robolearn_envs.arrays import Array
from robolearn_envs.names import did_you_mean


class Inertial(NamedTuple):
    """Mass properties of one link; floats, or arrays with one entry per copy."""

    mass: Array  # kg
    com: Array  # m, center of mass along the link's z axis
    inertia: Array  # kg m^2, about the link's x and y axes through the center of mass
    spin: Array  # kg m^2, about the link's z axis


class Robot(Protocol):
    """A frozen dataclass of physical fields in SI units.

    Coordinates are one position and velocity per joint. A floating robot's begin with those of
    its base: position (m), orientation (unit quaternion, w first), velocity (m/s), angular
    velocity (rad/s, in the base's own axes).
    """

    actuated: ClassVar[tuple[str, ...]]
    """Joints a force acts on."""
    joints: ClassVar[tuple[str, ...]]
    """All joints, in order."""
    floating: ClassVar[bool]
    """Whether the base moves freely, with seven positions and six velocities before the joints'."""
    randomized: ClassVar[tuple[str, ...]]
    """Fields that domain randomization multiplies."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def to_mjcf(self, timestep: float) -> str:
        """Return the MuJoCo model."""
        ...


class MobileRobot(Robot, Protocol):
    """A robot that drives on the floor."""

    @property
    def radius(self) -> float:
        """Of the circle that holds it, in m."""
        ...

    @property
    def top_speed(self) -> float:
        """Forward speed at full command in m/s."""
        ...

    def pose(self, qpos: Array) -> tuple[Array, Array]:
        """Return where it is, shape (N, 2) in m, and its heading, shape (N,) in rad."""
        ...

    def twist(self, qpos: Array, qvel: Array) -> tuple[Array, Array]:
        """Return its forward speed in m/s and turning rate in rad/s. Shapes (N,)."""
        ...

    def at_rest(self, xy: Array, heading: Array) -> tuple[Array, Array]:
        """Return positions and velocities of robots at rest.

        Args:
            xy: Shape (N, 2), m.
            heading: Shape (N,), rad.
        """
        ...

    def servo(self, qpos: Array, qvel: Array, command: Array, timestep: float) -> Array:
        """Return the forces on the actuated joints that make it do as commanded.

        Args:
            qpos: Positions.
            qvel: Velocities.
            command: In [-1, 1]. Shape (N, 2).
            timestep: Physics step in s.
        """
        ...

    def command_for(self, v: Array, omega: Array) -> Array:
        """Return the command that asks for a forward speed and turning rate. Shape (N, 2)."""
        ...

    def tipped(self, qpos: Array) -> Array:
        """Return which robots have fallen over. Shape (N,), bool."""
        ...

    def scaled(self, factors: Mapping[str, Array]) -> Self:
        """Return a copy whose named fields are multiplied by ``factors``."""
        ...

    def at(self, index: int) -> Self:
        """Return copy ``index`` of a robot with array fields, with plain float fields."""
        ...

    def links(self) -> dict[str, Inertial]:
        """Return the mass properties of each link that randomization changes."""
        ...


R = TypeVar("R", bound=Robot)


def adjusted(robot: R, changes: Mapping[str, float] | None) -> R:
    """Return a robot with some fields changed.

    Raises:
        ValueError: No such field, or not a positive number.
    """
    if changes is None:
        return robot
    if not isinstance(changes, Mapping):
        raise ValueError(f"robot must be a mapping of fields to numbers, got {changes!r}.")
    known = [field.name for field in fields(robot)]
    for name, number in changes.items():
        if name not in known:
            raise ValueError(did_you_mean(f"field of {type(robot).__name__}", name, known))
        if isinstance(number, bool) or not isinstance(number, int | float) or not 0 < number < 1e6:
            raise ValueError(f"robot field '{name}' must be a positive number, got {number!r}.")
    return replace(robot, **changes)
