"""Agents: one algorithm, one file. Listing them does not import torch."""

import importlib
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


def agent_class(name: str) -> Any:
    """Return an agent's class.

    Raises:
        RobolearnError: No such agent; the message suggests the nearest.
    """
    if name not in AGENTS:
        raise RobolearnError(did_you_mean("agent", name, AGENTS))
    module, _, attribute = AGENTS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
