"""A policy and a value network, and what the two share."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from robolearn.nn.adapters import Adapter, adapt
from robolearn.nn.encoders import mlp
from robolearn.nn.heads import CategoricalHead, GaussianHead
from robolearn.nn.memory import Memory
from robolearn.nn.normalise import RunningNorm
from robolearn.nn.perception import Perception


class ActorCritic(nn.Module):
    """Two MLPs that read the same: what is perceived, or a memory of it.

    Images, with a CNN each, and a memory are looked at once for both, being the expensive part.
    What the MLPs read in the end is called ``latent``; with a memory it is also what is remembered.
    """

    def __init__(
        self,
        perception: Perception,
        head: CategoricalHead | GaussianHead,
        *,
        hidden: Sequence[int],
        activation: str,
        memory: int,
        sharpness: float = 1.0,
        generator: torch.Generator,
    ) -> None:
        """Build the networks.

        Args:
            perception: Makes features of observations.
            head: Makes actions of the policy's output.
            hidden: Widths of the hidden layers, of policy and critic each.
            activation: Of the hidden layers, 'tanh' or 'relu'.
            memory: Width of the memory, 0 for none.
            sharpness: Scale of the first layers' weights, over the usual one.
            generator: Draws the weights.
        """
        super().__init__()
        self.width = memory or perception.width
        """Width of a latent."""
        self.head = head
        self.perception = perception
        self.memory = Memory(perception.width, memory, generator) if memory else None
        how: dict[str, Any] = {"activation": activation, "input_gain": sharpness}
        how["generator"] = generator
        self.policy = mlp(self.width, hidden, head.width, output_gain=0.01, **how)
        self.critic = mlp(self.width, hidden, 1, **how)
        self.values = RunningNorm(1)

    def adapt(self, kind: Adapter, rank: int, generator: torch.Generator) -> None:
        """Leave only an adapter of the policy to learn, and what does not decide actions.

        That is the critic, and the deviation of actions that is the same in every state. What is
        perceived and remembered stays as it is, for the policy was learned for it.

        Args:
            kind: See :func:`robolearn.nn.adapters.adapt`; 'none' changes nothing.
            rank: Of the adapter.
            generator: Draws its weights.
        """
        if kind == "none":
            return
        self.policy = adapt(self.policy, kind, rank, generator)
        self.perception.freeze()
        if self.memory is not None:
            self.memory.requires_grad_(False)

    def perceive(self, obs: Tensor, before: Tensor, start: Tensor) -> Tensor:
        """Return the latents of N observations. Shape (N, width).

        Args:
            obs: Flat observations. Shape (N, D).
            before: The latents before; only a memory reads them. Shape (N, width).
            start: An episode begins. Shape (N,), bool.
        """
        features = self.perception(obs)
        return features if self.memory is None else self.memory(features, before, start)

    def value(self, latent: Tensor) -> Tensor:
        """Return V in units of reward. Shape (...) for latents (..., width)."""
        return self.values.restore(self.critic(latent)).squeeze(-1)
