"""Action distributions, and the policy and value networks with their GRU.

Distributions are pure functions of the policy network's ``output``, shape (..., width), and of
``noise`` from ``draw_noise``, which can be drawn for a whole rollout at once.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor, nn

from robolearn.networks.adapters import Adapter, adapt
from robolearn.networks.encoders import ObservationEncoder, RunningNorm, mlp
from robolearn.spaces import ActionSpace, action_choices, action_width

_LOG_STD_RANGE = (-5.0, 2.0)
"""Of the logarithms of standard deviations, which else could become 0 or infinite."""
STD_RANGE = (0.0068, 7.38)
"""The same of deviations at the start, rounded inwards."""
_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class _Bounded(torch.autograd.Function):
    """Clamps logarithms of deviations; gradients that lead back into the range pass.

    As ``lower_bound`` with "identity_if_towards" in TensorFlow Compression (Balle et al., 2017).
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(log_std: Tensor) -> Tensor:
        return log_std.clamp(*_LOG_STD_RANGE)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        (log_std,), (gradient,) = ctx.saved_tensors, grad_outputs
        low, high = _LOG_STD_RANGE
        outward = ((log_std < low) & (gradient > 0)) | ((log_std > high) & (gradient < 0))
        return gradient.masked_fill(outward, 0.0)


class _SoftmaxDistribution(nn.Module, ABC):
    """Discrete actions; ``output`` holds their logits."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    @abstractmethod
    def _log_probs(self, output: Tensor) -> Tensor:
        """Return the log-probabilities of all values. Shape (..., width)."""

    def draw_noise(self, *shape: int, generator: torch.Generator) -> Tensor:
        """Return Gumbel noise. Shape (*shape, width)."""
        noise = torch.empty(*shape, self.width, device=generator.device)
        return -noise.exponential_(generator=generator).log()

    def executed(self, action: Tensor) -> Tensor:
        """Return what the environment is to do: the action itself."""
        return action

    def distribution_params(self, output: Tensor) -> Tensor:
        """Return the logits. Shape (..., width)."""
        return output

    def kl_divergence(self, first: Tensor, second: Tensor) -> Tensor:
        """Return KL(first || second) in nats, shape (...), by ``distribution_params`` of both."""
        p, q = self._log_probs(first), self._log_probs(second)
        return (p.exp() * (p - q)).sum(dim=-1)


class CategoricalDistribution(_SoftmaxDistribution):
    """Softmax over ``width`` discrete actions."""

    def _log_probs(self, output: Tensor) -> Tensor:
        return output.log_softmax(dim=-1)

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


class MultiCategoricalDistribution(_SoftmaxDistribution):
    """Independent softmaxes over K discrete actions at once.

    Of a binary action these are two, whose difference is the logit of a Bernoulli distribution.
    """

    def __init__(self, choices: Sequence[int]) -> None:
        """Serve actions of which the k-th has ``choices[k]`` values."""
        super().__init__(sum(choices))
        self._choices = list(choices)

    def _log_probs(self, output: Tensor) -> Tensor:
        parts = output.split(self._choices, dim=-1)
        return torch.cat([logits.log_softmax(dim=-1) for logits in parts], dim=-1)

    def sample(self, output: Tensor, noise: Tensor) -> Tensor:
        """Return actions by the Gumbel-max trick (Gumbel, 1954). Shape (..., K), int64."""
        return self.mode(output + noise)

    def mode(self, output: Tensor) -> Tensor:
        """Return the likeliest actions. Shape (..., K), int64."""
        parts = output.split(self._choices, dim=-1)
        return torch.stack([logits.argmax(dim=-1) for logits in parts], dim=-1)

    def log_prob(self, output: Tensor, action: Tensor) -> Tensor:
        """Return the log-probabilities of all actions together. Shape (...)."""
        parts = self._log_probs(output).split(self._choices, dim=-1)
        each = [p.gather(-1, a) for p, a in zip(parts, action.split(1, dim=-1), strict=True)]
        return torch.cat(each, dim=-1).sum(dim=-1)

    def entropy(self, output: Tensor) -> Tensor:
        """Return the distributions' entropies in nats, summed over the actions. Shape (...)."""
        log_prob = self._log_probs(output)
        return -(log_prob.exp() * log_prob).sum(dim=-1)


