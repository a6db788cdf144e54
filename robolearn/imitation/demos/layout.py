"""One episode as Minari lays it out in HDF5, and what is asked of one that is read."""

from typing import Any

import gymnasium as gym
import h5py
import numpy as np
from gymnasium import spaces

from robolearn.errors import RobolearnError
from robolearn.files import shown
from robolearn.imitation.demos.episodes import Demonstration
from robolearn.imitation.demos.hdf5 import Stored
from robolearn.imitation.demos.hdf5_out import put

_MOST_STATES = 16  # arrays that tell the state of a simulation


def write_episode(file: h5py.File, number: int, episode: Demonstration, space: gym.Space) -> None:
    """Append an episode.

    Args:
        file: Where; it holds ``number`` episodes already.
        number: Of the episode.
        episode: What to write.
        space: Of its observations.
    """
    group = file.create_group(f"episode_{number}")
    group.attrs["id"] = number
    if episode.seed is not None:
        group.attrs["seed"] = episode.seed
    group.attrs["total_steps"] = len(episode)
    _put_nested(group, "observations", space, episode.observation)
    put(group, "actions", episode.action)
    put(group, "rewards", episode.reward)
    put(group, "terminations", episode.terminated)
    put(group, "truncations", episode.truncated)
    infos = group.create_group("infos")
    if episode.clean_action is not None:
        put(infos, "expert_action", episode.clean_action)
    if episode.state:
        state = infos.create_group("state")
        for name, array in episode.state.items():
            put(state, name, array)
    if episode.success is not None:  # of each observation, as Minari has infos: known at last
        won = np.zeros(len(episode) + 1, np.bool_)
        won[-1] = episode.success
        put(infos, "success", won)


def _put_nested(group: h5py.Group, name: str, space: gym.Space, observation: Any) -> None:
    if isinstance(space, spaces.Dict | spaces.Tuple):
        inside = group.create_group(name)
        for key, part, place in _parts(space):
            _put_nested(inside, key, part, observation[place])
    else:
        put(group, name, np.asarray(observation))


def _parts(space: spaces.Dict | spaces.Tuple) -> list[tuple[str, gym.Space, Any]]:
    """Return the name in the file, the space and the key or index of each part."""
    if isinstance(space, spaces.Dict):
        return [(name, part, name) for name, part in space.items()]
    return [(f"_index_{k}", part, k) for k, part in enumerate(space)]


def read_episode(
    stored: Stored, number: int, observation_space: gym.Space, action_space: gym.Space
) -> Demonstration:
    """Return an episode once all of it is as it should be.

    Raises:
        RobolearnError: Shapes, numbers or ends that cannot be.
    """
    group = stored.group(stored.top, f"episode_{number}")
    where = f"{stored.path}: episode_{number}"
    reward = _as_space(f"{where}/rewards", stored.array(group, "rewards"), _REWARD, None)
    steps = len(reward)
    if not steps:
        raise RobolearnError(f"{where} has no steps, expected at least one. Leave it out.")
    infos = stored.group(group, "infos") if stored.has(group, "infos") else None
    clean, state, success = None, {}, None
    if infos is not None:
        if stored.has(infos, "expert_action"):
            wanted = stored.array(infos, "expert_action")
            clean = _as_space(f"{where}/infos/expert_action", wanted, action_space, steps)
        state = _state(stored, infos, where, steps)
        success = _success(stored, infos, steps)
    return Demonstration(
        observation=_nested(
            stored, group, "observations", f"{where}/observations", observation_space, steps + 1
        ),
        action=_nested(stored, group, "actions", f"{where}/actions", action_space, steps),
        reward=reward,
        terminated=_ends(stored, group, "terminations", where, steps),
        truncated=_ends(stored, group, "truncations", where, steps),
        clean_action=clean,
        state=state,
        success=success,
        seed=stored.whole(group, "seed"),
    )


_REWARD = spaces.Box(-np.inf, np.inf, (), np.float64)
"""What a reward may be."""


def _nested(
    stored: Stored, parent: h5py.Group, name: str, where: str, space: gym.Space, count: int
) -> Any:
    """Return ``count`` of a space, nested as it is."""
    if not isinstance(space, spaces.Dict | spaces.Tuple):
        return _as_space(where, stored.array(parent, name), space, count)
    inside = stored.group(parent, name)
    parts = {
        place: _nested(stored, inside, key, f"{where}/{shown(key)}", part, count)
        for key, part, place in _parts(space)
    }
    return parts if isinstance(space, spaces.Dict) else tuple(parts.values())


