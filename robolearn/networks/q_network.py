"""Q-networks, and what they predict of the return of each action: its mean, or its distribution.

The three predictions have the same methods. ``output`` is that of the network for an action, shape
(..., width). ``target(reward, discount, next_output)`` is what it is trained towards, of the same
shape: ``reward`` is the sum of n discounted rewards, shape (...), ``discount`` is gamma^n, 0 where
terminated, shape (...), and ``next_output`` is that of the next action. ``error`` is the loss, and
``td_error`` the size of the TD error, both of shape (...).
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from robolearn.errors import RobolearnError
from robolearn.networks.encoders import ObservationEncoder, linear


class Expectation(nn.Module):
    """The mean alone (Mnih et al., 2015); ``output`` holds it."""

    width = 1

    def mean(self, output: Tensor) -> Tensor:
        """Return expected returns. Shape (..., A, 1) to (..., A)."""
        return output.squeeze(-1)

    def target(self, reward: Tensor, discount: Tensor, next_output: Tensor) -> Tensor:
        """Return r + discount * Q. Shape (..., 1)."""
        return reward[..., None] + discount[..., None] * next_output

    def error(self, output: Tensor, target: Tensor) -> Tensor:
        """Return Huber losses, quadratic up to 1.

        For returns more random than that, the minimum lies nearer the median than the mean: a
        lottery that pays 10 one time in four gets the value 1/3. C51 has no such bias.
        """
        return functional.smooth_l1_loss(output, target, reduction="none").squeeze(-1)

    @torch.no_grad()
    def td_error(self, output: Tensor, target: Tensor) -> Tensor:
        """Return sizes of the TD errors."""
        return (target - output).abs().squeeze(-1)


class CategoricalReturn(nn.Module):
    """Probabilities of evenly spaced returns (C51: Bellemare et al., 2017).

    ``output`` holds logits; ``target`` holds probabilities.
    """

    support: Tensor

    def __init__(self, atoms: int, v_min: float, v_max: float) -> None:
        """Spread ``atoms`` returns evenly from ``v_min`` to ``v_max``, in units of reward.

        Raises:
            RobolearnError: Fewer than 2 atoms, or not v_min < v_max.
        """
        super().__init__()
        if atoms < 2:
            raise RobolearnError(f"A categorical return needs at least 2 atoms, got {atoms}.")
        if not -math.inf < v_min < v_max < math.inf:
            raise RobolearnError(
                f"A categorical return needs finite v_min < v_max, got {v_min} and {v_max}."
            )
        self.width = atoms
        self.register_buffer("support", torch.linspace(v_min, v_max, atoms))

    def mean(self, output: Tensor) -> Tensor:
        """Return expected returns. Shape (..., A, atoms) to (..., A)."""
        return output.softmax(dim=-1) @ self.support

    @torch.no_grad()
    def target(self, reward: Tensor, discount: Tensor, next_output: Tensor) -> Tensor:
        """Return probabilities of r + discount * z, projected onto the atoms. Shape (..., atoms).

        Bellemare et al. (2017), eq. 7 and algorithm 1: what lies between two atoms is shared
        between them, what lies outside goes to the first or the last.
        """
        probability = next_output.softmax(dim=-1)
        low, high = self.support[0], self.support[-1]
        z = reward[..., None] + discount[..., None] * self.support
        place = ((z - low) * ((self.width - 1) / (high - low))).clamp(0, self.width - 1)
        below = place.floor().clamp_max(self.width - 2)
        upper = probability * (place - below)
        index = below.long()
        result = torch.zeros_like(upper).scatter_add(-1, index, probability - upper)
        return result.scatter_add(-1, index + 1, upper)

    def error(self, output: Tensor, target: Tensor) -> Tensor:
        """Return cross-entropies in nats."""
        return -(target * output.log_softmax(dim=-1)).sum(dim=-1)

    @torch.no_grad()
    def td_error(self, output: Tensor, target: Tensor) -> Tensor:
        """Return KL divergences of prediction from target in nats (Hessel et al., 2018)."""
        divergence = functional.kl_div(output.log_softmax(dim=-1), target, reduction="none")
        return divergence.sum(dim=-1).clamp_min(0)


class QuantileReturn(nn.Module):
    """Evenly spaced quantiles of the return (QR-DQN: Dabney et al., 2018), held by ``output``."""

    tau: Tensor

    def __init__(self, quantiles: int) -> None:
        """Predict the quantiles at the midpoints (i + 0.5) / ``quantiles``.

        Raises:
            RobolearnError: No quantiles.
        """
        super().__init__()
        if quantiles < 1:
            raise RobolearnError(f"A quantile return needs at least 1 quantile, got {quantiles}.")
        self.width = quantiles
        midpoints = (torch.arange(quantiles) + 0.5) / quantiles
        self.register_buffer("tau", midpoints, persistent=False)

    def mean(self, output: Tensor) -> Tensor:
        """Return expected returns. Shape (..., A, quantiles) to (..., A)."""
        return output.mean(dim=-1)

    def target(self, reward: Tensor, discount: Tensor, next_output: Tensor) -> Tensor:
        """Return the quantiles of r + discount * z. Shape (..., quantiles)."""
        return reward[..., None] + discount[..., None] * next_output

    def error(self, output: Tensor, target: Tensor) -> Tensor:
        """Return quantile Huber losses (Dabney et al., 2018, eq. 10, kappa = 1).

        Means over the target's quantiles, summed over the output's.
        """
        # (..., of output, of target)
        predicted, wanted = torch.broadcast_tensors(output[..., :, None], target[..., None, :])
        huber = functional.smooth_l1_loss(predicted, wanted, reduction="none")
        tau = self.tau[:, None]
        weight = torch.where(wanted < predicted, 1 - tau, tau)
        return (weight * huber).mean(dim=-1).sum(dim=-1)

    @torch.no_grad()
    def td_error(self, output: Tensor, target: Tensor) -> Tensor:
        """Return sizes of the TD errors of the means."""
        return (target.mean(dim=-1) - output.mean(dim=-1)).abs()


Returns: TypeAlias = Expectation | CategoricalReturn | QuantileReturn
Noise: TypeAlias = Sequence[Tensor] | None
"""Of each noisy layer in turn; None for their mean weights."""


class NoisyLinear(nn.Module):
    """A linear layer with factorized Gaussian noise (Fortunato et al., 2018, sec. 3 (b)).

    Every row of its input has weights of its own,

        W = weight + weight_sigma * f_out f_in^T,    b = bias + bias_sigma * f_out,

    which are never formed: noise scales inputs and outputs instead.
    """

    def __init__(
        self, inputs: int, outputs: int, generator: torch.Generator, sigma: float = 0.5
    ) -> None:
        """Draw the weights as in sec. 3.2; ``sigma`` is their noise's deviation * sqrt(inputs)."""
        super().__init__()
        self._widths = (inputs, outputs)
        bound = 1 / math.sqrt(inputs)
        weight, bias = torch.empty(outputs, inputs), torch.empty(outputs)
        self.weight = nn.Parameter(weight.uniform_(-bound, bound, generator=generator))
        self.bias = nn.Parameter(bias.uniform_(-bound, bound, generator=generator))
        self.weight_sigma = nn.Parameter(torch.full((outputs, inputs), sigma * bound))
        self.bias_sigma = nn.Parameter(torch.full((outputs,), sigma * bound))

    def draw_noise(self, *shape: int, generator: torch.Generator) -> Tensor:
        """Return f_in and f_out side by side: sgn(x) sqrt|x| of normal x.

        Shape (*shape, inputs + outputs).
        """
        x = torch.randn(*shape, sum(self._widths), device=generator.device, generator=generator)
        return x.sign() * x.abs().sqrt()

    def forward(self, x: Tensor, noise: Tensor | None) -> Tensor:
        """Return outputs, shape (..., outputs), of ``x``, shape (..., inputs).

        ``noise`` is that of ``draw_noise``, shape (..., inputs + outputs); None for mean weights.
        """
        mean = functional.linear(x, self.weight, self.bias)
        if noise is None:
            return mean
        f_in, f_out = noise.split(self._widths, dim=-1)
        return mean + f_out * functional.linear(f_in * x, self.weight_sigma, self.bias_sigma)


