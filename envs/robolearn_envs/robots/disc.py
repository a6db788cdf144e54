"""A disc that drives: the simplest mobile robot, equal on every engine."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from robolearn_envs.arrays import Array, namespace
from robolearn_envs.robots.base import Inertial
from robolearn_envs.stage import ARENA_WORLD, CART, HUB, TIP, VISUAL


@dataclass(frozen=True, kw_only=True)
class DiscRobot:
    """A round base that drives forward and turns, and never slips sideways.

    Coordinates are x, y (m) and heading (rad, 0 along +x, positive anticlockwise).
    """

    radius: float = 0.2
    """Radius in m."""
    mass: float = 5.0
    """Mass in kg; the disc is uniform."""
    max_speed: float = 1.0
    """Forward speed at full command in m/s."""
    max_turn: float = 2.0
    """Turning rate at full command in rad/s."""
    max_acceleration: float = 4.0
    """Of the velocity servo in m/s^2."""
    max_spin_up: float = 20.0
    """Angular acceleration of the velocity servo in rad/s^2."""
    gravity: float = 9.81
    """Gravitational acceleration in m/s^2."""

    actuated: ClassVar[tuple[str, ...]] = ("x", "y", "heading")
    joints: ClassVar[tuple[str, ...]] = ("x", "y", "heading")
    floating: ClassVar[bool] = False
    randomized: ClassVar[tuple[str, ...]] = ("mass",)

    def scaled(self, factors: Mapping[str, Array]) -> "DiscRobot":
        """Return a copy whose named fields are multiplied by ``factors``."""
        return replace(self, **{name: getattr(self, name) * f for name, f in factors.items()})

    def at(self, index: int) -> "DiscRobot":
        """Return copy ``index`` of a robot with array fields, with plain float fields."""
        return replace(self, **{n: float(getattr(self, n)[index]) for n in self.randomized})

    def links(self) -> dict[str, Inertial]:
        """Return the mass properties of the base: a uniform flat disc."""
        spin = self.mass * self.radius**2 / 2
        return {"base": Inertial(self.mass, 0.0, spin / 2, spin)}

    def acceleration(
        self, qpos: Array, qvel: Array, force: Array, xp: object
    ) -> tuple[Array, Array, Array]:
        """Return the accelerations of x, y (m/s^2) and heading (rad/s^2): Newton's law.

        Args:
            qpos: x, y and heading. Shape (N, 3).
            qvel: Their velocities. Shape (N, 3).
            force: N, N and N m. Shape (N, 3).
            xp: Array API namespace of the arrays.
        """
        spin = self.links()["base"].spin
        return force[:, 0] / self.mass, force[:, 1] / self.mass, force[:, 2] / spin

    @property
    def top_speed(self) -> float:
        """Forward speed at full command in m/s."""
        return self.max_speed

    def pose(self, qpos: Array) -> tuple[Array, Array]:
        """Return x and y, shape (N, 2), and heading, shape (N,)."""
        return qpos[:, :2], qpos[:, 2]

    def twist(self, qpos: Array, qvel: Array) -> tuple[Array, Array]:
        """Return forward speed and turning rate. Shapes (N,)."""
        xp = namespace(qpos)
        forward = qvel[:, 0] * xp.cos(qpos[:, 2]) + qvel[:, 1] * xp.sin(qpos[:, 2])
        return forward, qvel[:, 2]

    def at_rest(self, xy: Array, heading: Array) -> tuple[Array, Array]:
        """Return positions and velocities of robots at rest. Shapes (N, 3)."""
        xp = namespace(xy)
        qpos = xp.concat([xy, heading[:, None]], axis=-1)
        return qpos, xp.zeros_like(qpos)

    def command_for(self, v: Array, omega: Array) -> Array:
        """Return the command that asks for a forward speed and turning rate. Shape (N, 2)."""
        xp = namespace(v)
        return xp.stack([v / self.max_speed, omega / self.max_turn], axis=-1)

    def tipped(self, qpos: Array) -> Array:
        """Return False: a disc cannot fall over. Shape (N,)."""
        xp = namespace(qpos)
        return xp.zeros_like(qpos[:, 0], dtype=xp.bool)

    def servo(self, qpos: Array, qvel: Array, command: Array, timestep: float) -> Array:
        """Return the forces that, within one physics step, bring about the commanded velocity.

        As far as the servo's accelerations allow. The velocity after the step points along the
        heading after the step, so a disc of nominal mass never slips sideways.

        Args:
            qpos: Shape (N, 3).
            qvel: Shape (N, 3).
            command: Forward speed and turning rate, in parts of the largest. Shape (N, 2).
            timestep: Physics step in s.

        Returns:
            N, N and N m. Shape (N, 3).
        """
        xp = namespace(qpos)
        speed, turn = self.twist(qpos, qvel)
        gain = self.max_acceleration * timestep
        spin_gain = self.max_spin_up * timestep
        speed = speed + xp.clip(self.max_speed * command[:, 0] - speed, -gain, gain)
        spin_up = xp.clip(self.max_turn * command[:, 1] - turn, -spin_gain, spin_gain)
        heading = qpos[:, 2] + (turn + spin_up) * timestep
        push = self.mass / timestep
        return xp.stack(
            [
                push * (speed * xp.cos(heading) - qvel[:, 0]),
                push * (speed * xp.sin(heading) - qvel[:, 1]),
                self.links()["base"].spin / timestep * spin_up,
            ],
            axis=-1,
        )

    def to_mjcf(self, timestep: float, world: str = ARENA_WORLD) -> str:
        """Return the MuJoCo model. Geometry is for sensors and drawing: it never touches.

        Args:
            timestep: Physics step in s.
            world: What stands around the robot, as MJCF of the world body.
        """
        base = self.links()["base"]
        return f"""\
