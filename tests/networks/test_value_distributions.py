"""Targets, losses and priorities are those of the papers, worked out by loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robolearn.errors import RobolearnError
from robolearn.networks.q_network import CategoricalReturn, Expectation, QuantileReturn

KINDS = [Expectation(), CategoricalReturn(5, -2.0, 2.0), QuantileReturn(4)]
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: type(kind).__name__)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=rng(seed), dtype=torch.float64)


def logits(*probabilities):
    return torch.tensor(probabilities).log()


def categorical(atoms, low, high):
    """In double precision: the buffer is set again, or it would keep float32's rounding."""
    made = CategoricalReturn(atoms, low, high).double()
    made.support.copy_(torch.linspace(low, high, atoms, dtype=torch.float64))
    return made


def slow_projection(reward, discount, probability, low, high):
    """Bellemare et al. (2017), algorithm 1, sample by sample and atom by atom."""
    batch, atoms = probability.shape
    spacing = (high - low) / (atoms - 1)
    projected = np.zeros((batch, atoms))
    for b in range(batch):
        for j in range(atoms):
            shifted = min(max(reward[b] + discount[b] * (low + j * spacing), low), high)
            place = (shifted - low) / spacing
            below, above = math.floor(place), math.ceil(place)
            if below == above:
                projected[b, below] += probability[b, j]
            else:
                projected[b, below] += probability[b, j] * (above - place)
                projected[b, above] += probability[b, j] * (place - below)
    return projected


def slow_quantile_huber(output, target):
    """Dabney et al. (2018), eq. 10 and algorithm 1, pair by pair."""
    batch, quantiles = output.shape
    loss = np.zeros(batch)
    for b in range(batch):
        for i in range(quantiles):
            tau = (2 * i + 1) / (2 * quantiles)
            for j in range(quantiles):
                u = target[b, j] - output[b, i]
                huber = 0.5 * u**2 if abs(u) <= 1 else abs(u) - 0.5
                loss[b] += abs(tau - (u < 0)) * huber / quantiles
    return loss


@settings(deadline=None)
@given(
    seed=st.integers(0, 10**6),
    atoms=st.integers(2, 12),
    low=st.sampled_from([-10.0, -0.5, 0.0, 3.0]),
    width=st.sampled_from([0.7, 4.0, 100.0]),
    scale=st.sampled_from([0.0, 1.0, 30.0]),
)
def test_the_categorical_target_is_the_double_loop(seed, atoms, low, width, scale):
    kind = categorical(atoms, low, low + width)
    reward, output = scale * normal(7, seed=seed), 3 * normal(7, atoms, seed=seed + 1)
    reward[:2] = torch.tensor([width / (atoms - 1), 0.0])  # shifted by an atom, and not at all
    discount = torch.rand(7, generator=rng(seed), dtype=torch.float64)
    discount[:4] = torch.tensor([1.0, 1.0, 1.0, 0.0])
    found = kind.target(reward, discount, output)
    expected = slow_projection(
        reward.numpy(), discount.numpy(), output.softmax(-1).numpy(), low, low + width
    )
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found.sum(-1).numpy(), 1.0, rtol=1e-12)


def test_the_categorical_target_in_single_precision_is_near_the_double_loop():
    # Places reach 50, known to 50 * 2^-24 = 3e-6 in float32, and probabilities are 1/51 or so.
    kind = CategoricalReturn(51, -10.0, 10.0)
    reward, output = normal(64).float(), normal(64, 51, seed=1).float()
    found = kind.target(reward, torch.full((64,), 0.97), output)
    expected = slow_projection(
        reward.numpy(), np.full(64, 0.97), output.softmax(-1).numpy(), -10.0, 10.0
    )
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


def test_a_categorical_target_by_hand():
    # Atoms 0, 1, 2. Reward 0.5 and discount 0.5 take them to 0.5, 1 and 1.5; probabilities
    # 0.2, 0.3 and 0.5: 0.1 | 0.1 + 0.3 + 0.25 | 0.25.
    kind = CategoricalReturn(3, 0.0, 2.0)
    target = kind.target(torch.tensor(0.5), torch.tensor(0.5), logits(0.2, 0.3, 0.5))
    assert target.tolist() == pytest.approx([0.1, 0.65, 0.25])


