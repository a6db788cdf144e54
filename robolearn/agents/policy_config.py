"""Hyper-parameters that all policy gradients share."""

import math
from dataclasses import dataclass
from typing import Literal

from robolearn.config import check_ranges
from robolearn.errors import RobolearnError
from robolearn.nn.adapters import ADAPTERS
from robolearn.nn.encoders import ACTIVATIONS
from robolearn_envs.names import did_you_mean


@dataclass(frozen=True, kw_only=True)
class PolicyConfig:
    """Hyper-parameters of all policy gradients. A step always means one environment step."""

    num_envs: int = 32
    """Environments stepped together."""
    rollout_steps: int = 64
    """Steps of each environment between two updates."""
    gamma: float = 0.99
    """Discount per step, in [0, 1]."""
    learning_rate: float = 1e-3
    """Adam's learning rate at the start."""
    final_learning_rate: float = 0.0
    """Adam's learning rate at the end; it falls linearly."""
    entropy: float = 0.0
    """Weight of the entropy bonus."""
    max_grad_norm: float = 0.5
    """Longer gradients are shortened to this; of policy and critic together."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers, of policy and critic each."""
    activation: Literal["tanh", "relu"] = "tanh"
    """Of the hidden layers."""
    logarithm: bool = False
    """Take the logarithm of observations that cannot be negative, such as ranges."""
    sharpness: float = 1.0
    """Scale of the first layers' weights at the start: larger ones tell nearby states apart, as a
    policy that switches between extremes must."""
    memory: int = 0
    """Width of a GRU between observations and policy; 0 for none."""
    features: int = 128
    """Width an image is encoded to."""
    threads: int = 1
    """CPU threads of the networks; more pay only with images, on cores nobody else wants."""
    initial_std: float = 1.0
    """Deviation of continuous actions at the start, where the action range is [-1, 1]."""
    state_std: bool = False
    """Let the deviation of continuous actions depend on the observation."""
    squash: bool = False
    """Squash continuous actions into their bounds by tanh, instead of clipping them."""
    normalise: bool = True
    """Normalise observations and value targets by their running moments."""
    keep_moments: bool = False
    """Normalise observations by the moments there were when learning began, for which a pretrained
    network was learned."""
    whiten: bool = True
    """Shift and scale the advantages of a rollout to mean 0 and deviation 1."""
    clone_kl: float = 0.0
    """Weight, at the start, of staying near the pretrained policy, per nat; 0 for none."""
    clone_fraction: float = 0.5
    """Part of the steps after the critic's warm-up over which that weight falls to 0."""
    critic_warmup: float = 0.0
    """Part of the steps over which the critic alone learns, what a pretrained policy returns."""
    warmup_rate: float = 1e-3
    """Adam's learning rate meanwhile."""
    adapter: Literal["none", "lora", "bottleneck", "bitfit", "head"] = "none"
    """What of a pretrained policy is learned: all (none), changes of low rank (lora), a narrow
    network after each hidden layer (bottleneck), biases (bitfit), or the last layer (head). The
    critic, which is not deployed, is learned in any case."""
    adapter_rank: int = 4
    """Rank of an adapter's changes, or width of its narrow networks."""
    frozen_encoder: bool = False
    """Leave the encoders of images as they are, where they were learned elsewhere."""

    def __post_init__(self) -> None:
        """Refuse numbers that make no sense."""
        counts = ("num_envs", "rollout_steps", "hidden", "features", "threads", "adapter_rank")
        weights = ("entropy", "learning_rate", "final_learning_rate", "max_grad_norm", "memory")
        weights = (*weights, "clone_kl", "warmup_rate")
        ranges = {name: (1, math.inf) for name in counts}
        ranges |= {name: (0, math.inf) for name in weights}
        if self.activation not in ACTIVATIONS:
            raise RobolearnError(did_you_mean("activation", self.activation, ACTIVATIONS))
        if self.adapter not in ADAPTERS:
            raise RobolearnError(did_you_mean("adapter", self.adapter, ADAPTERS))
        check_ranges(
            self,
            {
                **ranges,
                "gamma": (0, 1),
                "initial_std": (1e-6, math.inf),
                "sharpness": (1e-6, math.inf),
                "clone_fraction": (0, 1),
                "critic_warmup": (0, 1),
            },
        )

    @property
    def rollout_size(self) -> int:
        """Steps of all environments in a rollout."""
        return self.num_envs * self.rollout_steps


def linear(config: PolicyConfig, left: float) -> float:
    """Return the learning rate on the straight line from start to end, ``left`` of it to go."""
    first, last = config.learning_rate, config.final_learning_rate
    return last + (first - last) * left
