"""What suits learning from demonstrations, over the agents' defaults and tuned settings."""

from typing import Any

from robolearn.agents.defaults import DQN_SHARED, tuned

_SWING_UP = "robolearn/CartPoleSwingUp-v0"
_LIDAR = "robolearn/NavLidar-v0"

_FINE: dict[str, Any] = {"freeze_obs_norm": True, "learning_rate": 1e-4}

LEARNERS: dict[str, dict[str, Any]] = {
    "bc": {"gru_hidden_size": 0},
    "dagger": {"gru_hidden_size": 0},
    "ppo": {
        **_FINE,
        "gru_hidden_size": 0,
        "bc_kl_coef": 1.0,
        "bc_kl_anneal_fraction": 1.0,
        "critic_warmup_fraction": 0.25,
        "init_std": 0.2,
    },
    "dqfd": {
        **_FINE,
        "margin_loss_coef": 20.0,
        "prioritized_replay": True,
        "dueling": True,
        "n_step": 20,
        "batch_size": 256,
        "gradient_steps": 10,
        "target_update_interval": 6_400,
        "exploration_initial_eps": 0.01,
        "exploration_final_eps": 0.01,
        "value_distribution": "none",
    },
    "mixed": {"demo_ratio": 0.5, "prioritized_replay": False},
    "sqil": {"demo_ratio": 0.5, "prioritized_replay": False, "sqil_rewards": True},
    "jump-start": {"exploration_initial_eps": 0.1},
}
"""By learner."""

ENVIRONMENTS: dict[tuple[str, str], dict[str, Any]] = {
    ("ppo", _SWING_UP): {"hidden_sizes": (128, 128), "first_layer_gain": 4.0},
    ("ppo", _LIDAR): {"hidden_sizes": (256, 256)},
    ("dqn", _SWING_UP): {"layer_norm": False, "first_layer_gain": 8.0},
    ("dqfd", _LIDAR): {"target_update_interval": 12_800},  # of twice as many environments
}
"""By agent or learner, and environment."""


def imitating(learner: str, agent: str, env_id: str) -> dict[str, Any]:
    """Return hyper-parameters of an agent to learn from demonstrations in an environment."""
    name = "dqn" if agent == "dqfd" else agent
    shared = DQN_SHARED if name == "dqn" else {}
    suiting = ENVIRONMENTS.get((name, env_id), {})
    last = ENVIRONMENTS.get((learner, env_id), {})
    return {**shared, **tuned(name, env_id), **suiting, **LEARNERS[learner], **last}
