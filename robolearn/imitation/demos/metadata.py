"""Minari's ``metadata.json``: written with Minari, read with care."""

import copy
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
from minari.dataset.minari_storage import MinariStorage, is_image_space

from robolearn.environments import EnvConfig, described
from robolearn.errors import RobolearnError
from robolearn.files import read_json, shown
from robolearn.making import import_env_module
from robolearn.spaces_json import space_from_json
from robolearn_envs.registry import is_registered

METADATA = "metadata.json"
_LARGEST = 64 * 2**20  # bytes
_DEEPEST = 20  # levels of spaces in spaces
_SPACES = ("observation_space", "action_space")
_SEEN_ONLY = ("render_mode", "view", "width", "height")  # arguments that change pictures alone
_FIELDS = {"Box": ("dtype", "shape", "low", "high"), "Discrete": ("n", "start")} | {
    "MultiDiscrete": ("nvec", "start"),
    "MultiBinary": ("n",),
}


class Described(NamedTuple):
    """What a set says of itself."""

    env: EnvConfig | None
    """None where nobody says, or nobody here knows the environment."""
    observation_space: gym.Space
    action_space: gym.Space
    episodes: int
    steps: int | None
    facts: Mapping[str, Any]
    """All of it, as it is in the file."""


def new_storage(
    data: Path, env: EnvConfig | None, observation_space: gym.Space, action_space: gym.Space
) -> MinariStorage:
    """Return Minari's storage in a new folder, with a file for the episodes that is empty yet.

    Args:
        data: The folder; there is nothing in it.
        env: Where the episodes are recorded.
        observation_space: Of single observations.
        action_space: Of single actions.

    Raises:
        RobolearnError: Arguments of the environment, or a space, that JSON cannot hold.
    """
    spec = None
    if env is not None:
        spec = copy.deepcopy(gym.spec(import_env_module(env.id)))
        spec.kwargs.update(env.arguments())
        try:
            json.dumps(spec.kwargs)
        except (TypeError, ValueError) as error:
            raise RobolearnError(
                f"The arguments of {env.id} cannot be written: {error}. Use names and numbers."
            ) from error
        if callable(spec.entry_point) or callable(spec.vector_entry_point):
            spec = None  # a class of the user's that no file can name; the card tells the id
    try:
        return MinariStorage.new(
            data.resolve(), observation_space, action_space, spec, "hdf5", jpeg_encoding=False
        )
    except (NotImplementedError, TypeError) as error:
        raise RobolearnError(f"Minari cannot describe the spaces: {error}.") from error


def tell_storage(storage: MinariStorage, facts: Mapping[str, Any]) -> None:
    """Write what is known once all episodes are.

    Args:
        storage: Of ``new_storage``.
        facts: Metadata by Minari's names; what is None is left out.
    """
    told = {name: fact for name, fact in facts.items() if fact is not None}
    size = {"dataset_size": float(storage.get_size())}  # MB
    storage.update_metadata(
        {**told, **size, "author": {"robolearn"}, "minari_version": version("minari")}
    )


def read_metadata(path: Path) -> Described:
    """Return what a set says of itself.

    Args:
        path: Of ``metadata.json``.

    Raises:
        RobolearnError: Unreadable, or something in it cannot be.
    """
    facts = read_json(path, _LARGEST)
    kind = facts.get("data_format", "hdf5")
    if kind != "hdf5":
        raise RobolearnError(f"{path}: data_format is {shown(kind)}, expected 'hdf5'.")
    env = _env(path, facts.get("env_spec"))
    spaces = {name: _space(path, name, facts.get(name), env) for name in _SPACES}
    if facts.get("jpeg_encoding", True) and any(map(_has_pictures, spaces.values())):
        raise RobolearnError(
            f"{path}: jpeg_encoding is true, expected false: JPEG changes pictures. Make the set "
            "with create_dataset_from_buffers(..., jpeg_encoding=False)."
        )
    return Described(
        env=env,
        episodes=_count(path, facts, "total_episodes"),
        steps=_count(path, facts, "total_steps") if "total_steps" in facts else None,
        facts=facts,
        **spaces,
    )


