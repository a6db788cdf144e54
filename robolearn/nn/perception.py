"""What networks read of an observation: its vectors normalised, its images encoded."""

import math

import torch
from gymnasium import Space
from torch import Tensor, nn

from robolearn.nn.images import ImageEncoder, find_images
from robolearn.nn.normalise import RunningNorm
from robolearn.spaces import flat_size, magnitudes


class Perception(nn.Module):
    """Normalises the parts of a flat observation that are no images and encodes the images."""

    rest: Tensor

    def __init__(
        self,
        space: Space,
        *,
        features: int,
        logarithm: bool,
        normalise: bool,
        generator: torch.Generator,
    ) -> None:
        """Build the encoders.

        Args:
            space: Of single observations.
            features: Width an image is encoded to.
            logarithm: Take the logarithm of entries that cannot be negative, such as ranges.
            normalise: Normalise what is no image, else leave it as it is.
            generator: Draws the weights.
        """
        super().__init__()
        self._normalise = normalise
        self._frozen = False
        width, images = flat_size(space), find_images(space)
        rest = torch.ones(width, dtype=torch.bool)
        for image in images:
            rest[image.columns] = False
        self.register_buffer("rest", rest.nonzero().squeeze(1), persistent=False)
        self.width = len(self.rest) + features * len(images)
        """Width of the features."""
        self.images = nn.ModuleList(ImageEncoder(image, features, generator) for image in images)
        magnitude = torch.from_numpy(magnitudes(space))[self.rest] if logarithm else None
        limit = 10.0 if normalise else math.inf
        self.observations = RunningNorm(len(self.rest), limit=limit, magnitude=magnitude)

    def prepare(self, obs: Tensor) -> Tensor:
        """Return observations for ``features``: of this there is nothing to learn. As ``obs``."""
        return obs if self.images else self.observations(obs)

    def features(self, prepared: Tensor) -> Tensor:
        """Return what one prepared observation shows. Shape (..., F) for (..., D)."""
        if not self.images:
            return prepared
        seen = [image(prepared) for image in self.images]
        return torch.cat([*seen, self.observations(prepared[..., self.rest])], dim=-1)

    def forward(self, obs: Tensor) -> Tensor:
        """Return features of flat observations. Shape (..., F) for (..., D)."""
        return self.features(self.prepare(obs))

    def freeze(self) -> None:
        """Let the encoders be learned no more, and the normaliser stay as it is."""
        self.requires_grad_(False)
        self.keep_moments()

    def keep_moments(self) -> None:
        """Let ``learn_moments`` change nothing any more: what was learned was learned for these."""
        self._frozen = True

    def learn_moments(self, obs: Tensor, valid: Tensor | None) -> None:
        """Let flat observations, shape (..., D), count in the normaliser where ``valid``.

        All of them where that is None.
        """
        if not self._frozen:
            self.take_moments(obs if valid is None else obs[valid])

    def take_moments(self, obs: Tensor) -> None:
        """Let flat observations, shape (..., D), count in the normaliser, kept or not."""
        if self._normalise and len(self.rest):
            self.observations.update(obs[..., self.rest] if self.images else obs)
