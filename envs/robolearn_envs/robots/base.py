"""What every robot is: a frozen dataclass in SI units, written out for the engines."""

import math
import numbers
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, ClassVar, NamedTuple, Self, TypeVar

from robolearn_envs.actuators import Actuator
from robolearn_envs.arrays import Array, namespace
from robolearn_envs.fields import Field
from robolearn_envs.names import did_you_mean


class Inertial(NamedTuple):
    """Mass properties of one link; floats, or arrays with one entry per environment."""

    mass: Array  # kg
    com_z: Array  # m, center of mass along the link's z axis
    ixx: Array  # kg m^2, about the link's x and y axes through the center of mass
    izz: Array  # kg m^2, about the link's z axis


class Robot:
    """Base of robots: subclass it as a frozen dataclass and write ``to_mjcf``.

    Coordinates are one position and velocity per joint. A robot with a floating base has before
    these those of its base: position (m), orientation (unit quaternion, w first), velocity (m/s),
    angular velocity (rad/s, in the base's own axes). What else a robot offers decides on where it
    runs: ``to_urdf`` on Bullet, ``forward_dynamics`` in closed form, on NumPy and torch. Randomized
    fields may also hold arrays with one entry per environment.
    """

    joint_names: ClassVar[tuple[str, ...]]
    """All joints, in order."""
    floating_base: ClassVar[bool] = False
    """Whether the base moves freely, with seven positions and six velocities before the joints'."""
    randomizable: ClassVar[tuple[str, ...]] = ()
    """Fields that domain randomization may multiply: masses and lengths in ``link_inertials``,
    friction in ``link_frictions``, and what ``actuate`` uses."""
    may_be_zero: ClassVar[tuple[str, ...]] = ("gravity",)
    """Fields for which 0 makes sense; all others are positive."""
    length_field: ClassVar[str | None] = None
    """Field that, if multiplied by s, is the same as a robot in units of s meters."""
    length_joints: ClassVar[tuple[str, ...]] = ()
    """Joints whose positions are lengths, where there is a ``length_field``."""
    gravity: float = 9.81
    forward_dynamics: ClassVar[Callable[..., tuple[Array, ...]] | None] = None
    """Method (qpos, qvel, force) -> accelerations of each coordinate, shapes (N,); arrays as in
    ``actuate``. None where the equations of motion are not written out."""

    def to_mjcf(self, timestep: float, world: str | None = None) -> str:
        """Return the MuJoCo model.

        Args:
            timestep: Physics step in s.
            world: What stands around the robot, as MJCF of the world body; None for the usual.
        """
        raise NotImplementedError(f"{type(self).__name__} needs a method to_mjcf(timestep, world).")

    def to_urdf(self) -> str | None:
        """Return the URDF for Bullet; None where there is none."""
        return None

    @property
    def actuators(self) -> tuple[Actuator, ...]:
        """What turns ctrl into forces, in the order of ctrl."""
        return ()

    @property
    def actuated_joints(self) -> tuple[str, ...]:
        """Joints that a force acts on, in the order of forces."""
        return tuple(actuator.joint for actuator in self.actuators)

    @property
    def ctrl_fields(self) -> tuple[Field, ...]:
        """What the entries of ctrl ask for."""
        return tuple(Field(actuator.joint) for actuator in self.actuators)

    @property
    def collision_radius(self) -> float | None:
        """Radius of the circle that holds a mobile robot, m; None for a robot that stays."""
        return None

    def link_inertials(self) -> dict[str, Inertial]:
        """Return the mass properties of each link that randomization changes."""
        return {}

    def link_frictions(self) -> dict[str, Array]:
        """Return the coefficients of friction of links that touch the floor."""
        return {}

    def joint_armatures(self) -> dict[str, float]:
        """Return the inertias of rotors as seen through their gears, kg m^2, by joint.

        Bullet adds them to the links; in ``to_mjcf`` they are the joints' ``armature``.
        """
        return {}

    def actuate(
        self,
        qpos: Array,
        qvel: Array,
        ctrl: Array,
        timestep: float,
        scales: Mapping[str, Array],
    ) -> Array:
        """Return the forces of one physics step, by the law of each actuator.

        Args:
            qpos: Shape (N, positions).
            qvel: Shape (N, velocities).
            ctrl: In [-1, 1]. Shape (N, num_ctrl).
            timestep: Physics step in s.
            scales: Factors of randomized fields, by name. Shapes (N,).

        Returns:
            N or N m. Shape (N, actuated joints).
        """
        xp = namespace(qpos)
        first_q, first_v = (7, 6) if self.floating_base else (0, 0)
        forces = []
        for k, actuator in enumerate(self.actuators):
            joint = self.joint_names.index(actuator.joint)
            position, velocity = qpos[:, first_q + joint], qvel[:, first_v + joint]
            forces.append(actuator.force(position, velocity, ctrl[:, k], timestep, scales))
        return forces[0][:, None] if len(forces) == 1 else xp.stack(forces, axis=-1)

    def with_scaled_fields(self, scales: Mapping[str, Array]) -> Self:
        """Return a copy whose named fields are multiplied."""
        return replace(self, **{name: getattr(self, name) * f for name, f in scales.items()})  # type: ignore[type-var]


