"""Action distributions: pure functions of a network's output, fed with noise drawn outside.

All heads have the same functions. ``output`` is what the policy network returns, shape
(..., width); ``noise`` comes from ``draw_noise`` so that a whole rollout's can be drawn at once.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn

_LOG_STD_RANGE = (-5.0, 2.0)
"""Of deviations that depend on the state; a network could else make one 0 or infinite."""
_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


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

    def executed(self, action: Tensor) -> Tensor:
        """Return what the environment is to do: the action itself."""
        return action

    def log_prob(self, output: Tensor, action: Tensor) -> Tensor:
        """Return the actions' log-probabilities. Shape (...)."""
        return output.log_softmax(dim=-1).gather(-1, action[..., None]).squeeze(-1)

    def entropy(self, output: Tensor) -> Tensor:
        """Return the distributions' entropies in nats. Shape (...)."""
        log_prob = output.log_softmax(dim=-1)
        return -(log_prob.exp() * log_prob).sum(dim=-1)

    def divergence(self, first: Tensor, second: Tensor) -> Tensor:
        """Return KL(first || second) of two outputs' distributions in nats. Shape (...)."""
        p, q = first.log_softmax(dim=-1), second.log_softmax(dim=-1)
        return (p.exp() * (p - q)).sum(dim=-1)


class GaussianHead(nn.Module):
    """Independent normals, if asked squashed into (-1, 1) by tanh (Haarnoja et al., 2018, app. C).

    ``output`` holds means, and with ``state_std`` as many logarithms of deviations after them; else
    the deviations are learned, the same in every state. Actions are those before squashing, which
    loses nothing; ``executed`` is what the environment sees, and ``log_prob`` is of that.
    """

    nodes: Tensor
    weights: Tensor

    def __init__(
        self, actions: int, *, initial_std: float, state_std: bool = False, squash: bool = False
    ) -> None:
        """Serve ``actions`` continuous actions, starting from deviation ``initial_std``."""
        super().__init__()
        self.width = 2 * actions if state_std else actions
        self._actions, self._state_std, self._squash = actions, state_std, squash
        self._start = math.log(initial_std)
        if not state_std:
            self.log_std = nn.Parameter(torch.full((actions,), self._start))
        nodes, weights = np.polynomial.hermite_e.hermegauss(32)
        for name, array in (("nodes", nodes), ("weights", weights / weights.sum())):
            self.register_buffer(name, torch.from_numpy(array).float(), persistent=False)

    def _moments(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Return means, shape (..., actions), and logarithms of deviations, the same or (A,)."""
        if not self._state_std:
            return output, self.log_std
        mean, log_std = output.split(self._actions, dim=-1)
        return mean, (log_std + self._start).clamp(*_LOG_STD_RANGE)

    def draw_noise(self, *shape: int, generator: torch.Generator) -> Tensor:
        """Return standard normal noise. Shape (*shape, actions)."""
        return torch.randn(*shape, self._actions, device=generator.device, generator=generator)

    def sample(self, output: Tensor, noise: Tensor) -> Tensor:
        """Return actions. Shape (..., actions)."""
        mean, log_std = self._moments(output)
        return mean + log_std.exp() * noise

    def mode(self, output: Tensor) -> Tensor:
        """Return the means. Shape (..., actions)."""
        return self._moments(output)[0]

    def executed(self, action: Tensor) -> Tensor:
        """Return what the environment is to do. Shape (..., actions)."""
        return action.tanh() if self._squash else action

    def log_prob(self, output: Tensor, action: Tensor) -> Tensor:
        """Return the log-densities of what is executed. Shape (...)."""
        mean, log_std = self._moments(output)
        z = (action - mean) * torch.exp(-log_std)
        log_prob = -0.5 * (z * z).sum(dim=-1) - (log_std + _HALF_LOG_2PI).sum(dim=-1)
        return log_prob - _log_slope(action).sum(dim=-1) if self._squash else log_prob

    def entropy(self, output: Tensor) -> Tensor:
        """Return the distributions' entropies in nats. Shape (...).

        Squashing adds the expected logarithm of tanh's slope, here by Gauss-Hermite quadrature.
        """
        mean, log_std = self._moments(output)
        total = (log_std + _HALF_LOG_2PI + 0.5).sum(dim=-1).expand(output.shape[:-1])
        if not self._squash:
            return total
        at = mean[..., None] + log_std.exp()[..., None] * self.nodes
        return total + (_log_slope(at) * self.weights).sum(dim=(-2, -1))

    def divergence(self, first: Tensor, second: Tensor) -> Tensor:
        """Return KL(first || second) of two outputs' normals in nats. Shape (...).

        Squashing both changes nothing of it. Deviations that are learned are the same in both.
        """
        (a, log_a), (b, log_b) = self._moments(first), self._moments(second)
        ratio = (2 * (log_a - log_b)).exp()  # of variances
        away = (a - b) * torch.exp(-log_b)
        return 0.5 * (ratio - 1 - 2 * (log_a - log_b) + away.square()).sum(dim=-1)


def _log_slope(u: Tensor) -> Tensor:
    """Return log(1 - tanh(u)^2), without the cancellation."""
    return 2 * (math.log(2) - u - nn.functional.softplus(-2 * u))