def _has_pictures(space: gym.Space) -> bool:
    """Return whether Minari would store a part of it as JPEG."""
    if isinstance(space, gym.spaces.Dict | gym.spaces.Tuple):
        parts = space.values() if isinstance(space, gym.spaces.Dict) else space
        return any(_has_pictures(part) for part in parts)
    return is_image_space(space)


def _count(path: Path, facts: Mapping[str, Any], name: str) -> int:
    count = facts.get(name)
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count < 2**40:
        raise RobolearnError(f"{path}: {name} is {shown(count)}, expected a number above 0.")
    return count


def _env(path: Path, text: Any) -> EnvConfig | None:
    """Return the environment of a Gymnasium spec; None of one that is not known here."""
    if text is None:
        return None
    spec = _json(path, "env_spec", text)
    name, kwargs = spec.get("id"), spec.get("kwargs", {})
    if not isinstance(name, str) or not isinstance(kwargs, dict):
        raise RobolearnError(f"{path}: env_spec must have an id and kwargs, got {shown(spec)}.")
    if name not in gym.registry:
        return None
    usual = gym.spec(name).kwargs
    ours = {
        key: value
        for key, value in kwargs.items()
        if key not in _SEEN_ONLY and not (key in usual and usual[key] == value)
    }
    told: dict[str, Any] = {"id": name, "kwargs": ours}
    if is_registered(name) and "engine" in ours:
        told["engine"] = ours.pop("engine")
    try:
        return described(told)
    except RobolearnError as error:
        raise RobolearnError(f"{path}: env_spec: {error}") from error


def _space(path: Path, name: str, text: Any, env: EnvConfig | None) -> gym.Space:
    """Return a space as Minari describes it; the environment's where it is left out."""
    if text is not None:
        told = _as_ours(_json(path, name, text), f"{path}: {name}", _DEEPEST)
        return space_from_json(told, f"{path}: {name}")
    if env is None:
        raise RobolearnError(f"{path}: {name} is missing, and so is an environment known here.")
    single = env.make()
    try:
        return getattr(single, name)
    finally:
        single.close()


def _as_ours(data: Any, where: str, levels: int) -> dict[str, Any]:
    """Return Minari's description of a space as ``space_from_json`` wants it."""
    if not isinstance(data, dict) or levels < 0:
        raise RobolearnError(f"{where} must be a space, got {shown(data)}.")
    kind = data.get("type")
    if kind == "Dict" and isinstance(data.get("subspaces"), dict):
        listed = [
            [key, _as_ours(part, f"{where}.{shown(key)}", levels - 1)]
            for key, part in data["subspaces"].items()
        ]
        return {"kind": kind, "spaces": listed}
    if kind == "Tuple" and isinstance(data.get("subspaces"), list):
        parts = [
            _as_ours(part, f"{where}[{k}]", levels - 1) for k, part in enumerate(data["subspaces"])
        ]
        return {"kind": kind, "spaces": parts}
    if not isinstance(kind, str) or kind not in _FIELDS:
        raise RobolearnError(
            f"{where} is a space of type {shown(kind)}, expected one of Dict, Tuple, "
            f"{', '.join(_FIELDS)}."
        )
    return {"kind": kind, **{name: data[name] for name in _FIELDS[kind] if name in data}}


def _json(path: Path, name: str, text: Any) -> dict[str, Any]:
    """Return the object that a string in the file holds."""
    try:
        data = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError) as error:
        raise RobolearnError(f"{path}: {name} is no JSON: {shown(str(error))}.") from error
    if not isinstance(data, dict):
        raise RobolearnError(f"{path}: {name} must be an object in a string, got {shown(text)}.")
    return data
