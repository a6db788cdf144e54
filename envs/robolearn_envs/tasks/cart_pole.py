"""Three cart-pole problems: balancing, swinging up, and the public dm_control swing-up."""

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from robolearn_envs.arrays import Array, namespace
from robolearn_envs.core.sim import Sim
from robolearn_envs.fields import Field
from robolearn_envs.rewards import tolerance
from robolearn_envs.robots import CartPole, DMControlCartPole
from robolearn_envs.tasks.base import ActionKind, InitialState, Task, TaskState

MAX_X = 4.0
"""Bound of observed positions in m; every task keeps the cart well inside."""
MAX_X_DOT = 20.0
"""Bound of observed cart speeds in m/s."""
MAX_THETA_DOT = 40.0
"""Bound of observed pole speeds in rad/s."""
UPRIGHT_COS = 0.995
"""cos(theta) above which the pole stands: within 5.7 degrees of upright."""
CENTER_TOLERANCE = 0.25
"""Distance from the rail's middle in m within which a standing pole counts."""

_X = Field("x", "m", "of the cart along the rail, positive to the right", -MAX_X, MAX_X)
_X_DOT = Field("x_dot", "m/s", "of the cart", -MAX_X_DOT, MAX_X_DOT)
_THETA = Field(
    "theta", "rad", "of the pole; 0 is upright, positive tips towards +x", -math.pi, math.pi
)
_THETA_DOT = Field("theta_dot", "rad/s", "of the pole", -MAX_THETA_DOT, MAX_THETA_DOT)
_COS = Field("cos(theta)", "", "1 is upright, -1 hanging")
_SIN = Field("sin(theta)", "", "positive where the pole tips towards +x")

BALANCE_OBS = (_X, _X_DOT, _THETA, _THETA_DOT)
SWING_UP_OBS = (_X, _COS, _SIN, _X_DOT, _THETA_DOT)

_STANDS = (
    "the pole stood over the middle (cos(theta) > ``UPRIGHT_COS`` and |x| < ``CENTER_TOLERANCE`` "
    "m) at each of the last ``success_steps`` steps"
)


def _smooth_reward(sim: Sim, ctrl: Array, *, centering_margin: float) -> Array:
    """Product of how upright, centered, gently controlled and slow a cart-pole is, in [0, 1].

    dm_control's smooth cart-pole reward (Tassa et al., 2018) with the margin as a parameter: a pole
    at rest, upright over the middle of the rail, earns 1 under no control.

    Args:
        sim: Of cart-poles.
        ctrl: In [-1, 1]. Shape (N, 1).
        centering_margin: Distance from the middle in m where ``centered`` is 0.55.
    """
    upright = (1 + sim.xp.cos(sim.qpos[:, 1])) / 2
    centered = (1 + tolerance(sim.qpos[:, 0], margin=centering_margin)) / 2
    small_control = (
        4 + tolerance(ctrl[:, 0], margin=1.0, value_at_margin=0, sigmoid="quadratic")
    ) / 5
    small_velocity = (1 + tolerance(sim.qvel[:, 1], margin=5.0)) / 2
    return upright * centered * small_control * small_velocity


class _CartPoleTask(Task):
    """What the three have in common: success by holding on until the end."""

    num_reset_draws: int = 4
    success_steps: int
    """An episode is a success if ``success_condition`` held for this many steps up to its end."""

    @abstractmethod
    def _initial(self, draws: Array) -> tuple[Array, Array]:
        """Return initial positions and velocities. Shapes (n, 2)."""

    @abstractmethod
    def success_condition(self, sim: Sim) -> Array:
        """Return which states are where the task wants them. Shape (N,), bool."""

    def begin(
        self, draws: Array, previous: TaskState | None, options: Mapping[str, Any]
    ) -> InitialState:
        """Return how episodes begin."""
        xp = namespace(draws)
        streak = xp.zeros_like(draws[:, 0], dtype=xp.int64)
        return InitialState(*self._initial(draws), {"success_streak": streak})

    def after_step(self, sim: Sim, state: TaskState) -> dict[str, Array]:
        """Return for how many steps the success condition has held."""
        streak = sim.xp.where(self.success_condition(sim), state["success_streak"] + 1, 0)
        return {"success_streak": streak}

    def metrics(self, sim: Sim, state: TaskState) -> dict[str, Array]:
        """Return which episodes are a success."""
        return {"success": state["success_streak"] >= self.success_steps}


