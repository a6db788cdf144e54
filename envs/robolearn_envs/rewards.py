"""Smooth building blocks of rewards."""

import math
from typing import Literal

from robolearn_envs.arrays import Array, namespace


def tolerance(
    x: Array,
    *,
    margin: float,
    value_at_margin: float = 0.1,
    sigmoid: Literal["gaussian", "quadratic"] = "gaussian",
) -> Array:
    """Return 1 where ``x`` is 0, falling smoothly as ``|x|`` grows.

    dm_control's ``rewards.tolerance`` (Tassa et al., 2018) with its bounds at zero. With
    ``d = |x| / margin`` and ``v = value_at_margin``:

    * gaussian: ``exp(-0.5 (d sqrt(-2 ln v))^2) = v^(d^2)``, never zero;
    * quadratic: ``1 - (1 - v) d^2`` while that is positive, else 0.

    Args:
        x: Distance from the target, in the unit of ``margin``. Shape (N,).
        margin: Distance at which the value is ``value_at_margin``; above 0.
        value_at_margin: In (0, 1) for gaussian, [0, 1) for quadratic.
        sigmoid: Which curve.

    Returns:
        Values in [0, 1]. Shape (N,).
    """
    xp = namespace(x)
    d = x / margin
    if sigmoid == "gaussian":
        return xp.exp((d * d) * math.log(value_at_margin))
    return xp.maximum(1.0 - (1.0 - value_at_margin) * (d * d), 0.0)