class GaussianDistribution(nn.Module):
    """Independent normals, if asked squashed into (-1, 1) by tanh (Haarnoja et al., 2018, app. C).

    ``output`` holds means, and with ``state_dependent_std`` the logarithms of deviations after
    them; else the deviations are parameters, the same in every state. Actions are those before
    squashing; ``executed`` returns those after it, and ``log_prob`` is of these.
    """

    nodes: Tensor
    weights: Tensor

    def __init__(
        self,
        actions: int,
        *,
        init_std: float,
        state_dependent_std: bool = False,
        squash_output: bool = False,
    ) -> None:
        """Serve ``actions`` continuous actions, starting from deviation ``init_std``."""
        super().__init__()
        self.width = 2 * actions if state_dependent_std else actions
        self._actions, self._state_std, self._squash = actions, state_dependent_std, squash_output
        self._start = math.log(init_std)
        if not state_dependent_std:
            self.log_std = nn.Parameter(torch.full((actions,), self._start))
        # The trapezoidal rule over a standard normal, exact to 2e-4 for deviations up to 8.
        # Gauss-Hermite quadrature takes four times the nodes for that.
        nodes = torch.linspace(-5.0, 5.0, 64)
        self.register_buffer("nodes", nodes, persistent=False)
        weights = torch.softmax(-0.5 * nodes.square(), dim=0)
        self.register_buffer("weights", weights, persistent=False)

    def _moments(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Return means, shape (..., actions), and logarithms of deviations, the same or (A,)."""
        if not self._state_std:
            return output, _bounded(self.log_std)
        mean, log_std = output.split(self._actions, dim=-1)
        return mean, _bounded(log_std + self._start)

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

        Squashing adds the expected logarithm of tanh's slope, here by the trapezoidal rule.
        """
        mean, log_std = self._moments(output)
        total = (log_std + _HALF_LOG_2PI + 0.5).sum(dim=-1).expand(output.shape[:-1])
        if not self._squash:
            return total
        at = mean[..., None] + log_std.exp()[..., None] * self.nodes
        return total + (_log_slope(at) * self.weights).sum(dim=(-2, -1))

    def std(self, output: Tensor) -> Tensor:
        """Return standard deviations before squashing. Shape (..., actions)."""
        mean, log_std = self._moments(output)
        return log_std.exp().expand_as(mean)

    def distribution_params(self, output: Tensor) -> Tensor:
        """Return means, and after them logarithms of deviations. Shape (..., 2 * actions)."""
        mean, log_std = self._moments(output)
        return torch.cat([mean, log_std.expand_as(mean)], dim=-1)

    def kl_divergence(self, first: Tensor, second: Tensor) -> Tensor:
        """Return KL(first || second) in nats, shape (...), by ``distribution_params`` of both.

        Squashing both changes nothing of it.
        """
        (a, log_a), (b, log_b) = (params.chunk(2, dim=-1) for params in (first, second))
        ratio = (2 * (log_a - log_b)).exp()  # of variances
        away = (a - b) * torch.exp(-log_b)
        return 0.5 * (ratio - 1 - 2 * (log_a - log_b) + away.square()).sum(dim=-1)


Distribution: TypeAlias = (
    CategoricalDistribution | MultiCategoricalDistribution | GaussianDistribution
)


def distribution(space: ActionSpace, **gaussian: Any) -> Distribution:
    """Return the distribution over the actions of a space.

    ``gaussian`` are arguments of :class:`GaussianDistribution`, for continuous actions.
    """
    if isinstance(space, Discrete):
        return CategoricalDistribution(int(space.n))
    if isinstance(space, Box):
        return GaussianDistribution(action_width(space), **gaussian)
    return MultiCategoricalDistribution(action_choices(space))


def _bounded(log_std: Tensor) -> Tensor:
    bounded: Any = _Bounded.apply(log_std)
    return bounded


def _log_slope(u: Tensor) -> Tensor:
    """Return log(1 - tanh(u)^2), without the cancellation."""
    return 2 * (math.log(2) - u - nn.functional.softplus(-2 * u))


class Memory(nn.Module):
    """A gated recurrent unit (Cho et al., 2014); its output is its state."""

    def __init__(self, inputs: int, width: int, generator: torch.Generator) -> None:
        """Map ``inputs`` numbers to ``width``; the gates' weights are orthogonal, biases 0."""
        super().__init__()
        self.cell = nn.GRUCell(inputs, width)
        with torch.no_grad():
            for weight in (self.cell.weight_ih, self.cell.weight_hh):
                for gate in weight.chunk(3):
                    nn.init.orthogonal_(gate, generator=generator)
            self.cell.bias_ih.zero_()
            self.cell.bias_hh.zero_()

    def forward(self, x: Tensor, before: Tensor, start: Tensor) -> Tensor:
        """Return the state after one step, shape (N, width), for inputs ``x``, shape (N, inputs).

        ``before`` is the state before, shape (N, width), 0 where ``start``, shape (N,), is true.
        """
        return self.cell(x, before * ~start[:, None])

    def sequence(self, x: Tensor, before: Tensor, start: Tensor) -> Tensor:
        """Return the state after each of T steps. Shape (T, N, width).

        Takes what ``forward`` does, with T as the first dimension of ``x`` and ``start``. Splitting
        at the starts for torch's own loop would be at best a third faster.
        """
        states = []
        for each, begins in zip(x, start, strict=True):
            before = self(each, before, begins)
            states.append(before)
        return torch.stack(states)


class ActorCritic(nn.Module):
    """Policy and critic: two MLPs on a shared encoder and GRU, if there is one.

    The input of the MLPs is called ``latent``; with a GRU it is its state.
    """

    def __init__(
        self,
        encoder: ObservationEncoder,
        head: Distribution,
        *,
        hidden: Sequence[int],
        activation: str,
        memory: int,
        first_layer_gain: float = 1.0,
        generator: torch.Generator,
    ) -> None:
        """Build the networks.

        Args:
            encoder: Makes features of observations.
            head: Makes actions of the policy's output.
            hidden: Widths of the hidden layers, of policy and critic each.
            activation: Of the hidden layers, 'tanh' or 'relu'.
            memory: Width of the GRU, 0 for none.
            first_layer_gain: Scale of the first layers' initial weights.
            generator: Draws the weights.
        """
        super().__init__()
        self.width = memory or encoder.width
        """Width of a latent."""
        self.head = head
        self.encoder = encoder
        self.memory = Memory(encoder.width, memory, generator) if memory else None
        how: dict[str, Any] = {"activation": activation, "input_gain": first_layer_gain}
        how["generator"] = generator
        self.policy = mlp(self.width, hidden, head.width, output_gain=0.01, **how)
        self.critic = mlp(self.width, hidden, 1, **how)
        self.learns_latents = self.memory is not None or encoder.learns
        """Latents change while the networks are trained."""
        self.values = RunningNorm(1, limit=math.inf)

    def adapt(self, kind: Adapter, rank: int, generator: torch.Generator) -> None:
        """Freeze all but an adapter of the policy, the critic and state-independent deviations.

        Arguments as :func:`robolearn.networks.adapters.adapt`; 'none' changes nothing.
        """
        if kind == "none":
            return
        self.policy = adapt(self.policy, kind, rank, generator)
        self.encoder.requires_grad_(False)
        self.encoder.freeze_obs_norm()
        if self.memory is not None:
            self.memory.requires_grad_(False)

    def encode(self, obs: Tensor, before: Tensor, start: Tensor) -> Tensor:
        """Return the latents of N observations, or of T observations of N environments each.

        Args:
            obs: Flat observations. Shape (N, D) or (T, N, D).
            before: The GRU's states before the first ones; unused without one. Shape (N, width).
            start: An episode begins. Shape (N,) or (T, N), bool.

        Returns:
            Shape (N, width) or (T, N, width).
        """
        features = self.encoder(obs)
        if self.memory is None:
            return features
        return (self.memory if start.dim() == 1 else self.memory.sequence)(features, before, start)

    def act(
        self, obs: Tensor, before: Tensor, start: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Sample actions for N observations, given as to ``encode``.

        Args:
            obs: Flat observations. Shape (N, D).
            before: The latents before. Shape (N, width).
            start: An episode begins. Shape (N,), bool.
            noise: Of ``head.draw_noise``. Shape (N, ...).

        Returns:
            Latents, shape (N, width), actions, and actions as environments take them.
        """
        latent = self.encode(obs, before, start)
        action = self.head.sample(self.policy(latent), noise)
        return latent, action, self.head.executed(action)

    def value(self, latent: Tensor) -> Tensor:
        """Return V in units of reward. Shape (...) for latents (..., width)."""
        return self.values.denormalize(self.critic(latent)).squeeze(-1)
