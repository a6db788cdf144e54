"""Advantage actor-critic (Mnih et al., 2016), synchronous."""

from dataclasses import dataclass

from torch import Tensor

from robolearn.agents.experience import Experience
from robolearn.agents.on_policy import OnPolicy
from robolearn.agents.policy_config import PolicyConfig, linear
from robolearn.config import check_ranges


@dataclass(frozen=True, kw_only=True)
class A2CConfig(PolicyConfig):
    """Hyper-parameters of :class:`A2C`. A step always means one environment step."""

    rollout_steps: int = 16
    """Steps of each environment between two updates."""
    gae_lambda: float = 0.95
    """Weight of longer returns in the advantage, in [0, 1]; the paper has 1."""

    def __post_init__(self) -> None:
        """Refuse numbers that make no sense."""
        super().__post_init__()
        check_ranges(self, {"gae_lambda": (0, 1)})


class A2C(OnPolicy[A2CConfig]):
    """One gradient step on each short rollout of many environments, which is then forgotten."""

    name = "a2c"
    Config = A2CConfig
    serves_devices = True

    def _learning_rate(self, left: float) -> float:
        return linear(self.config, left)

    def _update(self, experience: Experience) -> dict[str, Tensor]:
        return self._single_step(experience, lam=self.config.gae_lambda)
