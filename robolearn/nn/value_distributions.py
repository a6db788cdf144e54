"""What a Q-network predicts of the return of each action: its mean, or its distribution.

The three have the same surface. ``output`` is what the network returns for an action: ``width``
numbers in the last dimension. ``target`` says what it should have been; ``error`` and
``surprise`` say how far off it was.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from robolearn.errors import RobolearnError


class Expectation(nn.Module):
    """The mean alone (Mnih et al., 2015); ``output`` holds it."""

    width = 1

    def mean(self, output: Tensor) -> Tensor:
        """Return expected returns. Shape (..., A, 1) to (..., A)."""
        return output.squeeze(-1)

    def target(self, reward: Tensor, discount: Tensor, next_output: Tensor) -> Tensor:
        """Return r + discount * Q.

        Args:
            reward: Sum of n discounted rewards. Shape (...).
            discount: gamma^n; 0 where terminated. Shape (...).
            next_output: Of the action taken next. Shape (..., 1).

        Returns:
            Shape (..., 1).
        """
        return reward[..., None] + discount[..., None] * next_output

    def error(self, output: Tensor, target: Tensor) -> Tensor:
        """Return Huber losses, quadratic up to 1. Shapes (..., 1) to (...).

        Where returns are random by more than that, their minimum lies nearer the median than the
        mean: a lottery that pays 10 one time in four is told to be worth 1/3. Learn a categorical
        return there.
        """
        return functional.smooth_l1_loss(output, target, reduction="none").squeeze(-1)

    @torch.no_grad()
    def surprise(self, output: Tensor, target: Tensor) -> Tensor:
        """Return sizes of the TD errors. Shapes (..., 1) to (...)."""
        return (target - output).abs().squeeze(-1)


class CategoricalReturn(nn.Module):
    """Probabilities of evenly spaced returns (C51: Bellemare et al., 2017).

    ``output`` holds logits; ``target`` holds probabilities.
    """

    support: Tensor

    def __init__(self, atoms: int, low: float, high: float) -> None:
        """Spread ``atoms`` returns evenly from ``low`` to ``high``, in units of reward.

        Raises:
            RobolearnError: Fewer than 2 atoms, or a support that does not rise.
        """
        super().__init__()
        if atoms < 2:
            raise RobolearnError(f"A categorical return needs at least 2 atoms, got {atoms}.")
        self.width = atoms
        self.register_buffer("support", torch.empty(atoms))
        self.span(low, high)

    def span(self, low: float, high: float) -> None:
        """Spread the same atoms from ``low`` to ``high`` instead.

        Raises:
            RobolearnError: A support that does not rise.
        """
        if not -math.inf < low < high < math.inf:
            raise RobolearnError(
                f"The support of a return must have finite low < high, got {low} and {high}."
            )
        self.support.copy_(torch.linspace(low, high, self.width, dtype=self.support.dtype))

    def mean(self, output: Tensor) -> Tensor:
        """Return expected returns. Shape (..., A, atoms) to (..., A)."""
        return output.softmax(dim=-1) @ self.support

    @torch.no_grad()
    def target(self, reward: Tensor, discount: Tensor, next_output: Tensor) -> Tensor:
        """Return the distribution of r + discount * z, projected onto the atoms.

        Bellemare et al. (2017), eq. 7 and algorithm 1: what lies between two atoms is shared
        between them, what lies outside goes to the first or the last.

        Args:
            reward: Sum of n discounted rewards. Shape (...).
            discount: gamma^n; 0 where terminated. Shape (...).
            next_output: Of the action taken next. Shape (..., atoms).

        Returns:
            Probabilities. Shape (..., atoms).
        """
        probability = next_output.softmax(dim=-1)
        place = self._places(reward, discount).clamp(0, self.width - 1)
        below = place.floor().clamp_max(self.width - 2)
        upper = probability * (place - below)
        index = below.long()
        result = torch.zeros_like(upper).scatter_add(-1, index, probability - upper)
        return result.scatter_add(-1, index + 1, upper)

    def error(self, output: Tensor, target: Tensor) -> Tensor:
        """Return cross-entropies in nats. Shapes (..., atoms) to (...)."""
        return -(target * output.log_softmax(dim=-1)).sum(dim=-1)

    @torch.no_grad()
    def surprise(self, output: Tensor, target: Tensor) -> Tensor:
        """Return KL divergences of prediction from target in nats (Hessel et al., 2018).

        Shapes (..., atoms) to (...).
        """
        divergence = functional.kl_div(output.log_softmax(dim=-1), target, reduction="none")
        return divergence.sum(dim=-1).clamp_min(0)

    @torch.no_grad()
    def clipped(self, reward: Tensor, discount: Tensor, next_output: Tensor) -> Tensor:
        """Return the probability that a return lies beyond the support by more than a spacing.

        Arguments as for ``target``. Shape (...).
        """
        place = self._places(reward, discount)
        beyond = (place < -1) | (place > self.width)
        return (next_output.softmax(dim=-1) * beyond).sum(dim=-1)

    def _places(self, reward: Tensor, discount: Tensor) -> Tensor:
        """Return where r + discount * z lies, counted in atoms from the first. (..., atoms)."""
        low, high = self.support[0], self.support[-1]
        shifted = reward[..., None] + discount[..., None] * self.support
        return (shifted - low) * ((self.width - 1) / (high - low))


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
        """Return the quantiles of r + discount * z.

        Args:
            reward: Sum of n discounted rewards. Shape (...).
            discount: gamma^n; 0 where terminated. Shape (...).
            next_output: Of the action taken next. Shape (..., quantiles).

        Returns:
            Shape (..., quantiles).
        """
        return reward[..., None] + discount[..., None] * next_output

    def error(self, output: Tensor, target: Tensor) -> Tensor:
        """Return quantile Huber losses (Dabney et al., 2018, eq. 10, kappa = 1).

        The mean over the target's quantiles, summed over the output's.
        Shapes (..., quantiles) to (...).
        """
        # (..., of output, of target)
        predicted, wanted = torch.broadcast_tensors(output[..., :, None], target[..., None, :])
        huber = functional.smooth_l1_loss(predicted, wanted, reduction="none")
        tau = self.tau[:, None]
        weight = torch.where(wanted < predicted, 1 - tau, tau)
        return (weight * huber).mean(dim=-1).sum(dim=-1)

    @torch.no_grad()
    def surprise(self, output: Tensor, target: Tensor) -> Tensor:
        """Return sizes of the TD errors of the means. Shapes (..., quantiles) to (...)."""
        return (target.mean(dim=-1) - output.mean(dim=-1)).abs()
