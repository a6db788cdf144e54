"""Many PPO agents at once: their networks are stacked, and computed and learned together."""

import math
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from robolearn.accelerate import threads
from robolearn.agents.base import Progress
from robolearn.agents.device_rollout import Trace, act_on_device, experienced
from robolearn.agents.experience import Lesson
from robolearn.agents.policy_config import linear
from robolearn.agents.policy_losses import estimate, normalised, with_entropy
from robolearn.agents.ppo import FIGURES, PPO, PPOConfig, Told, figures, lesson, tell
from robolearn.device.collector import DeviceCollector
from robolearn.device.graph import Graphed, choose_graphs
from robolearn.environments import SEED_SPACING, EnvConfig, TrainingEnvs, check_seed
from robolearn.errors import DivergedError, RobolearnError
from robolearn.nn.actor_critic import ActorCritic
from robolearn.nn.descent import REMEDY, Descent
from robolearn_envs.engines import DEVICE_ENGINES

_ALONE = ("memory", "clone_kl", "critic_warmup", "target_kl")
"""Hyper-parameters that must be 0: with them agents differ in what they compute."""


class ManyPPO:
    """S agents of :class:`PPO` that differ in their seed alone, each as if it learned by itself.

    Every agent has its own weights, normalisers, moments of Adam, random streams and environments,
    with the very numbers it has alone, but for the rounding of matrix products. What is stacked has
    S as its first dimension, and one launch on the device serves all. A number that is not finite
    in one agent stops them all.
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
            RobolearnError: Seeds that are not different ones, an environment that is not on the
                device, or hyper-parameters that cannot be stacked.
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
        keys = np.add.outer(SEED_SPACING * np.array(self.seeds), np.arange(size)).ravel()
        self.collector = DeviceCollector(
            made, keys, stagger=made.task.max_steps, on_nan=env.on_nan, groups=count
        )
        """Of all their environments: those of the first agent, then of the second, ..."""
        self._generators = [agent.parts().generators["train"] for agent in self._agents]
        self._lent = _Lent(deepcopy(first.net).requires_grad_(False))
        learned, kept = _stacked([agent.net for agent in self._agents])
        self._descent = Descent(
            nn.ParameterList(learned.values()), eps=1e-5, deferred=True, stacked=self._names
        )
        self._numbers: dict[str, Tensor] = {**learned, **kept}
        self._latent = torch.zeros(count * size, first.net.width, device=self.device)
        captures, self.how = choose_graphs(compile, self.device, None)
        self._graphed = Graphed(self._iteration, capture=captures, generators=self._generators)
        self.steps = 0
        """Environment steps that each agent has learned from."""
        self._ahead = False  # of what the agents know

    @property
    def agents(self) -> Sequence[PPO]:
        """The agents as they are now, in the order of the seeds.

        Each can be asked for actions, saved and, in environments of its own that begin anew, go on
        learning alone; the others do not notice.
        """
        if self._ahead:
            self._hand_back()
        return tuple(self._agents)

    def iterate(self, steps: int) -> Iterator[list[Progress]]:
        """Learn from ``steps`` more environment steps each; yield reports of all, update by update.

        Raises:
            DivergedError: A number of some agent is not finite; no gradient step was taken with it.
        """
        began, until = self.steps, self.steps + steps
        for agent in self._agents:
            agent.began, agent.until = began, until
        while self.steps < until:
            left = until - self.steps
            yield self._round(left, left / (until - began))

    def _round(self, left: int, share: float) -> list[Progress]:
        config = self.config
        length = min(config.rollout_steps, math.ceil(left / config.num_envs))
        rate = linear(config, share)
        self._descent.set_rate(rate)
        for agent in self._agents:
            agent.rate, agent.done = rate, 1 - share
        self._ahead = True
        with threads(config.threads):
            learned = self._graphed(length)
            self.steps += length * config.num_envs
            told = [dict(zip(FIGURES, row, strict=True)) for row in learned.tolist()]
        played = self.collector.each_figures(self._names)
        self._descent.check()
        reports = []
        for name, first, second in zip(self._names, told, played, strict=True):
            metrics = {**first, **second, "learning_rate": rate}
            for metric, figure in metrics.items():
                if not math.isfinite(figure):
                    what = f"{metric} is {figure} after {self.steps} steps"
                    raise DivergedError(f"{name}: {what}. {REMEDY}")
            reports.append(Progress(self.steps, metrics, []))
        return reports

    def _iteration(self, length: int) -> Tensor:
        """Act and learn without waiting for the device; return ``FIGURES``. Shape (S, 4)."""
        config, count = self.config, len(self.seeds)
        noise = [
            agent.net.head.draw_noise(length, config.num_envs, generator=generator)
            for agent, generator in zip(self._agents, self._generators, strict=True)
        ]
        together, before = act_on_device(
            self._by_agent, self.collector, self._latent, torch.cat(noise, dim=1)
        )
        trace = Trace(*(part.unflatten(1, (count, -1)) for part in together))  # (T, S, N, ...)
        with torch.no_grad():
            own = before.unflatten(0, (count, -1))
            taught = partial(_taught, config=config)
            *fields, finite = self._each(taught, own, trace, dims=(0, 1))  # (S, T, N, ...)
            self._descent.forbid(~finite | self.collector.spoiled())
            told = self._epochs([field.flatten(0, 2) for field in fields], length * config.num_envs)
            self._each(_moments_learned, trace.obs[:-1], dims=(1,))
            return torch.stack([self._each(figures, *one, dims=(0, 0)) for one in told]).mean(dim=0)

    @torch.enable_grad()
    def _epochs(self, fields: Sequence[Tensor], size: int) -> list[tuple[Told, Lesson]]:
        """Take the gradient steps of an update.

        Args:
            fields: Latents, and the fields of a lesson. Shapes (S * size, ...).
            size: Steps in an agent's rollout.

        Returns:
            The minibatches of the last epoch, and what was told of them. Fields (S, B, ...).
        """
        config, told = self.config, []
        firsts = size * torch.arange(len(self.seeds), device=self.device)[:, None]
        loss_of = partial(_loss, config=config)
        for _ in range(config.epochs):
            drawn = [torch.randperm(size, generator=g, device=g.device) for g in self._generators]
            told = []
            for rows in (torch.stack(drawn) + firsts).split(config.minibatch, dim=1):
                latent, *taught = (field[rows] for field in fields)
                batch = Lesson(*taught)
                loss, seen = self._each(loss_of, latent, batch, dims=(0, 0))
                self._descent.step(loss, max_norm=config.max_grad_norm)
                told.append((seen, batch))
        return told

    def _by_agent(self, function: Callable[..., Any], *rows: Tensor) -> Any:
        """Call a function of each agent's network with the rows of its environments."""
        own = [row.unflatten(0, (len(self.seeds), -1)) for row in rows]
        result = self._each(function, *own, dims=(0,) * len(own))
        if isinstance(result, Tensor):
            return result.flatten(0, 1)
        return tuple(part.flatten(0, 1) for part in result)

    def _each(self, function: Callable[..., Any], *arguments: Any, dims: tuple[int, ...]) -> Any:
        """Call a function of each agent's network, and return what comes of it, stacked.

        Args:
            function: Takes a network, and what belongs to its agent.
            *arguments: Of all agents: tensors, or tuples of them.
            dims: The dimension of each argument that tells the agents apart.
        """

        def call(numbers: dict[str, Tensor], *own: Any) -> Any:
            return functional_call(self._lent, numbers, (function, *own))

        return vmap(call, in_dims=(0, *dims))(self._numbers, *arguments)

    @torch.no_grad()
    def _hand_back(self) -> None:
        """Let the agents know what they have learned."""
        moments = next(iter(self._descent.adam.state.values()), {})
        for i, agent in enumerate(self._agents):
            names = agent.net.state_dict().keys()
            agent.net.load_state_dict({name: self._numbers[f"net.{name}"][i] for name in names})
            adam = agent.parts().optimizer
            assert adam is not None
            known = adam.state[adam.param_groups[0]["params"][0]]
            for name, stacked in moments.items():
                known[name] = (stacked if name == "step" else stacked[i]).clone()
            agent.steps = self.steps
        self._ahead = False

    def close(self) -> None:
        """Close the environments."""
        self.collector.envs.close()
        for agent in self._agents:
            agent.close()