class CartPoleBalance(_CartPoleTask):
    """Keep a pole upright on a cart that is pushed to the left and to the right.

    The problem of Barto, Sutton & Anderson (1983) on a frictionless rail, with a pole that is a
    uniform rod. The largest return is ``max_episode_steps``.
    """

    robot = CartPole()
    observation_fields = BALANCE_OBS
    mirror_signs = (-1.0, -1.0, -1.0, -1.0)
    metric_docs: Mapping[str, str] = {
        "success": "cart and pole were within their bounds after each of ``success_steps`` steps"
    }
    engines = ("mujoco", "bullet", "analytic", "torch", "warp")
    success_steps = 500
    default_action: ActionKind = "discrete"
    discrete_actions = ((-1.0,), (1.0,))
    init_range = 0.05  # m, rad and per s
    x_threshold = 2.4  # m
    theta_threshold = 12.0  # degrees

    def _initial(self, draws: Array) -> tuple[Array, Array]:
        """Return near-upright states.

        x (m), theta (rad) and their velocities (per s) are each uniform in +-``init_range``.
        """
        state = 2 * self.init_range * draws - self.init_range
        return state[:, :2], state[:, 2:]

    def observe(self, sim: Sim, state: TaskState) -> Array:
        """Return x, x_dot, theta, theta_dot."""
        qpos, qvel = sim.qpos, sim.qvel
        return sim.xp.stack([qpos[:, 0], qvel[:, 0], qpos[:, 1], qvel[:, 1]], axis=-1)

    def reward(self, sim: Sim, ctrl: Array, state: TaskState) -> Array:
        """Return 1 for every step."""
        return sim.xp.ones_like(sim.qpos[:, 0])

    def terminated(self, sim: Sim, state: TaskState) -> Array:
        """Return whether |x| > ``x_threshold`` m or |theta| > ``theta_threshold`` degrees."""
        return ~self.success_condition(sim)

    def success_condition(self, sim: Sim) -> Array:
        """Return which are still up."""
        xp, qpos = sim.xp, sim.qpos
        inside = xp.abs(qpos[:, 0]) <= self.x_threshold
        return inside & (xp.abs(qpos[:, 1]) <= math.radians(self.theta_threshold))


class _SwingUpTask(_CartPoleTask):
    """What both swing-up problems have in common."""

    observation_fields = SWING_UP_OBS
    mirror_signs = (-1.0, 1.0, -1.0, -1.0, -1.0)
    metric_docs: Mapping[str, str] = {"success": _STANDS}
    centering_margin: float
    """Distance from the middle in m where the reward's ``centered`` is 0.55."""

    def observe(self, sim: Sim, state: TaskState) -> Array:
        """Return x, cos(theta), sin(theta), x_dot, theta_dot."""
        xp, x, theta = sim.xp, sim.qpos[:, 0], sim.qpos[:, 1]
        return xp.stack([x, xp.cos(theta), xp.sin(theta), sim.qvel[:, 0], sim.qvel[:, 1]], axis=-1)

    def reward(self, sim: Sim, ctrl: Array, state: TaskState) -> Array:
        """Return `upright * centered * small_control * small_velocity`, in [0, 1].

        * `upright = (1 + cos(theta)) / 2`
        * `centered = (1 + 0.1^((x / margin)^2)) / 2` with margin = ``centering_margin`` m
        * `small_control = (5 - u^2) / 5` with u = ctrl in [-1, 1]
        * `small_velocity = (1 + 0.1^((theta_dot / 5)^2)) / 2`
        """
        return _smooth_reward(sim, ctrl, centering_margin=self.centering_margin)

    def terminated(self, sim: Sim, state: TaskState) -> Array:
        """Return False, always: exploring must not mean dying."""
        return sim.xp.zeros_like(sim.qpos[:, 0], dtype=sim.xp.bool)

    def success_condition(self, sim: Sim) -> Array:
        """Return which poles stand over the middle."""
        xp, qpos = sim.xp, sim.qpos
        return (xp.cos(qpos[:, 1]) > UPRIGHT_COS) & (xp.abs(qpos[:, 0]) < CENTER_TOLERANCE)


