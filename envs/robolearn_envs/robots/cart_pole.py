"""Cart-poles: ours and the public dm_control suite's."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from robolearn_envs.actuators import Actuator, Motor
from robolearn_envs.arrays import Array, namespace
from robolearn_envs.fields import Field
from robolearn_envs.robots.base import Inertial, Robot
from robolearn_envs.scene_style import CART, FLOOR, HUB, POLE, POST, RAIL, TIP, VISUAL, WORLD

_TOP = 1.07
"""Height of the posts at the ends of the rail in m."""
_MIDDLE, _TALL = (_TOP + FLOOR) / 2, (_TOP - FLOOR) / 2
"""Height of a post's middle and half of its length in m."""
_REACH = 0.23
"""From the cart's middle to the post's when they touch, in m."""


@dataclass(frozen=True, kw_only=True)
class CartPole(Robot):
    """A cart on a rail with a free pole: a uniform thin rod hinged at its lower end.

    Coordinates are ``x`` (m, along the rail) and ``theta`` (rad, 0 is upright, positive tips
    towards +x).
    """

    cart_mass: float = 1.0
    """Mass of the cart in kg."""
    pole_mass: float = 0.1
    """Mass of the pole in kg."""
    pole_length: float = 1.0
    """Length of the pole from hinge to tip in m."""
    gravity: float = 9.81
    """Gravitational acceleration in m/s^2."""
    rail_half_length: float = 2.4
    """|x| in m at which the cart touches the drawn end posts; in CartPoleSwingUp, where the rail
    ends in bumpers."""
    max_force: float = 10.0
    """Force of the motor at full ctrl in N."""
    cart_friction: float = 0.0
    """Viscous friction of the cart on the rail in N s/m."""
    pole_friction: float = 0.0
    """Viscous friction of the hinge in N m s/rad."""

    joint_names: ClassVar[tuple[str, ...]] = ("slider", "hinge")
    randomizable: ClassVar[tuple[str, ...]] = ("cart_mass", "pole_mass", "pole_length")
    may_be_zero: ClassVar[tuple[str, ...]] = ("gravity", "cart_friction", "pole_friction")
    length_field: ClassVar[str | None] = "pole_length"
    length_joints: ClassVar[tuple[str, ...]] = ("slider",)

    @property
    def actuators(self) -> tuple[Actuator, ...]:
        """The motor of the cart."""
        return (Motor(joint="slider", max_force=self.max_force, friction=self.cart_friction),)

    @property
    def actuated_joints(self) -> tuple[str, ...]:
        """The slider, and where the hinge has friction the hinge."""
        return ("slider", "hinge") if self.pole_friction else ("slider",)

    @property
    def ctrl_fields(self) -> tuple[Field, ...]:
        """The motor's force."""
        return (Field("force", "N", "of the motor on the cart, along +x", scale=self.max_force),)

    def actuate(
        self,
        qpos: Array,
        qvel: Array,
        ctrl: Array,
        timestep: float,
        scales: Mapping[str, Array],
    ) -> Array:
        """Return the motor's force on the cart, and the friction of the hinge if it has any."""
        force = self.max_force * ctrl
        if self.cart_friction:
            force = force - self.cart_friction * qvel[:, :1]
        if self.pole_friction:
            friction = -self.pole_friction * qvel[:, 1:]
            return namespace(qpos).concat([force, friction], axis=-1)
        return force

    def link_inertials(self) -> dict[str, Inertial]:
        """Return the mass properties of each link."""
        rod = self.pole_mass * self.pole_length**2 / 12  # a uniform thin rod about its middle
        box = 0.01 * self.cart_mass  # any value will do: the cart never turns
        return {
            "cart": Inertial(self.cart_mass, 0.0, box, box),
            "pole": Inertial(self.pole_mass, self.pole_length / 2, rod, 1e-3 * rod),
        }

    def forward_dynamics(self, qpos: Array, qvel: Array, force: Array) -> tuple[Array, Array]:  # type: ignore[override]
        """Return the exact accelerations of ``x`` (m/s^2) and ``theta`` (rad/s^2).

        Lagrange's equations of the cart with a uniform rod (Florian, 2005, "Correct equations
        for the dynamics of the cart-pole system", without friction), solved for the two
        accelerations.

        Args:
            qpos: x and theta. Shape (N, 2).
            qvel: Their velocities. Shape (N, 2).
            force: Force on the cart in N, and if there is a second column the torque on the hinge
                in N m. Shape (N, 1) or (N, 2).
        """
        xp = namespace(qpos)
        theta, theta_dot = qpos[:, 1], qvel[:, 1]
        sin, cos = xp.sin(theta), xp.cos(theta)
        half = self.pole_length / 2
        moment = self.pole_mass * half  # kg m, first moment of the pole about its hinge
        inertia = moment * half * (4 / 3)  # kg m^2, second moment about its hinge
        total = self.cart_mass + self.pole_mass
        push = force[:, 0] + moment * (theta_dot * theta_dot) * sin
        weight = (moment * self.gravity) * sin
        if force.shape[1] == 2:
            weight = weight + force[:, 1]
        coupling = moment * cos
        determinant = total * inertia - coupling * coupling
        x_ddot = (inertia * push - coupling * weight) / determinant
        theta_ddot = (total * weight - coupling * push) / determinant
        return x_ddot, theta_ddot

    def to_mjcf(self, timestep: float, world: str | None = None) -> str:
        """Return the MuJoCo model. Geometry is for drawing only: it has no mass and no contact."""
        cart, pole = self.link_inertials().values()
        end = self.rail_half_length + _REACH
        return f"""\
<mujoco model="cartpole">
  <compiler angle="radian" inertiafromgeom="false"/>
  <option timestep="{timestep}" gravity="0 0 {-self.gravity}" integrator="Euler" jacobian="dense">
    <flag contact="disable" constraint="disable" eulerdamp="disable"/>
  </option>
{VISUAL}  <default><geom contype="0" conaffinity="0" mass="0"/></default>
  <worldbody>
{WORLD if world is None else world}    <geom name="rail" type="box" pos="0 0 0.905" size="{end} 0.04 0.025" rgba="{RAIL}"/>
    <geom name="left_post" type="box" pos="{-end} 0 {_MIDDLE}" size="0.03 0.06 {_TALL}" rgba="{POST}"/>
    <geom name="right_post" type="box" pos="{end} 0 {_MIDDLE}" size="0.03 0.06 {_TALL}" rgba="{POST}"/>
    <body name="cart" pos="0 0 1">
      <inertial pos="0 0 0" mass="{cart.mass}" diaginertia="{cart.ixx} {cart.ixx} {cart.ixx}"/>
      <joint name="slider" type="slide" axis="1 0 0"/>
      <geom name="cart" type="box" size="0.2 0.1 0.07" rgba="{CART}"/>
      <body name="pole">
        <inertial pos="0 0 {pole.com_z}" mass="{pole.mass}" diaginertia="{pole.ixx} {pole.ixx} {pole.izz}"/>
        <joint name="hinge" type="hinge" axis="0 1 0"/>
        <geom name="pole" type="capsule" fromto="0 -0.13 0 0 -0.13 {self.pole_length}" size="0.03" rgba="{POLE}"/>
        <geom name="tip" type="sphere" pos="0 -0.13 {self.pole_length}" size="0.05" rgba="{TIP}"/>
        <geom name="hub" type="sphere" pos="0 -0.14 0" size="0.04" rgba="{HUB}"/>
      </body>
    </body>
  </worldbody>
</mujoco>
"""  # noqa: E501

    def to_urdf(self) -> str:
        """Return the URDF for Bullet. It has no collision shapes, so nothing can touch."""
        cart, pole = self.link_inertials().values()
        return f"""\
<robot name="cartpole">
  <link name="world">
    <inertial><mass value="0"/><inertia ixx="0" ixy="0" ixz="0" iyy="0" iyz="0" izz="0"/></inertial>
  </link>
  <joint name="slider" type="prismatic">
    <parent link="world"/><child link="cart"/>
    <origin xyz="0 0 1"/><axis xyz="1 0 0"/>
    <limit lower="1" upper="-1" effort="0" velocity="0"/>
  </joint>
  <link name="cart">
    <inertial><mass value="{cart.mass}"/><inertia ixx="{cart.ixx}" ixy="0" ixz="0" iyy="{cart.ixx}" iyz="0" izz="{cart.ixx}"/></inertial>
  </link>
  <joint name="hinge" type="continuous">
    <parent link="cart"/><child link="pole"/><axis xyz="0 1 0"/>
  </joint>
  <link name="pole">
    <inertial><origin xyz="0 0 {pole.com_z}"/><mass value="{pole.mass}"/><inertia ixx="{pole.ixx}" ixy="0" ixz="0" iyy="{pole.ixx}" iyz="0" izz="{pole.izz}"/></inertial>
  </link>
</robot>
"""  # noqa: E501


