"""Hyper-parameters for Stable-Baselines3, frozen from public sources; no SB3 is imported here."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import ceil, log
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

from robolearn.agents.ppo import PPOConfig

Algorithm: TypeAlias = Literal["a2c", "dqn", "ppo"]

ALGORITHMS: tuple[Algorithm, ...] = ("a2c", "dqn", "ppo")
"""SB3's algorithms we compare with."""


@dataclass(frozen=True)
class Linear:
    """A value that falls linearly while SB3 learns, in the form SB3 takes schedules in.

    SB3 asks after each rollout, so its first update is already one rollout down the line and its
    last one is at the end of it. It overshoots the end where the steps are no multiple of a
    rollout; the value stays at ``last`` then instead of turning negative.
    """

    first: float
    last: float = 0.0

    def __call__(self, remaining: float) -> float:
        """Return the value with the part ``remaining`` of learning to go."""
        return self.last + (self.first - self.last) * max(remaining, 0.0)

    def __str__(self) -> str:
        """Return it in words."""
        return f"{self.first:g}, falling linearly to {self.last:g}"


@dataclass(frozen=True, kw_only=True)
class SB3Row:
    """How to train with SB3."""

    source: str
    """Where the numbers come from, as the comparison table says it."""
    num_envs: int
    """Environments stepped together."""
    normalize: bool = False
    """Normalize observations and rewards with SB3's VecNormalize."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the SB3 class, by SB3's names."""

    def __post_init__(self) -> None:
        """Refuse normalized rewards whose discount is not said."""
        if self.normalize and "gamma" not in self.arguments:
            raise ValueError(
                "A row that normalizes must name gamma, which scales rewards too; "
                f"got {sorted(self.arguments)}."
            )

    def within(self, steps: int) -> "SB3Row":
        """Return the row with a rollout no longer than all of learning, which it would exceed."""
        if "n_steps" not in self.arguments:
            return self
        # PPO refuses a rollout of a single step, which has no advantage to normalize.
        longest = ceil(max(steps, 2) / self.num_envs)
        shorter = {"n_steps": min(self.arguments["n_steps"], longest)}
        return replace(self, arguments={**self.arguments, **shorter})


# DLR-RM/rl-baselines3-zoo: hyperparams/a2c.yml at c6c209e, dqn.yml at ce95481, ppo.yml at 208b6fd.
# What a row there leaves out is SB3's default, and one environment. Its LunarLander-v2 is today's
# v3, its MuJoCo pendulums of v2 are today's v5.
_ZOO = "rl-baselines3-zoo"

# CartPole-v1 ("Tuned", for 100k steps).
_PPO_CARTPOLE = SB3Row(
    source=f"{_ZOO}, ppo CartPole-v1",
    num_envs=8,
    arguments={
        "n_steps": 32,
        "batch_size": 256,
        "gae_lambda": 0.8,
        "gamma": 0.98,
        "n_epochs": 20,
        "ent_coef": 0.0,
        "learning_rate": Linear(1e-3),
        "clip_range": Linear(0.2),
    },
)

# Acrobot-v1 (for 1M steps).
_PPO_ACROBOT = SB3Row(
    source=f"{_ZOO}, ppo Acrobot-v1",
    num_envs=16,
    normalize=True,
    arguments={"n_steps": 256, "gae_lambda": 0.94, "gamma": 0.99, "n_epochs": 4, "ent_coef": 0.0},
)

# LunarLander-v2 (for 1M steps).
_PPO_LUNAR_LANDER = SB3Row(
    source=f"{_ZOO}, ppo LunarLander-v2",
    num_envs=16,
    arguments={
        "n_steps": 1024,
        "batch_size": 64,
        "gae_lambda": 0.98,
        "gamma": 0.999,
        "n_epochs": 4,
        "ent_coef": 0.01,
    },
)

# InvertedPendulum-v2 ("Tuned", for 1M steps).
_PPO_PENDULUM = SB3Row(
    source=f"{_ZOO}, ppo InvertedPendulum-v2",
    num_envs=1,
    normalize=True,
    arguments={
        "n_steps": 32,
        "batch_size": 64,
        "gae_lambda": 0.9,
        "gamma": 0.999,
        "n_epochs": 5,
        "ent_coef": 1.37976e-07,
        "learning_rate": 0.000222425,
        "clip_range": 0.4,
        "max_grad_norm": 0.3,
        "vf_coef": 0.19816,
    },
)

