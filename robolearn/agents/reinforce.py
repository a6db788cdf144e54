"""REINFORCE (Williams, 1992), with or without a learned baseline."""

from dataclasses import dataclass

from torch import Tensor

from robolearn.agents.experience import Experience
from robolearn.agents.on_policy import OnPolicy
from robolearn.agents.policy_config import PolicyConfig, linear


@dataclass(frozen=True, kw_only=True)
class REINFORCEConfig(PolicyConfig):
    """Hyper-parameters of :class:`REINFORCE`. A step always means one environment step."""

    num_envs: int = 16
    """Environments stepped together, and episodes in an update."""
    rollout_steps: int = 1000
    """Steps after which an episode is cut, as by a time limit."""
    baseline: bool = True
    """Learn the value of states: it is subtracted from returns and stands for what a time limit
    cut off. Without it returns end at the limit."""


class REINFORCE(OnPolicy[REINFORCEConfig]):
    """REINFORCE on whole episodes, one of each environment in an update."""

    name = "reinforce"
    Config = REINFORCEConfig
    whole_episodes = True

    def _learning_rate(self, left: float) -> float:
        return linear(self.config, left)

    def _update(self, experience: Experience) -> dict[str, Tensor]:
        return self._single_step(experience, lam=1.0, critic=self.config.baseline)
