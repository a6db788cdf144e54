"""Schedules of hyperparameters over training."""


def linear_schedule(start: float, end: float, fraction: float | None, progress: float) -> float:
    """Return a value that changes linearly from ``start`` to ``end`` and then stays there.

    Args:
        start: Value at the start of training.
        end: Value once ``fraction`` of training is over.
        fraction: In [0, 1]; 0 gives ``end`` at once, None stays at ``start``.
        progress: Part of training that is over, in [0, 1].
    """
    if fraction is None:
        return start
    changed = min(progress / fraction, 1.0) if fraction else 1.0
    return start + (end - start) * changed
