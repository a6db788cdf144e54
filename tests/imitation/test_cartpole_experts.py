"""The cart-pole experts: their mechanics against equations by hand, and what they reach."""

import json
import math

import mujoco
import numpy as np
import pytest

from robolearn.commands import evaluate
from robolearn.environments import EnvConfig
from robolearn.evaluation import evaluate_made
from robolearn.imitation.experts import expert_for
from robolearn.imitation.experts.lqr import from_upright, linearize, regulate
from robolearn.imitation.experts.swingup import Dynamics, energy, force_for, measure, pump
from robolearn_envs import make_vec
from robolearn_envs.registry import make_task
from robolearn_envs.robots import CartPole, DMControlCartPole

SWING_UP = "robolearn/CartPoleSwingUp-v0"
ENGINES = ["mujoco", "bullet", "analytic"]
every_engine = pytest.mark.parametrize("engine", ENGINES)
both_actions = pytest.mark.parametrize("action", ["continuous", "discrete"])

# The nominal robot: M = 1.1 kg; a rod of 0.1 kg and 1 m, so m l = 0.05 kg m, J = 0.1 / 3 kg m^2.
ROD = Dynamics(
    total=1.1,
    swung=0.05**2 * 30,  # (m l)^2 / J
    length=2 / 3,  # J / (m l)
    omega=math.sqrt(9.81 * 3 / 2),
)


def states(count, seed=0):
    """Return states of all kinds: standing, hanging, moving fast. Shape (count, 4)."""
    span = np.array([2.0, np.pi, 3.0, 8.0])
    return np.random.default_rng(seed).uniform(-span, span, (count, 4))


@every_engine
def test_the_linearization_is_the_jacobian_of_the_equations_of_motion(engine):
    # (M) x" + (m l) theta" = F and (m l) x" + J theta" = m l g theta, to first order in theta;
    # with D = M J - (m l)^2:
    # x" = (J F - (m l)^2 g theta) / D,  theta" = (M m l g theta - m l F) / D.
    total, moment, inertia, gravity, step = 1.1, 0.05, 0.1 / 3, 9.81, 0.01
    d = total * inertia - moment**2
    stiff = np.array([[0, -(moment**2) * gravity], [0, total * moment * gravity]]) / d
    push = np.array([[inertia], [-moment]]) / d
    # One physics step: v' = v + step * (stiff q + push F), then q' = q + step * v'.
    one = np.eye(2)
    a = np.block([[one + step**2 * stiff, step * one], [step * stiff, one]])
    b = np.concatenate([step**2 * push, step * push]) * 10  # 10 N at full command
    # Two of them to an environment step, under the same force: A = a a, B = a b + b.
    got_a, got_b = linearize(make_task("robolearn/CartPoleBalance-v0", {}), CartPole(), engine)
    np.testing.assert_allclose(got_a, a @ a, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(got_b, a @ b + b, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "robot"),
    [
        ("CartPoleBalance-v0", CartPole()),
        ("CartPoleSwingUp-v0", CartPole(pole_length=1.5)),
        ("CartPoleSwingUp-v0", CartPole(cart_mass=0.5, pole_mass=0.5, pole_length=0.3)),
        ("CartPoleDMC-v0", DMControlCartPole()),
    ],
)
def test_the_regulated_pole_is_stable(name, robot):
    task = make_task(f"robolearn/{name}", {})
    a, b = linearize(task, robot, task.engines[0])
    closed = a - b @ regulate(task, robot).gain[None]
    assert np.abs(np.linalg.eigvals(a)).max() > 1.01  # by itself it falls
    assert np.abs(np.linalg.eigvals(closed)).max() < 0.999


def test_the_dynamics_measured_are_those_of_the_rod():
    got = measure(make_task("robolearn/CartPoleSwingUp-v0", {}), CartPole())
    np.testing.assert_allclose(got, ROD, rtol=1e-6)


