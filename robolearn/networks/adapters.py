"""Adapters: fine-tuning few parameters in place of all those of a pretrained policy."""

from copy import deepcopy
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from robolearn.errors import RobolearnError
from robolearn.networks.encoders import ACTIVATIONS, linear

Adapter: TypeAlias = Literal["none", "lora", "bottleneck", "bitfit", "head"]

_ALPHA = 8.0
"""Scale of a low-rank change, times its rank (Hu et al., 2022, sec. 4.1)."""


class LowRank(nn.Module):
    """A linear layer whose weights only change by a matrix of low rank (LoRA: Hu et al., 2022).

    W' = weight + alpha / rank * up down is formed before it is applied, so that a plain layer with
    W' has bitwise the same outputs.
    """

    def __init__(self, layer: nn.Linear, rank: int, generator: torch.Generator) -> None:
        """Take over and freeze the parameters of ``layer``; ``generator`` draws ``down``."""
        super().__init__()
        outputs, inputs = layer.weight.shape
        self._scale = _ALPHA / rank
        self.weight = layer.weight.requires_grad_(False)
        self.bias = layer.bias.requires_grad_(False)
        bound = inputs**-0.5
        down = torch.empty(rank, inputs).uniform_(-bound, bound, generator=generator)
        self.down = nn.Parameter(down)
        self.up = nn.Parameter(torch.zeros(outputs, rank))

    def changed(self) -> Tensor:
        """Return the weights W'. Shape (outputs, inputs)."""
        return torch.addmm(self.weight, self.up, self.down, alpha=self._scale)

    def forward(self, x: Tensor) -> Tensor:
        """Return outputs. Shape (..., outputs) for (..., inputs)."""
        return functional.linear(x, self.changed(), self.bias)

    def merged(self) -> nn.Linear:
        """Return a plain layer, its own parameters, with the same outputs."""
        outputs, inputs = self.weight.shape
        layer = nn.Linear(inputs, outputs, device=self.weight.device)
        with torch.no_grad():
            layer.weight.copy_(self.changed())
            layer.bias.copy_(self.bias)
        return layer


class Bottleneck(nn.Module):
    """h + up(activation(down(h))) for h = activation(x) (Houlsby et al., 2019, fig. 2)."""

    def __init__(
        self, activation: nn.Module, width: int, rank: int, generator: torch.Generator
    ) -> None:
        """Map ``width`` to ``rank`` numbers and back; ``generator`` draws ``down``, ``up`` is 0."""
        super().__init__()
        self.activation = activation
        self.down = linear(width, rank, 1.0, generator)
        self.up = linear(rank, width, 0.0, generator)

    def forward(self, x: Tensor) -> Tensor:
        """Return activations. Shape as ``x``, (..., width)."""
        h = self.activation(x)
        return h + self.up(self.activation(self.down(h)))


def adapt(
    policy: nn.Sequential, kind: Adapter, rank: int, generator: torch.Generator
) -> nn.Sequential:
    """Return a policy with the same outputs, of which only an adapter is trained.

    In ``state_dict`` the policy's own parameters keep their names.

    Args:
        policy: Linear layers and activations; taken over.
        kind: What is trained. 'none' all of it, 'lora' changes of low rank of every linear layer,
            'bottleneck' a narrow network after each activation, 'bitfit' biases (Ben Zaken et al.,
            2022), 'head' the last layer.
        rank: Of 'lora', and width of a 'bottleneck'.
        generator: Draws the weights that are added.

    Raises:
        RobolearnError: A bottleneck without hidden layers to put it after.
    """
    layers = list(policy)
    if kind == "none":
        return nn.Sequential(*layers)
    for layer in layers:
        layer.requires_grad_(False)
    if kind == "bottleneck" and len(layers) == 1:
        raise RobolearnError("A bottleneck comes after hidden layers, got none. Use lora.")
    if kind == "head":
        layers[-1].requires_grad_(True)
    width = 0
    for k, layer in enumerate(layers):
        if isinstance(layer, nn.Linear):
            width = layer.out_features
        if kind == "lora" and isinstance(layer, nn.Linear):
            layers[k] = LowRank(layer, rank, generator)
        elif kind == "bottleneck" and isinstance(layer, tuple(ACTIVATIONS.values())):
            layers[k] = Bottleneck(layer, width, rank, generator)
        elif kind == "bitfit" and isinstance(layer, nn.Linear):
            layer.bias.requires_grad_(True)
    return nn.Sequential(*layers)


def merge(policy: nn.Sequential) -> nn.Sequential:
    """Return a plain copy of a policy with bitwise the same outputs, all of it to be trained.

    Raises:
        RobolearnError: It has bottlenecks, whose activations no plain layer has.
    """
    if any(isinstance(layer, Bottleneck) for layer in policy):
        raise RobolearnError(
            "A policy with bottlenecks cannot be merged into plain layers. Use it as it is, or "
            "adapt with lora."
        )
    return nn.Sequential(
        *(
            layer.merged() if isinstance(layer, LowRank) else deepcopy(layer).requires_grad_(True)
            for layer in policy
        )
    )


def trainable(module: nn.Module) -> int:
    """Return the number of parameters that require gradients."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def adapter_state(policy: nn.Module) -> dict[str, Tensor]:
    """Return the parameters that are trained, by name; not copied."""
    return {name: p.detach() for name, p in policy.named_parameters() if p.requires_grad}


def frozen_state(policy: nn.Module) -> dict[str, Tensor]:
    """Return the parameters that are not trained and buffers, by name; not copied."""
    learned = adapter_state(policy)
    return {name: held for name, held in policy.state_dict().items() if name not in learned}
