"""Three cart-pole problems: balancing, swinging up, and the public dm_control swing-up."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, TypeAlias

import gymnasium as gym
import numpy as np

from robolearn_envs.arrays import Array, namespace
from robolearn_envs.engines.base import Engine, Rows
from robolearn_envs.rewards import tolerance
from robolearn_envs.robots import CartPole, ControlSuiteCartPole, adjusted
from robolearn_envs.tasks.base import (
    ActionKind,
    Memory,
    Noise,
    Observation,
    Picture,
    Quantity,
    Start,
)
from robolearn_envs.tasks.quantities import BALANCE, FORCE, PUSH, SWING

FAR = 4.0
"""Bound of observed positions in m; every task keeps the cart well inside."""
FAST = 20.0
"""Bound of observed cart speeds in m/s."""
SPIN = 40.0
"""Bound of observed pole speeds in rad/s."""
STANDING = 0.995
"""cos(theta) above which the pole stands: within 5.7 degrees of upright."""
CENTERED = 0.25
"""Distance from the rail's middle in m within which a standing pole counts."""

MOST_FORCES = 101
"""Forces that discrete actions may choose among, at most."""

Choices: TypeAlias = tuple[tuple[float, ...], ...]
"""Command of each discrete action."""

_STANDS = (
    "the pole stood over the middle (cos(theta) > ``STANDING`` and |x| < ``CENTERED`` m) at each "
    "of the last ``hold_steps`` steps"
)


def _box(*bounds: float) -> gym.spaces.Box:
    high = np.array(bounds, dtype=np.float32)
    return gym.spaces.Box(-high, high)


def _forces(count: int | None, usual: Choices) -> Choices:
    """Return the commands of ``count`` forces from full left to full right, evenly spaced.

    Raises:
        ValueError: Fewer than two, or not a number of forces.
    """
    if count is None:
        return usual
    if not isinstance(count, int) or isinstance(count, bool) or not 2 <= count <= MOST_FORCES:
        raise ValueError(f"forces must be an integer in 2..{MOST_FORCES}, got {count!r}.")
    return tuple((2 * k / (count - 1) - 1,) for k in range(count))


def _upright(theta: Array) -> Array:
    xp = namespace(theta)
    return (1 + xp.cos(theta)) / 2


def _smooth_reward(qpos: Array, qvel: Array, command: Array, *, far: float) -> Array:
    """Product of how upright, centered, gentle and slow a cart-pole is, in [0, 1].

    dm_control's smooth cart-pole reward (Tassa et al., 2018) with ``far`` as a parameter: a pole
    at rest, upright over the middle of the rail, earns 1 under no control.

    Args:
        qpos: Positions. Shape (N, 2).
        qvel: Velocities. Shape (N, 2).
        command: In [-1, 1]. Shape (N, 1).
        far: Distance from the middle in m that counts as far, where ``centered`` is 0.55.
    """
    centered = (1 + tolerance(qpos[:, 0], margin=far)) / 2
    gentle = (4 + tolerance(command[:, 0], margin=1.0, value_at_margin=0, sigmoid="quadratic")) / 5
    slow = (1 + tolerance(qvel[:, 1], margin=5.0)) / 2
    return _upright(qpos[:, 1]) * centered * gentle * slow


def _observe_swing(qpos: Array, qvel: Array) -> Array:
    xp = namespace(qpos)
    x, theta = qpos[:, 0], qpos[:, 1]
    return xp.stack([x, xp.cos(theta), xp.sin(theta), qvel[:, 0], qvel[:, 1]], axis=-1)


def _stands(qpos: Array) -> Array:
    """Return where the pole stands over the middle."""
    xp = namespace(qpos)
    return (xp.cos(qpos[:, 1]) > STANDING) & (xp.abs(qpos[:, 0]) < CENTERED)


