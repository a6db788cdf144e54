"""Agents: one algorithm, one file. Listing them does not import torch."""

import importlib
import importlib.util
import re
from pathlib import Path
from typing import Any

from robolearn.errors import RobolearnError
from robolearn.making import import_trusted
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
FROM_DEMONSTRATIONS: dict[str, str] = {"dqfd": "robolearn.agents.dqfd:DQfD"}
"""The same of agents that need demonstrations, which ``robolearn imitate`` gives them."""
_PLACES = AGENTS | FROM_DEMONSTRATIONS
_USER_CLASS = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)


def agent_class(name: str, *, outside: Path | None = None) -> Any:
    """Return an agent's class.

    Args:
        name: Of an agent; or ``module:Class`` of the user's, imported from the current folder or
            PYTHONPATH, with the members of :class:`robolearn.agents.protocols.Agent`.
        outside: Folder whose files gave the name: no module in it is imported.

    Raises:
        RobolearnError: No such agent, or a class that lacks a member.
    """
    if is_user_class(name):
        return _user_class(name, outside)
    if name not in _PLACES:
        raise RobolearnError(
            f"{did_you_mean('agent', name, AGENTS)} One of your own is given as module:Class."
        )
    module, _, attribute = _PLACES[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def agent_name(cls: type) -> str:
    """Return what ``agent_class`` finds a class by: its name, or ``module:Class``."""
    home = f"{cls.__module__}:{cls.__qualname__}"
    return next((name for name, place in _PLACES.items() if place == home), home)


def is_user_class(name: str) -> bool:
    """Return whether a name is that of a user's class."""
    return _USER_CLASS.fullmatch(name) is not None


def _user_class(name: str, outside: Path | None) -> Any:
    from robolearn.agents.protocols import missing_of_class

    module_name, _, attribute = name.partition(":")
    module = import_trusted(module_name, outside)
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
