import dataclasses

import mujoco
import numpy as np
import pytest

from robolearn_envs.robots import CartPole, DMControlCartPole
from robolearn_envs.robots.base import env_robot


def test_a_pole_is_a_uniform_thin_rod():
    pole = CartPole(pole_mass=0.3, pole_length=2.0).link_inertials()["pole"]
    # Center at 2 / 2 = 1 m; about it 0.3 * 2^2 / 12 = 0.1 kg m^2.
    assert (pole.mass, pole.com_z) == (0.3, 1.0)
    assert pole.ixx == pytest.approx(0.1)


@pytest.mark.parametrize("robot", [CartPole(), DMControlCartPole()])
def test_what_is_drawn_weighs_nothing_and_touches_nothing(robot):
    model = mujoco.MjModel.from_xml_string(robot.to_mjcf(0.01))
    assert model.body_mass.sum() == pytest.approx(1.1)  # a cart of 1 kg, a pole of 0.1 kg
    assert model.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_CONTACT
    assert (model.nq, model.nv) == (2, 2)


def test_the_dmc_pole_is_a_capsule_of_the_public_size():
    model = mujoco.MjModel.from_xml_string(DMControlCartPole().to_mjcf(0.01))
    pole = model.body("pole_1")
    # A capsule of length h = 1 m, radius r = 45 mm and mass m = 0.1 kg: with cylinder share
    # c = h / (h + 4 r / 3) = 0.943396 the transverse inertia about its middle is
    #   m c (h^2 / 12 + r^2 / 4) + m (1 - c) (2 r^2 / 5 + h^2 / 4 + 3 h r / 8)
    # = 0.00790939 + 0.00151518 = 0.00942457 kg m^2.
    assert pole.ipos[2] == pytest.approx(0.5)
    assert max(pole.inertia) == pytest.approx(0.00942457, rel=1e-5)


def test_numpy_numbers_describe_the_same_robot_as_plain_ones():
    plain = CartPole(cart_mass=0.7, pole_length=1.25)
    fancy = CartPole(cart_mass=np.float64(0.7), pole_length=np.float64(1.25))
    assert fancy.to_mjcf(0.01) == plain.to_mjcf(0.01)
    assert fancy.to_urdf() == plain.to_urdf()


def test_scaling_multiplies_the_named_fields_only():
    robot = CartPole(pole_mass=0.2).with_scaled_fields({"pole_mass": 1.5})
    assert robot.pole_mass == pytest.approx(0.3)
    assert robot == dataclasses.replace(CartPole(), pole_mass=robot.pole_mass)


def test_the_robot_of_one_environment_has_its_own_plain_numbers():
    scales = {name: np.array([0.5, 2.0]) for name in CartPole.randomizable}
    own = env_robot(CartPole(), scales | {"motor": np.array([0.3, 0.4])}, 1)
    assert own == CartPole(cart_mass=2.0, pole_mass=0.2, pole_length=2.0)
    assert type(own.cart_mass) is float
    assert env_robot(CartPole(), {}, 1) == CartPole()


def test_a_robot_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        CartPole().cart_mass = 2.0