def test_after_a_termination_all_probability_lies_about_the_reward():
    kind = CategoricalReturn(3, 0.0, 2.0)
    target = kind.target(torch.tensor(1.25), torch.tensor(0.0), logits(0.2, 0.3, 0.5))
    assert target.tolist() == pytest.approx([0.0, 0.75, 0.25])


@pytest.mark.parametrize(("reward", "expected"), [(-9.0, [1, 0, 0]), (9.0, [0, 0, 1])])
def test_what_lies_outside_the_support_goes_to_its_end(reward, expected):
    kind = CategoricalReturn(3, 0.0, 2.0)
    target = kind.target(torch.tensor(reward), torch.tensor(1.0), logits(0.2, 0.3, 0.5))
    assert target.tolist() == pytest.approx(expected)


def test_the_categorical_target_keeps_the_mean_inside_the_support():
    # The triangular kernel shares every return between its neighbors without moving the mean.
    kind = categorical(21, -10.0, 10.0)
    reward, output = normal(9), normal(9, 21, seed=1)
    target = kind.target(reward, torch.full((9,), 0.5, dtype=torch.float64), output)
    np.testing.assert_allclose(target @ kind.support, reward + 0.5 * kind.mean(output), rtol=1e-9)


def test_categorical_losses_by_hand():
    # Target 0.5, 0.5, 0; prediction 0.25, 0.5, 0.25. Cross-entropy 0.5 ln 4 + 0.5 ln 2 and,
    # less the target's entropy ln 2, the divergence 0.5 ln 2.
    kind = CategoricalReturn(3, 0.0, 2.0)
    output, target = logits(0.25, 0.5, 0.25), torch.tensor([0.5, 0.5, 0.0])
    assert kind.error(output, target).item() == pytest.approx(1.5 * math.log(2))
    assert kind.td_error(output, target).item() == pytest.approx(0.5 * math.log(2))
    # Atoms 0, 1 and 2.
    assert kind.mean(logits(0.5, 0.2, 0.3)).item() == pytest.approx(0.8)


def test_the_support_is_saved():
    kind, other = CategoricalReturn(3, -1.0, 5.0), CategoricalReturn(3, 0.0, 1.0)
    other.load_state_dict(kind.state_dict())
    assert other.support.tolist() == [-1.0, 2.0, 5.0]


@settings(deadline=None)
@given(
    seed=st.integers(0, 10**6),
    quantiles=st.integers(1, 9),
    scale=st.sampled_from([0.1, 1.0, 10.0]),
)
def test_the_quantile_loss_is_the_double_loop(seed, quantiles, scale):
    kind = QuantileReturn(quantiles)
    output, target = scale * normal(2, 5, quantiles, seed=seed)
    target[0] = output[0]
    expected = slow_quantile_huber(output.numpy(), target.numpy())
    np.testing.assert_allclose(kind.error(output, target), expected, rtol=1e-6, atol=1e-6)


def test_quantile_losses_by_hand():
    # Quantiles 0.25 and 0.75 predicted 0 and 1, targets 3 and -0.5.
    #   output 0, tau 0.25: 0.25 * (3 - 0.5) + 0.75 * 0.5^2 / 2      = 0.71875
    #   output 1, tau 0.75: 0.75 * (2 - 0.5) + 0.25 * (1.5 - 0.5)    = 1.375
    # Half their sum, as each target counts half. The means 0.5 and 1.25 differ by 0.75.
    kind = QuantileReturn(2)
    output, target = torch.tensor([0.0, 1.0]), torch.tensor([3.0, -0.5])
    assert kind.error(output, target).item() == pytest.approx(1.046875)
    assert kind.td_error(output, target).item() == pytest.approx(0.75)
    assert kind.mean(output).item() == 0.5