def _ends(stored: Stored, group: h5py.Group, name: str, where: str, steps: int) -> np.ndarray:
    """Return at which step the episode ended, the last at most. Shape (T,), bool."""
    flags = stored.array(group, name)
    _require(flags.shape == (steps,), f"{where}/{name}", f"shape {flags.shape}", f"({steps},)")
    _require(
        flags.dtype.kind in "biu" and bool(np.isin(flags, (0, 1)).all()),
        f"{where}/{name}",
        f"{flags.dtype} of other values",
        "truth values",
    )
    early = np.flatnonzero(flags[:-1])
    if early.size:
        raise RobolearnError(
            f"{where}/{name} has the episode end at step {early[0]} of {steps}, expected no end "
            "before the last. Store every episode by itself."
        )
    return flags.astype(np.bool_)


def _state(stored: Stored, infos: h5py.Group, where: str, steps: int) -> dict[str, np.ndarray]:
    """Return the state of the simulation, where it is told. Shapes (T + 1, ...), float64."""
    if not stored.is_group(infos, "state"):
        return {}
    group, state = stored.group(infos, "state"), {}
    for name in stored.names(group, _MOST_STATES):
        if stored.is_group(group, name):
            continue
        array, here = stored.array(group, name), f"{where}/infos/state/{shown(name)}"
        shape = array.shape[1:]
        space = spaces.Box(-np.inf, np.inf, shape, np.float64)
        state[name] = _as_space(here, array, space, steps + 1)
    return state


def _success(stored: Stored, infos: h5py.Group, steps: int) -> bool | None:
    """Return whether the episode was a success at any time, None where nobody says."""
    if not stored.has(infos, "success") or stored.is_group(infos, "success"):
        return None
    told = stored.array(infos, "success")
    if told.dtype.kind not in "biu" or told.shape not in ((), (steps,), (steps + 1,)):
        return None
    return bool(told.any())


def _as_space(where: str, array: np.ndarray, space: gym.Space, count: int | None) -> np.ndarray:
    """Return stored numbers as a batch of a space.

    Args:
        where: Their name in messages.
        array: What is stored.
        space: A Box, or one of whole numbers.
        count: How many; None for as many as there are.

    Raises:
        RobolearnError: Another shape, or numbers that are not of the space.
    """
    count = (len(array) if array.ndim else 0) if count is None else count
    expected = (count, *(space.shape or ()))
    _require(array.shape == expected, where, f"shape {array.shape}", f"{expected}")
    if isinstance(space, spaces.Box) and space.dtype.kind == "f":
        with np.errstate(over="ignore"):
            numbers = array.astype(space.dtype, copy=False)
        if not np.isfinite(numbers).all():
            row = int(np.argwhere(~np.isfinite(numbers))[0][0])
            raise RobolearnError(f"{where} is not finite in row {row}, expected finite numbers.")
        return numbers
    low, high = _range(space)
    _require(array.dtype.kind in "biu", where, f"{array.dtype}", "whole numbers")
    if array.size:
        outside = (array < low) | (array > high)
        found = f"{array[outside].flat[0]}" if outside.any() else ""
        _require(not outside.any(), where, found, f"numbers of {' '.join(str(space).split())}")
    return array.astype(space.dtype, copy=False)


def _range(space: gym.Space) -> tuple[Any, Any]:
    """Return the lowest and the highest of whole numbers a space has."""
    if isinstance(space, spaces.Discrete):
        return space.start, space.start + space.n - 1
    if isinstance(space, spaces.MultiDiscrete):
        return space.start, space.start + space.nvec - 1
    if isinstance(space, spaces.MultiBinary) or space.dtype == np.bool_:
        return 0, 1
    if isinstance(space, spaces.Box) and space.dtype is not None:
        return np.iinfo(space.dtype).min, np.iinfo(space.dtype).max
    raise RobolearnError(f"Demonstrations of {type(space).__name__} cannot be read.")


def _require(right: bool, where: str, found: str, expected: str) -> None:
    if not right:
        raise RobolearnError(f"{where} has {found}, expected {expected}.")
