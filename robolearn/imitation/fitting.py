"""Supervised learning on rows of arrays, and choosing what was learned by what it does."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from robolearn.accelerate import one_thread
from robolearn.networks.flat_adam import FlatAdam
from robolearn.runs.stopping import check_stop


def fit(
    module: nn.Module,
    loss: Callable[[Tensor], Tensor],
    rows: int,
    *,
    updates: int,
    batch: int,
    learning_rate: float,
    rng: torch.Generator,
    max_norm: float = 10.0,
) -> Iterator[int]:
    """Take gradient steps on minibatches, each row once in an epoch; the learning rate falls to 0.

    Args:
        module: Learns; its parameters come to lie side by side (see :class:`FlatAdam`).
        loss: Mean loss of some rows, int64 of shape (B,). It depends on the module.
        rows: How many there are.
        updates: Gradient steps.
        batch: Rows in each, at most.
        learning_rate: Adam's, at the start.
        rng: Shuffles.
        max_norm: Longer gradients are shortened to this.

    Yields:
        How many steps were taken.

    Raises:
        DivergedError: A loss or gradient is not finite.
    """
    descent = FlatAdam(module)
    drawn = _epochs(rows, min(batch, rows), rng)
    for k in range(updates):
        check_stop()
        with one_thread():
            rate = learning_rate * (1 - k / updates)
            descent.step(loss(next(drawn)), rate=rate, max_norm=max_norm)
        yield k + 1


def _epochs(rows: int, batch: int, rng: torch.Generator) -> Iterator[Tensor]:
    """Yield shuffled minibatches for ever; what does not fill one is left to the next epoch."""
    while True:
        order = torch.randperm(rows, generator=rng, device=rng.device)
        yield from order[: rows - rows % batch].split(batch)


TRIALS = 2
"""Seed of trials: not that of evaluations on the way (1), nor of those at the end (0)."""


class Choice(NamedTuple):
    """What came of learning: the best of what was tried in the environment."""

    score: float
    """Mean return of the best."""
    update: int
    """Gradient steps it had made."""
    curve: tuple[tuple[int, float], ...]
    """Gradient steps and mean return of all that were tried."""


def choose(
    module: nn.Module,
    steps: Iterator[int],
    score: Callable[[], float],
    *,
    every: int,
    target: float | None = None,
) -> Choice:
    """Go through gradient steps, try the module every so often, and leave it as it was best.

    How well a controller predicts an expert's actions does not tell how well it controls: one that
    agrees in 92 % of held-out cases may never reach the goal. So it is tried.

    Args:
        module: What ``steps`` changes.
        steps: Takes them, and yields how many were taken so far.
        score: Tries the module, and returns a mean return.
        every: Gradient steps between trials; there is one at the end, too.
        target: A score to stop at, None to go on to the end.
    """
    curve: list[tuple[int, float]] = []
    best: dict[str, Tensor] = {}
    made, due = 0, every

    def attempt() -> None:
        nonlocal best
        reached = score()
        if reached >= max((old for _, old in curve), default=reached):  # of equals the later one
            best = {name: tensor.clone() for name, tensor in module.state_dict().items()}
        curve.append((made, reached))

    for made in steps:
        if made >= due:
            due = made + every
            attempt()
            if target is not None and curve[-1][1] >= target:
                break
    if not curve or curve[-1][0] != made:
        attempt()
    module.load_state_dict(best)
    update, highest = max(curve, key=lambda point: (point[1], point[0]))
    return Choice(highest, update, tuple(curve))
