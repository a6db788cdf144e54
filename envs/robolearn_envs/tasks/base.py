"""The seam between environments and rules."""

from typing import Literal, Protocol, TypeAlias

import gymnasium as gym

from robolearn_envs.arrays import Array
from robolearn_envs.robots import CartPole, ControlSuiteCartPole

ActionKind: TypeAlias = Literal["continuous", "discrete"]


class Task(Protocol):
    """Rules of a control problem: pure array functions over a batch of states.

    A *command* is what an action asks of the actuators, in [-1, 1]. Shape (N, actuated).
    Positions and velocities have shape (N, joints), float64.
    """

    @property
    def robot(self) -> CartPole | ControlSuiteCartPole:
        """The robot the task is about."""
        ...

    @property
    def engines(self) -> tuple[str, ...]:
        """Engines the task runs on, the default first."""
        ...

    @property
    def timestep(self) -> float:
        """Physics step in s."""
        ...

    @property
    def substeps(self) -> int:
        """Physics steps in an environment step."""
        ...

    @property
    def max_steps(self) -> int:
        """Environment steps after which an episode is truncated."""
        ...

    @property
    def hold_steps(self) -> int:
        """An episode is a success if ``holds`` was true for this many steps up to its end."""
        ...

    @property
    def default_action(self) -> ActionKind:
        """The action kind used where none is asked for."""
        ...

    @property
    def levels(self) -> tuple[float, ...]:
        """Command of each discrete action."""
        ...

    @property
    def start_draws(self) -> int:
        """How many uniform numbers ``start`` takes."""
        ...

    @property
    def observation_space(self) -> gym.spaces.Box:
        """Space of a single observation: float32, finite bounds."""
        ...

    def start(self, draws: Array) -> tuple[Array, Array]:
        """Return initial positions and velocities.

        Args:
            draws: Uniform in (0, 1). Shape (N, start_draws).
        """
        ...

    def force(self, qpos: Array, qvel: Array, command: Array) -> Array:
        """Return the joint forces of one physics step, N. Shape (N, actuated)."""
        ...

    def observe(self, qpos: Array, qvel: Array) -> Array:
        """Return observations, not yet clipped to the space. Shape (N, observations)."""
        ...

    def reward(self, qpos: Array, qvel: Array, command: Array) -> Array:
        """Return the reward for arriving in a state under a command. Shape (N,)."""
        ...

    def terminated(self, qpos: Array, qvel: Array) -> Array:
        """Return which states end the episode for good. Shape (N,), bool."""
        ...

    def holds(self, qpos: Array, qvel: Array) -> Array:
        """Return which states are where the task wants them. Shape (N,), bool."""
        ...
