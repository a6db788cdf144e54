"""A disc that drives: the simplest mobile robot, equal on every engine."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from robolearn_envs.arrays import Array, namespace
from robolearn_envs.fields import Field
from robolearn_envs.robots.base import Inertial, MobileRobot
from robolearn_envs.scene_style import ARENA_WORLD, CART, HUB, TIP, VISUAL


@dataclass(frozen=True, kw_only=True)
class UnicycleRobot(MobileRobot):
    """A round base that drives forward and turns, and never slips sideways.

    Coordinates are x, y (m) and heading (rad, 0 along +x, positive anticlockwise).
    """

    radius: float = 0.2
    """Radius in m."""
    mass: float = 5.0
    """Mass in kg; the disc is uniform."""
    max_linear_velocity: float = 1.0  # type: ignore[assignment]
    """Forward speed at full ctrl in m/s."""
    max_angular_velocity: float = 2.0
    """Turning rate at full ctrl in rad/s."""
    max_linear_acceleration: float = 4.0
    """Of the velocity servo in m/s^2, at nominal mass: it limits the motor's force."""
    max_angular_acceleration: float = 20.0
    """Of the velocity servo in rad/s^2, at nominal mass: it limits the motor's torque."""
    gravity: float = 9.81
    """Gravitational acceleration in m/s^2."""

    joint_names: ClassVar[tuple[str, ...]] = ("x", "y", "heading")
    randomizable: ClassVar[tuple[str, ...]] = ("mass",)

    @property
    def actuated_joints(self) -> tuple[str, ...]:
        """All: the motors, and what keeps the wheels from slipping."""
        return self.joint_names

    @property
    def ctrl_fields(self) -> tuple[Field, ...]:
        """Forward speed and turning rate."""
        return (
            Field(
                "v",
                "m/s",
                "forward speed: field `max_linear_velocity`",
                scale=self.max_linear_velocity,
            ),
            Field(
                "omega",
                "rad/s",
                "turning rate, positive anticlockwise: field `max_angular_velocity`",
                scale=self.max_angular_velocity,
            ),
        )

    @property
    def collision_radius(self) -> float:
        """The disc's."""
        return self.radius

    def link_inertials(self) -> dict[str, Inertial]:
        """Return the mass properties of the base: a uniform flat disc."""
        izz = self.mass * self.radius**2 / 2
        return {"base": Inertial(self.mass, 0.0, izz / 2, izz)}

    def forward_dynamics(self, qpos: Array, qvel: Array, force: Array) -> tuple[Array, ...]:  # type: ignore[override]
        """Return the accelerations of x, y (m/s^2) and heading (rad/s^2): Newton's law.

        Args:
            qpos: x, y and heading. Shape (N, 3).
            qvel: Their velocities. Shape (N, 3).
            force: N, N and N m. Shape (N, 3).
        """
        izz = self.link_inertials()["base"].izz
        return force[:, 0] / self.mass, force[:, 1] / self.mass, force[:, 2] / izz

    def pose(self, qpos: Array) -> tuple[Array, Array]:
        """Return x and y, shape (N, 2), and heading, shape (N,)."""
        return qpos[:, :2], qpos[:, 2]

    def twist(self, qpos: Array, qvel: Array) -> tuple[Array, Array]:
        """Return forward speed and turning rate. Shapes (N,)."""
        xp = namespace(qpos)
        forward = qvel[:, 0] * xp.cos(qpos[:, 2]) + qvel[:, 1] * xp.sin(qpos[:, 2])
        return forward, qvel[:, 2]

    def rest_state(self, xy: Array, heading: Array) -> tuple[Array, Array]:
        """Return positions and velocities of robots at rest. Shapes (N, 3)."""
        xp = namespace(xy)
        qpos = xp.concat([xy, heading[:, None]], axis=-1)
        return qpos, xp.zeros_like(qpos)

    def twist_to_ctrl(self, v: Array, omega: Array) -> Array:
        """Return the ctrl that asks for a forward speed and turning rate. Shape (N, 2)."""
        xp = namespace(v)
        return xp.stack([v / self.max_linear_velocity, omega / self.max_angular_velocity], axis=-1)

    def mirror_ctrl(self, ctrl: Array) -> Array:
        """Return the same speed, turning the other way. Shape (N, 2)."""
        return namespace(ctrl).stack([ctrl[:, 0], -ctrl[:, 1]], axis=-1)

    def has_tipped_over(self, qpos: Array) -> Array:
        """Return False: a disc cannot fall over. Shape (N,)."""
        xp = namespace(qpos)
        return xp.zeros_like(qpos[:, 0], dtype=xp.bool)

    def actuate(
        self,
        qpos: Array,
        qvel: Array,
        ctrl: Array,
        timestep: float,
        scales: Mapping[str, Array],
    ) -> Array:
        """Return the forces that, within one physics step, bring about the commanded velocity.

        As far as the motors' force and torque allow. The velocity after the step points along the
        heading after the step: wheels that do not slip are a constraint, kept whatever the mass is.

        Args:
            qpos: Shape (N, 3).
            qvel: Shape (N, 3).
            ctrl: Forward speed and turning rate, in parts of the largest. Shape (N, 2).
            timestep: Physics step in s.
            scales: The factor of "mass", if it is randomized. Shape (N,).

        Returns:
            N, N and N m. Shape (N, 3).
        """
        xp = namespace(qpos)
        speed, turn = self.twist(qpos, qvel)
        gain, spin_gain = (
            self.max_linear_acceleration * timestep,
            self.max_angular_acceleration * timestep,
        )
        speed_up = self.max_linear_velocity * ctrl[:, 0] - speed
        spin_up = self.max_angular_velocity * ctrl[:, 1] - turn
        mass, izz = self.mass, self.link_inertials()["base"].izz
        if "mass" in scales:  # the same force and torque for another mass
            factor = xp.astype(scales["mass"], qpos.dtype)
            mass, izz = mass * factor, izz * factor
            speed_up = xp.minimum(xp.maximum(speed_up, -gain / factor), gain / factor)
            spin_up = xp.minimum(xp.maximum(spin_up, -spin_gain / factor), spin_gain / factor)
        else:
            speed_up = xp.minimum(xp.maximum(speed_up, -gain), gain)
            spin_up = xp.minimum(xp.maximum(spin_up, -spin_gain), spin_gain)
        speed = speed + speed_up
        heading = qpos[:, 2] + (turn + spin_up) * timestep
        push = mass / timestep
        return xp.stack(
            [
                push * (speed * xp.cos(heading) - qvel[:, 0]),
                push * (speed * xp.sin(heading) - qvel[:, 1]),
                izz / timestep * spin_up,
            ],
            axis=-1,
        )

    def to_mjcf(self, timestep: float, world: str | None = None) -> str:
        """Return the MuJoCo model. Geometry is for sensors and drawing: it never touches.

        Args:
            timestep: Physics step in s.
            world: What stands around the robot, as MJCF; None for floor and light.
        """
        base = self.link_inertials()["base"]
        return f"""\
<mujoco model="disc">
  <compiler angle="radian" inertiafromgeom="false"/>
  <option timestep="{timestep}" gravity="0 0 {-self.gravity}" integrator="Euler" jacobian="dense">
    <flag contact="disable" constraint="disable" eulerdamp="disable"/>
  </option>
{VISUAL}  <default><geom contype="0" conaffinity="0" mass="0"/></default>
  <worldbody>
{ARENA_WORLD if world is None else world}    <body name="base" pos="0 0 0.1">
      <inertial pos="0 0 0" mass="{base.mass}" diaginertia="{base.ixx} {base.ixx} {base.izz}"/>
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
        base = self.link_inertials()["base"]
        free = '<limit lower="1" upper="-1" effort="0" velocity="0"/>'
        none = '<inertial><mass value="0"/><inertia ixx="0" ixy="0" ixz="0" iyy="0" iyz="0" izz="0"/></inertial>'  # noqa: E501
        return f"""\
<robot name="disc">
  <link name="world">{none}</link>
  <joint name="x" type="prismatic"><parent link="world"/><child link="along"/><origin xyz="0 0 0.1"/><axis xyz="1 0 0"/>{free}</joint>
  <link name="along">{none}</link>
  <joint name="y" type="prismatic"><parent link="along"/><child link="across"/><axis xyz="0 1 0"/>{free}</joint>
  <link name="across">{none}</link>
  <joint name="heading" type="continuous"><parent link="across"/><child link="base"/><axis xyz="0 0 1"/></joint>
  <link name="base">
    <inertial><mass value="{base.mass}"/><inertia ixx="{base.ixx}" ixy="0" ixz="0" iyy="{base.ixx}" iyz="0" izz="{base.izz}"/></inertial>
  </link>
</robot>
"""  # noqa: E501
