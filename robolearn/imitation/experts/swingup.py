"""An expert for swinging up: pump energy into the pole, then catch it with the regulator."""

from typing import Any, NamedTuple

import numpy as np

from robolearn.imitation.experts.lqr import (
    Regulator,
    for_each,
    from_upright,
    quickest_engine,
    regulate,
)
from robolearn_envs.engines import make_engine
from robolearn_envs.robots import Robot
from robolearn_envs.tasks.base import Task
from robolearn_envs.vector import RoboVectorEnv

# Found with the regulator's weights, in the same way.
PUMP = 3.6
"""Acceleration of the cart per missing energy, in g per m g l of the pole."""
FIERCEST = 1.5
"""Largest acceleration the pump asks for, in g; the motor may have less."""
CENTRING = 0.65
"""Stiffness that draws the cart to the middle, in squared natural frequencies of the pole."""
BRAKING = 1.5
"""Damping of the cart's motion, in natural frequencies of the pole."""
CATCH = 0.25
"""Tilt in rad of a pole at rest that costs as much as the most the regulator takes on."""
LOSE = 0.55
"""Tilt in rad of a pole at rest that costs as much as the most the regulator goes on with."""

_INSTANT = 1e-5  # s, over which accelerations are measured
_PROBE = 1.0  # N


class Dynamics(NamedTuple):
    """The four numbers that say how a cart-pole moves; floats, or arrays of shape (N,).

    For a pole of mass m, with its center l off the hinge and inertia J about the hinge:
    """

    total: Any  # kg, mass of cart and pole
    swung: Any  # kg, (m l)^2 / J: as much of the pole as the cart does not carry when it is upright
    length: Any  # m, J / (m l): of the simple pendulum that swings alike
    omega: Any  # rad/s, sqrt(g / length): natural frequency of the hanging pole


class Design(NamedTuple):
    """All there is to know of a robot to swing its pole up."""

    regulator: Regulator
    dynamics: Dynamics


def measure(task: Task, robot: Robot) -> Dynamics:
    """Return the dynamics of a cart-pole at rest, measured by dropping and pushing it.

    By its equations of motion (those of ``CartPole.forward_dynamics``, at rest):

    * pole level, no force: theta_ddot = omega^2
    * pole level, force F: x_ddot = F / total
    * pole upright, force F: x_ddot = F / (total - swung), theta_ddot = -x_ddot / length
    """
    copies = make_engine(quickest_engine(task), robot, _INSTANT, 3)
    level = np.pi / 2
    qpos = np.array([[0.0, level], [0.0, level], [0.0, 0.0]])
    copies.reset(np.arange(3), qpos, np.zeros_like(qpos), None)
    copies.step(np.array([[0.0], [_PROBE], [_PROBE]]))
    x_ddot, theta_ddot = (copies.qvel / _INSTANT).T
    copies.close()
    total = _PROBE / x_ddot[1]
    return Dynamics(
        total=total,
        swung=total - _PROBE / x_ddot[2],
        length=-x_ddot[2] / theta_ddot[2],
        omega=np.sqrt(theta_ddot[0]),
    )


def design(task: Task, robot: Robot) -> Design:
    """Return the regulator and the dynamics of a robot."""
    return Design(regulate(task, robot), measure(task, robot))


def energy(z: np.ndarray, dynamics: Dynamics) -> np.ndarray:
    """Return the pole's energy as if the cart stood still, in m g l: 0 upright, -2 hanging.

    Args:
        z: x, theta, x_dot, theta_dot. Shape (N, 4).
        dynamics: Of each robot.
    """
    return (z[:, 3] / dynamics.omega) ** 2 / 2 + np.cos(z[:, 1]) - 1


def pump(z: np.ndarray, dynamics: Dynamics) -> np.ndarray:
    """Return the acceleration of the cart in m/s^2 that brings the pole to the energy of upright.

    The energy of a pole on a cart that accelerates by a changes by -(a / g) theta_dot cos(theta)
    per second (Astrom & Furuta, 2000), so a goes against theta_dot cos(theta) to add energy and
    with it to take some away. A spring and a damper keep the cart off the ends of the rail.

    Args:
        z: x, theta, x_dot, theta_dot. Shape (N, 4).
        dynamics: Of each robot.
    """
    x, theta, x_dot, theta_dot = z.T
    _, _, length, omega = dynamics
    excess = np.clip(PUMP * energy(z, dynamics), -FIERCEST, FIERCEST)
    along = np.where(theta_dot * np.cos(theta) < 0, -1.0, 1.0)  # never 0: a pole at rest begins
    return omega**2 * (length * excess * along - CENTRING * x) - BRAKING * omega * x_dot


def force_for(acceleration: np.ndarray, z: np.ndarray, dynamics: Dynamics) -> np.ndarray:
    """Return the force in N that accelerates the cart so, whatever the pole does. Shape (N,).

    The equations of motion with theta_ddot eliminated (Spong, 1994).

    Args:
        acceleration: m/s^2. Shape (N,).
        z: x, theta, x_dot, theta_dot. Shape (N, 4).
        dynamics: Of each robot.
    """
    _, theta, _, theta_dot = z.T
    total, swung, length, omega = dynamics
    sin, cos = np.sin(theta), np.cos(theta)
    pole = swung * length * sin * (omega**2 * cos - theta_dot**2)  # N, what the pole pulls back
    return (total - swung * cos**2) * acceleration + pole


def catches(caught: np.ndarray, z: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """Return which poles the regulator takes, or keeps. Shape (N,), bool.

    Args:
        caught: Which it has. Shape (N,), bool.
        z: x, theta, x_dot, theta_dot. Shape (N, 4).
        cost: Of the regulators. Shape (N, 4, 4).
    """
    tilt = np.where(caught, LOSE, CATCH)
    return np.einsum("ni,nij,nj->n", z, cost, z) < cost[:, 1, 1] * tilt**2


class SwingUpExpert:
    """Swings up: it knows every robot as it is in this episode, but not how strong its motor is.

    Its state is which poles are caught. Shape (N,), bool.
    """

    def __init__(self, envs: RoboVectorEnv) -> None:
        """Swing up in these environments."""
        self._envs = envs
        self._designs = for_each(envs, design)
        self._strongest = envs.task.ctrl_fields[0].scale  # N

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, Any]:
        """Return actions for the environments as they stand, and which poles are now caught.

        Args:
            observation: Not looked at.
            state: Which poles were caught; None for none.
            episode_start: Where an episode begins, nothing is caught. Shape (N,), bool.
            deterministic: It always is.
        """
        regulators, dynamics = zip(*self._designs(), strict=True)
        gain, cost = (np.stack(parts) for parts in zip(*regulators, strict=True))
        z = from_upright(self._envs)
        caught = np.zeros(len(z), dtype=np.bool_) if state is None else state
        if episode_start is not None:
            caught = caught & ~np.asarray(episode_start)
        caught = catches(caught, z, cost)
        moving = Dynamics(*np.array(dynamics).T)
        pumped = force_for(pump(z, moving), z, moving) / self._strongest
        command = np.where(caught, -(gain * z).sum(axis=1), pumped)
        return self._envs.ctrl_to_action(np.clip(command[:, None], -1.0, 1.0)), caught