class QNetwork(nn.Module):
    """Maps observations to the return of each action: an encoder and hidden layers."""

    def __init__(
        self,
        encoder: ObservationEncoder,
        actions: int,
        returns: Returns,
        *,
        hidden: Sequence[int],
        first_layer_gain: float = 1.0,
        layer_norm: bool = True,
        dueling: bool = False,
        noisy: bool = False,
        generator: torch.Generator,
    ) -> None:
        """Build the network.

        Args:
            encoder: Makes features of observations.
            actions: How many there are.
            returns: What is predicted of an action's return.
            hidden: Widths of the hidden layers.
            first_layer_gain: Scale of the first layer's initial weights.
            layer_norm: Normalize hidden layers (Ba et al., 2016).
            dueling: A stream for V and one for advantages (Wang et al., 2016, eq. 9), each of the
                last hidden layer and the output.
            noisy: Noise in the last hidden layer and the output, for exploration.
            generator: Draws the weights.
        """
        super().__init__()
        self.encoder, self.returns = encoder, returns
        self._actions = actions
        widths = (encoder.width, *hidden)
        self.trunk = nn.Sequential()
        for inputs, outputs in pairwise(widths[:-1]):
            layer = linear(inputs, outputs, 2**0.5, generator)
            self.trunk.extend([layer, *_between(outputs, layer_norm)])
        how = (layer_norm, noisy, generator)
        self.advantage = _Stream([*widths[-2:], actions * returns.width], *how)
        self.value = _Stream([*widths[-2:], returns.width], *how) if dueling else None
        streams = [self.advantage] if self.value is None else [self.advantage, self.value]
        first: list[Any] = [self.trunk[0]] if self.trunk else [s.layers[0] for s in streams]
        with torch.no_grad():
            for layer in first:
                layer.weight.mul_(first_layer_gain)
        self.noisy = noisy
        self._noisy = [layer for layer in self.modules() if isinstance(layer, NoisyLinear)]

    def draw_noise(self, *shape: int, generator: torch.Generator) -> Noise:
        """Return noise for observations of shape (*shape, D), or None where no layer has any."""
        return [layer.draw_noise(*shape, generator=generator) for layer in self._noisy] or None

    def forward(self, obs: Tensor, noise: Noise = None) -> Tensor:
        """Return the prediction for each action's return. Shape (..., actions, width).

        ``obs`` are flat, shape (..., D). ``noise`` has the same leading shape, or 1.
        """
        features = self.trunk(self.encoder(obs))
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
        self.between = nn.ModuleList(nn.Sequential(*_between(w, layer_norm)) for w in widths[1:-1])

    def forward(self, x: Tensor, noise: Sequence[Tensor | None]) -> Tensor:
        for k, layer in enumerate(self.layers):
            x = layer(x, noise[k]) if self._noisy else layer(x)
            if k < len(self.between):
                x = self.between[k](x)
        return x


def _between(width: int, layer_norm: bool) -> list[nn.Module]:
    """Return what is between two linear layers."""
    return [*([nn.LayerNorm(width)] if layer_norm else []), nn.ReLU()]