class _Lent(nn.Module):
    """Lends a network to functions, while ``functional_call`` puts other numbers into it."""

    def __init__(self, net: ActorCritic) -> None:
        super().__init__()
        self.net = net

    def forward(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return what the function makes of the network and the arguments."""
        return function(self.net, *arguments)


def _taught(
    net: ActorCritic, before: Tensor, trace: Trace, *, config: PPOConfig
) -> tuple[Tensor, ...]:
    """Return prepared observations, fields of a lesson, and whether all returns are finite.

    Shapes (T, N, ...), and () of the last.
    """
    experience = experienced(net, trace, before)
    value, final = net.value(experience.latent), net.value(experience.final_latent)
    rollout = experience.rollout
    advantage, target = estimate(config, rollout, value, final, lam=config.gae_lambda)
    finite = target.isfinite().all()
    scaled = normalised(net, config, rollout, advantage, target)
    learned = lesson(net, experience, value, *scaled, normalise=config.normalise)
    return net.perception.prepare(trace.obs[:-1]), *learned, finite


def _loss(
    net: ActorCritic, latent: Tensor, batch: Lesson, *, config: PPOConfig
) -> tuple[Tensor, Told]:
    """Return the loss of a minibatch, shape (), and what was told of it."""
    told = tell(net, config, latent, latent, batch)
    loss = with_entropy(net, config, told.policy_loss, told.output) + told.critic_loss
    return loss, told.detached()


def _moments_learned(net: ActorCritic, obs: Tensor) -> Tensor:
    """Let observations, shape (T, N, D), count in the normaliser; return how many there were."""
    net.perception.learn_moments(obs, None)
    return net.perception.observations.count


def _stacked(nets: Sequence[ActorCritic]) -> tuple[dict[str, nn.Parameter], dict[str, Tensor]]:
    """Return the parameters and the other numbers of networks, by name. Shapes (S, ...)."""
    learned, kept = {}, {}
    for name, parameter in nets[0].named_parameters():
        rows = torch.stack([net.get_parameter(name).detach() for net in nets])
        learned[f"net.{name}"] = nn.Parameter(rows)
        assert parameter.requires_grad
    for name, _ in nets[0].named_buffers():
        kept[f"net.{name}"] = torch.stack([net.get_buffer(name) for net in nets])
    return learned, kept


def _checked(seeds: Sequence[int], env: EnvConfig) -> tuple[int, ...]:
    """Return the seeds.

    Raises:
        RobolearnError: None, one twice, or one out of range; or an engine on the host.
    """
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
    """Refuse what agents cannot do together.

    Raises:
        RobolearnError: It is asked for.
    """
    config = agent.config
    asked = [f"{name}={getattr(config, name)}" for name in _ALONE if getattr(config, name)]
    if config.adapter != "none":
        asked.append(f"adapter='{config.adapter}'")
    if agent.net.perception.images:
        asked.append("images")
    if asked:
        raise RobolearnError(
            f"Many seeds at once cannot learn with {', '.join(asked)}. Leave that out, or train "
            "one after the other."
        )