# InvertedDoublePendulum-v2 ("Tuned", for 1M steps).
_PPO_DOUBLE_PENDULUM = SB3Row(
    source=f"{_ZOO}, ppo InvertedDoublePendulum-v2",
    num_envs=1,
    normalize=True,
    arguments={
        "n_steps": 128,
        "batch_size": 512,
        "gae_lambda": 0.8,
        "gamma": 0.98,
        "n_epochs": 10,
        "ent_coef": 1.05057e-06,
        "learning_rate": 0.000155454,
        "clip_range": 0.4,
        "max_grad_norm": 0.5,
        "vf_coef": 0.695929,
    },
)

# CartPole-v1 ("Almost Tuned", for 50k steps).
_DQN_CARTPOLE = SB3Row(
    source=f"{_ZOO}, dqn CartPole-v1",
    num_envs=1,
    arguments={
        "learning_rate": 2.3e-3,
        "batch_size": 64,
        "buffer_size": 100_000,
        "learning_starts": 1_000,
        "gamma": 0.99,
        "target_update_interval": 10,
        "train_freq": 256,
        "gradient_steps": 128,
        "exploration_fraction": 0.16,
        "exploration_final_eps": 0.04,
        "policy_kwargs": {"net_arch": [256, 256]},
    },
)

# Acrobot-v1 ("Tuned", for 100k steps); LunarLander-v2 has the same numbers.
_DQN_ACROBOT = SB3Row(
    source=f"{_ZOO}, dqn Acrobot-v1",
    num_envs=1,
    arguments={
        "learning_rate": 6.3e-4,
        "batch_size": 128,
        "buffer_size": 50_000,
        "learning_starts": 0,
        "gamma": 0.99,
        "target_update_interval": 250,
        "train_freq": 4,
        "gradient_steps": -1,
        "exploration_fraction": 0.12,
        "exploration_final_eps": 0.1,
        "policy_kwargs": {"net_arch": [256, 256]},
    },
)

# CartPole-v1 (for 500k steps).
_A2C_CARTPOLE = SB3Row(source=f"{_ZOO}, a2c CartPole-v1", num_envs=8, arguments={"ent_coef": 0.0})

# Acrobot-v1 (for 500k steps); it leaves gamma to SB3's default.
_A2C_ACROBOT = SB3Row(
    source=f"{_ZOO}, a2c Acrobot-v1",
    num_envs=16,
    normalize=True,
    arguments={"ent_coef": 0.0, "gamma": 0.99},
)

# LunarLander-v2 (for 200k steps).
_A2C_LUNAR_LANDER = SB3Row(
    source=f"{_ZOO}, a2c LunarLander-v2",
    num_envs=8,
    arguments={
        "gamma": 0.995,
        "n_steps": 5,
        "learning_rate": Linear(8.3e-4),
        "ent_coef": 1e-5,
    },
)

# HalfCheetah-v4, which the file names its defaults for MuJoCo (for 1M steps). It has no row for
# the pendulums, and these leave gamma to SB3's default.
_A2C_MUJOCO = SB3Row(
    source=f"{_ZOO}, a2c HalfCheetah-v4 (its MuJoCo defaults)",
    num_envs=1,
    normalize=True,
    arguments={"gamma": 0.99},
)

# InvertedPendulumSwingupBulletEnv-v0 (for 2M steps): the zoo's cart-pole swing-up.
_PPO_SWING_UP = SB3Row(
    source=f"{_ZOO}, ppo InvertedPendulumSwingupBulletEnv-v0",
    num_envs=8,
    normalize=True,
    arguments={
        "n_steps": 2048,
        "batch_size": 64,
        "gae_lambda": 0.95,
        "gamma": 0.99,
        "n_epochs": 10,
        "ent_coef": 0.0,
        "learning_rate": 2.5e-4,
        "clip_range": 0.2,
    },
)

