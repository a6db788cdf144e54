"""What suits learning from demonstrations, over the agents' defaults and tuned settings."""

from typing import Any

from robolearn.agents.defaults import tuned

_SWING_UP = "robolearn/CartPoleSwingUp-v0"
_LIDAR = "robolearn/NavLidar-v0"

_FINE: dict[str, Any] = {"keep_moments": True, "learning_rate": 1e-4}

LEARNERS: dict[str, dict[str, Any]] = {
    "bc": {"memory": 0},
    "dagger": {"memory": 0},
    "ppo": {
        **_FINE,
        "memory": 0,
        "clone_kl": 1.0,
        "clone_fraction": 1.0,
        "critic_warmup": 0.25,
        "initial_std": 0.2,
    },
    "dqfd": {
        **_FINE,
        "margin_weight": 20.0,
        "prioritised": True,
        "dueling": True,
        "n_step": 20,
        "batch": 256,
        "updates": 10,
        "target_period": 1_000,
        "epsilon_start": 0.01,
        "epsilon_end": 0.01,
        "returns": "mean",
    },
    "mixed": {"shown_share": 0.5, "prioritised": False},
    "sqil": {"shown_share": 0.5, "prioritised": False, "reward_free": True},
    "jump-start": {"epsilon_start": 0.1},
}
"""By learner."""

ENVIRONMENTS: dict[tuple[str, str], dict[str, Any]] = {
    ("ppo", _SWING_UP): {"hidden": (128, 128), "sharpness": 4.0},
    ("ppo", _LIDAR): {"hidden": (256, 256)},
    ("dqn", _SWING_UP): {"layer_norm": False, "sharpness": 8.0},
}
"""By agent and environment."""


def imitating(learner: str, agent: str, env_id: str) -> dict[str, Any]:
    """Return what to override in an agent's config to learn from demonstrations somewhere."""
    suiting = ENVIRONMENTS.get((agent, env_id), {})
    return {**tuned(agent, env_id), **suiting, **LEARNERS[learner]}
