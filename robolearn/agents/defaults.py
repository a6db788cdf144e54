"""Tuned hyper-parameters per agent and environment, over the defaults in each config class.

Found with ``python -m benchmarks.tune``: a handful of settings a task, on one to three seeds. What
they reach on further seeds is measured by ``python -m benchmarks.learning``.
"""

from dataclasses import fields
from typing import Any

_BY_LIDAR: dict[str, Any] = {
    "num_envs": 128,
    "minibatch": 2048,
    "gamma": 0.995,
    "hidden": (128, 128),
    "activation": "relu",
    "logarithm": True,
}

TUNED: dict[tuple[str, str], dict[str, Any]] = {
    ("dqn", "Acrobot-v1"): {
        "prioritised": True,
        "dueling": True,
        "returns": "categorical",
        "n_step": 5,
        "capacity": 100_000,
        "epsilon_end": 0.01,
    },
    ("dqn", "CartPole-v1"): {"returns": "categorical"},
    ("dqn", "LunarLander-v3"): {
        "prioritised": True,
        "updates": 32,
        "capacity": 100_000,
        "epsilon_fraction": 0.1,
    },
    ("dqn", "robolearn/CartPoleBalance-v0"): {"returns": "categorical"},
    ("pqn", "CartPole-v1"): {"gamma": 0.98},
    ("ppo", "InvertedDoublePendulum-v5"): {
        "rollout_steps": 128,
        "minibatch": 1024,
        "epochs": 10,
        "learning_rate": 5e-4,
    },
    ("ppo", "LunarLander-v3"): {"gamma": 0.999, "gae_lambda": 0.98, "entropy": 0.01},
    ("ppo", "robolearn/CartPoleDMC-v0"): {
        "num_envs": 64,
        "minibatch": 1024,
        "gamma": 0.995,
        "entropy": 0.005,
    },
    ("reinforce", "InvertedPendulum-v5"): {"learning_rate": 3e-3},
    ("ppo", "robolearn/CartPoleBalance-v0"): {"learning_rate": 3e-3, "epochs": 10},
    ("dqn", "robolearn/NavLidar-v0"): {
        "num_envs": 32,
        "n_step": 3,
        "updates": 16,
        "epsilon_fraction": 0.3,
        "gamma": 0.98,
        "logarithm": True,
    },
    ("ppo", "robolearn/NavDepth-v0"): {
        "num_envs": 64,
        "epochs": 4,
        "minibatch": 1024,
        "learning_rate": 7e-4,
        "hidden": (128,),
        "activation": "relu",
        "memory": 128,
    },
    ("ppo", "robolearn/NavLidar-v0"): _BY_LIDAR,
    ("ppo", "robolearn/NavRover-v0"): _BY_LIDAR,
    ("ppo", "robolearn/CartPoleSwingUp-v0"): {
        "num_envs": 64,
        "minibatch": 1024,
        "gamma": 0.995,
        "learning_rate": 2e-3,
        "entropy": 0.005,
    },
}


STEPS: dict[tuple[str, str], int] = {
    ("a2c", "InvertedPendulum-v5"): 1_000_000,
    ("dqn", "CartPole-v1"): 50_000,
    ("dqn", "robolearn/CartPoleBalance-v0"): 60_000,
    ("ppo", "Acrobot-v1"): 1_000_000,
    ("ppo", "InvertedDoublePendulum-v5"): 1_000_000,
    ("ppo", "InvertedPendulum-v5"): 1_000_000,
    ("ppo", "LunarLander-v3"): 1_000_000,
    ("ppo", "robolearn/CartPoleDMC-v0"): 2_000_000,
    ("reinforce", "InvertedPendulum-v5"): 3_000_000,
    ("dqn", "robolearn/NavLidar-v0"): 150_000,
    ("ppo", "robolearn/CartPoleSwingUp-v0"): 300_000,
    ("ppo", "robolearn/NavDepth-v0"): 300_000,
    ("ppo", "robolearn/NavLidar-v0"): 1_200_000,
    ("ppo", "robolearn/NavRover-v0"): 400_000,
}
"""Environment steps after which an agent is good at its task, where that is known."""


def usual_steps(agent: str, env_id: str) -> int:
    """Return how many environment steps to learn from where the user does not say."""
    return STEPS.get((agent, env_id), 100_000)


def tuned(agent: str, env_id: str | None) -> dict[str, Any]:
    """Return what to override in the agent's config for an environment; {} if nothing."""
    return TUNED.get((agent, env_id or ""), {})


def usual_config(cls: Any, agent: str, env_id: str | None, num_envs: int | None) -> Any:
    """Return what an agent learns with where the user does not say.

    Args:
        cls: Class of its hyper-parameters.
        agent: Its name.
        env_id: The environment, None where it has no name.
        num_envs: How many there are, None for the usual number; a minibatch is held to what so
            many give.
    """
    settings: dict[str, Any] = tuned(agent, env_id)
    if num_envs is None:
        return cls(**settings)
    usual: dict[str, Any] = {field.name: field.default for field in fields(cls)}
    settings = usual | settings | {"num_envs": num_envs}
    if {"minibatch", "rollout_steps"} <= settings.keys():
        settings["minibatch"] = min(settings["minibatch"], num_envs * settings["rollout_steps"])
    return cls(**settings)
