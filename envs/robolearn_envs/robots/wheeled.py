"""Robots on real wheels: a chassis, driven wheels to the left and right, and casters."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, NamedTuple

import numpy as np

from robolearn_envs.actuators import Actuator, VelocityServo
from robolearn_envs.arrays import Array, namespace
from robolearn_envs.fields import Field
from robolearn_envs.robots.base import Inertial, MobileRobot
from robolearn_envs.scene_style import ARENA_WORLD, CART, HUB, POST, TIP, VISUAL

_CHASSIS = 0.03
"""Half of the chassis' height in m; its middle is as high as the wheels' hubs."""


class Wheel(NamedTuple):
    """A driven wheel."""

    name: str
    """Of the wheel and its joint."""
    x: float
    """Of its hub, forward from the robot's middle, m."""
    y: float
    """Of its hub, to the left, m; wheels on the left are driven by the first entry of ctrl."""


class Caster(NamedTuple):
    """A frictionless ball that the chassis glides on."""

    name: str
    x: float
    """Forward from the robot's middle, m."""
    radius: float
    """m."""
    clearance: float
    """From the ball to the floor in m when the robot stands level."""


@dataclass(frozen=True, kw_only=True)
class WheeledRobot(MobileRobot):
    """Base of robots on wheels; a subclass names its wheels and ``wheel_separation``.

    Wheels roll on crowned tires: they touch the floor in a single point, in every engine. ctrl is
    the speed of the left and of the right wheels, in parts of the largest. Coordinates are those of
    the base (x forward, z up, see :class:`Robot`) and the angles of the wheels (rad, positive rolls
    forward).
    """

    radius: float = 0.2
    """Of the circle that holds it, in m."""
    mass: float = 5.0
    """Mass of the chassis in kg; its inertia is that of a uniform disc of 0.9 ``radius``."""
    wheel_mass: float = 0.25
    """Mass of each wheel in kg; its inertia is that of a uniform ball."""
    wheel_radius: float = 0.08
    """Radius of the wheels in m."""
    wheel_separation: float = 0.3
    """Distance between the left and the right wheels in m (ROS's diff_drive_controller)."""
    friction: float = 1.0
    """Coefficient of friction of the wheels on the floor."""
    max_wheel_velocity: float = 12.5
    """Wheel speed at full ctrl in rad/s: 1 m/s straight on."""
    max_torque: float = 0.4
    """Largest torque of a wheel's servo in N m."""
    velocity_kp: float = 0.15
    """Torque of a wheel's servo per error of its speed, in N m s/rad."""
    armature: float = 0.0015
    """Inertia of a motor's rotor as seen through its gear, in kg m^2."""
    gravity: float = 9.81
    """Gravitational acceleration in m/s^2."""

    floating_base: ClassVar[bool] = True
    randomizable: ClassVar[tuple[str, ...]] = ("mass", "friction", "max_torque", "velocity_kp")

    def __post_init__(self) -> None:
        """Refuse a robot without wheels, or one that they or casters stick out of.

        Raises:
            ValueError: Says what is missing, or how far they reach.
        """
        names = tuple(wheel.name for wheel in self.wheels)
        if not names:
            raise ValueError(
                f"{type(self).__name__} has no wheels: write a property wheels that lists them."
            )
        if getattr(self, "joint_names", None) != names:
            raise ValueError(
                f"joint_names of {type(self).__name__} must name its wheels, in order: {names}."
            )
        if not all(isinstance(f, float | int) for f in (self.radius, self.wheel_radius)):
            return
        reach = [np.hypot(abs(w.x) + self.wheel_radius, abs(w.y) + 0.02) for w in self.wheels]
        reach += [abs(caster.x) + caster.radius for caster in self.casters]
        if max(reach) > self.radius + 1e-9:
            raise ValueError(
                f"Wheels and casters of {type(self).__name__} reach {max(reach):.3g} m from its "
                f"middle, but radius={self.radius}: set a larger radius or move them in."
            )

    @property
    def wheels(self) -> tuple[Wheel, ...]:
        """The driven wheels, in the order of ``joint_names``; every robot has its own."""
        return ()

    @property
    def casters(self) -> tuple[Caster, ...]:
        """The casters."""
        return ()

    @cached_property
    def actuators(self) -> tuple[Actuator, ...]:  # type: ignore[override]
        """A velocity servo for each wheel."""
        ball = 0.4 * self.wheel_mass * self.wheel_radius**2
        return tuple(
            VelocityServo(
                joint=wheel.name,
                kp=self.velocity_kp,
                max_torque=self.max_torque,
                max_velocity=self.max_wheel_velocity,
                armature=self.armature + ball,
            )
            for wheel in self.wheels
        )

    @property
    def ctrl_fields(self) -> tuple[Field, ...]:
        """Speeds of the left and of the right wheels."""
        return tuple(
            Field(
                f"{side} wheel",
                "rad/s",
                "speed, positive rolls forward: field `max_wheel_velocity`",
                scale=self.max_wheel_velocity,
            )
            for side in ("left", "right")
        )

    @property
    def collision_radius(self) -> float:
        """``radius``."""
        return self.radius

    @property
    def max_linear_velocity(self) -> float:
        """Forward speed at full ctrl in m/s."""
        return self.max_wheel_velocity * self.wheel_radius

    @property
    def base_height(self) -> float:
        """The hubs'."""
        return self.wheel_radius

    def link_inertials(self) -> dict[str, Inertial]:
        """Return the mass properties of the chassis."""
        disc = self.mass * (0.9 * self.radius) ** 2 / 2
        return {"base": Inertial(self.mass, 0.0, disc / 2, disc)}

    def joint_armatures(self) -> dict[str, float]:
        """Return the rotors' inertia of each wheel."""
        return {wheel.name: self.armature for wheel in self.wheels}

    def link_frictions(self) -> dict[str, Array]:
        """Return the friction of each wheel."""
        return {wheel.name: self.friction for wheel in self.wheels}

    def actuate(
        self,
        qpos: Array,
        qvel: Array,
        ctrl: Array,
        timestep: float,
        scales: Mapping[str, Array],
    ) -> Array:
        """Return the torques of all wheels; see :class:`VelocityServo`. Shape (N, wheels)."""
        wanted = ctrl if self._sides == [0, 1] else ctrl[:, self._sides]
        columns = {name: scale[:, None] for name, scale in scales.items()}
        return self.actuators[0].force(qpos[:, 7:], qvel[:, 6:], wanted, timestep, columns)

    @cached_property
    def _sides(self) -> list[int]:
        """The entry of ctrl that drives each wheel."""
        return [0 if wheel.y > 0 else 1 for wheel in self.wheels]

    def twist_to_ctrl(self, v: Array, omega: Array) -> Array:
        """Return the ctrl that asks for a forward speed and turning rate. Shape (N, 2).

        Where a wheel would have to be too fast both are slowed down, which keeps the curve.
        """
        xp = namespace(v)
        half = omega * self.wheel_separation / 2
        wheels = xp.stack([v - half, v + half], axis=-1) / self.wheel_radius
        ctrl = wheels / self.max_wheel_velocity
        return ctrl / xp.clip(xp.max(xp.abs(ctrl), axis=-1), 1.0, None)[:, None]

    def mirror_ctrl(self, ctrl: Array) -> Array:
        """Return the ctrl with left and right exchanged. Shape (N, 2)."""
        return namespace(ctrl).flip(ctrl, axis=-1)

    def to_mjcf(self, timestep: float, world: str | None = None) -> str:
        """Return the MuJoCo model. Wheels and casters touch the floor; nothing else touches."""
        base = self.link_inertials()["base"]
        ball = 0.4 * self.wheel_mass * self.wheel_radius**2
        wheels = "".join(
            f"""\
      <body name="{name}" pos="{x} {y} 0">
        <inertial pos="0 0 0" mass="{self.wheel_mass}" diaginertia="{ball} {ball} {ball}"/>
        <joint name="{name}" type="hinge" axis="0 1 0" armature="{self.armature}"/>
        <geom name="{name}_tire" type="sphere" size="{self.wheel_radius}" conaffinity="1" group="4" friction="{self.friction} 0 0" priority="1" condim="3"/>
        <geom name="{name}" type="cylinder" size="{self.wheel_radius} 0.02" zaxis="0 1 0" group="1" rgba="{POST}"/>
        <geom name="{name}_spoke" type="box" size="{0.85 * self.wheel_radius} 0.022 0.01" group="1" rgba="{HUB}"/>
      </body>
"""  # noqa: E501
            for name, x, y in self.wheels
        )
        casters = "".join(
            f'      <geom name="{name}" type="sphere" pos="{x} 0 {radius + gap - self.wheel_radius}" '  # noqa: E501
            f'size="{radius}" conaffinity="1" group="1" condim="1" priority="2" rgba="{HUB}"/>\n'
            for name, x, radius, gap in self.casters
        )
        world = (ARENA_WORLD if world is None else world).replace(
            'name="floor"', 'name="floor" contype="1"'
        )
        return f"""\
<mujoco model="{type(self).__name__}">
  <compiler angle="radian" inertiafromgeom="false"/>
  <option timestep="{timestep}" gravity="0 0 {-self.gravity}" integrator="Euler" jacobian="dense" cone="elliptic" impratio="10">
    <flag eulerdamp="disable"/>
  </option>
{VISUAL}  <default><geom contype="0" conaffinity="0" mass="0"/></default>
  <worldbody>
{world}    <body name="base" pos="0 0 {self.wheel_radius}">
      <inertial pos="0 0 0" mass="{base.mass}" diaginertia="{base.ixx} {base.ixx} {base.izz}"/>
      <freejoint name="free"/>
      <geom name="body" type="cylinder" size="{0.75 * self.radius} {_CHASSIS}" pos="0 0 {_CHASSIS}" group="1" rgba="{CART}"/>
      <geom name="mast" type="cylinder" pos="0 0 {3 * _CHASSIS}" size="{0.25 * self.radius} {_CHASSIS}" group="1" rgba="{HUB}"/>
      <geom name="nose" type="box" pos="{0.5 * self.radius} 0 {2 * _CHASSIS}" size="{0.25 * self.radius} 0.02 0.012" group="1" rgba="{TIP}"/>
{casters}{wheels}    </body>
  </worldbody>
</mujoco>
"""  # noqa: E501

    def to_urdf(self) -> str:
        """Return the URDF for Bullet; wheels and casters alone have collision shapes.

        URDF knows no armature: the engine adds ``joint_armatures`` to the wheels about their axes.
        """
        base = self.link_inertials()["base"]
        ball = 0.4 * self.wheel_mass * self.wheel_radius**2
        wheels = "".join(
            f"""\
  <joint name="{name}" type="continuous"><parent link="base"/><child link="{name}"/><origin xyz="{x} {y} 0"/><axis xyz="0 1 0"/></joint>
  <link name="{name}">
    <inertial><mass value="{self.wheel_mass}"/><inertia ixx="{ball}" ixy="0" ixz="0" iyy="{ball}" iyz="0" izz="{ball}"/></inertial>
    <collision><geometry><sphere radius="{self.wheel_radius}"/></geometry></collision>
  </link>
"""  # noqa: E501
            for name, x, y in self.wheels
        )
        casters = "".join(
            f"""\
  <joint name="{name}_fixed" type="fixed"><parent link="base"/><child link="{name}"/><origin xyz="{x} 0 {radius + gap - self.wheel_radius}"/></joint>
  <link name="{name}">
    <inertial><mass value="0"/><inertia ixx="0" ixy="0" ixz="0" iyy="0" iyz="0" izz="0"/></inertial>
    <collision><geometry><sphere radius="{radius}"/></geometry></collision>
  </link>
"""  # noqa: E501
            for name, x, radius, gap in self.casters
        )
        return f"""\
<robot name="{type(self).__name__}">
  <link name="base">
    <inertial><mass value="{base.mass}"/><inertia ixx="{base.ixx}" ixy="0" ixz="0" iyy="{base.ixx}" iyz="0" izz="{base.izz}"/></inertial>
  </link>
{wheels}{casters}</robot>
"""  # noqa: E501
