"""What Q-learners with a replay memory learn from a minibatch: targets and losses."""

import math

from torch import Tensor

from robolearn.agents.q_learner import taken
from robolearn.data.replay import Batch
from robolearn.nn.q_network import Returns


def return_bounds(low: float, high: float, gamma: float) -> tuple[float, float]:
    """Return the least and greatest discounted return of rewards in [low, high].

    An episode may end at any step and may go on for ever: min(low, 0) / (1 - gamma) and
    max(high, 0) / (1 - gamma); infinite for gamma 1.
    """
    horizon = 1 / (1 - gamma) if gamma < 1 else math.inf
    return (low * horizon if low < 0 else 0.0), (high * horizon if high > 0 else 0.0)


def td_target(returns: Returns, batch: Batch, next_output: Tensor, chooser: Tensor) -> Tensor:
    """Return what the network should have told of the action taken: R + discount * Z(s', a*).

    a* is the best action by ``chooser``: the target network's own means (Mnih et al., 2015), or
    the online network's (double: van Hasselt et al., 2016).

    Args:
        returns: What is told of a return.
        batch: Fields (..., ).
        next_output: Of the target network for s'. Shape (..., A, width).
        chooser: Expected returns that choose a*. Shape (..., A).

    Returns:
        Shape (..., width).
    """
    best = taken(next_output, chooser.argmax(dim=-1))
    return returns.target(batch.reward, batch.discount, best)


def shares(weight: Tensor) -> Tensor:
    """Return weights over how many transitions are valid: those with a weight. Shape (..., B)."""
    return weight / (weight > 0).sum(dim=-1, keepdim=True).clamp_min(1)


def td_loss(returns: Returns, told: Tensor, target: Tensor, share: Tensor) -> Tensor:
    """Return the error of what the network told, as a weighted sum over the batch.

    Args:
        returns: What is told of a return, and what error is made in it.
        told: By the online network, of the actions taken. Shape (B, width).
        target: What it should have told. Shape (B, width).
        share: Of each transition in the loss. Shape (B,).
    """
    return (returns.error(told, target) * share).sum()


def margin_loss(q: Tensor, wanted: Tensor, margin: float, share: Tensor) -> Tensor:
    """Return by how much any other action comes near an expert's (Hester et al., 2018, eq. 3).

        max_a [Q(s, a) + margin * (a != wanted)] - Q(s, wanted)

    is 0 where the expert's action returns more than all others by the margin.

    Args:
        q: Expected returns. Shape (B, A).
        wanted: What the expert wanted. Shape (B,), int64.
        margin: In units of return.
        share: Of each transition in the loss; 0 where nobody showed anything. Shape (B,).
    """
    index = wanted[:, None]
    raised = (q + margin).scatter(1, index, q.gather(1, index))
    return ((raised.amax(dim=1) - q.gather(1, index).squeeze(1)) * share).sum()
