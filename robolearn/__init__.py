"""Train controllers in simulation, show them as videos, compare them with Stable-Baselines3.

>>> from robolearn import PPO, evaluate
>>> agent = PPO("robolearn/CartPoleSwingUp-v0", engine="mujoco").learn(300_000)
>>> print(evaluate(agent, "robolearn/CartPoleSwingUp-v0", engine="bullet"))
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robolearn.agents.dqn import DQN, DQNConfig
    from robolearn.agents.ppo import PPO, PPOConfig
    from robolearn.environments import EnvConfig
    from robolearn.evaluation import Evaluation, evaluate

__all__ = ["DQN", "PPO", "DQNConfig", "EnvConfig", "Evaluation", "PPOConfig", "evaluate"]

_HOME = {
    "DQN": "robolearn.agents.dqn",
    "DQNConfig": "robolearn.agents.dqn",
    "PPO": "robolearn.agents.ppo",
    "PPOConfig": "robolearn.agents.ppo",
    "EnvConfig": "robolearn.environments",
    "Evaluation": "robolearn.evaluation",
    "evaluate": "robolearn.evaluation",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: torch takes over a second."""
    if name not in _HOME:
        raise AttributeError(f"module 'robolearn' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
