"""Proximal policy optimization (Schulman et al., 2017).

From top to bottom: hyper-parameters, advantages, losses, the update. Rollouts are collected in
``on_policy.py``; the networks are in ``robolearn.networks.actor_critic``.
"""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from robolearn.agents.base import linear_schedule
from robolearn.agents.on_policy import (
    OnPolicyAgent,
    OnPolicyConfig,
    explained_variance,
    next_values,
)
from robolearn.agents.saving import Parts
from robolearn.buffers.rollout_buffer import Rollout, counted
from robolearn.collect.device_collector import AnyCollector
from robolearn.errors import DivergedError, RobolearnError
from robolearn.networks.actor_critic import ActorCritic, GaussianDistribution
from robolearn.networks.flat_adam import REMEDY


@dataclass(frozen=True, kw_only=True)
class PPOConfig(OnPolicyConfig):
    """Hyper-parameters of :class:`PPO`. A step always means one environment step."""

    lr_schedules: ClassVar[tuple[str, ...]] = ("linear", "constant", "adaptive")

    n_epochs: int = 5
    """Passes over a rollout in an update."""
    batch_size: int = 512
    """Steps in a minibatch, at most those of a rollout."""
    gae_lambda: float = 0.95
    """GAE's lambda, in [0, 1]."""
    clip_range: float = 0.2
    """Clipping range of the probability ratio, the paper's epsilon."""
    clip_range_vf: float | None = None
    """Clipping range of values, in standard deviations of the returns; None for no clipping."""
    desired_kl: float = 0.01
    """KL divergence of an update, in nats, that lr_schedule='adaptive' aims at."""
    freeze_obs_norm: bool = False
    """Fine-tuning: normalize observations by the moments of the pretrained policy."""
    bc_kl_coef: float = 0.0
    """Fine-tuning: coefficient of KL(pretrained policy || policy) at the start; 0 for none."""
    bc_kl_anneal_fraction: float | None = 0.5
    """Part of the steps after the critic's warm-up over which ``bc_kl_coef`` falls to 0: 0 at once,
    None never."""
    critic_warmup_fraction: float = 0.0
    """Fine-tuning: part of the steps at the start over which only the critic is trained, not the
    policy or the observation normalizer."""
    critic_warmup_lr: float = 1e-3
    """Learning rate of the critic's warm-up."""
    adapter: Literal["none", "lora", "bottleneck", "bitfit", "head"] = "none"
    """Fine-tuning: what of the policy is trained: all (none), changes of low rank (lora), a narrow
    network after each hidden layer (bottleneck), biases (bitfit), or the last layer (head). All of
    the critic is trained in any case."""
    adapter_rank: int = 4
    """Rank of an adapter's changes, or width of its narrow networks."""
    freeze_encoder: bool = False
    """Fine-tuning: do not train the encoders of images."""

    def __post_init__(self) -> None:
        """Refuse values that do not go together."""
        super().__post_init__()
        if self.batch_size > self.rollout_size:
            raise RobolearnError(
                f"batch_size must be at most num_envs * n_steps = {self.num_envs} * "
                f"{self.n_steps} = {self.rollout_size}, got {self.batch_size}."
            )
        if self.bc_kl_coef and self.gru_hidden_size:
            raise RobolearnError(
                "bc_kl_coef needs a policy without a GRU, got gru_hidden_size="
                f"{self.gru_hidden_size}. Leave out one of them."
            )


def gae(
    reward: Tensor,
    value: Tensor,
    next_value: Tensor,
    terminated: Tensor,
    done: Tensor,
    *,
    gamma: float,
    lam: float,
    valid: Tensor | None = None,
) -> Tensor:
    """Generalized advantage estimation (Schulman et al., 2016, eq. 16).

    Args:
        reward: Reward for leaving step t. Shape (T, N).
        value: V of the state left at step t. Shape (T, N).
        next_value: V of the state *reached* by step t, before any reset. Shape (T, N).
        terminated: Step t entered an absorbing state, whose value is 0. Shape (T, N), bool.
        done: Step t ended the episode for any reason, time limits included. Shape (T, N), bool.
        gamma: Discount per step, in [0, 1].
        lam: 0 is one-step TD, 1 is Monte Carlo.
        valid: False where step t is left out: the step before it is bootstrapped by ``next_value``,
            as at a time limit. None where all steps count. Shape (T, N), bool.

    Returns:
        Advantages, in units of reward. Shape (T, N).
    """
    cut = done if valid is None else torch.cat([done[:-1] | ~valid[1:], done[-1:]])
    delta = reward + gamma * next_value * ~terminated - value
    carry = (gamma * lam) * ~cut
    advantage = torch.empty_like(delta)
    running = torch.zeros_like(delta[0])
    for t in range(delta.shape[0] - 1, -1, -1):
        running = delta[t] + carry[t] * running
        advantage[t] = running
    return advantage


