"""Proximal policy optimisation (Schulman et al., 2017)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from robolearn.agents.experience import Experience, Lesson, minibatches
from robolearn.agents.on_policy import OnPolicy
from robolearn.agents.policy_config import PolicyConfig, linear
from robolearn.config import check_ranges
from robolearn.errors import RobolearnError
from robolearn.nn.actor_critic import ActorCritic


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
    """What the networks tell of a minibatch before they learn from it."""

    output: Tensor
    """Of the policy. Shape (B, width)."""
    log_prob: Tensor
    """Of the actions taken. Shape (B,)."""
    policy_loss: Tensor
    critic_loss: Tensor

    def detached(self) -> "Told":
        """Return the same without gradients."""
        return Told(*(part.detach() for part in self))


def lesson(
    net: ActorCritic,
    experience: Experience,
    value: Tensor,
    advantage: Tensor,
    target: Tensor,
    *,
    cloned: Tensor | None = None,
    normalise: bool,
) -> Lesson:
    """Return what all steps of a rollout teach. Fields (T, N, ...).

    Args:
        net: Acted.
        experience: The rollout.
        value: Of its observations, in units of reward. Shape (T + 1, N).
        advantage: Of its actions. Shape (T, N).
        target: What the values should have been, normalised. Shape (T, N).
        cloned: What the policy to stay near put out; None for none.
        normalise: Whether values are normalised.
    """
    action, output = experience.rollout.action, net.policy(experience.latent[:-1])
    before = value[:-1]
    if normalise:
        before = net.values(before[..., None]).squeeze(-1)
    log_prob = net.head.log_prob(output, action)
    kept: Tensor = output[..., :0] if cloned is None else cloned
    return Lesson(action, advantage, before, target, log_prob, kept)


def tell(
    net: ActorCritic, config: PPOConfig, latent: Tensor, judged: Tensor, batch: Lesson
) -> Told:
    """Return what the networks tell of a minibatch, with gradients.

    Args:
        net: Learns.
        config: Its hyper-parameters.
        latent: What the policy reads. Shape (B, width).
        judged: What the critic reads. Shape (B, width).
        batch: What there is to learn. Fields (B, ...).
    """
    output = net.policy(latent)
    log_prob = net.head.log_prob(output, batch.action)
    policy_loss = clipped_policy_loss(log_prob, batch, config.clip)
    critic_loss = value_loss(net.critic(judged).squeeze(-1), batch, config.value_clip)
    return Told(output, log_prob, policy_loss, critic_loss)


FIGURES = ("policy_loss", "value_loss", "entropy", "approximate_kl")


@torch.no_grad()
def figures(net: ActorCritic, told: Told, batch: Lesson) -> Tensor:
    """Return ``FIGURES`` of a minibatch. Shape (4,)."""
    log_ratio = told.log_prob - batch.log_prob
    kl = (log_ratio.exp() - 1 - log_ratio).mean()  # Schulman (2020), the k3 estimator
    entropy = net.head.entropy(told.output).mean()
    return torch.stack([told.policy_loss, told.critic_loss, entropy, kl])


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
        last = torch.stack([figures(net, *one) for one in told])  # of the last epoch
        return dict(zip(FIGURES, last.mean(dim=0), strict=True))

    def _react(self, metrics: Mapping[str, float]) -> None:
        if self.config.target_kl and not self._warming_up:
            kl = metrics["approximate_kl"]
            self.rate = adapted(self.rate, kl, self.config.target_kl)

    @torch.no_grad()
    def _lesson(self, experience: Experience) -> Lesson:
        """Return what all steps of a rollout teach. Fields (T, N, ...)."""
        net, config, rollout = self.net, self.config, experience.rollout
        value, final = net.value(experience.latent), net.value(experience.final_latent)
        taught = self._appraise(rollout, value, final, lam=config.gae_lambda)
        cloned = self._cloned(rollout)
        return lesson(net, experience, value, *taught, cloned=cloned, normalise=config.normalise)

    def _step(self, latent: Tensor, batch: Lesson) -> Told:
        """Take one gradient step."""
        told = tell(self.net, self.config, latent, self._for_critic(latent), batch)
        objective = self._objective(told.policy_loss, told.output, batch.cloned)
        self._descend(objective + told.critic_loss)
        return told.detached()