@pytest.mark.parametrize(
    ("output", "slope"), [([245, 745], 0.0), ([195, 695], -1), ([295, 795], 1)]
)
def test_the_quantile_loss_is_least_at_the_quantiles(output, slope):
    # Targets 0, 10, ..., 990 lie in the linear part of the loss. A quarter of them lies below 245
    # and three quarters below 745; there the slope tau - P(target < output) is 0.
    kind = QuantileReturn(2)
    predicted = torch.tensor(output, dtype=torch.float32, requires_grad=True)
    targets = 10.0 * torch.arange(100).view(50, 2)
    kind.error(predicted.expand(50, 2), targets).mean().backward()
    # Five hundredths of the targets lie between 195 and 245: a slope of 0.05.
    assert predicted.grad.tolist() == pytest.approx([0.05 * slope] * 2, abs=1e-6)


def test_an_expectation_by_hand():
    # Target 2 + 0.5 * 6 = 5. Predictions 4.5 and 8: 0.5^2 / 2 = 0.125 and 3 - 0.5 = 2.5.
    kind = Expectation()
    next_output = torch.tensor([[6.0], [6.0]])
    target = kind.target(torch.tensor([2.0, 2.0]), torch.tensor([0.5, 0.5]), next_output)
    output = torch.tensor([[4.5], [8.0]])
    assert target.tolist() == [[5.0], [5.0]]
    assert kind.error(output, target).tolist() == [0.125, 2.5]
    assert kind.td_error(output, target).tolist() == [0.5, 3.0]
    assert kind.mean(output).tolist() == [4.5, 8.0]


def test_a_quantile_target_by_hand():
    target = QuantileReturn(2).target(
        torch.tensor([2.0, 1.0]), torch.tensor([0.5, 0.0]), torch.tensor([[6.0, 8.0], [3.0, 4.0]])
    )
    assert target.tolist() == [[5.0, 6.0], [1.0, 1.0]]


@every_kind
def test_leading_dimensions_are_kept(kind):
    output, next_output = torch.randn(2, 3, 4, kind.width, generator=rng()).unbind()
    reward, discount = torch.rand(2, 3, 4, generator=rng(1)).unbind()
    target = kind.target(reward, discount, next_output)
    assert target.shape == (3, 4, kind.width)
    assert kind.mean(output).shape == (3, 4)
    for name in ("error", "td_error"):
        whole = getattr(kind, name)(output, target)
        rows = [getattr(kind, name)(output[i], target[i]) for i in range(3)]
        torch.testing.assert_close(whole, torch.stack(rows))
    rows = [kind.target(reward[i], discount[i], next_output[i]) for i in range(3)]
    torch.testing.assert_close(target, torch.stack(rows))


@every_kind
def test_gradients_reach_the_output_through_the_error_alone(kind):
    output = torch.randn(6, kind.width, generator=rng(), requires_grad=True)
    target = kind.target(torch.ones(6), torch.full((6,), 0.9), output.detach().flip(0))
    assert not kind.td_error(output, target).requires_grad
    kind.error(output, target).sum().backward()
    assert bool(output.grad.any())


@every_kind
def test_a_right_prediction_has_no_surprise(kind):
    output = normal(50, kind.width).float()
    target = output.softmax(-1) if isinstance(kind, CategoricalReturn) else output
    td_error = kind.td_error(output, target)
    assert bool((td_error >= 0).all())
    assert float(td_error.max()) < 1e-6


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CategoricalReturn(1, 0.0, 1.0), "at least 2 atoms, got 1"),
        (lambda: CategoricalReturn(3, 2.0, 2.0), "v_min < v_max, got 2.0 and 2.0"),
        (lambda: CategoricalReturn(3, 0.0, math.inf), "v_min < v_max, got 0.0 and inf"),
        (lambda: CategoricalReturn(3, 5.0, 4.0), "v_min < v_max, got 5.0 and 4.0"),
        (lambda: QuantileReturn(0), "at least 1 quantile, got 0"),
    ],
)
def test_impossible_distributions_are_refused(make, message):
    with pytest.raises(RobolearnError, match=message):
        make()