class PPOBatch(NamedTuple):
    """Steps to learn from: (B, ...), or (T, N, ...) of a whole rollout."""

    obs: Tensor
    """Observations, or their latents where of these nothing is learned."""
    action: Tensor
    advantage: Tensor
    """Normalized, if asked for."""
    old_value: Tensor
    """Before the update, normalized as returns are."""
    returns: Tensor
    """Value targets, normalized, if asked for."""
    old_log_prob: Tensor
    """Of the action, when it was sampled."""
    ref_params: Tensor
    """Distribution parameters of the pretrained policy, of width 0 without one."""


@torch.no_grad()
def prepare_batch(
    net: ActorCritic,
    rollout: Rollout,
    config: PPOConfig,
    *,
    ref_policy: ActorCritic | None = None,
    stopped: Tensor | None = None,
) -> PPOBatch:
    """Estimate advantages and returns, and normalize them. Fields (T, N, ...).

    Args:
        net: Acted; its value normalizer is updated with the returns first.
        rollout: T steps of N environments.
        config: Hyper-parameters.
        ref_policy: The pretrained policy; None without one.
        stopped: Where this is not 0 the normalizer stays as it is. Shape ().
    """
    value, valid = net.value(rollout.latent), rollout.valid
    advantage = gae(
        rollout.reward,
        value,
        next_values(net, rollout),
        rollout.terminated,
        rollout.done,
        gamma=config.gamma,
        lam=config.gae_lambda,
        valid=valid,
    )
    returns = advantage + value
    if config.normalize_value:
        net.values.update(counted(returns, valid)[:, None], stopped)
        returns = net.values(returns[..., None]).squeeze(-1)
        value = net.values(value[..., None]).squeeze(-1)
    if config.normalize_advantage:
        known = counted(advantage, valid)
        advantage = (advantage - known.mean()) / (known.std(correction=0) + 1e-8)
    output = net.policy(rollout.latent)
    log_prob = net.head.log_prob(output, rollout.action)
    ref_params = output[..., :0]
    if ref_policy is not None:
        ref_output = ref_policy.policy(ref_policy.encoder(rollout.obs))
        ref_params = ref_policy.head.distribution_params(ref_output)
    obs = rollout.obs if net.learns_latents else rollout.latent
    return PPOBatch(obs, rollout.action, advantage, value, returns, log_prob, ref_params)


def minibatches(
    net: ActorCritic, rollout: Rollout, batch: PPOBatch, size: int, rng: torch.Generator
) -> Iterator[tuple[Tensor, PPOBatch]]:
    """Yield each valid step once, in shuffled minibatches of about ``size`` steps.

    With a GRU a minibatch is the whole sequences of some environments, one at least. The GRU's
    states are computed again from that of the rollout's start.

    Args:
        net: Encodes the observations, with gradients.
        rollout: T steps of N environments.
        batch: All of it. Fields (T, N, ...).
        size: Steps in a minibatch.
        rng: Shuffles.

    Yields:
        Latents, shape (B, width), and the minibatch.
    """
    valid, count = rollout.valid, rollout.done.shape[1] if net.memory else rollout.done.numel()
    if valid is None:
        order = torch.randperm(count, generator=rng, device=rng.device)
    else:
        kept = (valid.any(dim=0) if net.memory else valid.flatten()).nonzero().squeeze(1)
        order = kept[torch.randperm(len(kept), generator=rng, device=rng.device)]
    if net.memory is None:
        flat = [field.flatten(0, 1) for field in batch]
        for rows in order.split(size):
            minibatch = PPOBatch(*(field[rows] for field in flat))
            obs = minibatch.obs
            yield net.encoder(obs) if net.learns_latents else obs, minibatch
        return
    for envs in order.split(max(1, round(size / len(rollout.done)))):
        features = net.encoder(batch.obs[:, envs])
        start = rollout.episode_start[:, envs]
        latent = net.memory.sequence(features, rollout.initial_latent[envs], start)
        mask = None if valid is None else valid[:, envs]
        part = PPOBatch(*(counted(field[:, envs], mask) for field in batch))
        yield counted(latent, mask), part


def clipped_surrogate_loss(log_prob: Tensor, batch: PPOBatch, clip_range: float) -> Tensor:
    """The clipped surrogate objective, negated (Schulman et al., 2017, eq. 7).

    ``log_prob`` is that of the batch's actions now, shape (B,); ``clip_range`` the paper's epsilon.
    """
    ratio = (log_prob - batch.old_log_prob).exp()
    clipped = ratio.clamp(1 - clip_range, 1 + clip_range)
    return -torch.minimum(ratio * batch.advantage, clipped * batch.advantage).mean()