class MobileRobot(Robot):
    """Base of robots that drive on the floor."""

    gravity: float = 9.81

    @property
    def collision_radius(self) -> float:
        """Radius of the circle that holds it, in m."""
        raise NotImplementedError

    @property
    def max_linear_velocity(self) -> float:
        """Forward speed at full ctrl in m/s."""
        raise NotImplementedError

    def pose(self, qpos: Array) -> tuple[Array, Array]:
        """Return where it is, shape (N, 2) in m, and its heading, shape (N,) in rad.

        Of a floating base; others have their own.
        """
        xp = namespace(qpos)
        w, x, y, z = (qpos[:, 3 + k] for k in range(4))
        return qpos[:, :2], xp.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))

    def twist(self, qpos: Array, qvel: Array) -> tuple[Array, Array]:
        """Return its forward speed in m/s and turning rate in rad/s. Shapes (N,)."""
        xp = namespace(qpos)
        heading = self.pose(qpos)[1]
        forward = qvel[:, 0] * xp.cos(heading) + qvel[:, 1] * xp.sin(heading)
        return forward, qvel[:, 5]

    def rest_state(self, xy: Array, heading: Array) -> tuple[Array, Array]:
        """Return positions and velocities of robots at rest.

        Args:
            xy: Shape (N, 2), m.
            heading: Shape (N,), rad.
        """
        xp = namespace(xy)
        zero = xp.zeros_like(heading)
        turned = [xp.cos(heading / 2), zero, zero, xp.sin(heading / 2)]
        joints = [zero] * len(self.joint_names)
        columns = [xy[:, 0], xy[:, 1], zero + self.base_height, *turned, *joints]
        return xp.stack(columns, axis=-1), xp.stack([zero] * 6 + joints, axis=-1)

    @property
    def base_height(self) -> float:
        """Height of a floating base's origin when the robot stands, in m."""
        raise NotImplementedError

    def twist_to_ctrl(self, v: Array, omega: Array) -> Array:
        """Return the ctrl that asks for a forward speed and turning rate. Shape (N, num_ctrl)."""
        raise NotImplementedError(f"{type(self).__name__} needs a method twist_to_ctrl(v, omega).")

    def mirror_ctrl(self, ctrl: Array) -> Array:
        """Return the ctrl that drives the mirror image, left for right. Shape (N, num_ctrl)."""
        raise NotImplementedError(f"{type(self).__name__} needs a method mirror_ctrl(ctrl).")

    def has_tipped_over(self, qpos: Array) -> Array:
        """Return which robots lean more than 45 degrees. Shape (N,), bool."""
        x, y = qpos[:, 4], qpos[:, 5]
        return 1 - 2 * (x * x + y * y) < math.cos(math.pi / 4)


R = TypeVar("R", bound=Robot)


def replace_fields(robot: R, changes: Robot | Mapping[str, float] | None) -> R:
    """Return a robot with some fields changed, or another robot.

    Raises:
        ValueError: No such field, or a number that cannot be.
    """
    if changes is None:
        return robot
    if isinstance(changes, Robot):
        return changes  # type: ignore[return-value]
    if not isinstance(changes, Mapping):
        raise ValueError(f"robot must be a mapping of fields to numbers, got {changes!r}.")
    known = [field.name for field in fields(robot)] if is_dataclass(robot) else []  # type: ignore[arg-type]
    numbers_of: dict[str, float] = {}
    for name, number in changes.items():
        if name not in known:
            raise ValueError(did_you_mean(f"field of {type(robot).__name__}", str(name), known))
        real = isinstance(number, numbers.Real) and not isinstance(number, bool)
        zero_too = name in robot.may_be_zero
        if not real or not (0 < number < 1e6 or (zero_too and number == 0)):
            kind = "non-negative" if zero_too else "positive"
            raise ValueError(f"robot field '{name}' must be a {kind} number, got {number!r}.")
        numbers_of[name] = float(number)
    return replace(robot, **numbers_of)  # type: ignore[type-var]


def env_robot(robot: R, scales: Mapping[str, Any], index: int) -> R:
    """Return the robot of one environment, with plain float fields.

    Args:
        robot: With nominal fields.
        scales: Factors of randomized fields, by name. Shapes (N,).
        index: Which environment.
    """
    own = {name: float(scales[name][index]) for name in robot.randomizable if name in scales}
    return robot.with_scaled_fields(own) if own else robot