class _CartPoleTask(ABC):
    """What the three have in common: nothing around the cart, and success by holding on."""

    reset_options: ClassVar[Mapping[str, str]] = {}
    commanded: ClassVar[tuple[Quantity, ...]] = PUSH
    carried: ClassVar[tuple[str, ...]] = ()
    start_draws: ClassVar[int] = 4
    sensor_draws: ClassVar[int] = 0
    picture: ClassVar[Picture] = "side"
    turned: ClassVar[tuple[float, ...]]
    """Which entries of an observation a mirror turns round: -1, else 1."""
    hold_steps: ClassVar[int]
    """An episode is a success if ``holds`` was true for this many steps up to its end."""

    @abstractmethod
    def _initial(self, draws: Array) -> tuple[Array, Array]:
        """Return initial positions and velocities. Shapes (n, 2)."""

    @abstractmethod
    def holds(self, qpos: Array, qvel: Array) -> Array:
        """Return which states are where the task wants them. Shape (N,), bool."""

    def to(self, device: Any) -> None:  # noqa: B027 - so it is
        """Do nothing: no constant of a cart-pole is an array."""

    def start(self, draws: Array, before: Memory | None, wishes: Mapping[str, Any]) -> Start:
        """Return how episodes begin.

        Raises:
            ValueError: A wish: none can be granted.
        """
        for wish in wishes:
            raise ValueError(f"A cart-pole's reset has no option '{wish}'; use 'reset_mask' only.")
        xp = namespace(draws)
        return Start(*self._initial(draws), {"held": xp.zeros_like(draws[:, 0], dtype=xp.int64)})

    def furnish(self, engine: Engine, ids: Rows, memory: Memory) -> None:  # noqa: B027 - so it is
        """Nothing stands around a cart-pole."""

    def advance(self, engine: Engine, qpos: Array, qvel: Array, memory: Memory) -> Memory:
        """Return for how many steps each has held on."""
        xp = namespace(qpos)
        return {"held": xp.where(self.holds(qpos, qvel), memory["held"] + 1, 0)}

    def mirrored(self, observation: Observation) -> Observation:
        """Return what is observed where left is right: all turned round but cosines."""
        assert not isinstance(observation, dict)
        xp = namespace(observation)
        return observation * xp.asarray(self.turned, dtype=observation.dtype)

    def mirrored_command(self, command: Array) -> Array:
        """Return the opposite forces. Shape (N, 1)."""
        return -command

    def disturb(
        self, observation: Observation, memory: Memory, noise: Noise
    ) -> tuple[Observation, Memory]:
        """Return the observations: a cart-pole's sensors are exact."""
        return observation, {}

    def outcome(self, memory: Memory, terminated: Array) -> dict[str, Array]:
        """Return which episodes were a success."""
        return {"success": memory["held"] >= self.hold_steps}


class CartPoleBalance(_CartPoleTask):
    """Keep a pole upright on a cart that is pushed to the left and to the right.

    The problem of Barto, Sutton & Anderson (1983) on a frictionless rail, with a pole that is a
    uniform rod. The largest return is ``max_steps``.
    """

    observed: ClassVar[tuple[Quantity, ...]] = BALANCE
    turned: ClassVar[tuple[float, ...]] = (-1.0, -1.0, -1.0, -1.0)
    outcomes: ClassVar[Mapping[str, str]] = {
        "success": "cart and pole were within their bounds after each of ``hold_steps`` steps"
    }

    options: ClassVar[tuple[str, ...]] = ("robot", "forces")
    engines: ClassVar[tuple[str, ...]] = ("mujoco", "bullet", "analytic")
    device_engines: ClassVar[tuple[str, ...]] = ("torch", "warp")
    timestep: ClassVar[float] = 0.01  # s
    substeps: ClassVar[int] = 2
    max_steps: ClassVar[int] = 500
    hold_steps: ClassVar[int] = 500
    default_action: ClassVar[ActionKind] = "discrete"
    choices: Choices = ((-1.0,), (1.0,))
    begin = 0.05  # m, rad and per s
    edge = 2.4  # m
    tilt = 12.0  # degrees

    def __init__(self, robot: Mapping[str, float] | None = None, forces: int | None = None) -> None:
        """Set up the task.

        Args:
            robot: Fields of the robot to change, by name, such as {"pole_length": 1.5}.
            forces: How many forces discrete actions choose among, from full left to full right,
                evenly spaced; None for ``choices``.

        Raises:
            ValueError: A field the robot does not have, or fewer than two forces.
        """
        self.choices = _forces(forces, self.choices)
        self.robot = adjusted(CartPole(), robot)

    @property
    def observation_space(self) -> gym.spaces.Box:
        """x, x_dot, theta, theta_dot."""
        return _box(FAR, FAST, math.pi, SPIN)

    def _initial(self, draws: Array) -> tuple[Array, Array]:
        """Return near-upright states.

        x (m), theta (rad) and their velocities (per s) are each uniform in +-``begin``.
        """
        state = 2 * self.begin * draws - self.begin
        return state[:, :2], state[:, 2:]

    def force(self, qpos: Array, qvel: Array, command: Array) -> Array:
        """Return the motor's force, ``FORCE`` N at full command."""
        return FORCE * command

    def observe(
        self, engine: Engine, ids: Rows, qpos: Array, qvel: Array, memory: Memory
    ) -> Observation:
        """Return x, x_dot, theta, theta_dot."""
        xp = namespace(qpos)
        return xp.stack([qpos[:, 0], qvel[:, 0], qpos[:, 1], qvel[:, 1]], axis=-1)

    def reward(self, qpos: Array, qvel: Array, command: Array, memory: Memory) -> Array:
        """Return 1 for every step."""
        xp = namespace(qpos)
        return xp.ones_like(qpos[:, 0])

    def terminated(self, qpos: Array, qvel: Array, memory: Memory) -> Array:
        """Return whether |x| > ``edge`` m or |theta| > ``tilt`` degrees."""
        return ~self.holds(qpos, qvel)

    def holds(self, qpos: Array, qvel: Array) -> Array:
        """Return which are still up."""
        xp = namespace(qpos)
        inside = xp.abs(qpos[:, 0]) <= self.edge
        return inside & (xp.abs(qpos[:, 1]) <= math.radians(self.tilt))


