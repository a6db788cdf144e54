"""Images in flat observations: where they are, and the network that looks at them."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from gymnasium import Space, spaces
from torch import Tensor, nn

from robolearn.nn.encoders import cnn

SMALLEST = 16
"""Pixels along either side below which a box is no image."""


class Image(NamedTuple):
    """An image in a flat observation."""

    columns: slice
    """Where its pixels are, in the order of ``box``."""
    box: spaces.Box
    """Its space."""


def find_images(space: Space) -> list[Image]:
    """Return the images among the parts of a single observation's space, in their order.

    An image is a box with finite bounds and shape (H, W), (H, W, C) or (C, H, W), H and W at
    least ``SMALLEST``.
    """
    images, start = [], 0
    for part in _leaves(space):
        stop = start + spaces.flatdim(part)
        if isinstance(part, spaces.Box) and _is_image(part):
            images.append(Image(slice(start, stop), part))
        start = stop
    return images


def _leaves(space: Space) -> Iterator[Space]:
    """Yield the spaces a space is made of, in the order of a flat observation."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        for part in space.values() if isinstance(space, spaces.Dict) else space:
            yield from _leaves(part)
    else:
        yield space


def _is_image(box: spaces.Box) -> bool:
    if len(box.shape) not in (2, 3):
        return False
    height, width, _ = _sides(box.shape)
    return min(height, width) >= SMALLEST and box.is_bounded()


def _sides(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return an image's height, width and number of channels."""
    if len(shape) == 2:
        return shape[0], shape[1], 1
    first, middle, last = shape
    return (middle, last, first) if first <= last else (first, middle, last)


class ImageEncoder(nn.Module):
    """Looks at one image of each observation: scales it from its bounds to [0, 1], then a CNN."""

    offset: Tensor
    scale: Tensor

    def __init__(self, image: Image, features: int, generator: torch.Generator) -> None:
        """Return ``features`` numbers of an image; ``generator`` draws the weights."""
        super().__init__()
        self._columns, self._shape = image.columns, image.box.shape
        self._channels_first = len(self._shape) == 3 and self._shape[0] <= self._shape[2]
        low, high = (b.astype(np.float64).reshape(-1) for b in (image.box.low, image.box.high))
        scale = 1 / np.where(high > low, high - low, 1.0)
        for name, array in (("scale", scale), ("offset", -low * scale)):
            # The space says them: they need not be saved.
            self.register_buffer(name, torch.from_numpy(array).float(), persistent=False)
        height, width, channels = _sides(self._shape)
        self.cnn = cnn(channels, height, width, features, generator=generator)

    def forward(self, obs: Tensor) -> Tensor:
        """Return features of flat observations. Shape (..., features) for (..., D)."""
        pixels = torch.addcmul(self.offset, obs[..., self._columns], self.scale).flatten(0, -2)
        if self._channels_first:
            pictures = pixels.unflatten(-1, self._shape)
        else:  # also with one channel: convolutions are faster on this order in memory
            height, width, channels = _sides(self._shape)
            pictures = pixels.unflatten(-1, (height, width, channels)).permute(0, 3, 1, 2)
        return self.cnn(pictures).unflatten(0, obs.shape[:-1])
