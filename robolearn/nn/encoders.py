"""Networks from observations to features or outputs."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn

L = TypeVar("L", nn.Linear, nn.Conv2d)


class Chain(nn.Sequential):
    """Layers one after the other, without the bookkeeping of hooks, which small ones feel."""

    def forward(self, input: Tensor) -> Tensor:
        """Return what the last layer makes of the input."""
        x = input
        for layer in self:
            x = layer.forward(x)
        return x


ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU}


def mlp(
    inputs: int,
    hidden: Sequence[int],
    outputs: int,
    *,
    activation: str = "tanh",
    layer_norm: bool = False,
    input_gain: float = 1.0,
    output_gain: float = 1.0,
    generator: torch.Generator,
) -> nn.Sequential:
    """Return a fully connected network with orthogonal weights and zero biases.

    Args:
        inputs: Width of the input.
        hidden: Widths of the hidden layers.
        outputs: Width of the output, which has no activation.
        activation: 'tanh' or 'relu'.
        layer_norm: Normalise each hidden layer before its activation (Ba et al., 2016).
        input_gain: Scale of the first layer's weights, over the usual one of the activation.
        output_gain: Scale of the last layer's weights; 0.01 makes a nearly uniform policy.
        generator: Draws the weights.
    """
    gain = math.sqrt(2) if activation == "relu" else 5 / 3
    widths = [inputs, *hidden]
    layers: list[nn.Module] = []
    for k, (before, after) in enumerate(pairwise(widths)):
        layers.append(linear(before, after, gain if k else gain * input_gain, generator))
        if layer_norm:
            layers.append(nn.LayerNorm(after))
        layers.append(ACTIVATIONS[activation]())
    return Chain(*layers, linear(widths[-1], outputs, output_gain, generator))


def cnn(
    channels: int, height: int, width: int, outputs: int, *, generator: torch.Generator
) -> nn.Sequential:
    """Return a small convolutional network: images (B, channels, height, width) to (B, outputs).

    Three strided convolutions and a linear layer, each followed by a ReLU; orthogonal weights and
    zero biases. Images of 16 x 16 are the smallest it takes.

    Args:
        channels: Of the image.
        height: Of the image, in pixels.
        width: Of the image, in pixels.
        outputs: Width of the output.
        generator: Draws the weights.
    """
    sizes = ((16, 8, 4, 0), (32, 4, 2, 1), (32, 3, 2, 1))  # channels, kernel, stride, padding
    layers: list[nn.Module] = []
    for made, kernel, stride, padding in sizes:
        layer = nn.Conv2d(channels, made, kernel, stride, padding)
        layers += [_orthogonal(layer, math.sqrt(2), generator), nn.ReLU(inplace=True)]
        channels = made
        height, width = ((side + 2 * padding - kernel) // stride + 1 for side in (height, width))
    last = linear(channels * height * width, outputs, math.sqrt(2), generator)
    return nn.Sequential(*layers, nn.Flatten(), last, nn.ReLU(inplace=True))


def linear(inputs: int, outputs: int, gain: float, generator: torch.Generator) -> nn.Linear:
    """Return a layer with orthogonal weights scaled by ``gain``, and zero biases."""
    return _orthogonal(nn.Linear(inputs, outputs), gain, generator)


def _orthogonal(layer: L, gain: float, generator: torch.Generator) -> L:
    nn.init.orthogonal_(layer.weight, gain, generator=generator)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer
