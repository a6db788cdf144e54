"""Proximal policy optimisation (Schulman et al., 2017)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from robolearn.agents.experience import Experience, Lesson, minibatches
from robolearn.agents.on_policy import OnPolicy, PolicyConfig, linear
from robolearn.config import check_ranges
from robolearn.errors import RobolearnError


@dataclass(frozen=True, kw_only=True)
class PPOConfig(PolicyConfig):
    """Hyper-parameters of :class:`PPO`. A step always means one environment step."""

    epochs: int = 5
    """Passes over a rollout in an update."""
    minibatch: int = 512
    """Steps in a minibatch, at most those of a rollout."""
    gae_lambda: float = 0.95
    """Weight of longer returns in the advantage, in [0, 1]."""
    clip: float = 0.2
    """Largest change of an action's probability ratio that is rewarded."""
    value_clip: float = 0.0
    """Largest change of a value in an update, in deviations of the returns; 0 for any."""
    target_kl: float = 0.0
    """Change of the policy in an update, in nats, that the learning rate is adapted to, instead of
    falling; 0 for none."""

    def __post_init__(self) -> None:
        """Refuse numbers that make no sense."""
        super().__post_init__()
        ranges = {name: (1, math.inf) for name in ("epochs", "minibatch")}
        ranges |= {name: (0, math.inf) for name in ("clip", "value_clip", "target_kl")}
        check_ranges(self, {**ranges, "gae_lambda": (0, 1)})
        if self.minibatch > self.rollout_size:
            raise RobolearnError(
                f"minibatch must be at most num_envs * rollout_steps = {self.num_envs} * "
                f"{self.rollout_steps} = {self.rollout_size}, got {self.minibatch}."
            )


def clipped_policy_loss(log_prob: Tensor, batch: Lesson, clip: float) -> Tensor:
    """The clipped surrogate objective, negated (Schulman et al., 2017, eq. 7).

    Args:
        log_prob: Log-probability of the batch's actions now. Shape (B,).
        batch: Holds the log-probability they were drawn with, and their advantage.
        clip: The paper's epsilon.
    """
    ratio = (log_prob - batch.log_prob).exp()
    clipped = ratio.clamp(1 - clip, 1 + clip)
    return -torch.minimum(ratio * batch.advantage, clipped * batch.advantage).mean()


def value_loss(value: Tensor, batch: Lesson, clip: float) -> Tensor:
    """Half the mean squared error of values, if asked of those that moved no further than ``clip``.

    Args:
        value: Values now, normalised as the batch's targets. Shape (B,).
        batch: Holds targets, and the values before.
        clip: Largest change of a value; 0 for any. A value further away is judged where it is or at
            the end of its range, whichever is worse (Dhariwal et al., OpenAI Baselines, 2017).
    """
    loss = (value - batch.target).square()
    if clip:
        held = batch.value + (value - batch.value).clamp(-clip, clip)
        loss = torch.maximum(loss, (held - batch.target).square())
    return 0.5 * loss.mean()


def adapted(rate: float, kl: float, target: float) -> float:
    """Return a learning rate lowered where the policy changed too much, raised where too little.

    Args:
        rate: The learning rate of an update.
        kl: How much it changed the policy, in nats.
        target: How much it was to; between half and twice of it the rate stays (Heess et al.,
            2017, sec. 3; in the range of Rudin et al., 2021).
    """
    if kl > 2 * target:
        return max(rate / 1.5, 1e-5)
    return min(rate * 1.5, 1e-2) if kl < target / 2 else rate


class Told(NamedTuple):
    """What the networks told of a minibatch before they learned from it."""

    output: Tensor
    """Of the policy. Shape (B, width)."""
    log_prob: Tensor
    """Of the actions taken. Shape (B,)."""
    policy_loss: Tensor
    critic_loss: Tensor


class PPO(OnPolicy[PPOConfig]):
    """PPO with generalised advantages and exact bootstrap at time limits, many envs at once."""

    name = "ppo"
    Config = PPOConfig
    serves_devices = True

    def _learning_rate(self, left: float) -> float:
        return self.rate if self.config.target_kl else linear(self.config, left)

    def _update(self, experience: Experience) -> dict[str, Tensor]:
        net, config, rollout = self.net, self.config, experience.rollout
        lesson = self._lesson(experience)
        obs = net.perception.prepare(rollout.obs[:-1])
        told: list[tuple[Told, Lesson]] = []
        for _ in range(config.epochs):
            shuffled = minibatches(net, experience, obs, lesson, config.minibatch, self._rng)
            told = [(self._step(latent, batch), batch) for latent, batch in shuffled]
        net.perception.learn_moments(rollout.obs[:-1], rollout.valid)
        return self._figures(told)

    def _react(self, metrics: Mapping[str, float]) -> None:
        if self.config.target_kl and not self._warming_up:
            kl = metrics["approximate_kl"]
            self.rate = adapted(self.rate, kl, self.config.target_kl)

    @torch.no_grad()
    def _lesson(self, experience: Experience) -> Lesson:
        """Return what all steps of a rollout teach. Fields (T, N, ...)."""
        net, latent, action = self.net, experience.latent, experience.rollout.action
        value, final = net.value(latent), net.value(experience.final_latent)
        advantage, target = self._appraise(
            experience.rollout, value, final, lam=self.config.gae_lambda
        )
        output = net.policy(latent[:-1])
        log_prob = net.head.log_prob(output, action)
        cloned = self._cloned(experience.rollout, output)
        before = value[:-1]
        if self.config.normalise:
            before = net.values(before[..., None]).squeeze(-1)
        return Lesson(action, advantage, before, target, log_prob, cloned)

    def _step(self, latent: Tensor, batch: Lesson) -> Told:
        """Take one gradient step."""
        net, config = self.net, self.config
        output = net.policy(latent)
        log_prob = net.head.log_prob(output, batch.action)
        policy_loss = clipped_policy_loss(log_prob, batch, config.clip)
        critic_loss = value_loss(
            net.critic(self._for_critic(latent)).squeeze(-1), batch, config.value_clip
        )
        loss = self._objective(policy_loss, output, batch.cloned) + critic_loss
        self._descend(loss)
        return Told(output.detach(), log_prob.detach(), policy_loss.detach(), critic_loss.detach())

    def _figures(self, told: list[tuple[Told, Lesson]]) -> dict[str, Tensor]:
        """Return means over the minibatches of the last epoch."""
        rows = []
        for one, batch in told:
            log_ratio = one.log_prob - batch.log_prob
            kl = (log_ratio.exp() - 1 - log_ratio).mean()  # Schulman (2020), the k3 estimator
            with torch.no_grad():
                entropy = self.net.head.entropy(one.output).mean()
            rows.append(torch.stack([one.policy_loss, one.critic_loss, entropy, kl]))
        names = ("policy_loss", "value_loss", "entropy", "approximate_kl")
        return dict(zip(names, torch.stack(rows).mean(dim=0), strict=True))
