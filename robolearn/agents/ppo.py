"""Proximal policy optimisation (Schulman et al., 2017)."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from gymnasium.spaces import Discrete
from gymnasium.vector import VectorEnv
from torch import Tensor, nn

from robolearn.accelerate import choose_device, threads
from robolearn.agents.base import Progress, predict_with
from robolearn.agents.defaults import tuned
from robolearn.agents.experience import Experience, Minibatch, minibatches
from robolearn.agents.saving import Parts, load_saved, save_agent
from robolearn.collect import Collector
from robolearn.config import check_ranges
from robolearn.data.returns import gae
from robolearn.data.rollout import RolloutBuffer
from robolearn.environments import EnvConfig, TrainingEnvs
from robolearn.errors import RobolearnError
from robolearn.nn.actor_critic import ActorCritic
from robolearn.nn.encoders import ACTIVATIONS
from robolearn.nn.heads import CategoricalHead, GaussianHead
from robolearn.nn.images import find_images
from robolearn.spaces import (
    action_width,
    flat_size,
    flatten_any,
    magnitudes,
    require_action_space,
    to_env_action,
)
from robolearn_envs.names import did_you_mean


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
    activation: Literal["tanh", "relu"] = "tanh"
    """Of the hidden layers."""
    logarithm: bool = False
    """Take the logarithm of observations that cannot be negative, such as ranges."""
    memory: int = 0
    """Width of a GRU between observations and policy; 0 for none."""
    features: int = 128
    """Width an image is encoded to."""
    threads: int = 1
    """CPU threads of the networks; more pay only with images, on cores nobody else wants."""
    initial_std: float = 1.0
    """Deviation of continuous actions at the start, where the action range is [-1, 1]."""
    normalise: bool = True
    """Normalise observations and value targets by their running moments."""

    def __post_init__(self) -> None:
        """Refuse numbers that make no sense."""
        counts = ("num_envs", "rollout_steps", "epochs", "minibatch", "hidden")
        sizes = ("features", "threads")
        weights = ("clip", "entropy", "learning_rate", "final_learning_rate", "max_grad_norm")
        ranges = {name: (1, math.inf) for name in (*counts, *sizes)}
        ranges |= {name: (0, math.inf) for name in (*weights, "memory")}
        if self.activation not in ACTIVATIONS:
            raise RobolearnError(did_you_mean("activation", self.activation, ACTIVATIONS))
        unit = {"gamma": (0, 1), "gae_lambda": (0, 1)}
        check_ranges(self, {**ranges, **unit, "initial_std": (1e-6, math.inf)})


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
        self.net = self._network().to(self.device)
        self._latent = torch.zeros(self.config.num_envs, self.net.width, device=self.device)
        self._rng = torch.Generator(self.device).manual_seed(seed)  # training
        self._play = torch.Generator(self.device).manual_seed(seed)  # predict
        self._optimizer = torch.optim.Adam(self.net.parameters(), eps=1e-5, fused=True)

    def _network(self) -> ActorCritic:
        config, space, count = self.config, self.envs.observation_space, action_width(self._actions)
        return ActorCritic(
            flat_size(space),
            find_images(space),
            CategoricalHead(count)
            if isinstance(self._actions, Discrete)
            else GaussianHead(count, initial_std=config.initial_std),
            hidden=config.hidden,
            activation=config.activation,
            magnitude=torch.from_numpy(magnitudes(space)) if config.logarithm else None,
            features=config.features,
            memory=config.memory,
            generator=torch.Generator().manual_seed(self.seed),
        )

    def iterate(self, steps: int) -> Iterator[Progress]:
        """Learn from ``steps`` more environment steps, reporting after each update."""
        config = self.config
        collector = self.envs.collector(config.num_envs, self.seed)
        buffer = RolloutBuffer(config.rollout_steps, config.num_envs, collector.width, self.device)
        start = self.steps
        while self.steps < start + steps:
            left = start + steps - self.steps
            length = min(config.rollout_steps, math.ceil(left / config.num_envs))
            with threads(config.threads):
                rate = self._anneal(left / steps)
                experience = self._collect(collector, buffer, length)
                metrics = self._update(experience) if experience.rollout.valid.any() else {}
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
    def _collect(self, collector: Collector, buffer: RolloutBuffer, length: int) -> Experience:
        net = self.net
        noise = net.head.draw_noise(length, collector.num_envs, generator=self._rng)
        before, latents = self._latent, []
        for t in range(length):
            obs, start = buffer.see(collector.obs, collector.starts)
            self._latent = net.perceive(obs, self._latent, start)
            latents.append(self._latent)
            action = net.head.sample(net.policy(self._latent), noise[t])
            step = collector.step(to_env_action(self._actions, action.cpu().numpy()))
            buffer.put(step, action)
        obs, start = buffer.see(collector.obs, collector.starts)
        latents.append(net.perceive(obs, self._latent, start))
        rollout, latent = buffer.finish(), torch.stack(latents)
        ended = latent[:-1][rollout.done]
        going_on = torch.zeros(len(ended), dtype=torch.bool, device=self.device)
        final = net.perceive(rollout.final_obs, ended, going_on) if len(ended) else ended
        return Experience(rollout, latent, final, before)

    def _update(self, experience: Experience) -> dict[str, float]:
        """Learn from a rollout and return figures of the update."""
        net, config, rollout = self.net, self.config, experience.rollout
        lesson = self._prepare(experience)
        obs = net.prepare(rollout.obs[:-1])
        sums = torch.zeros(4, device=self.device)
        updates = 0
        for _ in range(config.epochs):
            shuffled = minibatches(net, experience, obs, lesson, config.minibatch, self._rng)
            for latent, batch in shuffled:
                sums += self._step(latent, batch)
                updates += 1
        if config.normalise:
            net.learn_moments(rollout.obs[:-1], rollout.valid)
        names = ("policy_loss", "value_loss", "entropy", "approximate_kl")
        return dict(zip(names, (sums / updates).tolist(), strict=True))

    @torch.no_grad()
    def _prepare(self, experience: Experience) -> Minibatch:
        """Return advantages and value targets of all steps of a rollout. Fields (T, N, ...)."""
        net, config, rollout = self.net, self.config, experience.rollout
        value = net.value(experience.latent)
        advantage = gae(
            rollout.reward,
            value[:-1],
            rollout.next_value(value, net.value(experience.final_latent)),
            rollout.terminated,
            rollout.done,
            gamma=config.gamma,
            lam=config.gae_lambda,
        )
        target = (advantage + value[:-1])[..., None]
        if config.normalise:
            net.values.update(target[rollout.valid])
        log_prob = net.head.log_prob(net.policy(experience.latent[:-1]), rollout.action)
        known = advantage[rollout.valid]
        advantage = (advantage - known.mean()) / (known.std(correction=0) + 1e-8)
        return Minibatch(rollout.action, log_prob, advantage, net.values(target).squeeze(-1))

    def _step(self, latent: Tensor, batch: Minibatch) -> Tensor:
        """Take one gradient step; return policy loss, value loss, entropy and KL. Shape (4,)."""
        net, config = self.net, self.config
        output = net.policy(latent)
        log_prob = net.head.log_prob(output, batch.action)
        entropy = net.head.entropy(output).mean()
        policy_loss = clipped_policy_loss(log_prob, batch, config.clip)
        value_loss = 0.5 * (net.critic(latent).squeeze(-1) - batch.target).square().mean()
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
            state: What the last call returned, None at first; the memory, shape (N, memory).
            episode_start: Before these of the observations nothing is remembered. Shape (N,).
            deterministic: Take the likeliest action instead of drawing one.

        Returns:
            Actions as the environment takes them, one or N; and the memory, or without one
            ``state`` as it came.

        Raises:
            RobolearnError: Observations or a memory of another shape.
        """

        def act(obs: Tensor) -> Tensor:
            nonlocal state
            latent = self._perceive(obs, state, episode_start)
            state = state if self.net.memory is None else latent.cpu().numpy()
            output, head = self.net.policy(latent), self.net.head
            if deterministic:
                return head.mode(output)
            return head.sample(output, head.draw_noise(len(output), generator=self._play))

        space = self.envs.observation_space
        return predict_with(act, space, self._actions, self.device, observation), state

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
