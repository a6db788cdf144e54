"""Tuned hyper-parameters per agent and environment, over the defaults in each config class."""

from typing import Any

TUNED: dict[tuple[str, str], dict[str, Any]] = {
    ("dqn", "robolearn/CartPoleBalance-v0"): {"n_step": 5, "updates": 12},
    ("ppo", "robolearn/CartPoleBalance-v0"): {"learning_rate": 3e-3, "epochs": 10},
    ("ppo", "robolearn/CartPoleSwingUp-v0"): {
        "num_envs": 64,
        "minibatch": 1024,
        "learning_rate": 2e-3,
        "entropy": 0.005,
    },
}


def tuned(agent: str, env_id: str | None) -> dict[str, Any]:
    """Return what to override in the agent's config for an environment; {} if nothing."""
    return TUNED.get((agent, env_id or ""), {})
