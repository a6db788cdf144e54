"""PPO with many seeds at once: networks are stacked and trained together."""

import math
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from robolearn.accelerate import threads
from robolearn.agents.on_policy import collect
from robolearn.agents.ppo import (
    PPO,
    PPOBatch,
    PPOConfig,
    ppo_loss,
    prepare_batch,
    update_metrics,
)
from robolearn.agents.protocols import TrainingUpdate
from robolearn.buffers.rollout_buffer import Rollout, RolloutBuffer
from robolearn.collect.cuda_graph import CudaGraph, resolve_cuda_graphs
from robolearn.collect.device_collector import DeviceCollector
from robolearn.environments import EnvConfig, TrainingEnvs, check_seed, first_seed
from robolearn.errors import DivergedError, RobolearnError
from robolearn.networks.actor_critic import ActorCritic
from robolearn.networks.flat_adam import REMEDY, FlatAdam
from robolearn_envs.engines import DEVICE_ENGINES

_ALONE = ("gru_hidden_size", "bc_kl_coef", "critic_warmup_fraction")
"""Hyper-parameters that must be 0: with them agents differ in what they compute."""


class MultiSeedPPO:
    """S agents of :class:`PPO` that differ only in their seed, each as if trained by itself.

    Every agent has its own weights, normalizers, moments of Adam, random generators and
    environments. Numbers differ from those of an agent alone only by the rounding of matrix
    products. Stacked tensors have S as their first dimension. A number that is not finite in one
    agent stops them all.
    """

    def __init__(
        self,
        env: EnvConfig,
        config: PPOConfig | None,
        seeds: Sequence[int],
        *,
        device: str = "auto",
        compile: str = "auto",
    ) -> None:
        """Build the agents, and their environments.

        Args:
            env: On an engine whose copies live on a device.
            config: Hyper-parameters of each agent; None for the tuned ones of this environment.
            seeds: One for each agent.
            device: 'auto', 'cpu' or 'cuda'.
            compile: 'graph', 'fuse', 'off' or 'auto', as for each agent alone.

        Raises:
            RobolearnError: Seeds that are equal, an environment on the host, or hyper-parameters
                that cannot be stacked.
        """
        self.seeds = _checked(seeds, env)
        envs = TrainingEnvs.of(env, None, {})
        spaces = (envs.observation_space, envs.action_space)
        settings: dict[str, Any] = {"device": device, "compile": compile}
        first = PPO(envs, config, seed=self.seeds[0], **settings)
        self.config, self.device = first.config, first.device
        _require_stackable(first)
        others = self.seeds[1:]
        self._agents = [first] + [
            PPO(TrainingEnvs(env, *spaces), self.config, seed=seed, **settings) for seed in others
        ]
        self._names = [f"Seed {seed}" for seed in self.seeds]
        count, size = len(self.seeds), self.config.num_envs
        made = env.make_on_device(count * size, self.device, fuse=compile == "fuse")
        firsts = np.array([first_seed(seed, size) for seed in self.seeds])
        keys = np.add.outer(firsts, np.arange(size)).ravel()
        self.collector = DeviceCollector(
            made,
            keys,
            stagger=made.task.max_episode_steps,
            on_divergence=env.on_divergence,
            num_seeds=count,
        )
        """Of all their environments: those of the first agent, then of the second, ..."""
        self._generators = [agent.parts().generators["train"] for agent in self._agents]
        self._applied = _Applied(deepcopy(first.net).requires_grad_(False))
        learned, buffers = stack_module_state([_Applied(agent.net) for agent in self._agents])
        parameters = nn.ParameterList(learned.values())
        self.optimizer = FlatAdam(parameters, eps=1e-5, deferred=True, stacked=self._names)
        self._state: dict[str, Tensor] = buffers | dict(zip(learned, parameters, strict=True))
        """Parameters and buffers of all networks, by name. Shapes (S, ...)."""
        self._buffer = RolloutBuffer(count * size, first.net.width, self.device)
        captures, self.how = resolve_cuda_graphs(compile, self.device, None)
        self._graphed = CudaGraph(self._iteration, capture=captures, generators=self._generators)
        self.steps = 0
        """Environment steps that each agent has learned from."""
        self._ahead = False  # of what the agents know

    @property
    def agents(self) -> Sequence[PPO]:
        """The agents as they are now, in the order of the seeds.

        Each can act, be saved, and go on learning alone, in environments of its own.
        """
        if self._ahead:
            self._hand_back()
        return tuple(self._agents)

    def iterate(self, steps: int) -> Iterator[list[TrainingUpdate]]:
        """Learn from ``steps`` more environment steps each; yield all reports of each update.

        Rollouts are whole: the last one may go past ``steps``.

        Raises:
            DivergedError: A number of some agent is not finite; no gradient step was taken with it.
        """
        began, until = self.steps, self.steps + steps
        for agent in self._agents:
            agent.began, agent.until = began, until
        while self.steps < until:
            yield self._training_iteration((until - self.steps) / (until - began))

    def _training_iteration(self, progress_remaining: float) -> list[TrainingUpdate]:
        config = self.config
        falls = config.lr_schedule == "linear"
        rate = config.learning_rate * (progress_remaining if falls else 1.0)
        self.optimizer.set_rate(rate)
        for agent in self._agents:
            agent.progress = 1 - progress_remaining
        self._ahead = True
        with threads(config.num_threads):
            counted = self.steps > 0 or not self._agents[0].net.encoder.awaits_normalization()
            metrics = self._graphed(config.n_steps, counted)
            self.steps += config.rollout_size
            rows = torch.stack(list(metrics.values()), dim=1).tolist()
            learned = [dict(zip(metrics, row, strict=True)) for row in rows]
        played = self.collector.episode_metrics_by_seed(self._names)
        self.optimizer.check()
        reports = []
        for name, first, second in zip(self._names, learned, played, strict=True):
            metrics = {**first, **second, "train/learning_rate": rate}
            for metric, figure in metrics.items():
                if not math.isfinite(figure):
                    what = f"{metric} is {figure} after {self.steps} steps"
                    raise DivergedError(f"{name}: {what}. {REMEDY}")
            reports.append(TrainingUpdate(self.steps, metrics, []))
        return reports

    def _iteration(self, n_steps: int, counted: bool) -> dict[str, Tensor]:
        """Collect and learn without waiting for the device; return metrics of shape (S,).

        It does what ``OnPolicyAgent._iteration`` and ``PPO._update`` do, for all agents.
        """
        with torch.no_grad():
            together = collect(self._act, self._draw_noise, self.collector, self._buffer, n_steps)
            rollout = _by_seed(together, len(self.seeds))
            spoiled = self.collector.diverged
            spoiled |= ~rollout.reward.isfinite().all(dim=2).all(dim=0)
            self.optimizer.forbid(spoiled)
            if not counted:
                self._update_normalization(rollout)
                latent = self._encode(rollout)
                rollout = rollout._replace(latent=latent.transpose(0, 1))
            prepare = partial(prepare_batch, config=self.config, stopped=self.optimizer.stopped)
            batch = PPOBatch(*self._each(prepare, rollout, dims=(_SEED_DIMS,)))  # (S, T, N, ...)
            finite = batch.returns.isfinite().flatten(1).all(dim=1)
            self.optimizer.forbid(~finite | spoiled)
        losses = self._epochs(batch)
        with torch.no_grad():
            change = partial(update_metrics, clip_range=self.config.clip_range)
            latent = self._encode(rollout).flatten(1, 2)
            kept = PPOBatch(*(field.flatten(1, 2) for field in batch))
            metrics = self._each(change, latent, kept, losses, dims=(0, 0, 1))
            if counted:
                self._update_normalization(rollout)
        return metrics | {"train/grad_norm": self.optimizer.grad_norm.clone()}

    def _update_normalization(self, rollout: Rollout) -> None:
        def update(net: ActorCritic, obs: Tensor) -> Tensor:
            net.encoder.update_normalization(obs, self.optimizer.stopped)
            return net.encoder.observations.count  # as vmap returns tensors

        self._each(update, rollout.obs, dims=(1,))

    def _encode(self, rollout: Rollout) -> Tensor:
        """Return the latents of a rollout. Shape (S, T, N, W)."""
        seen = (rollout.obs, rollout.initial_latent, rollout.episode_start)
        return self._each(ActorCritic.encode, *seen, dims=(1, 0, 1))

    def _epochs(self, batch: PPOBatch) -> Tensor:
        """Take the gradient steps of an update on a batch with fields (S, T, N, ...).

        Returns:
            Losses of the last epoch's M minibatches. Shape (M, S, 3).
        """
        config, losses = self.config, []
        size = config.rollout_size
        flat = PPOBatch(*(field.flatten(0, 2) for field in batch))
        firsts = size * torch.arange(len(self.seeds), device=self.device)[:, None]

        def loss_of(net: ActorCritic, batch: PPOBatch) -> tuple[Tensor, Tensor]:
            return ppo_loss(net, config, batch.obs, batch)  # whose latents are prepared

        for _ in range(config.n_epochs):
            drawn = [torch.randperm(size, generator=g, device=g.device) for g in self._generators]
            losses = []
            for rows in (torch.stack(drawn) + firsts).split(config.batch_size, dim=1):
                minibatch = PPOBatch(*(field[rows] for field in flat))
                loss, parts = self._each(loss_of, minibatch, dims=(0,))
                self.optimizer.step(loss, max_norm=config.max_grad_norm)
                losses.append(parts)
        return torch.stack(losses)

    def _draw_noise(self, n_steps: int, num_envs: int) -> Tensor:
        """Return noise to sample actions with, of each agent by its own generator."""
        noise = [
            agent.net.head.draw_noise(n_steps, num_envs // len(self.seeds), generator=generator)
            for agent, generator in zip(self._agents, self._generators, strict=True)
        ]
        return torch.cat(noise, dim=1)

    def _act(self, *rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Sample actions of each agent in its environments; see :meth:`ActorCritic.act`."""
        own = [row.unflatten(0, (len(self.seeds), -1)) for row in rows]
        latent, action, executed = self._each(ActorCritic.act, *own, dims=(0,) * len(own))
        return latent.flatten(0, 1), action.flatten(0, 1), executed.flatten(0, 1)

    def _each(self, function: Callable[..., Any], *arguments: Any, dims: tuple[int, ...]) -> Any:
        """Return the stacked results of a function called for each agent.

        Args:
            function: Takes a network, and what belongs to its agent.
            *arguments: Of all agents: tensors, or tuples of them.
            dims: The dimension of each argument that is that of the agents.
        """

        def call(state: dict[str, Tensor], *own: Any) -> Any:
            return functional_call(self._applied, state, (function, *own))

        return vmap(call, in_dims=(0, *dims))(self._state, *arguments)

    @torch.no_grad()
    def _hand_back(self) -> None:
        """Copy networks and optimizer states to the agents."""
        for i, agent in enumerate(self._agents):
            names = agent.net.state_dict().keys()
            agent.net.load_state_dict({name: self._state[f"net.{name}"][i] for name in names})
            optimizer = agent.parts().optimizer
            assert optimizer is not None
            moments = self.optimizer.moments.items()
            optimizer.load_state_dict(
                {name: each if name == "step" else each[i] for name, each in moments}
            )
            agent.steps = self.steps
        self._ahead = False

    def close(self) -> None:
        """Close the environments."""
        self.collector.envs.close()
        for agent in self._agents:
            agent.close()


class _Applied(nn.Module):
    """Applies functions to a network, whose state ``functional_call`` may replace."""

    def __init__(self, net: ActorCritic) -> None:
        super().__init__()
        self.net = net

    def forward(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(self.net, *arguments)


_SEED_DIMS: Any = Rollout(1, 1, 1, 1, 1, 1, 1, None, 1, 0)  # type: ignore[arg-type]
"""The dimensions of a rollout's fields that are those of S agents."""


def _by_seed(together: Rollout, count: int) -> Rollout:
    """Return a rollout of all environments with a dimension for the agents: (T, S, N, ...)."""
    own = {
        name: field.unflatten(dim, (count, -1))
        for name, field, dim in zip(Rollout._fields, together, _SEED_DIMS, strict=True)
        if field is not None
    }
    return together._replace(**own)


def _checked(seeds: Sequence[int], env: EnvConfig) -> tuple[int, ...]:
    """Return the seeds; refuse none, one twice, one out of range, and an engine on the host."""
    if not env.on_device:
        there = " or ".join(DEVICE_ENGINES)
        raise RobolearnError(
            f"Many seeds at once need an engine on the device ({there}), got "
            f"{env.engine or 'none'}. Give --engine torch, or train them one after the other."
        )
    if not seeds:
        raise RobolearnError("At least one seed is needed, got none.")
    for seed in seeds:
        check_seed(seed)
    twice = sorted({seed for seed in seeds if list(seeds).count(seed) > 1})
    if twice:
        raise RobolearnError(f"Seeds must differ, got {', '.join(map(str, twice))} twice.")
    return tuple(seeds)


def _require_stackable(agent: PPO) -> None:
    """Refuse hyper-parameters with which agents cannot be stacked."""
    config = agent.config
    asked = [f"{name}={getattr(config, name)}" for name in _ALONE if getattr(config, name)]
    if config.lr_schedule == "adaptive":
        asked.append("lr_schedule='adaptive'")
    if config.adapter != "none":
        asked.append(f"adapter='{config.adapter}'")
    if agent.net.encoder.images:
        asked.append("images")
    if asked:
        raise RobolearnError(
            f"Many seeds at once cannot learn with {', '.join(asked)}. Leave that out, or train "
            "one after the other."
        )
