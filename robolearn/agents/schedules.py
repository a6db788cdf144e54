"""Numbers that change as learning goes on."""


def falling(start: float, end: float, fraction: float, done: float) -> float:
    """Return a number that falls linearly from ``start`` to ``end`` and stays there.

    Args:
        start: At the start of learning.
        end: When ``fraction`` of learning is over.
        fraction: In [0, 1].
        done: How much of learning is over, in [0, 1].
    """
    fallen = min(done / fraction, 1.0) if fraction else 1.0
    return start + (end - start) * fallen