def value_loss(value: Tensor, batch: PPOBatch, clip_range_vf: float | None) -> Tensor:
    """Return the mean squared error of values, clipped as in OpenAI Baselines' ppo2 (2017).

    ``value`` is normalized as the batch's returns, shape (B,). If a value has changed by more than
    ``clip_range_vf``, the larger error counts, of the value and of the end of that range.
    """
    loss = (value - batch.returns).square()
    if clip_range_vf is not None:
        change = (value - batch.old_value).clamp(-clip_range_vf, clip_range_vf)
        loss = torch.maximum(loss, (batch.old_value + change - batch.returns).square())
    return loss.mean()


def ppo_loss(
    net: ActorCritic,
    config: PPOConfig,
    latent: Tensor,
    batch: PPOBatch,
    *,
    ref_kl_coef: float = 0.0,
    critic_only: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return the loss on a minibatch (Schulman et al., 2017, eq. 9, negated), with gradients.

    Args:
        net: Is trained.
        config: Hyper-parameters.
        latent: Input of policy and critic. Shape (B, width).
        batch: The minibatch.
        ref_kl_coef: Coefficient of KL(pretrained policy || policy).
        critic_only: Train neither the policy nor the encoder.

    Returns:
        The loss, shape (); and policy loss, value loss and entropy in nats, without gradients,
        shape (3,).
    """
    output = net.policy(latent)
    log_prob = net.head.log_prob(output, batch.action)
    policy_loss = clipped_surrogate_loss(log_prob, batch, config.clip_range)
    values = net.critic(latent.detach() if critic_only else latent).squeeze(-1)
    critic_loss = value_loss(values, batch, config.clip_range_vf)
    entropy = net.head.entropy(output).mean()
    loss = config.vf_coef * critic_loss
    if not critic_only:
        loss = loss + policy_loss
        if config.ent_coef:
            loss = loss - config.ent_coef * entropy
        if ref_kl_coef:
            params = net.head.distribution_params(output)
            loss = loss + ref_kl_coef * net.head.kl_divergence(batch.ref_params, params).mean()
    return loss, torch.stack([policy_loss, critic_loss, entropy]).detach()


@torch.no_grad()
def update_metrics(
    net: ActorCritic, latent: Tensor, batch: PPOBatch, losses: Tensor, clip_range: float
) -> dict[str, Tensor]:
    """Return metrics of an update, each of shape ().

    ``net`` is that after the update, ``latent`` its input, shape (B, width), for a ``batch`` of all
    valid steps. ``losses`` are those of ``ppo_loss`` in the last epoch, shape (M, 3).
    """
    output = net.policy(latent)
    log_ratio = net.head.log_prob(output, batch.action) - batch.old_log_prob
    clipped = (log_ratio.exp() - 1).abs() > clip_range
    policy_loss, critic_loss, entropy = losses.mean(dim=0)
    metrics = {
        "train/policy_gradient_loss": policy_loss,
        "train/value_loss": critic_loss,
        "train/entropy": entropy,
        # KL(old policy || policy) in nats, by the estimator k3 (Schulman, 2020).
        "train/approx_kl": (log_ratio.expm1() - log_ratio).mean(),
        "train/clip_fraction": clipped.float().mean(),
        "train/explained_variance": explained_variance(batch.old_value, batch.returns),
    }
    if isinstance(net.head, GaussianDistribution):
        metrics["train/std"] = net.head.std(output).mean()
    return metrics


def adapt_learning_rate(rate: float, kl: float, target: float) -> float:
    """Return the next learning rate: lower where KL > 2 target, higher where KL < target / 2.

    Heess et al. (2017), sec. 3, in the range 1e-5 to 1e-2 of Rudin et al. (2021). The rate stays
    at a KL of 0, as in rsl_rl, and where it is beyond the range already. ``kl`` and ``target`` are
    in nats.
    """
    if kl > 2 * target:
        return min(rate, max(rate / 1.5, 1e-5))
    if 0 < kl < target / 2:
        return max(rate, min(rate * 1.5, 1e-2))
    return rate


class PPO(OnPolicyAgent[PPOConfig]):
    """PPO with GAE and exact bootstrap at time limits, in many environments at once.

    Advantages are normalized over the rollout, as in rsl_rl; SB3 and CleanRL do it in each
    minibatch. ``batch_size`` counts steps, so that more environments make more minibatches. Value
    targets are normalized by moments of all returns so far, without PopArt's rescaling of the
    critic.
    """

    name = "ppo"
    Config = PPOConfig
    supports_gpu_envs = True

    def _build(self, weights: torch.Generator) -> None:
        super()._build(weights)
        self.ref_policy = (
            deepcopy(self.net).requires_grad_(False) if self.config.bc_kl_coef else None
        )
        self.adaptive_lr = self.config.learning_rate
        self.progress = 0.0  # part of training that is over
        self._in_critic_warmup = self.config.critic_warmup_fraction > 0
        self._ref_kl_coef = 0.0

    def _update(self, rollout: Rollout) -> dict[str, Tensor]:
        net, config = self.net, self.config
        batch = prepare_batch(
            net, rollout, config, ref_policy=self.ref_policy, stopped=self.optimizer.stopped
        )
        finite = batch.returns.isfinite().all()
        if self.optimizer.stopped is not None:
            self.optimizer.forbid(~finite)
        elif not finite:  # some minibatches might be
            raise DivergedError(f"A return is not finite; no update was made. {REMEDY}")
        losses: list[Tensor] = []
        for _ in range(config.n_epochs):
            losses.clear()
            for latent, minibatch in minibatches(net, rollout, batch, config.batch_size, self._rng):
                loss, parts = ppo_loss(
                    net,
                    config,
                    latent,
                    minibatch,
                    ref_kl_coef=self._ref_kl_coef,
                    critic_only=self._in_critic_warmup,
                )
                self.optimizer.step(loss, max_norm=config.max_grad_norm)
                losses.append(parts)
        with torch.no_grad():
            latent = net.encode(rollout.obs, rollout.initial_latent, rollout.episode_start)
        latent = counted(latent, rollout.valid)
        kept = PPOBatch(*(counted(field, rollout.valid) for field in batch))
        metrics = update_metrics(net, latent, kept, torch.stack(losses), config.clip_range)
        return metrics | {"train/grad_norm": self.optimizer.grad_norm.clone()}

    def training_iteration(
        self, collector: AnyCollector, progress_remaining: float
    ) -> dict[str, float]:
        """Collect a rollout, learn from it, and return metrics."""
        config, self.progress = self.config, 1 - progress_remaining
        warmed_up = self._updates_obs_norm = self.progress >= config.critic_warmup_fraction
        if warmed_up and self._in_critic_warmup:
            self._reset_optimizer()  # the policy's first step is Adam's first
        self._in_critic_warmup = not warmed_up
        self._ref_kl_coef = self._scheduled_ref_kl_coef() if config.bc_kl_coef else 0.0
        if self._in_critic_warmup:
            return self._train(collector, config.critic_warmup_lr)
        if config.lr_schedule != "adaptive":
            falls = config.lr_schedule == "linear"
            rate = config.learning_rate * (progress_remaining if falls else 1.0)
            return self._train(collector, rate)
        metrics = self._train(collector, self.adaptive_lr)
        kl = metrics.get("train/approx_kl", 0.0)  # a rollout of resets alone has none
        self.adaptive_lr = adapt_learning_rate(self.adaptive_lr, kl, config.desired_kl)
        return metrics

    def _network(self, weights: torch.Generator) -> ActorCritic:
        config, net = self.config, super()._network(weights)
        net.adapt(config.adapter, config.adapter_rank, weights)
        if config.freeze_obs_norm:
            net.encoder.freeze_obs_norm()
        if config.freeze_encoder:
            net.encoder.images.requires_grad_(False)
        return net

    def _graph_blocker(self) -> str | None:
        changing = ("bc_kl_coef", "critic_warmup_fraction")
        asked = [name for name in changing if getattr(self.config, name)]
        if asked and self.envs.on_device:
            return f"{' and '.join(asked)} change what is computed as learning goes on"
        return super()._graph_blocker()

    def set_reference_policy(self) -> None:
        """Start fine-tuning the present networks: ``bc_kl_coef`` is about them, Adam is reset."""
        self._reset_optimizer()
        if self.ref_policy is not None:
            self.ref_policy.load_state_dict(self.net.state_dict())

    def _scheduled_ref_kl_coef(self) -> float:
        """Return the coefficient of the KL to the pretrained policy (Schmitt et al., 2018)."""
        config = self.config
        warmup = config.critic_warmup_fraction
        since = (self.progress - warmup) / (1 - warmup)
        return linear_schedule(config.bc_kl_coef, 0.0, config.bc_kl_anneal_fraction, since)

    def parts(self) -> Parts:
        """Return what of the agent changes while it learns."""
        parts = super().parts()
        reference = {"ref_policy": self.ref_policy} if self.ref_policy is not None else {}
        return replace(
            parts,
            modules={**parts.modules, **reference},
            counters=(*parts.counters, "adaptive_lr", "progress"),
        )
