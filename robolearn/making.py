"""Making batches of environments, in this process or in a worker's: imports no torch."""

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium as gym
from gymnasium.vector import VectorEnv

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


def import_env_module(env_id: str) -> str:
    """Import the module of an id ``module:Id-v0``, if it has one; return the id without it.

    The current folder is added to ``sys.path``, so that the command line finds modules in it.

    Raises:
        RobolearnError: The module cannot be imported.
    """
    module, _, name = env_id.rpartition(":")
    if module and module not in sys.modules:
        if os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())
        try:
            importlib.import_module(module)
        except Exception as error:  # a module of others raises anything
            raise RobolearnError(
                f"Cannot import '{module}' of environment '{env_id}': "
                f"{type(error).__name__}: {error}."
            ) from error
    return name


def import_path() -> str:
    """Return this process's ``sys.path`` as PYTHONPATH, for processes that import the same."""
    return os.pathsep.join(folder or os.getcwd() for folder in sys.path)


@contextmanager
def refusals() -> Iterator[None]:
    """Turn what environments raise on bad arguments into our error."""
    try:
        yield
    except (ValueError, TypeError, ImportError, gym.error.Error) as error:
        raise RobolearnError(str(error)) from error


def import_trusted(name: str, outside: Path | None) -> ModuleType:
    """Import a user's module that a file names, from the current folder or PYTHONPATH.

    Args:
        name: Of the module.
        outside: Folder of that file: no module in it is imported.

    Raises:
        RobolearnError: No such module, one that fails, or one in that folder.
    """
    if name in sys.modules:
        return sys.modules[name]
    if os.getcwd() not in sys.path:  # as where the command line is a script in another folder
        sys.path.append(os.getcwd())
    spec = importlib.util.find_spec(name.partition(".")[0])
    places = [] if spec is None else [spec.origin, *(spec.submodule_search_locations or ())]
    for place in places:
        if outside and place and Path(place).resolve().is_relative_to(outside.resolve()):
            raise RobolearnError(
                f"{outside} names module '{name}', which lies in that very folder: "
                "code that comes with a run is not imported. Move it to where you trust it."
            )
    try:
        return importlib.import_module(name)
    except (ImportError, SyntaxError) as error:
        raise RobolearnError(
            f"Cannot import '{name}' from {os.getcwd()} or PYTHONPATH: {error}."
        ) from error