@dataclass(frozen=True, kw_only=True)
class DMControlCartPole(Robot):
    """The cart-pole of the public dm_control suite, number for number; MuJoCo only.

    A cart of 1 kg; a pole of 0.1 kg, 1 m long, a capsule of radius 0.045 m; damping of 0.0005 N s/m
    on the slider and of 0.000002 N m s/rad on the hinge; gravity of 9.81 m/s^2.

    Source: dm_control 1.0.50, ``suite/cartpole.xml``. The motor (gear 10, control limited to
    [-1, 1]) is applied as a joint force by the task, which is the same force.
    """

    rail_half_length: float = 2.0
    """Half-length of the drawn rail in m; the slider stops at 1.8 m."""
    max_force: float = 10.0
    """Force of the motor at full ctrl in N."""

    joint_names: ClassVar[tuple[str, ...]] = ("slider", "hinge_1")

    @property
    def actuators(self) -> tuple[Actuator, ...]:
        """The motor of the cart."""
        return (Motor(joint="slider", max_force=self.max_force),)

    @property
    def ctrl_fields(self) -> tuple[Field, ...]:
        """The motor's force."""
        return (Field("force", "N", "of the motor on the cart, along +x", scale=self.max_force),)

    def to_mjcf(self, timestep: float, world: str | None = None) -> str:
        """Return the MuJoCo model: RK4, damped joints, a soft stop at either end of the slider."""
        return f"""\
<mujoco model="control-suite-cartpole">
  <option timestep="{timestep}" integrator="RK4">
    <flag contact="disable" energy="enable"/>
  </option>
{VISUAL}  <worldbody>
{WORLD if world is None else world}    <geom name="rail1" type="capsule" pos="0 0.07 1" zaxis="1 0 0" size="0.02 {self.rail_half_length}" rgba="{RAIL}"/>
    <geom name="rail2" type="capsule" pos="0 -0.07 1" zaxis="1 0 0" size="0.02 {self.rail_half_length}" rgba="{RAIL}"/>
    <body name="cart" pos="0 0 1">
      <joint name="slider" type="slide" axis="1 0 0" damping="5e-4" limited="true" range="-1.8 1.8" solreflimit=".08 1"/>
      <geom name="cart" type="box" size="0.2 0.15 0.1" mass="1" rgba="{CART}"/>
      <body name="pole_1">
        <joint name="hinge_1" type="hinge" axis="0 1 0" damping="2e-6"/>
        <geom name="pole_1" type="capsule" fromto="0 0 0 0 0 1" size="0.045" mass=".1" rgba="{POLE}"/>
      </body>
    </body>
  </worldbody>
</mujoco>
"""  # noqa: E501
