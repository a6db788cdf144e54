"""REINFORCE (Williams, 1992), with or without a learned baseline."""

from dataclasses import dataclass

import torch
from torch import Tensor

from robolearn.agents.on_policy import (
    OnPolicyAgent,
    OnPolicyConfig,
    explained_variance,
    next_values,
)
from robolearn.agents.ppo import gae
from robolearn.buffers.rollout_buffer import Rollout, counted


@dataclass(frozen=True, kw_only=True)
class REINFORCEConfig(OnPolicyConfig):
    """Hyper-parameters of :class:`REINFORCE`. A step always means one environment step."""

    num_envs: int = 16
    """Environments stepped together, and episodes in an update."""
    n_steps: int = 1000
    """Steps after which an episode is cut, as by a time limit."""
    baseline: bool = True
    """Learn the value of states: it is subtracted from returns and stands for what a time limit
    cut off. Without it returns end at the limit."""


class REINFORCE(OnPolicyAgent[REINFORCEConfig]):
    """REINFORCE on whole episodes, one of each environment in an update.

    Environments whose episode has ended are stepped until the longest one ends. These steps are
    counted, but not learned from.
    """

    name = "reinforce"
    Config = REINFORCEConfig
    full_episodes = True

    def _update(self, rollout: Rollout) -> dict[str, Tensor]:
        net, config = self.net, self.config
        latent = net.encode(rollout.obs, rollout.initial_latent, rollout.episode_start)
        predicted = net.critic(latent).squeeze(-1)  # normalized
        with torch.no_grad():
            advantages, returns = self._advantages(rollout, predicted)
            if config.normalize_value:
                net.values.update(counted(returns, rollout.valid)[:, None], self.optimizer.stopped)
                returns = net.values(returns[..., None]).squeeze(-1)
            if config.normalize_advantage:
                known = counted(advantages, rollout.valid)
                advantages = (advantages - known.mean()) / (known.std(correction=0) + 1e-8)
        output = net.policy(latent)
        log_prob = net.head.log_prob(output, rollout.action)
        policy_loss = -rollout.mean(log_prob * advantages)  # Williams (1992), theorem 1
        value_loss = rollout.mean((predicted - returns).square())
        entropy = rollout.mean(net.head.entropy(output))
        loss = policy_loss
        if config.ent_coef:
            loss = loss - config.ent_coef * entropy
        if config.baseline:
            loss = loss + config.vf_coef * value_loss
        self.optimizer.step(loss, max_norm=config.max_grad_norm)
        return {
            "train/policy_gradient_loss": policy_loss.detach(),
            "train/value_loss": value_loss.detach(),
            "train/entropy": entropy.detach(),
            "train/explained_variance": explained_variance(
                counted(predicted.detach(), rollout.valid), counted(returns, rollout.valid)
            ),
            "train/grad_norm": self.optimizer.grad_norm.clone(),
        }

    def _advantages(self, rollout: Rollout, predicted: Tensor) -> tuple[Tensor, Tensor]:
        """Return Monte Carlo returns less the baseline, and the returns. Shapes (T, N)."""
        net, nothing = self.net, torch.zeros_like(predicted)
        values = net.values.denormalize(predicted) if self.config.baseline else nothing
        advantages = gae(
            rollout.reward,
            values,
            next_values(net, rollout) if self.config.baseline else nothing,
            rollout.terminated,
            rollout.done,
            gamma=self.config.gamma,
            lam=1.0,
            valid=rollout.valid,
        )
        return advantages, advantages + values
