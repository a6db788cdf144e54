"""What every task is: four methods, and defaults for the rest."""

import operator
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import gymnasium as gym
import numpy as np

from robolearn_envs.arrays import Array, namespace
from robolearn_envs.core.sim import Sim
from robolearn_envs.engines.base import Engine, EnvIndex
from robolearn_envs.fields import Field
from robolearn_envs.robots.base import Robot, replace_fields
from robolearn_envs.sensors.base import Sensor

ActionKind: TypeAlias = Literal["continuous", "discrete"]

SceneType: TypeAlias = Literal["side", "nav_lidar", "nav_depth"]
"""How a task is drawn: from the side, or as navigation by one of these sensors."""

TaskState: TypeAlias = Mapping[str, Array]
"""What a task keeps of each environment's episode, by name. Shapes (N, ...)."""

Observation: TypeAlias = Array | dict[str, Array]
"""Shape (N, ...), or one such array for each part of a Dict space."""

MAX_DISCRETE_ACTIONS = 101
"""Discrete actions of a task with one actuator, at most."""


class InitialState(NamedTuple):
    """How episodes begin."""

    qpos: Array
    qvel: Array
    state: TaskState = {}  # noqa: RUF012 - never written to
    """Values of the task's own; the same names each time."""


class Marker(NamedTuple):
    """Something drawn that is no part of the physics."""

    position: tuple[float, float, float]
    """Of its middle, m."""
    size: float = 0.1
    """Radius, m."""
    rgba: str = "0.13 0.69 0.40 0.6"


