"""Advantage actor-critic (Mnih et al., 2016), synchronous."""

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
class A2CConfig(OnPolicyConfig):
    """Hyper-parameters of :class:`A2C`. A step always means one environment step."""

    n_steps: int = 5
    """Steps of each environment between two updates."""
    gae_lambda: float = 1.0
    """GAE's lambda, in [0, 1]; 1 is the paper's n-step advantage."""
    normalize_advantage: bool = False
    """Shift and scale the advantages of a rollout to mean 0 and standard deviation 1."""


class A2C(OnPolicyAgent[A2CConfig]):
    """One gradient step on each short rollout of many environments.

    The defaults are the paper's, but for the optimizer, Adam in place of RMSProp, and observations
    and value targets, which are normalized.
    """

    name = "a2c"
    Config = A2CConfig
    supports_gpu_envs = True

    def _update(self, rollout: Rollout) -> dict[str, Tensor]:
        net, config = self.net, self.config
        latent = net.encode(rollout.obs, rollout.initial_latent, rollout.episode_start)
        predicted = net.critic(latent).squeeze(-1)  # normalized
        with torch.no_grad():
            values = net.values.denormalize(predicted)
            advantages = gae(
                rollout.reward,
                values,
                next_values(net, rollout),
                rollout.terminated,
                rollout.done,
                gamma=config.gamma,
                lam=config.gae_lambda,
                valid=rollout.valid,
            )
            returns = advantages + values
            if config.normalize_value:
                net.values.update(counted(returns, rollout.valid)[:, None], self.optimizer.stopped)
                returns = net.values(returns[..., None]).squeeze(-1)
            if config.normalize_advantage:
                known = counted(advantages, rollout.valid)
                advantages = (advantages - known.mean()) / (known.std(correction=0) + 1e-8)
        output = net.policy(latent)
        log_prob = net.head.log_prob(output, rollout.action)
        policy_loss = -rollout.mean(log_prob * advantages)
        value_loss = rollout.mean((predicted - returns).square())
        entropy = rollout.mean(net.head.entropy(output))
        loss = policy_loss + config.vf_coef * value_loss
        if config.ent_coef:
            loss = loss - config.ent_coef * entropy
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
