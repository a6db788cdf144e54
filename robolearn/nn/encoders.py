"""Networks from observations to features or outputs."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU}


def mlp(
    inputs: int,
    hidden: Sequence[int],
    outputs: int,
    *,
    activation: str = "tanh",
    layer_norm: bool = False,
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
        output_gain: Scale of the last layer's weights; 0.01 makes a nearly uniform policy.
        generator: Draws the weights.
    """
    gain = math.sqrt(2) if activation == "relu" else 5 / 3
    widths = [inputs, *hidden]
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers.append(_linear(before, after, gain, generator))
        if layer_norm:
            layers.append(nn.LayerNorm(after))
        layers.append(ACTIVATIONS[activation]())
    return nn.Sequential(*layers, _linear(widths[-1], outputs, output_gain, generator))


def _linear(inputs: int, outputs: int, gain: float, generator: torch.Generator) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(layer.weight, gain, generator=generator)
    nn.init.zeros_(layer.bias)
    return layer
