"""Proximal policy optimisation (Schulman et al., 2017)."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from gymnasium.spaces import Discrete
from gymnasium.vector import VectorEnv
from torch import Tensor, nn

from robolearn.accelerate import choose_device, one_thread
from robolearn.agents.base import Progress, predict_with
from robolearn.agents.defaults import tuned
from robolearn.agents.saving import Parts, load_saved, save_agent
from robolearn.collect import Collector
from robolearn.config import check_ranges
from robolearn.data.returns import gae
from robolearn.data.rollout import Rollout, RolloutBuffer
from robolearn.environments import EnvConfig, TrainingEnvs
from robolearn.nn.encoders import mlp
from robolearn.nn.heads import CategoricalHead, GaussianHead
from robolearn.nn.normalise import RunningNorm
from robolearn.spaces import (
    ActionSpace,
    action_width,
    flat_size,
    flatten_any,
    require_action_space,
    to_env_action,
)


@dataclass(frozen=True, kw_only=True)
class PPOConfig:
    """Hyper-parameters of :class:`PPO`. A step always means one environment step."""

    num_envs: int = 32
    """Environments stepped together."""
    rollout_steps: int = 64
    """Steps of each environment between two updates."""
    epochs: int = 5
    """Passes over a rollout in an update."""
    minibatch: int = 512
    """Steps in a minibatch."""
    gamma: float = 0.99
    """Discount per step, in [0, 1]."""
    gae_lambda: float = 0.95
    """Weight of longer returns in the advantage, in [0, 1]."""
    clip: float = 0.2
    """Largest change of an action's probability ratio that is rewarded."""
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
    initial_std: float = 1.0
    """Deviation of continuous actions at the start, where the action range is [-1, 1]."""
    normalise: bool = True
    """Normalise observations and value targets by their running moments."""

    def __post_init__(self) -> None:
        """Refuse numbers that make no sense."""
        counts = ("num_envs", "rollout_steps", "epochs", "minibatch", "hidden")
        weights = ("clip", "entropy", "learning_rate", "final_learning_rate", "max_grad_norm")
        ranges = {name: (1, math.inf) for name in counts}
        ranges |= {name: (0, math.inf) for name in weights}
        unit = {"gamma": (0, 1), "gae_lambda": (0, 1)}
        check_ranges(self, {**ranges, **unit, "initial_std": (1e-6, math.inf)})


class Minibatch(NamedTuple):
    """Steps to learn from; every field has B rows."""

    obs: Tensor
    action: Tensor
    log_prob: Tensor
    advantage: Tensor
    target: Tensor


def clipped_policy_loss(log_prob: Tensor, batch: Minibatch, clip: float) -> Tensor:
    """The clipped surrogate objective, negated (Schulman et al., 2017, eq. 7).

    Args:
        log_prob: Log-probability of the batch's actions now. Shape (B,).
        batch: Holds the log-probability they were drawn with, and their advantage.
        clip: The paper's epsilon.
    """
    ratio = (log_prob - batch.log_prob).exp()
    clipped = ratio.clamp(1 - clip, 1 + clip)
    return -torch.minimum(ratio * batch.advantage, clipped * batch.advantage).mean()


class ActorCritic(nn.Module):
    """A policy and a value network that share nothing but the observation's normaliser."""

    def __init__(
        self, width: int, actions: ActionSpace, config: PPOConfig, rng: torch.Generator
    ) -> None:
        """Build for observations of ``width``; ``rng`` draws the weights."""
        super().__init__()
        count = action_width(actions)
        self.head = (
            CategoricalHead(count)
            if isinstance(actions, Discrete)
            else GaussianHead(count, initial_std=config.initial_std)
        )
        self.policy = mlp(width, config.hidden, count, output_gain=0.01, generator=rng)
        self.critic = mlp(width, config.hidden, 1, generator=rng)
        self.observations = RunningNorm(width)
        self.values = RunningNorm(1)

    def act(self, obs: Tensor) -> Tensor:
        """Return what the head makes actions of. Shape (..., width) for (..., D)."""
        return self.policy(self.observations(obs))

    def value(self, obs: Tensor) -> Tensor:
        """Return V in units of reward. Shape (...) for observations (..., D)."""
        return self.values.restore(self.critic(self.observations(obs))).squeeze(-1)


