import numpy as np
import pytest
from optional_torch import needs_torch, torch

from robolearn_envs.rewards import tolerance


def value(x, **kwargs):
    return tolerance(np.array([x]), **kwargs)[0]


@pytest.mark.parametrize("sigmoid", ["gaussian", "quadratic"])
def test_tolerance_is_one_on_target(sigmoid):
    assert value(0.0, margin=2.0, value_at_margin=0.3, sigmoid=sigmoid) == 1.0


@pytest.mark.parametrize("sigmoid", ["gaussian", "quadratic"])
@pytest.mark.parametrize("side", [-1, 1])
def test_tolerance_is_value_at_margin_at_the_margin(sigmoid, side):
    got = value(side * 2.0, margin=2.0, value_at_margin=0.3, sigmoid=sigmoid)
    assert got == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (1.0, 0.5623413),  # half the margin of 2: 0.1^(1/4)
        (-1.0, 0.5623413),
        (3.0, 0.0056234),  # 1.5 margins: 0.1^2.25 = 10^-2.25
        (4.0, 1e-4),  # two margins: 0.1^4
    ],
)
def test_gaussian_tolerance_is_value_at_margin_to_the_squared_distance(x, expected):
    assert value(x, margin=2.0) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("x", "at_margin", "expected"),
    [
        (0.5, 0.0, 0.75),  # 1 - 0.5^2
        (-0.5, 0.0, 0.75),
        (0.5, 0.2, 0.8),  # 1 - 0.8 * 0.25
        (1.2, 0.2, 0.0),  # 1 - 0.8 * 1.44 = -0.152, cut off
        (9.0, 0.0, 0.0),
    ],
)
def test_quadratic_tolerance_is_a_parabola_cut_off_at_zero(x, at_margin, expected):
    got = value(x, margin=1.0, value_at_margin=at_margin, sigmoid="quadratic")
    assert got == pytest.approx(expected)


@needs_torch
@pytest.mark.parametrize("sigmoid", ["gaussian", "quadratic"])
def test_tolerance_is_the_same_on_torch(sigmoid):
    x = np.linspace(-5, 5, 101)
    expected = tolerance(x, margin=1.5, value_at_margin=0.2, sigmoid=sigmoid)
    got = tolerance(torch.from_numpy(x), margin=1.5, value_at_margin=0.2, sigmoid=sigmoid)
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-14, atol=0)
