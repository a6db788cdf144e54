"""Cart-poles: ours and the public dm_control suite's."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from robolearn_envs.arrays import Array
from robolearn_envs.robots.base import Inertial
from robolearn_envs.stage import CART, FLOOR, HUB, POLE, POST, RAIL, TIP, VISUAL, WORLD

_TOP = 1.07
"""Height of the posts at the ends of the rail in m."""
_MIDDLE, _TALL = (_TOP + FLOOR) / 2, (_TOP - FLOOR) / 2
"""Height of a post's middle and half of its length in m."""
_REACH = 0.23
"""From the cart's middle to the post's when they touch, in m."""


@dataclass(frozen=True, kw_only=True)
class CartPole:
    """A cart on a frictionless rail with a free pole: a uniform thin rod hinged at its lower end.

    Coordinates are ``x`` (m, along the rail) and ``theta`` (rad, 0 is upright, positive tips
    towards +x). Physical fields may also be arrays with one entry per copy: a batch of
    different robots is one robot with array fields.
    """

    cart_mass: float = 1.0
    """Mass of the cart in kg."""
    pole_mass: float = 0.1
    """Mass of the pole in kg."""
    pole_length: float = 1.0
    """Length of the pole from hinge to tip in m."""
    gravity: float = 9.81
    """Gravitational acceleration in m/s^2."""
    rail: float = 2.4
    """|x| in m at which the cart touches the drawn end posts; it does not limit the motion."""

    actuated: ClassVar[tuple[str, ...]] = ("slider",)
    joints: ClassVar[tuple[str, ...]] = ("slider", "hinge")
    floating: ClassVar[bool] = False
    randomized: ClassVar[tuple[str, ...]] = ("cart_mass", "pole_mass", "pole_length")

    def scaled(self, factors: Mapping[str, Array]) -> "CartPole":
        """Return a copy whose named fields are multiplied by ``factors``."""
        return replace(self, **{name: getattr(self, name) * f for name, f in factors.items()})

    def at(self, index: int) -> "CartPole":
        """Return copy ``index`` of a robot with array fields, with plain float fields."""
        return replace(self, **{n: float(getattr(self, n)[index]) for n in self.randomized})

    def links(self) -> dict[str, Inertial]:
        """Return the mass properties of each link."""
        rod = self.pole_mass * self.pole_length**2 / 12  # a uniform thin rod about its middle
        box = 0.01 * self.cart_mass  # any value will do: the cart never turns
        return {
            "cart": Inertial(self.cart_mass, 0.0, box, box),
            "pole": Inertial(self.pole_mass, self.pole_length / 2, rod, 1e-3 * rod),
        }

    def acceleration(
        self, qpos: Array, qvel: Array, force: Array, xp: object
    ) -> tuple[Array, Array]:
        """Return the exact accelerations of ``x`` (m/s^2) and ``theta`` (rad/s^2).

        Lagrange's equations of the cart with a uniform rod (Florian, 2005, "Correct equations
        for the dynamics of the cart-pole system", without friction), solved for the two
        accelerations.

        Args:
            qpos: x and theta. Shape (N, 2).
            qvel: Their velocities. Shape (N, 2).
            force: Force on the cart in N. Shape (N, 1).
            xp: Array API namespace of the arrays.
        """
        theta, theta_dot = qpos[:, 1], qvel[:, 1]
        sin, cos = xp.sin(theta), xp.cos(theta)  # type: ignore[attr-defined]
        half = self.pole_length / 2
        moment = self.pole_mass * half  # kg m, first moment of the pole about its hinge
        inertia = moment * half * (4 / 3)  # kg m^2, second moment about its hinge
        total = self.cart_mass + self.pole_mass
        push = force[:, 0] + moment * (theta_dot * theta_dot) * sin
        weight = (moment * self.gravity) * sin
        coupling = moment * cos
        determinant = total * inertia - coupling * coupling
        x_ddot = (inertia * push - coupling * weight) / determinant
        theta_ddot = (total * weight - coupling * push) / determinant
        return x_ddot, theta_ddot

    def to_mjcf(self, timestep: float) -> str:
        """Return the MuJoCo model. Geometry is for drawing only: it has no mass and no contact."""
        cart, pole = self.links().values()
        end = self.rail + _REACH
        return f"""\
<mujoco model="cartpole">
  <compiler angle="radian" inertiafromgeom="false"/>
  <option timestep="{timestep}" gravity="0 0 {-self.gravity}" integrator="Euler" jacobian="dense">
    <flag contact="disable" constraint="disable" eulerdamp="disable"/>
  </option>
{VISUAL}  <default><geom contype="0" conaffinity="0" mass="0"/></default>
  <worldbody>
{WORLD}    <geom name="rail" type="box" pos="0 0 0.905" size="{end} 0.04 0.025" rgba="{RAIL}"/>
    <geom name="left_post" type="box" pos="{-end} 0 {_MIDDLE}" size="0.03 0.06 {_TALL}" rgba="{POST}"/>
    <geom name="right_post" type="box" pos="{end} 0 {_MIDDLE}" size="0.03 0.06 {_TALL}" rgba="{POST}"/>
    <body name="cart" pos="0 0 1">
      <inertial pos="0 0 0" mass="{cart.mass}" diaginertia="{cart.inertia} {cart.inertia} {cart.inertia}"/>
      <joint name="slider" type="slide" axis="1 0 0"/>
      <geom name="cart" type="box" size="0.2 0.1 0.07" rgba="{CART}"/>
      <body name="pole">
        <inertial pos="0 0 {pole.com}" mass="{pole.mass}" diaginertia="{pole.inertia} {pole.inertia} {pole.spin}"/>
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
        cart, pole = self.links().values()
        end = self.rail + _REACH
        return f"""\
