"""Three cart-pole problems: balancing, swinging up, and the public dm_control swing-up."""

import math

import gymnasium as gym
import numpy as np

from robolearn_envs.arrays import Array, namespace
from robolearn_envs.rewards import tolerance
from robolearn_envs.robots import CartPole, ControlSuiteCartPole
from robolearn_envs.tasks.base import ActionKind

FORCE = 10.0
"""Largest force of the motor on the cart in N."""
FAR = 4.0
"""Bound of observed positions in m; every task keeps the cart well inside."""
FAST = 20.0
"""Bound of observed cart speeds in m/s."""
SPIN = 40.0
"""Bound of observed pole speeds in rad/s."""


def _box(*bounds: float) -> gym.spaces.Box:
    high = np.array(bounds, dtype=np.float32)
    return gym.spaces.Box(-high, high)


def _upright(theta: Array) -> Array:
    xp = namespace(theta)
    return (1 + xp.cos(theta)) / 2


def _smooth_reward(qpos: Array, qvel: Array, command: Array, *, far: float) -> Array:
    """Product of how upright, centred, gentle and slow a cart-pole is, in [0, 1].

    dm_control's smooth cart-pole reward (Tassa et al., 2018): a pole at rest, upright over the
    middle of the rail, earns 1 under no control.

    Args:
        qpos: Positions. Shape (N, 2).
        qvel: Velocities. Shape (N, 2).
        command: In [-1, 1]. Shape (N, 1).
        far: Distance from the middle in m that counts as far, where ``centred`` is 0.55.
    """
    centred = (1 + tolerance(qpos[:, 0], margin=far)) / 2
    gentle = (4 + tolerance(command[:, 0], margin=1.0, value_at_margin=0, sigmoid="quadratic")) / 5
    slow = (1 + tolerance(qvel[:, 1], margin=5.0)) / 2
    return _upright(qpos[:, 1]) * centred * gentle * slow


def _observe_swing(qpos: Array, qvel: Array) -> Array:
    xp = namespace(qpos)
    x, theta = qpos[:, 0], qpos[:, 1]
    return xp.stack([x, xp.cos(theta), xp.sin(theta), qvel[:, 0], qvel[:, 1]], axis=-1)


def _stands(qpos: Array) -> Array:
    """Return where the pole stands over the middle: cos(theta) > 0.995 and |x| < 0.25 m."""
    xp = namespace(qpos)
    return (xp.cos(qpos[:, 1]) > 0.995) & (xp.abs(qpos[:, 0]) < 0.25)


class CartPoleBalance:
    """Keep the pole up: 1 per step, over when the cart leaves 2.4 m or the pole tilts past 12 deg.

    Starts with every coordinate uniform in +-0.05; a success stays up for all 500 steps.
    """

    robot = CartPole()
    engines: tuple[str, ...] = ("mujoco", "bullet", "analytic")
    timestep = 0.01  # s
    substeps = 2
    max_steps = 500
    hold_steps = 500
    default_action: ActionKind = "discrete"
    levels: tuple[float, ...] = (-1.0, 1.0)
    start_draws = 4

    @property
    def observation_space(self) -> gym.spaces.Box:
        """x, x_dot, theta, theta_dot."""
        return _box(FAR, FAST, math.pi, SPIN)

    def start(self, draws: Array) -> tuple[Array, Array]:
        """Return near-upright states, each coordinate uniform in +-0.05 (m, rad and per s)."""
        state = 0.1 * draws - 0.05
        return state[:, :2], state[:, 2:]

    def force(self, qpos: Array, qvel: Array, command: Array) -> Array:
        """Return the motor's force."""
        return FORCE * command

    def observe(self, qpos: Array, qvel: Array) -> Array:
        """Return x, x_dot, theta, theta_dot."""
        xp = namespace(qpos)
        return xp.stack([qpos[:, 0], qvel[:, 0], qpos[:, 1], qvel[:, 1]], axis=-1)

    def reward(self, qpos: Array, qvel: Array, command: Array) -> Array:
        """Return 1 for every step."""
        xp = namespace(qpos)
        return xp.ones_like(qpos[:, 0])

    def terminated(self, qpos: Array, qvel: Array) -> Array:
        """Return which carts left the rail or dropped the pole."""
        xp = namespace(qpos)
        return (xp.abs(qpos[:, 0]) > 2.4) | (xp.abs(qpos[:, 1]) > math.radians(12))

    def holds(self, qpos: Array, qvel: Array) -> Array:
        """Return which are still up."""
        return ~self.terminated(qpos, qvel)


