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
            hidden: Widths of the hidden layers, one at least.
            layer_norm: Normalise hidden layers (Ba et al., 2016).
            dueling: Tell values of states and advantages of actions apart.
            noisy: Put noise into the last hidden layer and the output.
            generator: Draws the weights.
        """
        super().__init__()
        self.perception, self.returns = perception, returns
        self._actions = actions
        *before, last = (perception.width, *hidden)
        self.trunk = Chain()
        for inputs, outputs in pairwise(before):
            self.trunk.extend(_hidden(linear(inputs, outputs, 2**0.5, generator), layer_norm))
        sizes = (before[-1], last)
        self.advantage = _Stream(*sizes, actions * returns.width, layer_norm, noisy, generator)
        self.value = (
            _Stream(*sizes, returns.width, layer_norm, noisy, generator) if dueling else None
        )

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
        drawn = [None] * 4 if noise is None else [*noise, None, None]
        advantage = self.advantage(features, *drawn[:2])
        advantage = advantage.unflatten(-1, (self._actions, self.returns.width))
        if self.value is None:
            return advantage
        value = self.value(features, *drawn[2:4])[..., None, :]
        return value + advantage - advantage.mean(dim=-2, keepdim=True)

    def q(self, obs: Tensor, noise: Noise = None) -> Tensor:
        """Return expected returns. Shape (..., actions)."""
        return self.returns.mean(self(obs, noise))


class _Stream(nn.Module):
    """A hidden layer and an output layer, noisy or not."""

    def __init__(
        self,
        inputs: int,
        hidden: int,
        outputs: int,
        layer_norm: bool,
        noisy: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self._noisy = noisy
        self.first = (
            NoisyLinear(inputs, hidden, generator)
            if noisy
            else linear(inputs, hidden, 2**0.5, generator)
        )
        self.between = Chain(*([nn.LayerNorm(hidden)] if layer_norm else []), nn.ReLU())
        self.last = (
            NoisyLinear(hidden, outputs, generator)
            if noisy
            else linear(hidden, outputs, 1.0, generator)
        )

    def forward(self, x: Tensor, first: Tensor | None, last: Tensor | None) -> Tensor:
        if self._noisy:
            return self.last(self.between(self.first(x, first)), last)
        return self.last(self.between(self.first(x)))


def _hidden(layer: nn.Linear, layer_norm: bool) -> list[nn.Module]:
    norm = [nn.LayerNorm(layer.out_features)] if layer_norm else []
    return [layer, *norm, nn.ReLU()]