class Task(ABC):
    """Rules of a control problem, as array functions over a batch of environments.

    Write ``begin``, ``observe``, ``reward`` and ``terminated``; all else has a default. Methods get
    arrays of NumPy or torch, with a row for each environment: use ``sim.xp`` (the array API
    standard) and the task runs on every engine. ``state`` is what ``begin`` returned, as changed by
    ``after_step``. *ctrl* is what an action asks of the actuators, in [-1, 1].
    """

    robot: Any
    """What moves: a :class:`~robolearn_envs.robots.base.Robot`."""
    sensors: tuple[Sensor, ...] = ()
    """Their readings are in ``sim.sensors`` when observing."""
    observation_fields: Sequence[Field] = ()
    """The entries of an observation, in order, from which its space is made."""
    engines: tuple[str, ...] = ()
    """Engines the task runs on, the default first; empty for all that can move the robot."""
    timestep: float = 0.01
    """Physics step in s."""
    frame_skip: int = 2
    """Physics steps in a control step."""
    max_episode_steps: int = 500
    """Control steps after which an episode is truncated."""
    default_action: ActionKind = "continuous"
    """The action kind used where none is asked for."""
    discrete_actions: Sequence[Sequence[float]] = ()
    """The ctrl of each discrete action; by default 5 from -1 to 1 where there is one actuator."""
    num_reset_draws: int = 8
    """Uniform numbers that ``begin`` takes."""
    carry_over: tuple[str, ...] = ()
    """Names in ``state`` that ``begin`` is given of the last episode."""
    reset_options: Mapping[str, str] = {}
    """Options of ``reset`` that ``begin`` understands, and what each asks for."""
    metric_docs: Mapping[str, str] = {"success": "set by the task"}
    """Names of ``metrics``, and their definitions."""
    scene_type: SceneType = "side"
    """How it is drawn."""
    mirror_signs: Sequence[float] | None = None
    """Factors of a flat observation in a mirror, left for right; None where there is no mirror."""

    def __init__(
        self,
        robot: Robot | Mapping[str, float] | None = None,
        num_discrete_actions: int | None = None,
    ) -> None:
        """Set up the task.

        Args:
            robot: Another robot, or fields of the robot to change, such as {"pole_length": 1.5}.
            num_discrete_actions: How many discrete actions there are, from full left to full right,
                evenly spaced; None for ``discrete_actions``.

        Raises:
            ValueError: A field the robot does not have, or fewer than two actions.
        """
        self.robot = replace_fields(self.robot, robot)
        if num_discrete_actions is not None:
            self.discrete_actions = self._evenly_spaced(num_discrete_actions)
        elif not self.discrete_actions and len(self.ctrl_fields) == 1:
            self.discrete_actions = self._evenly_spaced(5)

    def _evenly_spaced(self, count: int) -> tuple[tuple[float, ...], ...]:
        try:
            number = operator.index(count)
        except TypeError:
            number = 0
        if isinstance(count, bool) or not 2 <= number <= MAX_DISCRETE_ACTIONS:
            raise ValueError(
                f"num_discrete_actions must be an integer in 2..{MAX_DISCRETE_ACTIONS}, "
                f"got {count!r}."
            )
        if len(self.ctrl_fields) != 1:
            raise ValueError(
                f"{type(self).__name__} has {len(self.ctrl_fields)} actuators: "
                "num_discrete_actions is for tasks with one."
            )
        return tuple((2 * k / (number - 1) - 1,) for k in range(number))

    @property
    def observation_space(self) -> gym.Space:
        """Space of a single observation: float32, finite bounds."""
        low = [field.low for field in self.observation_fields for _ in range(field.size)]
        high = [field.high for field in self.observation_fields for _ in range(field.size)]
        return gym.spaces.Box(np.array(low, np.float32), np.array(high, np.float32))

    @property
    def ctrl_fields(self) -> tuple[Field, ...]:
        """The entries of ctrl: the robot's."""
        return self.robot.ctrl_fields

    @property
    def num_ctrl(self) -> int:
        """Numbers in ctrl."""
        return len(self.ctrl_fields)

    @abstractmethod
    def begin(
        self, draws: Array, previous: TaskState | None, options: Mapping[str, Any]
    ) -> InitialState:
        """Return how the next episodes of some environments begin.

        Args:
            draws: Uniform in (0, 1). Shape (n, num_reset_draws).
            previous: What is carried over from their last episodes, and "success"; None after a
                seeded reset.
            options: Of ``reset``; only names in ``reset_options``.

        Raises:
            ValueError: An option that cannot be granted.
        """

    @abstractmethod
    def observe(self, sim: Sim, state: TaskState) -> Observation:
        """Return observations, not yet clipped to the space. Shape (n, observations)."""

    @abstractmethod
    def reward(self, sim: Sim, ctrl: Array, state: TaskState) -> Array | dict[str, Array]:
        """Return rewards for arriving in a state under ctrl, or terms by name. Shapes (N,)."""

    @abstractmethod
    def terminated(self, sim: Sim, state: TaskState) -> Array:
        """Return which states end the episode for good. Shape (N,), bool."""

    def after_step(self, sim: Sim, state: TaskState) -> dict[str, Array]:
        """Return what has changed in ``state`` with the step just made, of all environments."""
        return {}

    def metrics(self, sim: Sim, state: TaskState) -> dict[str, Array]:
        """Return measures of the episodes, "success" among them. Shapes (N,)."""
        xp = sim.xp
        return {"success": xp.zeros_like(sim.qpos[:, 0], dtype=xp.bool)}

    def actuate(
        self, qpos: Array, qvel: Array, ctrl: Array, parameters: Mapping[str, Array]
    ) -> Array:
        """Return the forces of one physics step, N or N m. Shape (N, actuated joints).

        Args:
            qpos: Shape (N, positions).
            qvel: Shape (N, velocities).
            ctrl: In [-1, 1], times the "motor" factor. Shape (N, num_ctrl).
            parameters: Randomized parameters by name; fields of the robot are factors. Shapes (N,).
        """
        return self.robot.actuate(qpos, qvel, ctrl, self.timestep, parameters)

    def set_obstacles(self, engine: Engine, rows: EnvIndex, state: TaskState) -> None:  # noqa: B027
        """Put what stands around the environments ``rows`` into the engine; ``state`` is theirs."""

    def markers(self, state: TaskState, index: int) -> list[Marker]:
        """Return what to draw besides the robot in environment ``index``."""
        return []

    def mirror_observation(self, observation: Observation) -> Observation:
        """Return what is observed in the same world seen in a mirror, left for right.

        Raises:
            ValueError: The task has no mirror.
        """
        if self.mirror_signs is None or isinstance(observation, dict):
            raise ValueError(f"{type(self).__name__} has no mirror: set mirror_signs.")
        xp = namespace(observation)
        return observation * xp.asarray(self.mirror_signs, dtype=observation.dtype)

    def mirror_ctrl(self, ctrl: Array) -> Array:
        """Return the ctrl that does there what this does here. Shape (N, num_ctrl)."""
        return -ctrl

    def set_device(self, device: Any) -> None:  # noqa: B027
        """Compute with tensors on a torch device from now on."""
