"""Tuned hyper-parameters per agent and environment, over the defaults in each config class.

Found with ``python -m benchmarks.tune`` on one to three seeds; ``python -m benchmarks.learning``
measures what they reach on other seeds.
"""

from dataclasses import fields
from typing import Any

DQN_SHARED: dict[str, Any] = {
    "double_q": True,
    "n_step": 3,
    "layer_norm": True,
    "lr_schedule": "linear",
    "target_update_interval": 800,
}
"""What all tuned settings of DQN have in common."""

A2C_SHARED: dict[str, Any] = {"n_steps": 16, "gae_lambda": 0.95, "normalize_advantage": True}
"""What all tuned settings of A2C have in common."""

_BY_LIDAR: dict[str, Any] = {
    "num_envs": 128,
    "batch_size": 2048,
    "gamma": 0.995,
    "hidden_sizes": (128, 128),
    "activation": "relu",
    "log_scale_obs": True,
}

TUNED: dict[tuple[str, str], dict[str, Any]] = {
    ("a2c", "CartPole-v1"): A2C_SHARED,
    ("a2c", "InvertedPendulum-v5"): A2C_SHARED,
    ("a2c", "robolearn/CartPoleBalance-v0"): A2C_SHARED,
    ("a2c", "robolearn/CartPoleSwingUp-v0"): A2C_SHARED,
    ("a2c", "robolearn/NavLidar-v0"): A2C_SHARED,
    ("dqn", "Acrobot-v1"): {
        **DQN_SHARED,
        "prioritized_replay": True,
        "dueling": True,
        "value_distribution": "c51",
        "n_step": 5,
        "buffer_size": 100_000,
        "exploration_final_eps": 0.01,
    },
    ("dqn", "CartPole-v1"): {**DQN_SHARED, "value_distribution": "c51"},
    ("dqn", "LunarLander-v3"): {
        **DQN_SHARED,
        "prioritized_replay": True,
        "gradient_steps": 32,
        "target_update_interval": 200,
        "buffer_size": 100_000,
        "exploration_fraction": 0.1,
    },
    ("dqn", "robolearn/CartPoleBalance-v0"): {**DQN_SHARED, "value_distribution": "c51"},
    ("dqn", "robolearn/CartPoleDMC-v0"): DQN_SHARED,
    ("dqn", "robolearn/CartPoleSwingUp-v0"): DQN_SHARED,
    ("pqn", "CartPole-v1"): {
        "q_lambda": 0.95,
        "exploration_final_eps": 0.2,
        "learning_rate": 3e-3,
        "batch_size": 128,
    },
    ("ppo", "InvertedDoublePendulum-v5"): {
        "n_steps": 128,
        "batch_size": 1024,
        "n_epochs": 10,
        "learning_rate": 5e-4,
    },
    ("ppo", "LunarLander-v3"): {"gamma": 0.999, "gae_lambda": 0.98, "ent_coef": 0.01},
    ("ppo", "robolearn/CartPoleDMC-v0"): {
        "num_envs": 64,
        "batch_size": 1024,
        "gamma": 0.995,
        "ent_coef": 0.005,
    },
    ("rainbow", "robolearn/CartPoleSwingUp-v0"): {
        "n_step": 5,
        "learning_rate": 2e-3,
        "adam_eps": 1e-8,
    },
    ("reinforce", "InvertedPendulum-v5"): {"learning_rate": 3e-3},
    ("ppo", "robolearn/CartPoleBalance-v0"): {"learning_rate": 3e-3, "n_epochs": 10},
    ("dqn", "robolearn/NavLidar-v0"): {
        **DQN_SHARED,
        "num_envs": 32,
        "gradient_steps": 16,
        "exploration_fraction": 0.3,
        "gamma": 0.98,
        "log_scale_obs": True,
    },
    ("ppo", "robolearn/NavDepth-v0"): {
        "num_envs": 64,
        "n_epochs": 4,
        "batch_size": 1024,
        "learning_rate": 7e-4,
        "hidden_sizes": (128,),
        "activation": "relu",
        "gru_hidden_size": 128,
    },
    ("ppo", "robolearn/NavLidar-v0"): _BY_LIDAR,
    ("ppo", "robolearn/NavRover-v0"): _BY_LIDAR,
    ("ppo", "robolearn/CartPoleSwingUp-v0"): {
        "num_envs": 64,
        "batch_size": 1024,
        "gamma": 0.995,
        "learning_rate": 2e-3,
        "ent_coef": 0.005,
    },
}

_REWARDS: dict[str, tuple[float, float]] = {
    "Acrobot-v1": (-1.0, 0.0),
    "CartPole-v1": (0.0, 1.0),
    "MountainCar-v0": (-1.0, 0.0),
    "robolearn/CartPoleBalance-v0": (0.0, 1.0),
    "robolearn/CartPoleDMC-v0": (0.0, 1.0),
    "robolearn/CartPoleSwingUp-v0": (0.0, 1.0),
}
"""Least and greatest reward of a step, and 0 for the steps after an episode's end."""

_RETURNS: dict[str, tuple[float, float]] = {
    "robolearn/NavDepth-v0": (-10.0, 15.0),
    "robolearn/NavLidar-v0": (-10.0, 15.0),
    "robolearn/NavRover-v0": (-10.0, 15.0),
}
"""Least and greatest discounted return. Navigation rewards the goal by 10 and a collision by -5,
which end the episode, a step by -0.01 and each meter nearer to the goal by 1; the arena is 10 m
wide."""

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


def default_total_steps(agent: str, env_id: str) -> int:
    """Return the default of how many environment steps to learn from."""
    return STEPS.get((agent, env_id), 100_000)


def return_range(env_id: str | None, gamma: float) -> tuple[float, float] | None:
    """Return the least and greatest discounted return of an environment; None if not known.

    Rewards of a step in [low, high] give returns in [low, high] / (1 - gamma), also where a time
    limit truncates the episode.
    """
    if env_id in _RETURNS:
        return _RETURNS[env_id]
    if env_id not in _REWARDS or gamma == 1:
        return None
    low, high = _REWARDS[env_id]
    return low / (1 - gamma), high / (1 - gamma)


def tuned(agent: str, env_id: str | None) -> dict[str, Any]:
    """Return the tuned hyper-parameters of an agent in an environment; DQfD has those of DQN."""
    return TUNED.get(("dqn" if agent == "dqfd" else agent, env_id or ""), {})


def default_config(cls: Any, agent: str, env_id: str | None, num_envs: int | None) -> Any:
    """Return an agent's default hyper-parameters in an environment.

    Args:
        cls: Class of the hyper-parameters.
        agent: Its name.
        env_id: The environment, None where it has no name.
        num_envs: How many there are, None for the default; ``batch_size`` is at most their rollout.
    """
    settings: dict[str, Any] = tuned(agent, env_id)
    if num_envs is None:
        return cls(**settings)
    usual: dict[str, Any] = {field.name: field.default for field in fields(cls)}
    settings = usual | settings | {"num_envs": num_envs}
    if {"batch_size", "n_steps"} <= settings.keys():
        settings["batch_size"] = min(settings["batch_size"], num_envs * settings["n_steps"])
    return cls(**settings)
