"""What Stable-Baselines3 can learn in; no SB3 is imported here."""

import gymnasium as gym
from gymnasium import spaces

from robolearn.baselines.rows import Algorithm
from robolearn.environments import EnvConfig, TrainingEnvs
from robolearn.errors import RobolearnError


def require_servable(algorithm: Algorithm, env: EnvConfig) -> None:
    """Check that SB3 can learn in an environment.

    Raises:
        RobolearnError: Its actions or observations are none that SB3 takes.
    """
    described = TrainingEnvs.of(env, None, {})
    name = f"sb3-{algorithm}"
    _require_actions(name, described.action_space, env.native)
    observation = described.observation_space
    parts = observation.values() if isinstance(observation, spaces.Dict) else [observation]
    for space in parts:
        _require(name, "observations", space)


def _require_actions(name: str, space: gym.Space, native: bool) -> None:
    if name == "sb3-dqn" and not isinstance(space, spaces.Discrete):
        hint = "action='discrete' (--action discrete)" if native else "another environment"
        raise RobolearnError(f"{name} needs discrete actions, got {space}. Use {hint} or sb3-ppo.")
    if isinstance(space, spaces.Discrete) and space.start != 0:
        raise RobolearnError(f"{name} counts actions from 0, got {space}.")
    if isinstance(space, spaces.Box) and not space.is_bounded():
        raise RobolearnError(f"{name} needs actions with finite bounds, got {space}.")
    _require(name, "actions", space)


def _require(name: str, what: str, space: gym.Space) -> None:
    kinds = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
    if not isinstance(space, kinds):
        raise RobolearnError(f"{name} cannot take {what} of kind {type(space).__name__}: {space}.")