class CartPoleSwingUp:
    """Swing a hanging pole up and hold it over the middle of a rail with spring bumpers.

    Starts hanging (theta = pi +- 0.1) near the middle at rest; never terminated; truncated after
    500 steps. A success stands (cos theta > 0.995, |x| < 0.25 m) for the last 2 s.
    """

    robot = CartPole(rail=2.0)
    engines: tuple[str, ...] = ("mujoco", "bullet", "analytic")
    timestep = 0.01  # s
    substeps = 2
    max_steps = 500
    hold_steps = 100
    default_action: ActionKind = "continuous"
    levels: tuple[float, ...] = (-1.0, -0.5, 0.0, 0.5, 1.0)
    start_draws = 4
    far = 0.5  # m from the middle; well beyond the 0.25 m of a success
    bumper = 2.0  # m, where the rail's end begins to push back
    bumper_stiffness = 300.0  # N/m
    bumper_damping = 15.0  # N s/m

    @property
    def observation_space(self) -> gym.spaces.Box:
        """x, cos(theta), sin(theta), x_dot, theta_dot."""
        return _box(FAR, 1.0, 1.0, FAST, SPIN)

    def start(self, draws: Array) -> tuple[Array, Array]:
        """Return hanging states: x in +-0.1 m, theta in pi +- 0.1 rad, speeds in +-0.05 per s."""
        xp = namespace(draws)
        span = 2 * draws - 1
        qpos = xp.stack([0.1 * span[:, 0], math.pi + 0.1 * span[:, 1]], axis=-1)
        return qpos, 0.05 * span[:, 2:]

    def force(self, qpos: Array, qvel: Array, command: Array) -> Array:
        """Return the motor's force plus the bumper's: a spring and damper that only ever push."""
        xp = namespace(qpos)
        x, x_dot = qpos[:, :1], qvel[:, :1]
        depth = xp.clip(xp.abs(x) - self.bumper, 0.0, None)  # m into the bumper
        inward = -xp.sign(x)
        push = self.bumper_stiffness * depth - self.bumper_damping * (inward * x_dot)
        return FORCE * command + xp.where(depth > 0, inward * xp.clip(push, 0.0, None), 0.0)

    def observe(self, qpos: Array, qvel: Array) -> Array:
        """Return x, cos(theta), sin(theta), x_dot, theta_dot."""
        return _observe_swing(qpos, qvel)

    def reward(self, qpos: Array, qvel: Array, command: Array) -> Array:
        """Return upright x centred x gentle x slow, in [0, 1]."""
        return _smooth_reward(qpos, qvel, command, far=self.far)

    def terminated(self, qpos: Array, qvel: Array) -> Array:
        """Return False: exploring must not mean dying."""
        xp = namespace(qpos)
        return xp.zeros_like(qpos[:, 0], dtype=xp.bool)

    def holds(self, qpos: Array, qvel: Array) -> Array:
        """Return which poles stand over the middle."""
        return _stands(qpos)


class CartPoleDMC:
    """The public dm_control ``cartpole-swingup`` to the letter (Tassa et al., 2018).

    Numbers are those of dm_control 1.0.50: starts hanging, x, theta - pi and the speeds normal
    of deviation 0.01; RK4 of 0.01 s; 1000 steps; MuJoCo only. ``success`` is robolearn's own
    addition and no part of the reward.
    """

    robot = ControlSuiteCartPole()
    engines: tuple[str, ...] = ("mujoco",)
    timestep = 0.01  # s
    substeps = 1
    max_steps = 1000
    hold_steps = 200
    default_action: ActionKind = "continuous"
    levels: tuple[float, ...] = (-1.0, -0.5, 0.0, 0.5, 1.0)
    start_draws = 4
    far = 2.0  # m, the public definition's

    @property
    def observation_space(self) -> gym.spaces.Box:
        """x, cos(theta), sin(theta), x_dot, theta_dot."""
        return _box(FAR, 1.0, 1.0, FAST, SPIN)

    def start(self, draws: Array) -> tuple[Array, Array]:
        """Return hanging states: four normals of deviation 0.01 (Box and Muller, 1958)."""
        xp = namespace(draws)
        radius = 0.01 * xp.sqrt(-2 * xp.log(draws[:, :2]))
        angle = 2 * math.pi * draws[:, 2:]
        normal, other = radius * xp.cos(angle), radius * xp.sin(angle)
        return xp.stack([normal[:, 0], math.pi + other[:, 0]], axis=-1), xp.stack(
            [normal[:, 1], other[:, 1]], axis=-1
        )

    def force(self, qpos: Array, qvel: Array, command: Array) -> Array:
        """Return the motor's force, gear 10."""
        return 10.0 * command

    def observe(self, qpos: Array, qvel: Array) -> Array:
        """Return x, cos(theta), sin(theta), x_dot, theta_dot."""
        return _observe_swing(qpos, qvel)

    def reward(self, qpos: Array, qvel: Array, command: Array) -> Array:
        """Return dm_control's smooth reward."""
        return _smooth_reward(qpos, qvel, command, far=self.far)

    def terminated(self, qpos: Array, qvel: Array) -> Array:
        """Return False: an episode lasts its 10 s."""
        xp = namespace(qpos)
        return xp.zeros_like(qpos[:, 0], dtype=xp.bool)

    def holds(self, qpos: Array, qvel: Array) -> Array:
        """Return which poles stand over the middle."""
        return _stands(qpos)
