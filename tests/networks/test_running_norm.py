"""Running moments are those of all data seen, however it came in batches."""

import math
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from robolearn.networks.encoders import RunningNorm


def data(seed=0, rows=200):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(rows, 3)) * [0.1, 2.0, 30.0] + [100.0, 0.0, -5.0]).astype(np.float32)


@pytest.fixture
def taught():
    norm = RunningNorm(3)
    norm.update(torch.from_numpy(data()))
    return norm


def test_it_starts_as_the_identity():
    x = torch.tensor([[1.5, -2.0, 9.0]])
    assert torch.equal(RunningNorm(3)(x), x)
    assert torch.equal(RunningNorm(3).denormalize(x), x)


@pytest.mark.parametrize("cuts", [[], [1], [3, 5, 120], [50, 51, 199], [0, 7, 7]])
def test_moments_over_batches_are_numpys_over_everything(cuts):
    norm = RunningNorm(3)
    for batch in np.split(data(), cuts):
        norm.update(torch.from_numpy(batch))
    everything = data().astype(np.float64)
    np.testing.assert_allclose(norm.mean.numpy(), everything.mean(0), rtol=1e-12)
    np.testing.assert_allclose(norm.variance.numpy(), everything.var(0), rtol=1e-9)
    assert norm.count.item() == 200


def test_a_rollout_counts_as_its_rows():
    norm, flat = RunningNorm(3), RunningNorm(3)
    norm.update(torch.from_numpy(data()).reshape(20, 10, 3))
    flat.update(torch.from_numpy(data()))
    assert torch.equal(norm.mean, flat.mean)
    assert torch.equal(norm.variance, flat.variance)


def test_normalized_data_have_mean_0_and_deviation_1(taught):
    y = taught(torch.from_numpy(data())).numpy()
    # 100 +- 0.1 in float32 leaves about 5 digits of the deviation.
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(y.std(0), 1, rtol=1e-3)


def test_a_value_by_hand():
    # Data 1 and 5: mean 3, variance 4. So 7 becomes (7 - 3) / 2 = 2.
    norm = RunningNorm(1)
    norm.update(torch.tensor([[1.0], [5.0]]))
    assert norm(torch.tensor([7.0])).item() == pytest.approx(2.0)
    assert norm.denormalize(torch.tensor([2.0])).item() == pytest.approx(7.0)


def test_values_are_clipped_at_the_limit():
    norm = RunningNorm(1, limit=1.5)
    norm.update(torch.tensor([[1.0], [5.0]]))
    assert norm(torch.tensor([[7.0], [-7.0], [4.0]])).squeeze(1).tolist() == [1.5, -1.5, 0.5]


def test_nothing_is_clipped_without_a_limit():
    norm = RunningNorm(1, limit=math.inf)
    assert norm(torch.tensor([[1e6]])).item() == 1e6
    norm.update(torch.tensor([[1.0], [5.0]]))
    assert norm(torch.tensor([[203.0]])).item() == 100.0  # (203 - 3) / 2


def test_constant_data_stay_finite():
    norm = RunningNorm(1)
    norm.update(torch.full((10, 1), 4.0))
    assert norm(torch.tensor([4.0])).item() == 0.0
    assert torch.isfinite(norm(torch.tensor([4.1]))).all()


def test_a_state_dict_carries_everything(taught):
    other = RunningNorm(3)
    other.load_state_dict(taught.state_dict())
    x = torch.from_numpy(data(1))
    assert torch.equal(other(x), taught(x))
    for norm in (other, taught):
        norm.update(x)
    assert torch.equal(other(x), taught(x))


def test_a_copy_goes_its_own_way(taught):
    x = torch.from_numpy(data(1))
    before = taught(x)
    copy = deepcopy(taught)
    assert torch.equal(copy(x), before)
    copy.update(x + 50)
    assert torch.equal(taught(x), before)
    assert not torch.equal(copy(x), before)


def test_nothing_of_it_is_learned_by_gradient(taught):
    assert list(taught.parameters()) == []


def test_magnitudes_are_normalized_by_their_logarithm():
    norm = RunningNorm(2, magnitude=torch.tensor([5.0, 0.0]))
    # The first column becomes log(x / 5 + 0.02), whose mean over 0 and 5 is that of log 0.02 and
    # log 1.02; the second stays: mean 3, deviation 1. Nothing negative has a logarithm taken.
    norm.update(torch.tensor([[0.0, 2.0], [5.0, 4.0]]))
    low, high = math.log(0.02), math.log(1.02)
    expected = (math.log(0.52) - (low + high) / 2) / ((high - low) / 2)
    assert norm(torch.tensor([2.5, 5.0])).tolist() == pytest.approx([expected, 2.0], rel=1e-5)
    assert norm(torch.tensor([-1.0, 3.0])).tolist() == pytest.approx([-1.0, 0.0], abs=1e-5)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_number_that_is_not_finite_leaves_the_moments_as_they_are(bad):
    norm = RunningNorm(1)
    norm.update(torch.tensor([[1.0], [3.0]]))
    norm.update(torch.tensor([[2.0], [bad]]))
    assert (norm.mean.item(), norm.variance.item(), norm.count.item()) == (2.0, 1.0, 2.0)
    norm.update(torch.tensor([[5.0], [7.0]]))  # of 1, 3, 5, 7: mean 4, variance (9 + 1 + 1 + 9) / 4
    assert (norm.mean.item(), norm.variance.item(), norm.count.item()) == (4.0, 5.0, 4.0)


def test_what_a_capture_froze_before_the_first_update_normalizes_after_it():
    # A CUDA graph repeats the operations that were recorded, on the same tensors; so does this.
    norm, x = RunningNorm(3), torch.from_numpy(data(1))
    recorded = make_fx(norm)(x)
    assert torch.equal(recorded(x), norm(x))
    norm.update(torch.from_numpy(data()))
    assert torch.equal(recorded(x), norm(x))
