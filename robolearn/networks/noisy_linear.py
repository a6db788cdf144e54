"""Exploration by noise in the weights."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class NoisyLinear(nn.Module):
    """A linear layer with factorized Gaussian noise (Fortunato et al., 2018, sec. 3 (b)).

    Every row of its input has weights of its own,

        W = weight + weight_sigma * f_out f_in^T,    b = bias + bias_sigma * f_out,

    which are never formed: noise scales inputs and outputs instead.
    """

    def __init__(
        self, inputs: int, outputs: int, generator: torch.Generator, sigma: float = 0.5
    ) -> None:
        """Start as the paper's sec. 3.2 says.

        Args:
            inputs: Width of the input.
            outputs: Width of the output.
            generator: Draws the weights.
            sigma: Deviation of a weight's noise, times the root of ``inputs``.
        """
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
        """Return outputs; without noise, those of the mean weights.

        Args:
            x: Shape (..., inputs).
            noise: What ``draw_noise`` returned. Shape (..., inputs + outputs).

        Returns:
            Shape (..., outputs).
        """
        mean = functional.linear(x, self.weight, self.bias)
        if noise is None:
            return mean
        f_in, f_out = noise.split(self._widths, dim=-1)
        return mean + f_out * functional.linear(f_in * x, self.weight_sigma, self.bias_sigma)