class CartPoleSwingUp(_CartPoleTask):
    """Swing a hanging pole up and hold it over the middle of a rail with spring bumpers.

    The reward is dm_control's (see CartPoleDMC), but falls off nearer to the middle, so that
    standing anywhere on the rail does not do. Bumpers, unlike hard stops, are the same on every
    engine.
    """

    observed: ClassVar[tuple[Quantity, ...]] = SWING
    turned: ClassVar[tuple[float, ...]] = (-1.0, 1.0, -1.0, -1.0, -1.0)
    outcomes: ClassVar[Mapping[str, str]] = {"success": _STANDS}

    options: ClassVar[tuple[str, ...]] = ("robot", "forces")
    engines: ClassVar[tuple[str, ...]] = ("mujoco", "bullet", "analytic")
    device_engines: ClassVar[tuple[str, ...]] = ("torch", "warp")
    timestep: ClassVar[float] = 0.01  # s
    substeps: ClassVar[int] = 2
    max_steps: ClassVar[int] = 500
    hold_steps: ClassVar[int] = 100
    default_action: ClassVar[ActionKind] = "continuous"
    choices: Choices = ((-1.0,), (-0.5,), (0.0,), (0.5,), (1.0,))
    near, slow = 0.1, 0.05  # m or rad, m/s or rad/s: how far off a hanging start may be
    far = 0.5  # m from the middle; well beyond the 0.25 m of a success
    bumper = 2.0  # m, where the rail's end begins to push back
    bumper_stiffness = 300.0  # N/m
    bumper_damping = 15.0  # N s/m

    def __init__(self, robot: Mapping[str, float] | None = None, forces: int | None = None) -> None:
        """Set up the task.

        Args:
            robot: Fields of the robot to change, by name, such as {"pole_length": 1.5}.
            forces: How many forces discrete actions choose among, from full left to full right,
                evenly spaced; None for ``choices``.

        Raises:
            ValueError: A field the robot does not have, or fewer than two forces.
        """
        self.choices = _forces(forces, self.choices)
        self.robot = adjusted(CartPole(rail=2.0), robot)

    @property
    def observation_space(self) -> gym.spaces.Box:
        """x, cos(theta), sin(theta), x_dot, theta_dot."""
        return _box(FAR, 1.0, 1.0, FAST, SPIN)

    def _initial(self, draws: Array) -> tuple[Array, Array]:
        """Return hanging states near the middle.

        x is uniform in +-``near`` m, theta in pi +- ``near`` rad, x_dot in +-``slow`` m/s and
        theta_dot in +-``slow`` rad/s.
        """
        xp = namespace(draws)
        span = 2 * draws - 1
        qpos = xp.stack([self.near * span[:, 0], math.pi + self.near * span[:, 1]], axis=-1)
        return qpos, self.slow * span[:, 2:]

    def force(self, qpos: Array, qvel: Array, command: Array) -> Array:
        """Return the motor's force, ``FORCE`` N at full command, plus the bumpers'.

        Beyond |x| = ``bumper`` m a spring of ``bumper_stiffness`` N/m and a damper of
        ``bumper_damping`` N s/m push the cart back; they never pull.
        """
        xp = namespace(qpos)
        x, x_dot = qpos[:, :1], qvel[:, :1]
        depth = xp.clip(xp.abs(x) - self.bumper, 0.0, None)  # m into the bumper
        inward = -xp.sign(x)
        push = self.bumper_stiffness * depth - self.bumper_damping * (inward * x_dot)
        return FORCE * command + xp.where(depth > 0, inward * xp.clip(push, 0.0, None), 0.0)

    def observe(
        self, engine: Engine, ids: Rows, qpos: Array, qvel: Array, memory: Memory
    ) -> Observation:
        """Return x, cos(theta), sin(theta), x_dot, theta_dot."""
        return _observe_swing(qpos, qvel)

    def reward(self, qpos: Array, qvel: Array, command: Array, memory: Memory) -> Array:
        """Return `upright * centered * gentle * slow`, in [0, 1]; u is the command in [-1, 1].

        * `upright = (1 + cos(theta)) / 2`
        * `centered = (1 + 0.1^((x / far)^2)) / 2` with far = ``far`` m
        * `gentle = (5 - u^2) / 5`
        * `slow = (1 + 0.1^((theta_dot / 5)^2)) / 2`
        """
        return _smooth_reward(qpos, qvel, command, far=self.far)

    def terminated(self, qpos: Array, qvel: Array, memory: Memory) -> Array:
        """Return False, always: exploring must not mean dying."""
        xp = namespace(qpos)
        return xp.zeros_like(qpos[:, 0], dtype=xp.bool)

    def holds(self, qpos: Array, qvel: Array) -> Array:
        """Return which poles stand over the middle."""
        return _stands(qpos)