<mujoco model="disc">
  <compiler angle="radian" inertiafromgeom="false"/>
  <option timestep="{timestep}" gravity="0 0 {-self.gravity}" integrator="Euler" jacobian="dense">
    <flag contact="disable" constraint="disable" eulerdamp="disable"/>
  </option>
{VISUAL}  <default><geom contype="0" conaffinity="0" mass="0"/></default>
  <worldbody>
{world}    <body name="base" pos="0 0 0.1">
      <inertial pos="0 0 0" mass="{base.mass}" diaginertia="{base.inertia} {base.inertia} {base.spin}"/>
      <joint name="x" type="slide" axis="1 0 0"/>
      <joint name="y" type="slide" axis="0 1 0"/>
      <joint name="heading" type="hinge" axis="0 0 1"/>
      <geom name="body" type="cylinder" size="{self.radius} 0.06" group="1" rgba="{CART}"/>
      <geom name="mast" type="cylinder" pos="0 0 0.09" size="{0.35 * self.radius} 0.03" group="1" rgba="{HUB}"/>
      <geom name="nose" type="box" pos="{0.6 * self.radius} 0 0.065" size="{0.3 * self.radius} 0.02 0.015" group="1" rgba="{TIP}"/>
    </body>
  </worldbody>
</mujoco>
"""  # noqa: E501

    def to_urdf(self) -> str:
        """Return the URDF for Bullet: massless carriages along x and y, no collision shapes."""
        base = self.links()["base"]
        free = '<limit lower="1" upper="-1" effort="0" velocity="0"/>'
        none = '<inertial><mass value="0"/><inertia ixx="0" ixy="0" ixz="0" iyy="0" iyz="0" izz="0"/></inertial>'  # noqa: E501
        upright = math.pi / 2
        return f"""\
<robot name="disc">
  <material name="body"><color rgba="{CART}"/></material>
  <material name="nose"><color rgba="{TIP}"/></material>
  <link name="world">{none}</link>
  <joint name="x" type="prismatic"><parent link="world"/><child link="along"/><origin xyz="0 0 0.1"/><axis xyz="1 0 0"/>{free}</joint>
  <link name="along">{none}</link>
  <joint name="y" type="prismatic"><parent link="along"/><child link="across"/><axis xyz="0 1 0"/>{free}</joint>
  <link name="across">{none}</link>
  <joint name="heading" type="continuous"><parent link="across"/><child link="base"/><axis xyz="0 0 1"/></joint>
  <link name="base">
    <inertial><mass value="{base.mass}"/><inertia ixx="{base.inertia}" ixy="0" ixz="0" iyy="{base.inertia}" iyz="0" izz="{base.spin}"/></inertial>
    <visual><geometry><cylinder radius="{self.radius}" length="0.12"/></geometry><material name="body"/></visual>
    <visual><origin xyz="{0.6 * self.radius} 0 0.065" rpy="0 {upright} 0"/><geometry><box size="0.03 0.04 {0.6 * self.radius}"/></geometry><material name="nose"/></visual>
  </link>
</robot>
"""  # noqa: E501
