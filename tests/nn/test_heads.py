"""Action distributions agree with torch.distributions, and samples with their distribution."""

import math

import pytest
import torch
from torch.distributions import Categorical, Independent, Normal

from robolearn.nn.heads import CategoricalHead, GaussianHead


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def gaussian():
    head = GaussianHead(3, initial_std=1.0)
    with torch.no_grad():
        head.log_std.copy_(torch.tensor([-1.0, 0.3, 0.8]))
    return head


def test_categorical_log_prob_and_entropy_are_torchs():
    output = 3 * torch.randn(50, 4, generator=rng())
    action = torch.randint(4, (50,), generator=rng(1))
    expected = Categorical(logits=output)
    head = CategoricalHead(4)
    torch.testing.assert_close(head.log_prob(output, action), expected.log_prob(action))
    torch.testing.assert_close(head.entropy(output), expected.entropy())


def test_categorical_entropy_of_a_fair_choice_is_the_logarithm_of_its_size():
    assert CategoricalHead(4).entropy(torch.zeros(1, 4)).item() == pytest.approx(math.log(4))


def test_categorical_samples_come_as_often_as_they_should():
    # Probabilities 0.1, 0.2, 0.3, 0.4 and 40,000 draws; a chi-square of 3 degrees of freedom
    # exceeds 16.3 once in a thousand.
    head = CategoricalHead(4)
    chances = torch.tensor([0.1, 0.2, 0.3, 0.4])
    output = chances.log().expand(40_000, 4)
    action = head.sample(output, head.draw_noise(40_000, generator=rng()))
    expected = 40_000 * chances
    counts = torch.bincount(action, minlength=4)
    assert float(((counts - expected) ** 2 / expected).sum()) < 16.3


def test_categorical_mode_is_the_likeliest():
    assert CategoricalHead(3).mode(torch.tensor([[0.1, 2.0, -1.0], [3.0, 0.0, 1.0]])).tolist() == [
        1,
        0,
    ]


def test_gaussian_log_prob_and_entropy_are_torchs(gaussian):
    output = torch.randn(50, 3, generator=rng())
    action = 2 * torch.randn(50, 3, generator=rng(1))
    expected = Independent(Normal(output, gaussian.log_std.exp()), 1)
    torch.testing.assert_close(gaussian.log_prob(output, action), expected.log_prob(action))
    torch.testing.assert_close(gaussian.entropy(output), expected.entropy())


def test_gaussian_samples_have_the_means_and_deviations(gaussian):
    # 40,000 draws: the standard error of a mean is std / 200, of a deviation std / 283; within 4.
    mean = torch.tensor([1.0, -2.0, 0.5])
    noise = gaussian.draw_noise(40_000, generator=rng())
    action = gaussian.sample(mean.expand(40_000, 3), noise).detach()
    std = torch.tensor([math.exp(-1.0), math.exp(0.3), math.exp(0.8)])
    assert bool(((action.mean(0) - mean).abs() < 4 * std / 200).all())
    assert bool(((action.std(0) - std).abs() < 4 * std / 283).all())


def test_gaussian_coordinates_are_drawn_independently(gaussian):
    noise = gaussian.draw_noise(40_000, generator=rng())
    correlation = torch.corrcoef(noise.T) - torch.eye(3)
    assert float(correlation.abs().max()) < 4 / 200  # standard error 1 / sqrt(40,000)


def test_gaussian_mode_is_the_mean(gaussian):
    output = torch.randn(5, 3, generator=rng())
    assert torch.equal(gaussian.mode(output), output)


def test_gaussian_starts_from_the_deviation_asked_for():
    head = GaussianHead(2, initial_std=0.25)
    noise = torch.tensor([[1.0, -2.0]])
    # 5 + 0.25 * 1 = 5.25 and 5 - 0.25 * 2 = 4.5.
    torch.testing.assert_close(
        head.sample(torch.full((1, 2), 5.0), noise), torch.tensor([[5.25, 4.5]])
    )


@pytest.mark.parametrize("head", [CategoricalHead(3), GaussianHead(3, initial_std=1.0)])
def test_noise_is_the_generators(head):
    assert torch.equal(
        head.draw_noise(4, 2, generator=rng(7)), head.draw_noise(4, 2, generator=rng(7))
    )
    assert not torch.equal(
        head.draw_noise(4, 2, generator=rng(7)), head.draw_noise(4, 2, generator=rng(8))
    )
    assert head.draw_noise(4, 2, generator=rng()).shape == (4, 2, 3)