class PPO:
    """PPO with generalised advantages and exact bootstrap at time limits, many envs at once."""

    name = "ppo"
    Config = PPOConfig

    def __init__(
        self,
        env: str | EnvConfig | VectorEnv | TrainingEnvs,
        config: PPOConfig | None = None,
        *,
        engine: str | None = None,
        num_envs: int | None = None,
        seed: int = 0,
        device: str = "auto",
        **env_kwargs: Any,
    ) -> None:
        """Build the agent.

        Args:
            env: A Gymnasium id, an :class:`EnvConfig`, or a vector environment.
            config: Hyper-parameters; None for the tuned ones of this environment.
            engine: Physics engine, for robolearn environments.
            num_envs: Overrides ``config.num_envs``.
            seed: Fixes everything random.
            device: 'auto', 'cpu' or 'cuda'.
            **env_kwargs: Passed on to the environment.

        Raises:
            RobolearnError: Unknown environment, or actions PPO cannot serve.
        """
        self.envs = TrainingEnvs.of(env, engine, env_kwargs)
        config = config or PPOConfig(**tuned(self.name, self.envs.id))
        asked = config.num_envs if num_envs is None else num_envs
        self.config = replace(config, num_envs=self.envs.batch_size(asked))
        self.seed, self.steps = seed, 0
        self.device = choose_device(device)
        self._actions = require_action_space(self.envs.action_space, "PPO")
        width = flat_size(self.envs.observation_space)
        weights = torch.Generator().manual_seed(seed)
        self.net = ActorCritic(width, self._actions, self.config, weights).to(self.device)
        self._rng = torch.Generator(self.device).manual_seed(seed)  # training
        self._play = torch.Generator(self.device).manual_seed(seed)  # predict
        self._optimizer = torch.optim.Adam(self.net.parameters(), eps=1e-5, fused=True)

    def iterate(self, steps: int) -> Iterator[Progress]:
        """Learn from ``steps`` more environment steps, reporting after each update."""
        config = self.config
        collector = self.envs.collector(config.num_envs, self.seed)
        buffer = RolloutBuffer(config.rollout_steps, config.num_envs, collector.width, self.device)
        start = self.steps
        while self.steps < start + steps:
            left = start + steps - self.steps
            length = min(config.rollout_steps, math.ceil(left / config.num_envs))
            with one_thread():
                rate = self._anneal(left / steps)
                rollout = self._collect(collector, buffer, length)
                metrics = self._update(rollout) if rollout.valid.any() else {}
            self.steps += length * config.num_envs
            episodes = collector.pop_episodes()
            yield Progress(self.steps, {**metrics, "learning_rate": rate}, episodes)

    def learn(self, steps: int) -> Self:
        """Learn from ``steps`` more environment steps."""
        for _ in self.iterate(steps):
            pass
        return self

    def _anneal(self, left: float) -> float:
        """Set and return the learning rate, ``left`` of the way from its end to its start."""
        first, last = self.config.learning_rate, self.config.final_learning_rate
        rate = last + (first - last) * left
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        return rate

    @torch.inference_mode()
    def _collect(self, collector: Collector, buffer: RolloutBuffer, length: int) -> Rollout:
        head = self.net.head
        noise = head.draw_noise(length, collector.num_envs, generator=self._rng)
        for t in range(length):
            obs = torch.from_numpy(collector.obs).to(self.device)
            action = head.sample(self.net.act(obs), noise[t])
            step = collector.step(to_env_action(self._actions, action.cpu().numpy()))
            buffer.put(step, action)
        return buffer.finish(collector.obs)

    def _update(self, rollout: Rollout) -> dict[str, float]:
        """Learn from a rollout and return figures of the update."""
        batch = self._prepare(rollout)
        count = len(batch.advantage)
        sums = torch.zeros(4, device=self.device)
        updates = 0
        for _ in range(self.config.epochs):
            order = torch.randperm(count, generator=self._rng, device=self.device)
            for rows in order.split(self.config.minibatch):
                sums += self._step(Minibatch(*(field[rows] for field in batch)))
                updates += 1
        if self.config.normalise:
            self.net.observations.update(rollout.obs[:-1][rollout.valid])
        names = ("policy_loss", "value_loss", "entropy", "approximate_kl")
        return dict(zip(names, (sums / updates).tolist(), strict=True))

    @torch.no_grad()
    def _prepare(self, rollout: Rollout) -> Minibatch:
        """Return all valid steps of a rollout with advantages and value targets."""
        net, config = self.net, self.config
        value = net.value(rollout.obs)
        advantage = gae(
            rollout.reward,
            value[:-1],
            rollout.next_value(value, net.value(rollout.final_obs)),
            rollout.terminated,
            rollout.done,
            gamma=config.gamma,
            lam=config.gae_lambda,
        )
        obs = net.observations(rollout.obs[:-1][rollout.valid])
        action, advantage = rollout.action[rollout.valid], advantage[rollout.valid]
        target = (advantage + value[:-1][rollout.valid])[:, None]
        if config.normalise:
            net.values.update(target)
        log_prob = net.head.log_prob(net.policy(obs), action)
        advantage = (advantage - advantage.mean()) / (advantage.std(correction=0) + 1e-8)
        return Minibatch(obs, action, log_prob, advantage, net.values(target).squeeze(-1))

    def _step(self, batch: Minibatch) -> Tensor:
        """Take one gradient step; return policy loss, value loss, entropy and KL. Shape (4,)."""
        net, config = self.net, self.config
        output = net.policy(batch.obs)
        log_prob = net.head.log_prob(output, batch.action)
        entropy = net.head.entropy(output).mean()
        policy_loss = clipped_policy_loss(log_prob, batch, config.clip)
        value_loss = 0.5 * (net.critic(batch.obs).squeeze(-1) - batch.target).square().mean()
        self._optimizer.zero_grad()
        (policy_loss + value_loss - config.entropy * entropy).backward()
        nn.utils.clip_grad_norm_(net.parameters(), config.max_grad_norm)
        self._optimizer.step()
        with torch.no_grad():
            log_ratio = log_prob - batch.log_prob
            kl = (log_ratio.exp() - 1 - log_ratio).mean()  # Schulman (2020), the k3 estimator
            return torch.stack([policy_loss, value_loss, entropy, kl])

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, Any]:
        """Return actions for one observation or a batch; SB3's signature.

        Args:
            observation: Of the observation space, or N of them stacked.
            state: Passed through: the policy has no memory.
            episode_start: Not needed: the policy has no memory.
            deterministic: Take the likeliest action instead of drawing one.

        Returns:
            Actions as the environment takes them, one or N; and ``state``.
        """

        def act(obs: Tensor) -> Tensor:
            output, head = self.net.act(obs), self.net.head
            if deterministic:
                return head.mode(output)
            return head.sample(output, head.draw_noise(len(output), generator=self._play))

        space = self.envs.observation_space
        return predict_with(act, space, self._actions, self.device, observation), state

    def value(self, observation: Any) -> np.ndarray:
        """Return V of N observations, in units of reward. Shape (N,)."""
        flat, _ = flatten_any(self.envs.observation_space, observation)
        with torch.inference_mode():
            return self.net.value(torch.from_numpy(flat).to(self.device)).cpu().numpy()

    def parts(self) -> Parts:
        """Return what of the agent changes while it learns."""
        return Parts(
            modules={"net": self.net},
            optimizer=self._optimizer,
            generators={"train": self._rng, "play": self._play},
            counters=("steps",),
        )

    def save(self, folder: str | Path) -> None:
        """Write the agent into a folder; an agent already there is replaced."""
        save_agent(self, folder)

    @classmethod
    def load(
        cls, folder: str | Path, *, env: VectorEnv | None = None, device: str = "auto"
    ) -> Self:
        """Read an agent back; it acts as it did and can go on learning.

        Args:
            folder: What ``save`` wrote.
            env: Environments to learn in, instead of the ones it was trained in.
            device: 'auto', 'cpu' or 'cuda'.

        Raises:
            RobolearnError: No agent there, a damaged one, or one of another algorithm.
        """
        return load_saved(cls, folder, env, device)

    def close(self) -> None:
        """Close the training environments."""
        self.envs.close()