class CartPoleSwingUp(_SwingUpTask):
    """Swing a hanging pole up and hold it over the middle of a rail with spring bumpers.

    The reward is dm_control's (see CartPoleDMC), but falls off nearer to the middle, so that
    standing anywhere on the rail does not do. Bumpers, unlike hard stops, are the same on every
    engine.
    """

    robot = CartPole(rail_half_length=2.0)
    engines = ("mujoco", "bullet", "analytic", "torch", "warp")
    success_steps = 100
    init_pos_range, init_vel_range = 0.1, 0.05
    """How far off a hanging start may be: m or rad, m/s or rad/s."""
    centering_margin = 0.5  # m; well beyond the 0.25 m of a success
    limit_stiffness = 300.0
    """Of the bumpers at the ends of the rail, N/m."""
    limit_damping = 15.0
    """Of the bumpers, N s/m."""

    def _initial(self, draws: Array) -> tuple[Array, Array]:
        """Return hanging states near the middle.

        x is uniform in +-``init_pos_range`` m, theta in pi +- ``init_pos_range`` rad, x_dot in
        +-``init_vel_range`` m/s and theta_dot in +-``init_vel_range`` rad/s.
        """
        xp, near = namespace(draws), self.init_pos_range
        span = 2 * draws - 1
        qpos = xp.stack([near * span[:, 0], math.pi + near * span[:, 1]], axis=-1)
        return qpos, self.init_vel_range * span[:, 2:]

    def actuate(
        self, qpos: Array, qvel: Array, ctrl: Array, parameters: Mapping[str, Array]
    ) -> Array:
        """Return the motor's force plus the bumpers'.

        Beyond |x| = the robot's ``rail_half_length`` m a spring of ``limit_stiffness`` N/m and a
        damper of ``limit_damping`` N s/m push the cart back; they never pull.
        """
        xp = namespace(qpos)
        force = super().actuate(qpos, qvel, ctrl, parameters)
        x, x_dot = qpos[:, :1], qvel[:, :1]
        depth = xp.maximum(xp.abs(x) - self.robot.rail_half_length, 0.0)  # m into the bumper
        if xp is np and not depth.any():
            return force
        inward = -xp.sign(x)
        push = self.limit_stiffness * depth - self.limit_damping * (inward * x_dot)
        bumper = xp.where(depth > 0, inward * xp.maximum(push, 0.0), 0.0)
        if force.shape[1] == 1:
            return force + bumper
        return xp.concat([force[:, :1] + bumper, force[:, 1:]], axis=-1)


class CartPoleDMC(_SwingUpTask):
    """The public dm_control ``cartpole-swingup`` to the letter (Tassa et al., 2018).

    Numbers are those of dm_control 1.0.50; integrated by RK4, so it runs on MuJoCo only.
    ``success`` is robolearn's own addition and no part of the reward.
    """

    robot = DMControlCartPole()
    engines = ("mujoco",)
    frame_skip = 1
    max_episode_steps = 1000
    success_steps = 200
    init_std = 0.01  # of the start: m, rad and per s
    centering_margin = 2.0  # m, the public definition's

    def __init__(self) -> None:
        """Set up the task: nothing of it may be changed."""
        super().__init__()

    def _initial(self, draws: Array) -> tuple[Array, Array]:
        """Return hanging states near the middle.

        x (m), theta - pi (rad) and both velocities (per s) are normal with a standard deviation of
        ``init_std`` (drawn as by Box & Muller, 1958).
        """
        xp = namespace(draws)
        radius = self.init_std * xp.sqrt(-2 * xp.log(draws[:, :2]))
        angle = 2 * math.pi * draws[:, 2:]
        normal, other = radius * xp.cos(angle), radius * xp.sin(angle)
        return xp.stack([normal[:, 0], math.pi + other[:, 0]], axis=-1), xp.stack(
            [normal[:, 1], other[:, 1]], axis=-1
        )