<robot name="cartpole">
  <material name="rail"><color rgba="{RAIL}"/></material>
  <material name="post"><color rgba="{POST}"/></material>
  <material name="cart"><color rgba="{CART}"/></material>
  <material name="pole"><color rgba="{POLE}"/></material>
  <material name="tip"><color rgba="{TIP}"/></material>
  <material name="hub"><color rgba="{HUB}"/></material>
  <link name="world">
    <inertial><mass value="0"/><inertia ixx="0" ixy="0" ixz="0" iyy="0" iyz="0" izz="0"/></inertial>
    <visual><origin xyz="0 0 0.905"/><geometry><box size="{2 * end} 0.08 0.05"/></geometry><material name="rail"/></visual>
    <visual><origin xyz="{-end} 0 {_MIDDLE}"/><geometry><box size="0.06 0.12 {2 * _TALL}"/></geometry><material name="post"/></visual>
    <visual><origin xyz="{end} 0 {_MIDDLE}"/><geometry><box size="0.06 0.12 {2 * _TALL}"/></geometry><material name="post"/></visual>
  </link>
  <joint name="slider" type="prismatic">
    <parent link="world"/><child link="cart"/>
    <origin xyz="0 0 1"/><axis xyz="1 0 0"/>
    <limit lower="1" upper="-1" effort="0" velocity="0"/>
  </joint>
  <link name="cart">
    <inertial><mass value="{cart.mass}"/><inertia ixx="{cart.inertia}" ixy="0" ixz="0" iyy="{cart.inertia}" iyz="0" izz="{cart.inertia}"/></inertial>
    <visual><geometry><box size="0.4 0.2 0.14"/></geometry><material name="cart"/></visual>
  </link>
  <joint name="hinge" type="continuous">
    <parent link="cart"/><child link="pole"/><axis xyz="0 1 0"/>
  </joint>
  <link name="pole">
    <inertial><origin xyz="0 0 {pole.com}"/><mass value="{pole.mass}"/><inertia ixx="{pole.inertia}" ixy="0" ixz="0" iyy="{pole.inertia}" iyz="0" izz="{pole.spin}"/></inertial>
    <visual><origin xyz="0 -0.13 {pole.com}"/><geometry><box size="0.05 0.05 {self.pole_length}"/></geometry><material name="pole"/></visual>
    <visual><origin xyz="0 -0.13 {self.pole_length}"/><geometry><sphere radius="0.05"/></geometry><material name="tip"/></visual>
    <visual><origin xyz="0 -0.14 0"/><geometry><sphere radius="0.04"/></geometry><material name="hub"/></visual>
  </link>
</robot>
"""  # noqa: E501


@dataclass(frozen=True, kw_only=True)
class ControlSuiteCartPole:
    """The cart-pole of the public dm_control suite, number for number; MuJoCo only.

    A cart of 1 kg; a pole of 0.1 kg, 1 m long, a capsule of radius 0.045 m; damping of 0.0005 N s/m
    on the slider and of 0.000002 N m s/rad on the hinge; gravity of 9.81 m/s^2.

    Source: dm_control 1.0.50, ``suite/cartpole.xml``. The motor (gear 10, control limited to
    [-1, 1]) is applied as a joint force by the task, which is the same force.
    """

    rail: float = 2.0
    """Half-length of the drawn rail in m; the slider stops at 1.8 m."""

    actuated: ClassVar[tuple[str, ...]] = ("slider",)
    joints: ClassVar[tuple[str, ...]] = ("slider", "hinge_1")
    floating: ClassVar[bool] = False
    randomized: ClassVar[tuple[str, ...]] = ()

    def to_mjcf(self, timestep: float) -> str:
        """Return the MuJoCo model: RK4, damped joints, a soft stop at either end of the slider."""
        return f"""\
<mujoco model="control-suite-cartpole">
  <option timestep="{timestep}" integrator="RK4">
    <flag contact="disable" energy="enable"/>
  </option>
{VISUAL}  <worldbody>
{WORLD}    <geom name="rail1" type="capsule" pos="0 0.07 1" zaxis="1 0 0" size="0.02 {self.rail}" rgba="{RAIL}"/>
    <geom name="rail2" type="capsule" pos="0 -0.07 1" zaxis="1 0 0" size="0.02 {self.rail}" rgba="{RAIL}"/>
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