def test_the_dynamics_measured_are_those_of_the_public_cart_pole():
    model = mujoco.MjModel.from_xml_string(DMControlCartPole().to_mjcf(0.01))
    mass, middle = model.body("pole_1").mass[0], model.body("pole_1").ipos[2]
    inertia = model.body("pole_1").inertia[0] + mass * middle**2
    moment = mass * middle
    expected = Dynamics(
        total=1 + mass,
        swung=moment**2 / inertia,
        length=inertia / moment,
        omega=math.sqrt(moment * 9.81 / inertia),
    )
    got = measure(make_task("robolearn/CartPoleDMC-v0", {}), DMControlCartPole())
    np.testing.assert_allclose(got, expected, rtol=1e-4)


def test_the_force_accelerates_the_cart_as_asked_whatever_the_pole_does():
    z, asked = states(50), np.linspace(-20, 20, 50)
    force = force_for(asked, z, ROD)
    got, _ = CartPole().forward_dynamics(z[:, :2], z[:, 2:], force[:, None])
    np.testing.assert_allclose(got, asked, rtol=1e-9, atol=1e-9)


def test_the_energy_is_none_upright_and_what_a_swing_through_the_bottom_needs():
    # Hanging, a pole needs (theta_dot / omega)^2 / 2 = 2 to get upright: theta_dot = 2 omega.
    z = np.array([[0.3, 0, 1, 0], [0, np.pi, 0, 0], [0, np.pi, 0, 2 * ROD.omega]])
    np.testing.assert_allclose(energy(z, ROD), [0, -2, 0], atol=1e-12)


def test_the_pump_brings_the_energy_nearer_to_that_of_upright():
    z = states(1000) * [0, 1, 0, 1]  # in the middle and at rest nothing needs centring
    # The rate of the energy is -(a / g) theta_dot cos(theta).
    rate = -pump(z, ROD) * z[:, 3] * np.cos(z[:, 1])
    assert (energy(z, ROD) < 0).any()
    assert (energy(z, ROD) > 0).any()
    assert (rate * energy(z, ROD) < 0).all()


def test_the_pump_draws_the_cart_to_the_middle():
    at_energy = np.array([0.0, 1.0, 0.0, ROD.omega * math.sqrt(2 - 2 * math.cos(1.0))])
    away = np.array([[0.5, 0, 0, 0], [-0.5, 0, 0, 0], [0, 0, 1, 0], [0, 0, -1, 0]])
    assert np.sign(pump(at_energy + away, ROD)).tolist() == [-1, 1, -1, 1]


def test_a_pole_that_hangs_still_is_pumped_too():
    assert abs(pump(np.array([[0, np.pi, 0, 0]]), ROD)[0]) > 1


def follow(envs, steps):
    """Return states (T, N, 4), actions (T, N, ...) and which poles were caught (T, N)."""
    expert, state = expert_for(envs), None
    z, actions, caught = [], [], []
    for step in range(steps):
        z.append(from_upright(envs))
        action, state = expert.predict(None, state, np.full(envs.num_envs, step == 0))
        envs.step(action)
        actions.append(action)
        caught.append(state)
    return np.array(z), np.array(actions), np.array(caught)


def test_energy_grows_swing_by_swing_until_the_catch():
    envs = make_vec(SWING_UP, 20, engine="analytic")
    envs.reset(seed=3)
    z, _, caught = follow(envs, 100)
    envs.close()
    assert caught[-1].all()
    for env, first in enumerate(caught.argmax(axis=0)):
        pumped = energy(z[:first:15, env], ROD)  # every 0.3 s
        assert len(pumped) > 3
        assert (np.diff(pumped) > 0).all()


@both_actions
def test_a_batch_acts_as_its_environments_do_alone(action):
    kwargs = {"engine": "analytic", "domain_randomization": 0.2, "action": action}
    together = make_vec(SWING_UP, 3, **kwargs)
    together.reset(seed=7)
    _, actions, caught = follow(together, 200)
    assert not (caught == caught[:, :1]).all()  # they are caught at different times
    for env in range(3):
        alone = make_vec(SWING_UP, 1, **kwargs)
        alone.reset(seed=7 + env)
        _, expected, _ = follow(alone, 200)
        np.testing.assert_array_equal(actions[:, env], expected[:, 0])
        alone.close()
    together.close()