class CartPoleDMC(_CartPoleTask):
    """The public dm_control ``cartpole-swingup`` to the letter (Tassa et al., 2018).

    Numbers are those of dm_control 1.0.50; integrated by RK4, so it runs on MuJoCo only.
    ``success`` is robolearn's own addition and no part of the reward.
    """

    observed: ClassVar[tuple[Quantity, ...]] = SWING
    turned: ClassVar[tuple[float, ...]] = (-1.0, 1.0, -1.0, -1.0, -1.0)
    outcomes: ClassVar[Mapping[str, str]] = {"success": _STANDS}

    options: ClassVar[tuple[str, ...]] = ()
    robot = ControlSuiteCartPole()
    engines: ClassVar[tuple[str, ...]] = ("mujoco",)
    device_engines: ClassVar[tuple[str, ...]] = ()
    timestep: ClassVar[float] = 0.01  # s
    substeps: ClassVar[int] = 1
    max_steps: ClassVar[int] = 1000
    hold_steps: ClassVar[int] = 200
    default_action: ClassVar[ActionKind] = "continuous"
    choices: Choices = ((-1.0,), (-0.5,), (0.0,), (0.5,), (1.0,))
    deviation = 0.01  # of the start: m, rad and per s
    far = 2.0  # m, the public definition's

    @property
    def observation_space(self) -> gym.spaces.Box:
        """x, cos(theta), sin(theta), x_dot, theta_dot."""
        return _box(FAR, 1.0, 1.0, FAST, SPIN)

    def _initial(self, draws: Array) -> tuple[Array, Array]:
        """Return hanging states near the middle.

        x (m), theta - pi (rad) and both velocities (per s) are normal with a standard deviation of
        ``deviation`` (drawn as by Box & Muller, 1958).
        """
        xp = namespace(draws)
        radius = self.deviation * xp.sqrt(-2 * xp.log(draws[:, :2]))
        angle = 2 * math.pi * draws[:, 2:]
        normal, other = radius * xp.cos(angle), radius * xp.sin(angle)
        return xp.stack([normal[:, 0], math.pi + other[:, 0]], axis=-1), xp.stack(
            [normal[:, 1], other[:, 1]], axis=-1
        )

    def force(self, qpos: Array, qvel: Array, command: Array) -> Array:
        """Return the motor's force, ``FORCE`` N at full command: gear 10."""
        return FORCE * command

    def observe(
        self, engine: Engine, ids: Rows, qpos: Array, qvel: Array, memory: Memory
    ) -> Observation:
        """Return x, cos(theta), sin(theta), x_dot, theta_dot."""
        return _observe_swing(qpos, qvel)

    def reward(self, qpos: Array, qvel: Array, command: Array, memory: Memory) -> Array:
        """Return `upright * centered * gentle * slow`, in [0, 1]; u is the command in [-1, 1].

        * `upright = (1 + cos(theta)) / 2`
        * `centered = (1 + 0.1^((x / far)^2)) / 2` with far = ``far`` m
        * `gentle = (5 - u^2) / 5`
        * `slow = (1 + 0.1^((theta_dot / 5)^2)) / 2`
        """
        return _smooth_reward(qpos, qvel, command, far=self.far)

    def terminated(self, qpos: Array, qvel: Array, memory: Memory) -> Array:
        """Return False, always: as in the public definition."""
        xp = namespace(qpos)
        return xp.zeros_like(qpos[:, 0], dtype=xp.bool)

    def holds(self, qpos: Array, qvel: Array) -> Array:
        """Return which poles stand over the middle."""
        return _stands(qpos)
