"""What keeps earlier tasks while another one is learned: weights, or outputs."""

import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from robolearn.config import check_ranges
from robolearn.errors import RobolearnError
from robolearn.imitation.distill import Head, policy_kl
from robolearn.networks.actor_critic import ActorCritic
from robolearn_envs.names import did_you_mean

METHODS = ("none", "l2", "ewc", "replay")
USUAL_WEIGHT = {"none": 0.0, "l2": 0.1, "ewc": 10.0, "replay": 3.0}
_AT_ONCE = 256
"""Samples whose gradients are taken one by one, but together."""


@dataclass(frozen=True, kw_only=True)
class ContinualConfig:
    """Settings of learning task after task."""

    method: Literal["none", "l2", "ewc", "replay"] = "replay"
    """What keeps earlier tasks: nothing; nearness to the weights before (l2), each as far as it
    matters (ewc); or a few samples of each, for which the outputs are to stay (replay)."""
    weight: float | None = None
    """Of what keeps earlier tasks, beside the loss of the new one; None for the usual one."""
    stored: float = 0.01
    """Part of a task's samples that is kept for replay, in [0, 0.01]."""
    fisher_samples: int = 2_000
    """Samples of a task that tell how much each weight matters."""
    updates: int = 2_000
    """Gradient steps on each task."""
    batch: int = 256
    """Samples in a gradient step, and as many replayed ones."""
    continual_rate: float = 3e-3
    """Adam's learning rate at the start of each task; it falls to 0."""

    def __post_init__(self) -> None:
        """Refuse numbers that make no sense."""
        ranges = {name: (1, math.inf) for name in ("fisher_samples", "updates", "batch")}
        ranges |= {"continual_rate": (0, math.inf)}
        check_ranges(self, {**ranges, "stored": (0, 0.01)})
        if self.weight is not None:
            check_ranges(self, {"weight": (0, math.inf)})
        if self.method not in METHODS:
            raise RobolearnError(did_you_mean("method", self.method, METHODS))


class Acting(nn.Module):
    """What of an agent's networks decides on its actions: no critic."""

    def __init__(self, net: ActorCritic) -> None:
        """Share the parameters of ``net``, which has no memory."""
        super().__init__()
        self.encoder, self.policy = net.encoder, net.policy

    def forward(self, obs: Tensor) -> Tensor:
        """Return the policy's outputs, shape (N, width), for flat observations, (N, D)."""
        return self.policy(self.encoder(obs))


Weights = Mapping[str, Tensor]
"""Parameters, or one number for each, by name."""


def learned(module: nn.Module) -> dict[str, Tensor]:
    """Return copies of the parameters that are not frozen."""
    return {n: p.detach().clone() for n, p in module.named_parameters() if p.requires_grad}


def weight_penalty(module: nn.Module, before: Weights, importance: Weights) -> Tensor:
    """Return half the weighted squared distance from weights before, shape ().

    Kirkpatrick et al. (2017), eq. 3; importances of 1 make it an L2 penalty.
    """
    now = dict(module.named_parameters())
    squares = ((now[n] - then).square() * importance[n] for n, then in before.items())
    return 0.5 * torch.stack([square.sum() for square in squares]).sum()


def fisher_diagonal(
    acting: nn.Module, head: Head, obs: Tensor, rng: torch.Generator
) -> dict[str, Tensor]:
    """Return the mean squared gradient of log pi(a | obs), a drawn from the policy itself.

    Args:
        acting: Outputs of the policy for observations.
        head: Makes actions of outputs.
        obs: Prepared. Shape (N, D).
        rng: Draws the actions.
    """
    weights = learned(acting)
    with torch.no_grad():
        action = head.sample(output := acting(obs), head.draw_noise(len(output), generator=rng))

    def log_prob(weights: dict[str, Tensor], one: Tensor, action: Tensor) -> Tensor:
        output = functional_call(acting, weights, (one[None],))
        return head.log_prob(output, action[None]).squeeze(0)

    each = vmap(grad(log_prob), in_dims=(None, 0, 0), chunk_size=_AT_ONCE)(weights, obs, action)
    return {name: gradient.detach().square().mean(dim=0) for name, gradient in each.items()}


