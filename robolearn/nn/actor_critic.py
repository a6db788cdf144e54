"""A policy and a value network, and what the two share."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from robolearn.nn.encoders import mlp
from robolearn.nn.heads import CategoricalHead, GaussianHead
from robolearn.nn.images import Image, ImageEncoder
from robolearn.nn.memory import Memory
from robolearn.nn.normalise import RunningNorm


class ActorCritic(nn.Module):
    """Two MLPs that read the same: the flat observation, its images encoded, or a memory of it.

    Parts of the observation that are no images are normalised. Images, with a CNN each, and a
    memory are looked at once for both, being the expensive part. What the MLPs read in the end is
    called ``latent``; with a memory it is also what is remembered.
    """

    rest: Tensor

    def __init__(
        self,
        width: int,
        images: Sequence[Image],
        head: CategoricalHead | GaussianHead,
        *,
        hidden: Sequence[int],
        activation: str,
        magnitude: Tensor | None,
        features: int,
        memory: int,
        generator: torch.Generator,
    ) -> None:
        """Build the networks.

        Args:
            width: Of a flat observation.
            images: Where in it images are.
            head: Makes actions of the policy's output.
            hidden: Widths of the hidden layers, of policy and critic each.
            activation: Of the hidden layers, 'tanh' or 'relu'.
            magnitude: Of each entry whose logarithm is to be taken, else 0; None takes none.
                Shape (width,).
            features: Width an image is encoded to.
            memory: Width of the memory, 0 for none.
            generator: Draws the weights.
        """
        super().__init__()
        rest = torch.ones(width, dtype=torch.bool)
        for image in images:
            rest[image.columns] = False
        self.register_buffer("rest", rest.nonzero().squeeze(1), persistent=False)
        seen = len(self.rest) + features * len(images)
        self.width = memory or seen
        """Width of a latent."""
        self.head = head
        self.images = nn.ModuleList(ImageEncoder(image, features, generator) for image in images)
        self.memory = Memory(seen, memory, generator) if memory else None
        how: dict[str, Any] = {"activation": activation, "generator": generator}
        self.policy = mlp(self.width, hidden, head.width, output_gain=0.01, **how)
        self.critic = mlp(self.width, hidden, 1, **how)
        magnitude = None if magnitude is None else magnitude[self.rest]
        self.observations = RunningNorm(len(self.rest), magnitude=magnitude)
        self.values = RunningNorm(1)

    def prepare(self, obs: Tensor) -> Tensor:
        """Return observations for ``features``: of this there is nothing to learn. As ``obs``."""
        return obs if self.images else self.observations(obs)

    def features(self, prepared: Tensor) -> Tensor:
        """Return what one prepared observation shows. Shape (..., F) for (..., D)."""
        if not self.images:
            return prepared
        seen = [image(prepared) for image in self.images]
        return torch.cat([*seen, self.observations(prepared[..., self.rest])], dim=-1)

    def perceive(self, obs: Tensor, before: Tensor, start: Tensor) -> Tensor:
        """Return the latents of N observations. Shape (N, width).

        Args:
            obs: Flat observations. Shape (N, D).
            before: The latents before; only a memory reads them. Shape (N, width).
            start: An episode begins. Shape (N,), bool.
        """
        features = self.features(self.prepare(obs))
        return features if self.memory is None else self.memory(features, before, start)

    def value(self, latent: Tensor) -> Tensor:
        """Return V in units of reward. Shape (...) for latents (..., width)."""
        return self.values.restore(self.critic(latent)).squeeze(-1)

    def learn_moments(self, obs: Tensor, valid: Tensor) -> None:
        """Let flat observations, shape (..., D), count in the normaliser where ``valid``."""
        seen = obs[..., self.rest] if self.images else obs
        self.observations.update(seen[valid])
