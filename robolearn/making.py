"""Making batches of environments, in this process or in a worker's: imports no torch."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
from gymnasium.vector import VectorEnv

import robolearn_envs
from robolearn.errors import RobolearnError
from robolearn.snapshots import Rewindable


def make_native(
    env_id: str, how: Mapping[str, Any], arguments: Mapping[str, Any], num_envs: int
) -> VectorEnv:
    """Return a batch of our environments.

    Args:
        env_id: Gymnasium id.
        how: Keyword arguments of a batch.
        arguments: Keyword arguments of a single environment.
        num_envs: How many.

    Raises:
        RobolearnError: The environment refuses its arguments.
    """
    assert env_id in robolearn_envs.ENVS
    with refusals():
        return gym.make_vec(env_id, num_envs=num_envs, **how, **arguments)


def make_foreign(
    env_id: str, how: Mapping[str, Any], arguments: Mapping[str, Any], num_envs: int
) -> VectorEnv:
    """Return a batch of foreign environments, stepped one after the other; see ``make_native``."""
    with refusals():
        return gym.make_vec(
            env_id,
            num_envs=num_envs,
            vectorization_mode="sync",
            vector_kwargs=dict(how),
            wrappers=(Rewindable,),
            **arguments,
        )


@contextmanager
def refusals() -> Iterator[None]:
    """Turn what environments raise on bad arguments into our error."""
    try:
        yield
    except (ValueError, TypeError, ImportError, gym.error.Error) as error:
        raise RobolearnError(str(error)) from error