class Keeper(Protocol):
    """Keeps earlier tasks while another one is learned."""

    def penalty(self, acting: Acting) -> Tensor:
        """Return what is added to the loss of the new task, shape ()."""
        ...

    def remember(self, acting: Acting, obs: Tensor) -> None:
        """Take note of a task just learned, by its prepared observations, shape (S, D)."""
        ...


class KeepNothing:
    """Naive fine-tuning."""

    def penalty(self, acting: Acting) -> Tensor:
        """Return 0."""
        return torch.zeros(())

    def remember(self, acting: Acting, obs: Tensor) -> None:
        """Do nothing."""


class KeepWeights:
    """Stays near the weights of the last task: all alike, or by the tasks' summed Fisher diagonals.

    One anchor for all tasks suffices: the last minimum holds the earlier ones (Huszar, 2018).
    """

    def __init__(
        self, head: Head, config: ContinualConfig, weight: float, rng: torch.Generator
    ) -> None:
        """Hold on to nothing yet; ``rng`` draws samples and actions of them."""
        self._head, self._weight, self._rng = head, weight, rng
        self._samples = config.fisher_samples if config.method == "ewc" else 0
        self._before: dict[str, Tensor] = {}
        self._importance: dict[str, Tensor] = {}

    def penalty(self, acting: Acting) -> Tensor:
        """Return the weighted squared distance."""
        if not self._before:
            return torch.zeros(())
        return self._weight * weight_penalty(acting, self._before, self._importance)

    def remember(self, acting: Acting, obs: Tensor) -> None:
        """Hold on to the weights, and to what matters for the task."""
        self._before = learned(acting)
        if not self._samples:
            self._importance = {n: torch.ones_like(w) for n, w in self._before.items()}
            return
        rows = _draw(len(obs), self._samples, self._rng)
        fisher = fisher_diagonal(acting, self._head, obs[rows], self._rng)
        for name, gained in fisher.items():
            self._importance[name] = self._importance.get(name, 0.0) + gained


class KeepOutputs:
    """Replays a few observations of each task, and what the network told of them when it knew it.

    "Dark experience replay" (Buzzega et al., 2020), with the divergence in place of their squared
    error as Wolczyk et al. (2021) have it for policies.
    """

    def __init__(
        self, head: Head, config: ContinualConfig, weight: float, rng: torch.Generator
    ) -> None:
        """Store nothing yet; ``rng`` draws what is stored and what is replayed."""
        self._head, self._config, self._weight, self._rng = head, config, weight, rng
        self._obs: list[Tensor] = []
        self._output: list[Tensor] = []

    def penalty(self, acting: Acting) -> Tensor:
        """Return the sum over tasks of the mean divergence from what was told."""
        if not self._obs:
            return torch.zeros(())
        obs, output = torch.cat(self._obs), torch.cat(self._output)
        rows = _draw(len(obs), self._config.batch, self._rng)
        divergence = policy_kl(self._head, output[rows], self._head, acting(obs[rows]), 1.0)
        return self._weight * len(self._obs) * divergence.mean()

    def remember(self, acting: Acting, obs: Tensor) -> None:
        """Store observations and outputs."""
        rows = _draw(len(obs), int(self._config.stored * len(obs)), self._rng)
        if len(rows):
            self._obs.append(obs[rows])
            with torch.no_grad():
                self._output.append(acting(obs[rows]))

    @property
    def stored(self) -> int:
        """Number of samples that are kept."""
        return sum(map(len, self._obs))


def _draw(rows: int, count: int, rng: torch.Generator) -> Tensor:
    """Return ``count`` different ones of so many rows, or all."""
    return torch.randperm(rows, generator=rng, device=rng.device)[:count]


def new_keeper(net: ActorCritic, config: ContinualConfig, rng: torch.Generator) -> Keeper:
    """Return what the config's method keeps earlier tasks by."""
    weight = USUAL_WEIGHT[config.method] if config.weight is None else config.weight
    if config.method == "none":
        return KeepNothing()
    kind = KeepOutputs if config.method == "replay" else KeepWeights
    return kind(deepcopy(net.head).requires_grad_(False), config, weight, rng)
