"""The closed form against physics derived here, from energies alone."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from robolearn_envs.engines import make_engine
from robolearn_envs.engines.analytic import AnalyticEngine
from robolearn_envs.robots import CartPole

ROBOTS = [CartPole(), CartPole(cart_mass=0.7, pole_mass=0.33, pole_length=1.4, gravity=3.7)]
both_robots = pytest.mark.parametrize("robot", ROBOTS, ids=["nominal", "other"])

# Gauss and Legendre's two points integrate the rod's quadratic energy density exactly.
POINTS = [0.5 - math.sqrt(3) / 6, 0.5 + math.sqrt(3) / 6]


def energies(robot, q, q_dot):
    """Kinetic and potential energy of the cart and of a uniform rod, by integrating along it."""
    (x, theta), (x_dot, theta_dot) = q, q_dot
    del x
    kinetic, potential = robot.cart_mass * x_dot**2 / 2, 0.0
    for point in POINTS:
        s, mass = point * robot.pole_length, robot.pole_mass / 2
        horizontal = x_dot + s * torch.cos(theta) * theta_dot
        vertical = -s * torch.sin(theta) * theta_dot
        kinetic = kinetic + mass * (horizontal**2 + vertical**2) / 2
        potential = potential + mass * robot.gravity * s * torch.cos(theta)
    return kinetic, potential


def lagrangian_acceleration(robot, q, q_dot, force):
    """Solve d/dt (dL/dq_dot) - dL/dq = (force, 0) for q_ddot, every derivative by autograd."""
    q, q_dot = torch.tensor(q, dtype=torch.float64), torch.tensor(q_dot, dtype=torch.float64)

    def lagrangian(q, q_dot):
        kinetic, potential = energies(robot, q, q_dot)
        return kinetic - potential

    momentum = torch.func.grad(lagrangian, argnums=1)
    mass = torch.func.jacrev(momentum, argnums=1)(q, q_dot)
    drift = torch.func.jacrev(momentum, argnums=0)(q, q_dot) @ q_dot
    slope = torch.func.grad(lagrangian, argnums=0)(q, q_dot)
    applied = torch.tensor([force, 0.0], dtype=torch.float64)
    return torch.linalg.solve(mass, applied + slope - drift).numpy()


def simulate(robot, q, q_dot, force, timestep, duration=1.0):
    engine = AnalyticEngine(robot, 1, timestep)
    engine.reset(np.array([0]), np.array([q]), np.array([q_dot]), None)
    for _ in range(round(duration / timestep)):
        engine.step(np.array([[force]]))
    return np.hstack([engine.qpos[0], engine.qvel[0]])


def total_energy(robot, q, q_dot):
    kinetic, potential = energies(robot, torch.tensor(q), torch.tensor(q_dot))
    return float(kinetic + potential)


@both_robots
def test_accelerations_follow_from_the_lagrangian(robot):
    rng = np.random.default_rng(0)
    for _ in range(30):
        q, q_dot = rng.uniform(-4, 4, 2), rng.uniform(-6, 6, 2)
        force = rng.uniform(-10, 10)
        got = robot.forward_dynamics(q[None], q_dot[None], np.array([[force]]))
        expected = lagrangian_acceleration(robot, q, q_dot, force)
        np.testing.assert_allclose(np.ravel(got), expected, rtol=1e-11, atol=1e-11)


@both_robots
def test_trajectory_converges_to_a_high_order_integration(robot):
    q, q_dot, force = [0.1, 2.0], [-0.3, 1.0], 4.0

    def flow(_, y):
        return np.hstack([y[2:], lagrangian_acceleration(robot, y[:2], y[2:], force)])

    exact = solve_ivp(flow, (0.0, 0.4), q + q_dot, rtol=1e-9, atol=1e-9).y[:, -1]
    coarse, fine = (simulate(robot, q, q_dot, force, dt, duration=0.4) for dt in (1e-3, 5e-4))
    # Euler's error is of first order: extrapolated to step 0, what remains is about dt^2 = 1e-6.
    np.testing.assert_allclose(2 * fine - coarse, exact, atol=1e-5)
    np.testing.assert_allclose((coarse - exact) / (fine - exact), 2.0, atol=0.02)


@both_robots
def test_free_motion_keeps_its_energy_as_the_step_shrinks(robot):
    q, q_dot = [0.0, 1.0], [0.5, 3.0]
    before = total_energy(robot, q, q_dot)
    drift = []
    for timestep in (1e-3, 1e-4):
        end = simulate(robot, q, q_dot, 0.0, timestep)
        drift.append(abs(total_energy(robot, end[:2], end[2:]) - before))
    assert drift[0] < 1e-2 * abs(before)
    assert drift[1] == pytest.approx(drift[0] / 10, rel=0.1)  # a first-order scheme


@pytest.mark.parametrize("engine_name", ["mujoco", "bullet", "analytic"])
def test_small_swings_about_hanging_have_the_linearized_frequency(engine_name):
    # About theta = pi, with M = 1 kg, m = 0.1 kg, half-length l = 0.5 m and the cart free:
    #   (M + m) x'' = m l phi'',   (4/3) m l^2 phi'' - m l x'' = -m g l phi
    # so w^2 = (M + m) g / (l (4/3 (M + m) - m)) = 10.791 / 0.683333 = 15.79171,
    # w = 3.973878 rad/s and a period of 1.581122 s.
    steps, amplitude = 370, 1e-4
    engine = make_engine(engine_name, CartPole(), 0.01, 1)
    engine.reset(np.array([0]), np.array([[0.0, math.pi + amplitude]]), np.zeros((1, 2)), None)
    angle = []
    for _ in range(steps):
        engine.step(np.zeros((1, 1)))
        angle.append(engine.qpos[0, 1] - math.pi)
    engine.close()
    falls = np.flatnonzero((np.array(angle[:-1]) > 0) & (np.array(angle[1:]) <= 0))
    crossings = [i + angle[i] / (angle[i] - angle[i + 1]) for i in falls]  # between two steps
    # Two whole periods; semi-implicit Euler at w dt = 0.04 is off by (w dt)^2 / 24 = 7e-5.
    assert (crossings[2] - crossings[0]) / 2 * 0.01 == pytest.approx(1.581122, rel=2e-4)
