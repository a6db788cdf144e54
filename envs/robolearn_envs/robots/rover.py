"""A differential-drive rover on real wheels."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from robolearn_envs.arrays import Array, namespace
from robolearn_envs.robots.base import Inertial
from robolearn_envs.stage import ARENA_WORLD, CART, HUB, POST, TIP, VISUAL

_CHASSIS = 0.03
"""Half of the chassis' height in m; its middle is as high as the wheels' hubs."""


@dataclass(frozen=True, kw_only=True)
class Rover:
    """Two driven wheels left and right, a frictionless caster in front and one behind.

    Wheels roll on crowned tires: they touch the floor in a single point, in every engine. Its
    coordinates are those of the base (x forward, z up, see :class:`Robot`) and the angles of the
    left and the right wheel (rad, positive rolls forward).
    """

    radius: float = 0.2
    """Of the circle that holds it, in m."""
    mass: float = 5.0
    """Mass of the chassis in kg; a uniform disc."""
    wheel_mass: float = 0.25
    """Mass of each wheel in kg; a uniform ball as to inertia."""
    wheel_radius: float = 0.08
    """Radius of the wheels in m."""
    track: float = 0.3
    """Distance between the wheels in m."""
    caster_radius: float = 0.03
    """Radius of the casters in m."""
    caster_offset: float = 0.14
    """From the middle to the casters in m."""
    caster_gap: float = 0.001
    """From the casters to the floor in m when the rover stands level: so the wheels carry it."""
    friction: float = 1.0
    """Coefficient of friction of the wheels on the floor."""
    max_wheel_speed: float = 12.5
    """Wheel speed at full command in rad/s: 1 m/s straight on."""
    max_torque: float = 0.4
    """Largest torque of a wheel's servo in N m."""
    servo_gain: float = 0.15
    """Torque of a wheel's servo per error of its speed, in N m s/rad."""
    gravity: float = 9.81
    """Gravitational acceleration in m/s^2."""

    actuated: ClassVar[tuple[str, ...]] = ("left", "right")
    joints: ClassVar[tuple[str, ...]] = ("left", "right")
    floating: ClassVar[bool] = True
    randomized: ClassVar[tuple[str, ...]] = ("mass",)

    def scaled(self, factors: Mapping[str, Array]) -> "Rover":
        """Return a copy whose named fields are multiplied by ``factors``."""
        return replace(self, **{name: getattr(self, name) * f for name, f in factors.items()})

    def at(self, index: int) -> "Rover":
        """Return copy ``index`` of a robot with array fields, with plain float fields."""
        return replace(self, **{n: float(getattr(self, n)[index]) for n in self.randomized})

    def links(self) -> dict[str, Inertial]:
        """Return the mass properties of the chassis."""
        disc = self.mass * (0.9 * self.radius) ** 2 / 2
        return {"base": Inertial(self.mass, 0.0, disc / 2, disc)}

    @property
    def top_speed(self) -> float:
        """Forward speed at full command in m/s."""
        return self.max_wheel_speed * self.wheel_radius

    def pose(self, qpos: Array) -> tuple[Array, Array]:
        """Return x and y, shape (N, 2), and heading, shape (N,)."""
        xp = namespace(qpos)
        w, x, y, z = (qpos[:, 3 + k] for k in range(4))
        return qpos[:, :2], xp.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))

    def twist(self, qpos: Array, qvel: Array) -> tuple[Array, Array]:
        """Return forward speed and turning rate. Shapes (N,)."""
        xp = namespace(qpos)
        heading = self.pose(qpos)[1]
        forward = qvel[:, 0] * xp.cos(heading) + qvel[:, 1] * xp.sin(heading)
        return forward, qvel[:, 5]

    def at_rest(self, xy: Array, heading: Array) -> tuple[Array, Array]:
        """Return positions, shape (N, 9), and velocities, shape (N, 8), of rovers at rest."""
        xp = namespace(xy)
        zero = xp.zeros_like(heading)
        turned = [xp.cos(heading / 2), zero, zero, xp.sin(heading / 2)]
        columns = [xy[:, 0], xy[:, 1], zero + self.wheel_radius, *turned, zero, zero]
        return xp.stack(columns, axis=-1), xp.stack([zero] * 8, axis=-1)

    def command_for(self, v: Array, omega: Array) -> Array:
        """Return the command that asks for a forward speed and turning rate. Shape (N, 2).

        Where a wheel would have to be too fast both are slowed down, which keeps the curve.
        """
        xp = namespace(v)
        half = omega * self.track / 2
        wheels = xp.stack([v - half, v + half], axis=-1) / self.wheel_radius
        command = wheels / self.max_wheel_speed
        return command / xp.clip(xp.max(xp.abs(command), axis=-1), 1.0, None)[:, None]

    def tipped(self, qpos: Array) -> Array:
        """Return which rovers lean more than 45 degrees. Shape (N,), bool."""
        x, y = qpos[:, 4], qpos[:, 5]
        return 1 - 2 * (x * x + y * y) < math.cos(math.pi / 4)

    def servo(self, qpos: Array, qvel: Array, command: Array, timestep: float) -> Array:
        """Return the torques that drive the wheels towards the commanded speeds.

        `servo_gain` times the difference, and within +-`max_torque`, on each wheel.

        Args:
            qpos: Shape (N, 9).
            qvel: Shape (N, 8).
            command: Wheel speeds, left and right, in parts of the largest. Shape (N, 2).
            timestep: Physics step in s.

        Returns:
            N m. Shape (N, 2).
        """
        xp = namespace(qpos)
        error = self.max_wheel_speed * command - qvel[:, 6:]
        return xp.clip(self.servo_gain * error, -self.max_torque, self.max_torque)

    def to_mjcf(self, timestep: float, world: str = ARENA_WORLD) -> str:
        """Return the MuJoCo model. Wheels and casters touch the floor; nothing else touches.

        Args:
            timestep: Physics step in s.
            world: What stands around the robot, as MJCF of the world body.
        """
        base = self.links()["base"]
        ball = 0.4 * self.wheel_mass * self.wheel_radius**2
        drop = self.caster_radius + self.caster_gap - self.wheel_radius
        wheels = "".join(
            f"""\
      <body name="{name}" pos="0 {side * self.track / 2} 0">
        <inertial pos="0 0 0" mass="{self.wheel_mass}" diaginertia="{ball} {ball} {ball}"/>
        <joint name="{name}" type="hinge" axis="0 1 0"/>
        <geom name="{name}_tire" type="sphere" size="{self.wheel_radius}" conaffinity="1" group="4" friction="{self.friction} 0 0" priority="1" condim="3"/>
        <geom name="{name}" type="cylinder" size="{self.wheel_radius} 0.02" zaxis="0 1 0" group="1" rgba="{POST}"/>
        <geom name="{name}_spoke" type="box" size="{0.85 * self.wheel_radius} 0.022 0.01" group="1" rgba="{HUB}"/>
      </body>
"""  # noqa: E501
            for name, side in (("left", 1), ("right", -1))
        )
        casters = "".join(
            f'      <geom name="{name}" type="sphere" pos="{x} 0 {drop}" size="{self.caster_radius}" '  # noqa: E501
            f'conaffinity="1" group="1" condim="1" priority="2" rgba="{HUB}"/>\n'
            for name, x in (("front", self.caster_offset), ("rear", -self.caster_offset))
        )
        return f"""\
<mujoco model="rover">
  <compiler angle="radian" inertiafromgeom="false"/>
  <option timestep="{timestep}" gravity="0 0 {-self.gravity}" integrator="Euler" jacobian="dense" cone="elliptic" impratio="10">
    <flag eulerdamp="disable"/>
  </option>
{VISUAL}  <default><geom contype="0" conaffinity="0" mass="0"/></default>
  <worldbody>
{world.replace('name="floor"', 'name="floor" contype="1"')}    <body name="base" pos="0 0 {self.wheel_radius}">
      <inertial pos="0 0 0" mass="{base.mass}" diaginertia="{base.inertia} {base.inertia} {base.spin}"/>
      <freejoint name="free"/>
      <geom name="body" type="cylinder" size="{0.75 * self.radius} {_CHASSIS}" pos="0 0 {_CHASSIS}" group="1" rgba="{CART}"/>
      <geom name="mast" type="cylinder" pos="0 0 {3 * _CHASSIS}" size="{0.25 * self.radius} {_CHASSIS}" group="1" rgba="{HUB}"/>
      <geom name="nose" type="box" pos="{0.5 * self.radius} 0 {2 * _CHASSIS}" size="{0.25 * self.radius} 0.02 0.012" group="1" rgba="{TIP}"/>
{casters}{wheels}    </body>
  </worldbody>
</mujoco>
"""  # noqa: E501

    def to_urdf(self) -> str:
        """Return the URDF for Bullet; wheels and casters alone have collision shapes."""
        base = self.links()["base"]
        ball = 0.4 * self.wheel_mass * self.wheel_radius**2
        drop = self.caster_radius + self.caster_gap - self.wheel_radius
        around = math.pi / 2
        wheels = "".join(
            f"""\
  <joint name="{name}" type="continuous"><parent link="base"/><child link="{name}"/><origin xyz="0 {side * self.track / 2} 0"/><axis xyz="0 1 0"/></joint>
  <link name="{name}">
    <inertial><mass value="{self.wheel_mass}"/><inertia ixx="{ball}" ixy="0" ixz="0" iyy="{ball}" iyz="0" izz="{ball}"/></inertial>
    <visual><origin rpy="{around} 0 0"/><geometry><cylinder radius="{self.wheel_radius}" length="0.04"/></geometry><material name="wheel"/></visual>
    <collision><geometry><sphere radius="{self.wheel_radius}"/></geometry></collision>
  </link>
"""  # noqa: E501
            for name, side in (("left", 1), ("right", -1))
        )
        casters = "".join(
            f"""\
  <joint name="{name}_fixed" type="fixed"><parent link="base"/><child link="{name}"/><origin xyz="{x} 0 {drop}"/></joint>
  <link name="{name}">
    <inertial><mass value="0"/><inertia ixx="0" ixy="0" ixz="0" iyy="0" iyz="0" izz="0"/></inertial>
    <visual><geometry><sphere radius="{self.caster_radius}"/></geometry><material name="hub"/></visual>
    <collision><geometry><sphere radius="{self.caster_radius}"/></geometry></collision>
  </link>
"""  # noqa: E501
            for name, x in (("front", self.caster_offset), ("rear", -self.caster_offset))
        )
        return f"""\
<robot name="rover">
  <material name="body"><color rgba="{CART}"/></material>
  <material name="wheel"><color rgba="{POST}"/></material>
  <material name="hub"><color rgba="{HUB}"/></material>
  <material name="nose"><color rgba="{TIP}"/></material>
  <link name="base">
    <inertial><mass value="{base.mass}"/><inertia ixx="{base.inertia}" ixy="0" ixz="0" iyy="{base.inertia}" iyz="0" izz="{base.spin}"/></inertial>
    <visual><origin xyz="0 0 {_CHASSIS}"/><geometry><cylinder radius="{0.75 * self.radius}" length="{2 * _CHASSIS}"/></geometry><material name="body"/></visual>
    <visual><origin xyz="{0.5 * self.radius} 0 {2 * _CHASSIS}"/><geometry><box size="{0.5 * self.radius} 0.04 0.024"/></geometry><material name="nose"/></visual>
  </link>
{wheels}{casters}</robot>
"""  # noqa: E501