def test_a_caught_pole_is_kept_where_one_not_caught_is_not_taken():
    envs = make_vec(SWING_UP, 1, engine="analytic")
    envs.reset(seed=0)
    _, _, caught = follow(envs, 100)
    first = caught[:, 0].argmax()
    envs.reset(seed=0)
    follow(envs, first - 1)  # on its way into the regulator's reach, but not there yet
    expert = expert_for(envs)
    held, free = np.array([True]), np.array([False])
    assert expert.predict(None, held, free)[1].all()
    assert not expert.predict(None, free, free)[1].any()
    # ... and the beginning of an episode forgets the catch of the one before.
    assert not expert.predict(None, held, np.array([True]))[1].any()
    np.testing.assert_array_equal(
        expert.predict(None, held, np.array([True]))[0], expert.predict(None)[0]
    )
    envs.close()


def test_a_pole_knocked_down_is_given_back_to_the_pump():
    envs = make_vec(SWING_UP, 4, engine="analytic")
    envs.reset(seed=0)  # all hang
    _, caught = expert_for(envs).predict(None, np.ones(4, dtype=np.bool_), np.zeros(4, np.bool_))
    assert not caught.any()
    envs.close()


def judged(env_id, engine, **kwargs):
    """Return what the expert does in 20 episodes on seeds that nothing was tuned on.

    On Bullet in 6, since each runs in a world of its own, which takes 28 MB.
    """
    env = EnvConfig(id=f"robolearn/{env_id}", engine=engine, kwargs=kwargs)
    return evaluate_made(expert_for, env, episodes=6 if engine == "bullet" else 20)


@pytest.mark.slow
@every_engine
@both_actions
def test_it_balances_every_pole(engine, action):
    result = judged("CartPoleBalance-v0", engine, action=action)
    assert result.success_rate == 1.0
    assert result.mean == 500


@pytest.mark.slow
@every_engine
@pytest.mark.parametrize(("action", "score"), [("continuous", 435), ("discrete", 425)])
def test_it_swings_every_pole_up(engine, action, score):
    result = judged("CartPoleSwingUp-v0", engine, action=action)
    assert result.success_rate == 1.0
    assert result.mean > score


@pytest.mark.parametrize("forces", [2, 11])
def test_it_swings_up_with_any_number_of_forces(forces):
    result = judged(
        "CartPoleSwingUp-v0", "analytic", action="discrete", num_discrete_actions=forces
    )
    assert result.success_rate == 1.0


@pytest.mark.slow
@pytest.mark.parametrize(("action", "score"), [("continuous", 870), ("discrete", 860)])
def test_it_swings_the_public_pole_up(action, score):
    result = judged("CartPoleDMC-v0", "mujoco", action=action)
    assert result.success_rate == 1.0
    assert result.mean > score


@pytest.mark.slow
@both_actions
@pytest.mark.parametrize(
    ("kwargs", "score"),
    [({"robot": {"pole_length": 1.5}}, 410), ({"domain_randomization": 0.2}, 400)],
)
def test_it_swings_other_robots_up(action, kwargs, score):
    result = judged("CartPoleSwingUp-v0", "analytic", action=action, **kwargs)
    assert result.success_rate == 1.0
    assert result.mean > score


@both_actions
@pytest.mark.parametrize("kwargs", [{"robot": {"pole_length": 1.5}}, {"domain_randomization": 0.2}])
def test_it_balances_other_robots(action, kwargs):
    assert judged("CartPoleBalance-v0", "analytic", action=action, **kwargs).mean == 500


def test_the_command_evaluates_it(capsys):
    asked = ["expert", "--env", SWING_UP, "--engine", "bullet", "--episodes", "3", "--json"]
    assert evaluate.main(asked) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["engine"], figures["success_rate"]) == ("bullet", 1.0)
