"""The seam between environments and rules."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, TypeAlias

import gymnasium as gym

from robolearn_envs.arrays import Array
from robolearn_envs.engines.base import Engine, Rows
from robolearn_envs.robots import Robot

ActionKind: TypeAlias = Literal["continuous", "discrete"]

Picture: TypeAlias = Literal["side", "lidar", "camera"]
"""How a task is shown: from the side, or as navigation by one of these sensors."""

Memory: TypeAlias = Mapping[str, Array]
"""What a task remembers of each environment's episode, by name. Shapes (N, ...)."""

Observation: TypeAlias = Array | dict[str, Array]
"""Shape (N, ...), or one such array for each part of a Dict space."""


class Quantity(NamedTuple):
    """One number of an observation or of a command, or several of a kind in a row."""

    name: str
    unit: str
    """SI; "" where there is none."""
    meaning: str
    scale: float = 1.0
    """How much 1 stands for, in units."""
    entries: int = 1
    """How many follow each other."""


class Start(NamedTuple):
    """How episodes begin."""

    qpos: Array
    qvel: Array
    memory: Memory


class Noise(NamedTuple):
    """How sensors are to be disturbed."""

    strength: float
    """The environment's ``randomize``, in (0, 1)."""
    draws: Array
    """Uniform in (0, 1). Shape (N, sensor_draws)."""


class Task(Protocol):
    """Rules of a control problem: array functions over a batch of states.

    A *command* is what an action asks of the actuators, in [-1, 1]. Shape (N, commands).
    Positions and velocities are the robot's, float64. A method that takes ``ids`` is told about
    those environments only: all its arrays have their rows.
    """

    options: ClassVar[tuple[str, ...]]
    """Keyword arguments of the constructor."""
    reset_options: ClassVar[Mapping[str, str]]
    """Options of a reset, and what each asks for."""
    engines: ClassVar[tuple[str, ...]]
    """Engines the task runs on, the default first."""
    device_engines: ClassVar[tuple[str, ...]]
    """Engines on a torch device that it runs on, the default first."""
    observed: ClassVar[tuple[Quantity, ...]]
    """What the entries of an observation are, in order; the parts of a Dict in its order."""
    commanded: ClassVar[tuple[Quantity, ...]]
    """What the entries of a command are."""
    outcomes: ClassVar[Mapping[str, str]]
    """Names and definitions of what ``outcome`` tells."""
    carried: ClassVar[tuple[str, ...]]
    """Names in memory that ``start`` wants to know of the last episode."""
    timestep: ClassVar[float]
    """Physics step in s."""
    substeps: ClassVar[int]
    """Physics steps in an environment step."""
    max_steps: ClassVar[int]
    """Environment steps after which an episode is truncated."""
    default_action: ClassVar[ActionKind]
    """The action kind used where none is asked for."""
    start_draws: ClassVar[int]
    """How many uniform numbers ``start`` takes."""
    sensor_draws: ClassVar[int]
    """How many uniform numbers disturbing the sensors takes each step."""
    picture: ClassVar[Picture]
    """How it is shown."""

    @property
    def robot(self) -> Robot:
        """The robot the task is about."""
        ...

    @property
    def choices(self) -> tuple[tuple[float, ...], ...]:
        """Command of each discrete action."""
        ...

    @property
    def observation_space(self) -> gym.Space:
        """Space of a single observation: float32, finite bounds."""
        ...

    def to(self, device: Any) -> None:
        """Compute with tensors on a torch device from now on."""
        ...

    def start(self, draws: Array, before: Memory | None, wishes: Mapping[str, Any]) -> Start:
        """Return how some environments' next episodes begin.

        Args:
            draws: Uniform in (0, 1). Shape (n, start_draws).
            before: What is ``carried`` over from their last episodes, and "success"; None where
                there is none, or it should not matter.
            wishes: The caller's ``options`` of a reset.

        Raises:
            ValueError: A wish that cannot be granted.
        """
        ...

    def furnish(self, engine: Engine, ids: Rows, memory: Memory) -> None:
        """Put what stands around environments ``ids`` into the engine."""
        ...

    def force(self, qpos: Array, qvel: Array, command: Array) -> Array:
        """Return the forces of one physics step, N or N m. Shape (N, actuated)."""
        ...

    def advance(self, engine: Engine, qpos: Array, qvel: Array, memory: Memory) -> Memory:
        """Return what has changed in memory with the step just made, of all environments."""
        ...

    def observe(
        self, engine: Engine, ids: Rows, qpos: Array, qvel: Array, memory: Memory
    ) -> Observation:
        """Return observations of environments ``ids``, not yet clipped to the space."""
        ...

    def mirrored(self, observation: Observation) -> Observation:
        """Return what is observed in the same world seen in a mirror, left for right."""
        ...

    def mirrored_command(self, command: Array) -> Array:
        """Return the commands that do there what these do here. Shape (N, commands)."""
        ...

    def disturb(
        self, observation: Observation, memory: Memory, noise: Noise
    ) -> tuple[Observation, Memory]:
        """Return observations as worse sensors give them, and what has changed in memory."""
        ...

    def reward(self, qpos: Array, qvel: Array, command: Array, memory: Memory) -> Array:
        """Return the reward for arriving in a state under a command. Shape (N,)."""
        ...

    def terminated(self, qpos: Array, qvel: Array, memory: Memory) -> Array:
        """Return which states end the episode for good. Shape (N,), bool."""
        ...

    def outcome(self, memory: Memory, terminated: Array) -> dict[str, Array]:
        """Return what there is to say of episodes that end now, by name. Shapes (N,)."""
        ...