SB3_TABLE: Mapping[tuple[Algorithm, str], SB3Row] = MappingProxyType(
    {
        ("a2c", "Acrobot-v1"): _A2C_ACROBOT,
        ("a2c", "CartPole-v1"): _A2C_CARTPOLE,
        ("a2c", "InvertedDoublePendulum-v5"): _A2C_MUJOCO,
        ("a2c", "InvertedPendulum-v5"): _A2C_MUJOCO,
        ("a2c", "LunarLander-v3"): _A2C_LUNAR_LANDER,
        ("a2c", "robolearn/CartPoleBalance-v0"): _A2C_CARTPOLE,
        ("dqn", "Acrobot-v1"): _DQN_ACROBOT,
        ("dqn", "LunarLander-v3"): replace(_DQN_ACROBOT, source=f"{_ZOO}, dqn LunarLander-v2"),
        ("ppo", "Acrobot-v1"): _PPO_ACROBOT,
        ("ppo", "InvertedDoublePendulum-v5"): _PPO_DOUBLE_PENDULUM,
        ("ppo", "InvertedPendulum-v5"): _PPO_PENDULUM,
        ("ppo", "LunarLander-v3"): _PPO_LUNAR_LANDER,
        ("ppo", "CartPole-v1"): _PPO_CARTPOLE,
        ("ppo", "robolearn/CartPoleBalance-v0"): _PPO_CARTPOLE,
        ("ppo", "robolearn/CartPoleSwingUp-v0"): _PPO_SWING_UP,
        ("ppo", "robolearn/CartPoleDMC-v0"): _PPO_SWING_UP,
        ("dqn", "CartPole-v1"): _DQN_CARTPOLE,
        ("dqn", "robolearn/CartPoleBalance-v0"): _DQN_CARTPOLE,
        ("dqn", "robolearn/CartPoleSwingUp-v0"): _DQN_CARTPOLE,
        ("dqn", "robolearn/CartPoleDMC-v0"): _DQN_CARTPOLE,
    }
)
"""Rows by algorithm and environment."""

# What SB3 does where nothing is said (2.9); the number of environments is ours to choose.
_DEFAULTS: Mapping[Algorithm, SB3Row] = {
    "a2c": SB3Row(
        source="SB3's defaults, 8 environments",
        num_envs=8,
        arguments={"n_steps": 5, "gamma": 0.99},
    ),
    "ppo": SB3Row(
        source="SB3's defaults, 8 environments",
        num_envs=8,
        arguments={"n_steps": 2048, "batch_size": 64, "gamma": 0.99},
    ),
    "dqn": SB3Row(source="SB3's defaults, 1 environment", num_envs=1),
}


def row_for(algorithm: Algorithm, env_id: str) -> SB3Row:
    """Return the frozen row of an environment, or SB3's defaults where there is none."""
    return SB3_TABLE.get((algorithm, env_id), _DEFAULTS[algorithm])


def matched(config: PPOConfig) -> SB3Row:
    """Return SB3's PPO with our own hyper-parameters: as many updates on as many steps.

    Not everything can be said in SB3's terms. It normalizes rewards where we normalize value
    targets, observations by moments of every step where ours are of whole rollouts, advantages
    by the minibatch where we do by the rollout; it does not stagger episodes, scales initial
    weights by sqrt(2) where we do by 5/3, has tanh layers, no GRU and takes no logarithms,
    finishes its last rollout, and its learning rate is one rollout ahead (see :class:`Linear`).
    Nor has it our ``squash_output``, ``state_dependent_std`` or adaptive learning rate.
    """
    hidden = list(config.hidden_sizes)
    return SB3Row(
        source="robolearn's ppo",
        num_envs=config.num_envs,
        normalize=config.normalize_obs,
        arguments={
            "n_steps": config.n_steps,
            "batch_size": config.batch_size,
            "n_epochs": config.n_epochs,
            "gamma": config.gamma,
            "gae_lambda": config.gae_lambda,
            "clip_range": config.clip_range,
            "learning_rate": Linear(
                config.learning_rate, config.learning_rate * (config.lr_schedule == "constant")
            ),
            "ent_coef": config.ent_coef,
            "vf_coef": config.vf_coef,
            "clip_range_vf": config.clip_range_vf,
            "max_grad_norm": config.max_grad_norm,
            "normalize_advantage": config.normalize_advantage,
            "policy_kwargs": {
                "net_arch": {"pi": hidden, "vf": hidden},
                "log_std_init": log(config.init_std),
            },
        },
    )
