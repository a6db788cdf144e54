"""Agents: one algorithm, one file. Listing them does not import torch."""

import importlib
import importlib.util
import os
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from robolearn.errors import RobolearnError
from robolearn_envs.names import did_you_mean

AGENTS: dict[str, str] = {
    "dqn": "robolearn.agents.dqn:DQN",
    "pqn": "robolearn.agents.pqn:PQN",
    "ppo": "robolearn.agents.ppo:PPO",
    "a2c": "robolearn.agents.a2c:A2C",
    "reinforce": "robolearn.agents.reinforce:REINFORCE",
    "q-learning": "robolearn.agents.tabular:QLearning",
    "sarsa": "robolearn.agents.tabular:SARSA",
}
"""Where each agent's class is, by name."""
_USER_CLASS = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
"""A class of the user's: module:Class."""

FROM_DEMONSTRATIONS: dict[str, str] = {"dqfd": "robolearn.agents.dqfd:DQfD"}
"""The same of agents that need demonstrations, which ``robolearn imitate`` gives them."""


def agent_class(name: str, *, outside: Path | None = None) -> Any:
    """Return an agent's class, by name or as ``module:Class``.

    The module of a user's class is imported from the current folder or PYTHONPATH. The class needs
    the members of :class:`robolearn.agents.protocols.Agent`.

    Args:
        name: Of the agent.
        outside: Folder whose files gave the name. A module in it is not imported: what is loaded
            brings no code along.

    Raises:
        RobolearnError: No such agent; the message suggests the nearest. Or a class that lacks
            something, which is named.
    """
    if is_user_class(name):
        return _user_class(name, outside)
    places = {**AGENTS, **FROM_DEMONSTRATIONS}
    if name not in places:
        raise RobolearnError(
            f"{did_you_mean('agent', name, AGENTS)} One of your own is given as module:Class."
        )
    module, _, attribute = places[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def agent_name(cls: type) -> str:
    """Return what ``agent_class`` finds a class by: its name, or ``module:Class``."""
    home = f"{cls.__module__}:{cls.__qualname__}"
    places = {**AGENTS, **FROM_DEMONSTRATIONS}
    return next((name for name, place in places.items() if place == home), home)


def is_user_class(name: str) -> bool:
    """Return whether a name is that of a user's class."""
    return _USER_CLASS.fullmatch(name) is not None


def _user_class(name: str, outside: Path | None) -> Any:
    from robolearn.agents.protocols import missing_of_class

    module_name, _, attribute = name.partition(":")
    module = _import_module(module_name, outside)
    cls = getattr(module, attribute, None)
    if not isinstance(cls, type):
        own = [value for value in vars(module).values() if isinstance(value, type)]
        classes = [value.__name__ for value in own if value.__module__ == module_name]
        raise RobolearnError(did_you_mean(f"class of {module_name}", attribute, classes))
    missing = missing_of_class(cls)
    if missing:
        raise RobolearnError(
            f"{name} is no agent: it lacks {', '.join(missing)}. Derive it from "
            "robolearn.agents.base.BaseAgent, or add what robolearn.agents.protocols.Agent names."
        )
    return cls


def _import_module(name: str, outside: Path | None) -> ModuleType:
    if name in sys.modules:
        return sys.modules[name]
    if os.getcwd() not in sys.path:  # as where the command line is a script in another folder
        sys.path.append(os.getcwd())
    spec = importlib.util.find_spec(name.partition(".")[0])
    places = [] if spec is None else [spec.origin, *(spec.submodule_search_locations or ())]
    for place in places:
        if outside and place and Path(place).resolve().is_relative_to(outside.resolve()):
            raise RobolearnError(
                f"{outside} names an agent of module '{name}', which lies in that very folder: "
                "code that comes with a run is not imported. Move it to where you trust it."
            )
    try:
        return importlib.import_module(name)
    except (ImportError, SyntaxError) as error:
        raise RobolearnError(
            f"Cannot import '{name}' from {os.getcwd()} or PYTHONPATH: {error}."
        ) from error
