"""What policy gradients share: policy and value network, acting, and rollouts to learn from."""

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor

from robolearn.accelerate import threads
from robolearn.agents.device_rollout import act_on_device, experienced
from robolearn.agents.experience import Experience
from robolearn.agents.learner import Learner, read
from robolearn.agents.policy_config import PolicyConfig
from robolearn.agents.policy_losses import (
    estimate,
    mean,
    normalised,
    policy_gradient_loss,
    with_entropy,
)
from robolearn.agents.saving import Parts
from robolearn.agents.schedules import falling
from robolearn.collect import Collector
from robolearn.data.rollout import Rollout, RolloutBuffer
from robolearn.device.collector import AnyCollector, DeviceCollector
from robolearn.device.graph import Graphed
from robolearn.errors import DivergedError, RobolearnError
from robolearn.nn.actor_critic import ActorCritic
from robolearn.nn.descent import REMEDY, Descent
from robolearn.nn.heads import CategoricalHead, GaussianHead
from robolearn.nn.perception import Perception
from robolearn.runs.stopping import check_stop
from robolearn.spaces import action_width, flatten_any, to_env_action

P = TypeVar("P", bound=PolicyConfig)


class OnPolicy(Learner[P]):
    """A policy gradient without its update: acts, and hands rollouts to ``_update``."""

    whole_episodes: ClassVar[bool] = False
    """A rollout is one episode of each environment, begun anew, instead of a number of steps."""

    def _build(self, weights: torch.Generator) -> None:
        config, count = self.config, action_width(self._actions)
        discrete = isinstance(self._actions, Discrete)
        bounded = isinstance(self._actions, Box) and self._actions.is_bounded()
        if config.squash and not (discrete or bounded):
            raise RobolearnError(
                f"squash needs actions with finite bounds, got {self._actions}. Leave it out."
            )
        if config.clone_kl and config.memory:
            raise RobolearnError(
                f"clone_kl needs a policy without a memory, got memory={config.memory}. Leave out "
                "one of them."
            )
        perception = Perception(
            self.envs.observation_space,
            features=config.features,
            logarithm=config.logarithm,
            normalise=config.normalise,
            generator=weights,
        )
        scale: dict[str, Any] = {"state_std": config.state_std, "squash": config.squash}
        net = ActorCritic(
            perception,
            CategoricalHead(count)
            if discrete
            else GaussianHead(count, initial_std=config.initial_std, **scale),
            hidden=config.hidden,
            activation=config.activation,
            memory=config.memory,
            sharpness=config.sharpness,
            generator=weights,
        )
        net.adapt(config.adapter, config.adapter_rank, weights)
        if config.keep_moments:
            net.perception.keep_moments()
        if config.frozen_encoder:
            net.perception.images.requires_grad_(False)
        self.net = net.to(self.device)
        self._buffer = RolloutBuffer(config.num_envs, self.net.width, self.device)
        self.clone = deepcopy(self.net).requires_grad_(False) if config.clone_kl else None
        self._begin_descent()
        self._graphed = Graphed(
            self._iteration, capture=self._captures(self._hindrance()), generators=(self._rng,)
        )
        self.rate = config.learning_rate
        self.done = 0.0  # part of learning that is over

    def _hindrance(self) -> str | None:
        """Return why no iteration can be captured, None where one can."""
        if not self.envs.on_device:
            return "the environments are not on the device"
        changing = [name for name in ("clone_kl", "critic_warmup") if getattr(self.config, name)]
        if changing:
            return f"{' and '.join(changing)} change what is computed as learning goes on"
        return None

    def begin_here(self) -> None:
        """Let learning begin with the networks as they are, however they came to be so.

        The optimiser remembers nothing, and the policy is the one that ``config.clone_kl`` keeps
        learning near.
        """
        self._begin_descent()
        if self.clone is not None:
            self.clone.load_state_dict(self.net.state_dict())

    def _begin_descent(self) -> None:
        self._descent = Descent(self.net, eps=1e-5, deferred=self._deferred)

    @abstractmethod
    def _learning_rate(self, left: float) -> float:
        """Return the learning rate with the part ``left`` of learning to go."""

    @abstractmethod
    def _update(self, experience: Experience) -> dict[str, Tensor]:
        """Learn from a rollout and return figures of the update, each of shape ()."""

    def _react(self, metrics: Mapping[str, float]) -> None:
        """Change settings for the next update by figures of this one."""

    def _round(self, collector: AnyCollector, left: int, share: float) -> dict[str, float]:
        config = self.config
        length = min(config.rollout_steps, math.ceil(left / config.num_envs))
        warmed = self._warming_up
        self.done = 1 - share
        if warmed and not self._warming_up:
            self._begin_descent()  # the policy's first step is Adam's first
        rate = self.rate = self._learning_rate(share)
        with threads(config.threads):
            if isinstance(collector, DeviceCollector):
                metrics = self._round_on_device(collector, length)
            else:
                metrics = self._round_on_host(collector, length)
        self._descent.check()
        self._react(metrics)
        return {**metrics, "learning_rate": rate}

    def _round_on_host(self, collector: Collector, length: int) -> dict[str, float]:
        experience = self._collect(collector, length)
        self._descent.set_rate(self._rate_now)
        valid = experience.rollout.valid
        assert valid is not None
        metrics = {}
        if valid.any():
            with self.clock("update"):
                metrics = read(self._update(experience))
        self.steps += valid.numel()
        return metrics

    def _round_on_device(self, collector: DeviceCollector, length: int) -> dict[str, float]:
        self._descent.set_rate(self._rate_now)
        figures = self._graphed(length)
        self.steps += length * collector.num_envs
        return {**read(figures), **self._episodes(collector, self._descent)}

    def _iteration(self, length: int) -> dict[str, Tensor]:
        """Act and learn on the device, which is not waited for: this is what is captured."""
        collector = self.collector
        assert isinstance(collector, DeviceCollector)
        net, latent = self.net, self._buffer.latent
        noise = net.head.draw_noise(length, collector.num_envs, generator=self._rng)

        def call(function: Callable[..., Any], *rows: Tensor) -> Any:
            return function(net, *rows)

        experience = experienced(net, *act_on_device(call, collector, latent, noise))
        self._descent.forbid(collector.spoiled().any())
        return self._update(experience)

    @torch.inference_mode()
    def _collect(self, collector: Collector, length: int) -> Experience:
        """Act for ``length`` steps, or until each environment has ended an episode.

        Raises:
            Stopped: On request, between two steps; the next call goes on there.
        """
        net, buffer = self.net, self._buffer
        if not buffer.length:
            if self.whole_episodes:
                collector.restart()
            shape = (length, collector.num_envs)
            buffer.begin(net.head.draw_noise(*shape, generator=self._rng))
        while len(buffer) < buffer.length and buffer.playing.any():
            check_stop()
            starts = collector.starts
            obs, start = buffer.on_device(collector.obs, starts)
            latent = net.perceive(obs, buffer.latent, start)
            action = net.head.sample(net.policy(latent), buffer.noise[len(buffer)])
            executed = net.head.executed(action).cpu().numpy()
            step = collector.step(to_env_action(self._actions, executed))
            if self.whole_episodes:
                step = step._replace(valid=step.valid & buffer.playing)
                buffer.playing &= ~step.done
            buffer.put(starts, latent, action, step)
        obs, start = buffer.on_device(collector.obs, collector.starts)
        last, before = net.perceive(obs, buffer.latent, start), buffer.before
        latent = torch.stack([*buffer.latents, last])
        rollout = buffer.finish(collector.obs, collector.starts)
        ended = latent[:-1][rollout.done]
        going_on = torch.zeros(len(ended), dtype=torch.bool, device=self.device)
        final = net.perceive(rollout.final_obs, ended, going_on) if len(ended) else ended
        return Experience(rollout, latent, final, before)

    @torch.no_grad()
    def _appraise(
        self, rollout: Rollout, value: Tensor, final_value: Tensor, *, lam: float
    ) -> tuple[Tensor, Tensor]:
        """Return advantages, whitened if asked, and the values' targets, normalised.

        Args:
            rollout: T steps of N environments, K of which ended an episode.
            value: Of its observations, in units of reward. Shape (T + 1, N).
            final_value: Of its final observations. Shape (K,).
            lam: Weight of longer returns in the advantage; 1 for whole ones.

        Returns:
            Shapes (T, N).
        """
        advantage, target = estimate(self.config, rollout, value, final_value, lam=lam)
        if rollout.valid is None:
            self._descent.forbid(~target.isfinite().all())
        elif not target.isfinite().all():
            raise DivergedError(f"A return is not finite; nothing was learned from it. {REMEDY}")
        return normalised(self.net, self.config, rollout, advantage, target)

    def _single_step(
        self, experience: Experience, *, lam: float, critic: bool = True
    ) -> dict[str, Tensor]:
        """Take one gradient step on a whole rollout and return figures of it.

        Args:
            experience: The rollout.
            lam: Weight of longer returns in the advantage; 1 for whole ones.
            critic: Learn values, and hold returns against them; else all are 0.
        """
        net, rollout = self.net, experience.rollout
        latent = self._latents(experience)
        told = net.critic(self._for_critic(latent)).squeeze(-1)
        with torch.no_grad():
            beyond = net.value(torch.cat([experience.latent[-1], experience.final_latent]))
            last, final = beyond.tensor_split([len(experience.before)])
            value = torch.cat([net.values.restore(told), last[None]])
        if not critic:
            value, final = torch.zeros_like(value), torch.zeros_like(final)
        advantage, target = self._appraise(rollout, value, final, lam=lam)
        output = net.policy(latent)
        valid = torch.ones_like(rollout.done) if rollout.valid is None else rollout.valid
        share = valid / valid.sum()
        log_prob = net.head.log_prob(output, rollout.action)
        policy_loss = policy_gradient_loss(log_prob, advantage, share)
        value_loss = 0.5 * ((told - target).square() * share).sum()
        objective = self._objective(policy_loss, output, self._cloned(rollout), share)
        self._descend(objective + critic * value_loss)
        with torch.no_grad():
            entropy = (net.head.entropy(output) * share).sum()
        net.perception.learn_moments(rollout.obs[:-1], rollout.valid)
        figures = {"policy_loss": policy_loss, "value_loss": value_loss, "entropy": entropy}
        return {name: figure.detach() for name, figure in figures.items()}

    def _objective(
        self,
        policy_loss: Tensor,
        output: Tensor,
        cloned: Tensor | None,
        share: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of a policy: with the entropy bonus, and what keeps it near its clone.

        The weight of the latter falls as learning goes on (kickstarting: Schmitt et al., 2018); 0
        for all of it while the critic warms up.

        Args:
            policy_loss: Of the algorithm.
            output: Of the policy, with gradients. Shape (..., width).
            cloned: What its clone put out, if there is one.
            share: Of each in the means, None for equal ones. Shape (...).
        """
        config = self.config
        if self._warming_up:
            return 0.0 * policy_loss
        loss = with_entropy(self.net, config, policy_loss, output, share)
        if self.clone is not None and cloned is not None:
            since = (self.done - config.critic_warmup) / (1 - config.critic_warmup)
            weight = falling(config.clone_kl, 0.0, config.clone_fraction, since)
            loss = loss + weight * mean(self.net.head.divergence(cloned, output), share)
        return loss

    @property
    def _rate_now(self) -> float:
        return self.config.warmup_rate if self._warming_up else self.rate

    @property
    def _warming_up(self) -> bool:
        """Whether the critic alone is learning."""
        return self.done < self.config.critic_warmup

    def _for_critic(self, latent: Tensor) -> Tensor:
        """Return what the critic reads; while it warms up, perception is not its to change."""
        return latent.detach() if self._warming_up else latent

    def _cloned(self, rollout: Rollout) -> Tensor | None:
        """Return what the clone puts out for a rollout, None if there is none."""
        if self.clone is None:
            return None
        with torch.no_grad():
            return self.clone.policy(self.clone.perception(rollout.obs[:-1]))

    def _latents(self, experience: Experience) -> Tensor:
        """Return the latents of a whole rollout anew, with gradients. Shape (T, N, width)."""
        net, rollout = self.net, experience.rollout
        features = net.perception(rollout.obs[:-1])
        if net.memory is None:
            return features
        return net.memory.sequence(features, experience.before, rollout.start[:-1])

    def _descend(self, loss: Tensor) -> None:
        """Take a gradient step."""
        self._descent.step(loss, max_norm=self.config.max_grad_norm)

    def _act(
        self, obs: Tensor, state: Any, episode_start: Any, deterministic: bool
    ) -> tuple[Tensor, Any]:
        latent = self._perceive(obs, state, episode_start)
        state = state if self.net.memory is None else latent.cpu().numpy()
        output, head = self.net.policy(latent), self.net.head
        if deterministic:
            return head.executed(head.mode(output)), state
        noise = head.draw_noise(len(output), generator=self._play)
        return head.executed(head.sample(output, noise)), state

    def value(self, observation: Any, state: Any = None) -> np.ndarray:
        """Return V of N observations, in units of reward. Shape (N,).

        Args:
            observation: Of the observation space, or N of them stacked.
            state: The memory before them, as ``predict`` returned it; None for none.
        """
        flat, _ = flatten_any(self.envs.observation_space, observation)
        with torch.inference_mode():
            latent = self._perceive(torch.from_numpy(flat).to(self.device), state, None)
            return self.net.value(latent).cpu().numpy()

    def action_probabilities(self, observation: Any, state: Any = None) -> np.ndarray | None:
        """Return how likely each discrete action is, shape (N, A); None of continuous ones.

        Args:
            observation: Of the observation space, or N of them stacked.
            state: The memory before them, as ``predict`` returned it; None for none.
        """
        if not isinstance(self.net.head, CategoricalHead):
            return None
        flat, _ = flatten_any(self.envs.observation_space, observation)
        with torch.inference_mode():
            latent = self._perceive(torch.from_numpy(flat).to(self.device), state, None)
            return self.net.policy(latent).softmax(dim=-1).cpu().numpy()

    def _perceive(self, obs: Tensor, state: Any, episode_start: Any) -> Tensor:
        """Return the latents of N observations, with a memory as callers of ``predict`` hold it."""
        shape = (len(obs), self.net.width)
        before = torch.zeros(shape, device=self.device)
        start = torch.zeros(len(obs), dtype=torch.bool, device=self.device)
        if self.net.memory is not None:
            before = before if state is None else torch.as_tensor(state).to(before)
            if before.shape != shape:
                raise RobolearnError(f"state must have shape {shape}, got {tuple(before.shape)}.")
            if episode_start is not None:
                start |= torch.as_tensor(episode_start).to(start)
        return self.net.perceive(obs, before, start)

    def parts(self) -> Parts:
        """Return what of the agent changes while it learns."""
        return Parts(
            modules={"net": self.net} | ({"clone": self.clone} if self.clone else {}),
            optimizer=self._descent.adam,
            generators={"train": self._rng, "play": self._play},
            counters=("steps", "rate", "done"),
            keepers={"rollout": self._buffer},
        )
