"""Action distributions: pure functions of a network's output, fed with noise drawn outside.

Both heads have the same four functions. ``output`` is what the policy network returns, shape
(..., width); ``noise`` comes from ``draw_noise`` so that a whole rollout's can be drawn at once.
"""

import math

import torch
from torch import Tensor, nn


class CategoricalHead(nn.Module):
    """Softmax over discrete actions; ``output`` holds logits."""

    def __init__(self, actions: int) -> None:
        """Serve ``actions`` discrete actions."""
        super().__init__()
        self.width = actions

    def draw_noise(self, *shape: int, generator: torch.Generator) -> Tensor:
        """Return Gumbel noise. Shape (*shape, actions)."""
        uniform = torch.empty(*shape, self.width, device=generator.device)
        uniform.exponential_(generator=generator)
        return -uniform.log()

    def sample(self, output: Tensor, noise: Tensor) -> Tensor:
        """Return actions by the Gumbel-max trick (Gumbel, 1954). Shape (...), int64."""
        return (output + noise).argmax(dim=-1)

    def mode(self, output: Tensor) -> Tensor:
        """Return the likeliest actions. Shape (...), int64."""
        return output.argmax(dim=-1)

    def log_prob(self, output: Tensor, action: Tensor) -> Tensor:
        """Return the actions' log-probabilities. Shape (...)."""
        return output.log_softmax(dim=-1).gather(-1, action[..., None]).squeeze(-1)

    def entropy(self, output: Tensor) -> Tensor:
        """Return the distributions' entropies in nats. Shape (...)."""
        log_prob = output.log_softmax(dim=-1)
        return -(log_prob.exp() * log_prob).sum(dim=-1)


class GaussianHead(nn.Module):
    """Independent normals with learned, state-independent deviations; ``output`` holds means."""

    def __init__(self, actions: int, *, initial_std: float) -> None:
        """Serve ``actions`` continuous actions, starting from deviation ``initial_std``."""
        super().__init__()
        self.width = actions
        self.log_std = nn.Parameter(torch.full((actions,), math.log(initial_std)))

    def draw_noise(self, *shape: int, generator: torch.Generator) -> Tensor:
        """Return standard normal noise. Shape (*shape, actions)."""
        return torch.randn(*shape, self.width, device=generator.device, generator=generator)

    def sample(self, output: Tensor, noise: Tensor) -> Tensor:
        """Return actions. Shape (..., actions)."""
        return output + self.log_std.exp() * noise

    def mode(self, output: Tensor) -> Tensor:
        """Return the means. Shape (..., actions)."""
        return output

    def log_prob(self, output: Tensor, action: Tensor) -> Tensor:
        """Return the actions' log-densities. Shape (...)."""
        z = (action - output) * torch.exp(-self.log_std)
        return -0.5 * (z * z).sum(dim=-1) - (self.log_std + 0.5 * math.log(2 * math.pi)).sum()

    def entropy(self, output: Tensor) -> Tensor:
        """Return the distributions' entropies in nats. Shape (...)."""
        total = (self.log_std + 0.5 * math.log(2 * math.pi * math.e)).sum()
        return total.expand(output.shape[:-1])
