"""Train controllers in simulation, show them as videos, compare them with Stable-Baselines3.

>>> from robolearn import PPO, evaluate
>>> agent = PPO("robolearn/CartPoleSwingUp-v0", engine="mujoco").learn(300_000)
>>> print(evaluate(agent, "robolearn/CartPoleSwingUp-v0", engine="bullet"))
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robolearn.agents.a2c import A2C, A2CConfig
    from robolearn.agents.dqn import DQN, DQNConfig
    from robolearn.agents.load import load_agent as load
    from robolearn.agents.ppo import PPO, PPOConfig
    from robolearn.agents.pqn import PQN, PQNConfig
    from robolearn.agents.reinforce import REINFORCE, REINFORCEConfig
    from robolearn.agents.tabular import SARSA, QLearning, QLearningConfig, SARSAConfig
    from robolearn.environments import EnvConfig
    from robolearn.evaluation import Evaluation, evaluate

__all__ = [
    "A2C",
    "DQN",
    "PPO",
    "PQN",
    "REINFORCE",
    "SARSA",
    "A2CConfig",
    "DQNConfig",
    "EnvConfig",
    "Evaluation",
    "PPOConfig",
    "PQNConfig",
    "QLearning",
    "QLearningConfig",
    "REINFORCEConfig",
    "SARSAConfig",
    "evaluate",
    "load",
]

_TABULAR = ("QLearning", "QLearningConfig", "SARSA", "SARSAConfig")
_HOME = {
    **{name: "robolearn.agents.a2c" for name in ("A2C", "A2CConfig")},
    **{name: "robolearn.agents.dqn" for name in ("DQN", "DQNConfig")},
    **{name: "robolearn.agents.ppo" for name in ("PPO", "PPOConfig")},
    **{name: "robolearn.agents.pqn" for name in ("PQN", "PQNConfig")},
    **{name: "robolearn.agents.reinforce" for name in ("REINFORCE", "REINFORCEConfig")},
    **{name: "robolearn.agents.tabular" for name in _TABULAR},
    "EnvConfig": "robolearn.environments",
    "Evaluation": "robolearn.evaluation",
    "evaluate": "robolearn.evaluation",
    "load": "robolearn.agents.load:load_agent",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: torch takes over a second."""
    if name not in _HOME:
        raise AttributeError(f"module 'robolearn' has no attribute {name!r}")
    module, _, attribute = _HOME[name].partition(":")
    return getattr(importlib.import_module(module), attribute or name)
