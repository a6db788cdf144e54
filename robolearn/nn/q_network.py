"""Networks that tell what each action returns."""

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeAlias

import torch
from torch import Tensor, nn

from robolearn.nn.encoders import Chain, linear
from robolearn.nn.noisy import NoisyLinear
from robolearn.nn.perception import Perception
from robolearn.nn.value_distributions import CategoricalReturn, Expectation, QuantileReturn

Returns: TypeAlias = Expectation | CategoricalReturn | QuantileReturn
Noise: TypeAlias = Sequence[Tensor] | None
"""Of each noisy layer in turn; None for their mean weights."""


class QNetwork(nn.Module):
    """Perceives, and maps features through hidden layers to the return of each action.

    With ``dueling`` the last hidden layer and the output are there twice: for the value of the
    state, and for what each action adds to it on top of the mean (Wang et al., 2016, eq. 9). With
    ``noisy`` these layers carry the noise that explores.
    """

    def __init__(
        self,
        perception: Perception,
        actions: int,
        returns: Returns,
        *,
        hidden: Sequence[int],
        sharpness: float = 1.0,
        layer_norm: bool = True,
        dueling: bool = False,
        noisy: bool = False,
        generator: torch.Generator,
    ) -> None:
        """Build the network.

        Args:
            perception: Makes features of observations.
            actions: How many there are.
            returns: What is told of an action's return.
            hidden: Widths of the hidden layers.
            sharpness: Scale of the first layer's weights, over the usual one.
            layer_norm: Normalise hidden layers (Ba et al., 2016).
            dueling: Tell values of states and advantages of actions apart.
            noisy: Put noise into the last hidden layer and the output.
            generator: Draws the weights.
        """
        super().__init__()
        self.perception, self.returns = perception, returns
        self._actions = actions
        widths = (perception.width, *hidden)
        self.trunk = Chain()
        for k, (inputs, outputs) in enumerate(pairwise(widths[:-1])):
            gain = 2**0.5 * (1.0 if k else sharpness)
            self.trunk.extend(
                [linear(inputs, outputs, gain, generator), *_between(outputs, layer_norm)]
            )
        how = (layer_norm, noisy, generator)
        self.advantage = _Stream([*widths[-2:], actions * returns.width], *how)
        self.value = _Stream([*widths[-2:], returns.width], *how) if dueling else None

        self.noisy = noisy
        self._noisy = [layer for layer in self.modules() if isinstance(layer, NoisyLinear)]

    def draw_noise(self, *shape: int, generator: torch.Generator) -> Noise:
        """Return noise for observations of shape (*shape, D), or None where no layer has any."""
        return [layer.draw_noise(*shape, generator=generator) for layer in self._noisy] or None

    def forward(self, obs: Tensor, noise: Noise = None) -> Tensor:
        """Return what is told of each action's return. Shape (..., actions, width).

        Args:
            obs: Flat observations. Shape (..., D).
            noise: Of the noisy layers. Leading shape as ``obs``, or 1 for the same in all.
        """
        features = self.trunk(self.perception(obs))
        drawn: Sequence[Tensor | None] = noise or [None] * 4
        half = len(drawn) // 2 if self.value is not None else len(drawn)
        advantage = self.advantage(features, drawn[:half])
        advantage = advantage.unflatten(-1, (self._actions, self.returns.width))
        if self.value is None:
            return advantage
        value = self.value(features, drawn[half:])[..., None, :]
        return value + advantage - advantage.mean(dim=-2, keepdim=True)

    def q(self, obs: Tensor, noise: Noise = None) -> Tensor:
        """Return expected returns. Shape (..., actions)."""
        return self.returns.mean(self(obs, noise))


class _Stream(nn.Module):
    """Linear layers, noisy or not, and what is between them."""

    def __init__(
        self, widths: Sequence[int], layer_norm: bool, noisy: bool, generator: torch.Generator
    ) -> None:
        super().__init__()
        self._noisy = noisy
        gains = [2**0.5] * (len(widths) - 2) + [1.0]
        self.layers = nn.ModuleList(
            NoisyLinear(inputs, outputs, generator)
            if noisy
            else linear(inputs, outputs, gain, generator)
            for (inputs, outputs), gain in zip(pairwise(widths), gains, strict=True)
        )
        self.between = nn.ModuleList(Chain(*_between(w, layer_norm)) for w in widths[1:-1])

    def forward(self, x: Tensor, noise: Sequence[Tensor | None]) -> Tensor:
        for k, layer in enumerate(self.layers):
            x = layer(x, noise[k]) if self._noisy else layer(x)
            if k < len(self.between):
                x = self.between[k](x)
        return x


def _between(width: int, layer_norm: bool) -> list[nn.Module]:
    """Return what is between two linear layers."""
    return [*([nn.LayerNorm(width)] if layer_norm else []), nn.ReLU()]
