"""Action distributions agree with torch.distributions, and samples with their distribution."""

import math

import numpy as np
import pytest
import torch
from stable_baselines3.common.distributions import (
    BernoulliDistribution,
)
from stable_baselines3.common.distributions import (
    MultiCategoricalDistribution as SB3MultiCategorical,
)
from torch.distributions import (
    Bernoulli,
    Categorical,
    Independent,
    Normal,
    TransformedDistribution,
    kl_divergence,
)
from torch.distributions.transforms import TanhTransform

from robolearn.networks.actor_critic import (
    CategoricalDistribution,
    GaussianDistribution,
    MultiCategoricalDistribution,
)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def gaussian():
    head = GaussianDistribution(3, init_std=1.0)
    with torch.no_grad():
        head.log_std.copy_(torch.tensor([-1.0, 0.3, 0.8]))
    return head


def test_categorical_log_prob_and_entropy_are_torchs():
    output = 3 * torch.randn(50, 4, generator=rng())
    action = torch.randint(4, (50,), generator=rng(1))
    expected = Categorical(logits=output)
    head = CategoricalDistribution(4)
    torch.testing.assert_close(head.log_prob(output, action), expected.log_prob(action))
    torch.testing.assert_close(head.entropy(output), expected.entropy())


def test_categorical_divergence_is_torchs():
    first, second = 3 * torch.randn(2, 7, 50, 4, generator=rng())
    head = CategoricalDistribution(4)
    expected = kl_divergence(Categorical(logits=first), Categorical(logits=second))
    torch.testing.assert_close(head.kl_divergence(first, second), expected)
    assert head.kl_divergence(first, first).abs().max() < 1e-6
    back = head.kl_divergence(second, first)
    assert (back - expected).abs().min() > 1e-4  # it is one of the first from the second


def test_categorical_divergence_by_hand():
    # 3/4 log(3/4 / (1/2)) + 1/4 log(1/4 / (1/2)) = 3/4 log 3 - log 2.
    first, second = torch.tensor([0.75, 0.25]).log(), torch.tensor([5.0, 5.0])
    found = CategoricalDistribution(2).kl_divergence(first, second).item()
    assert found == pytest.approx(0.75 * math.log(3) - math.log(2), rel=1e-5)


def test_categorical_entropy_of_a_fair_choice_is_the_logarithm_of_its_size():
    assert CategoricalDistribution(4).entropy(torch.zeros(1, 4)).item() == pytest.approx(
        math.log(4)
    )


def test_categorical_samples_come_as_often_as_they_should():
    # Probabilities 0.1, 0.2, 0.3, 0.4 and 40,000 draws; a chi-square of 3 degrees of freedom
    # exceeds 16.3 once in a thousand.
    head = CategoricalDistribution(4)
    chances = torch.tensor([0.1, 0.2, 0.3, 0.4])
    output = chances.log().expand(40_000, 4)
    action = head.sample(output, head.draw_noise(40_000, generator=rng()))
    expected = 40_000 * chances
    counts = torch.bincount(action, minlength=4)
    assert float(((counts - expected) ** 2 / expected).sum()) < 16.3


def test_categorical_mode_is_the_likeliest():
    assert CategoricalDistribution(3).mode(
        torch.tensor([[0.1, 2.0, -1.0], [3.0, 0.0, 1.0]])
    ).tolist() == [
        1,
        0,
    ]


def test_gaussian_log_prob_and_entropy_are_torchs(gaussian):
    output = torch.randn(50, 3, generator=rng())
    action = 2 * torch.randn(50, 3, generator=rng(1))
    expected = Independent(Normal(output, gaussian.log_std.exp()), 1)
    torch.testing.assert_close(gaussian.log_prob(output, action), expected.log_prob(action))
    torch.testing.assert_close(gaussian.entropy(output), expected.entropy())


def test_gaussian_divergence_is_torchs_though_deviations_differ(gaussian):
    first, second = torch.randn(2, 7, 50, 3, generator=rng())
    other_head = GaussianDistribution(3, init_std=0.5)
    one = Independent(Normal(first, gaussian.log_std.exp()), 1)
    other = Independent(Normal(second, 0.5), 1)
    params = gaussian.distribution_params(first), other_head.distribution_params(second)
    found = gaussian.kl_divergence(*params)
    torch.testing.assert_close(found, kl_divergence(one, other))
    assert found.shape == (7, 50)


def test_gaussian_divergence_of_deviations_by_hand():
    # KL(N(0, 0.2) || N(0, 0.01)) = log(0.01 / 0.2) + 0.2^2 / (2 * 0.01^2) - 1/2 = 196.504.
    heads = [GaussianDistribution(1, init_std=std) for std in (0.2, 0.01)]
    wide, narrow = (head.distribution_params(torch.zeros(1, 1)) for head in heads)
    assert heads[0].kl_divergence(wide, narrow).item() == pytest.approx(196.504, abs=1e-2)


def test_divergence_from_a_distant_mean_is_least_at_a_finite_deviation():
    # KL(N(0, 0.2) || N(0.1, s)) is least at s^2 = 0.2^2 + 0.1^2.
    reference = torch.tensor([[0.0, math.log(0.2)]])
    head = GaussianDistribution(1, init_std=math.sqrt(0.05))
    head.kl_divergence(reference, head.distribution_params(torch.tensor([[0.1]]))).backward()
    assert head.log_std.grad.item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("squash", [False, True])
def test_divergence_with_deviations_of_the_state_is_torchs_squashed_or_not(squash):
    head = GaussianDistribution(3, init_std=0.7, state_dependent_std=True, squash_output=squash)
    first, second = 0.5 * torch.randn(2, 50, 6, generator=rng())
    one, other = (
        Independent(Normal(output[:, :3], 0.7 * output[:, 3:].exp()), 1)
        for output in (first, second)
    )
    params = head.distribution_params(first), head.distribution_params(second)
    found, expected = head.kl_divergence(*params), kl_divergence(one, other)
    torch.testing.assert_close(found, expected)
    assert (head.kl_divergence(*reversed(params)) - expected).abs().max() > 0.1
    if squash:  # by samples, as torch.distributions knows no formula for it
        draws = one.mean + one.stddev * torch.randn(20_000, 50, 3, generator=rng(1))
        log_ratio = one.log_prob(draws) - other.log_prob(draws)
        squashed = head.log_prob(first, draws) - head.log_prob(second, draws)
        torch.testing.assert_close(squashed, log_ratio, rtol=0, atol=2e-3)
        error = 5 * log_ratio.std(dim=0) / math.sqrt(20_000)  # of fifty
        assert bool(((squashed.mean(dim=0) - found).abs() < error).all())


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
    head = GaussianDistribution(2, init_std=0.25)
    noise = torch.tensor([[1.0, -2.0]])
    # 5 + 0.25 * 1 = 5.25 and 5 - 0.25 * 2 = 4.5.
    torch.testing.assert_close(
        head.sample(torch.full((1, 2), 5.0), noise), torch.tensor([[5.25, 4.5]])
    )


@pytest.mark.parametrize(
    "head", [CategoricalDistribution(3), GaussianDistribution(3, init_std=1.0)]
)
def test_noise_is_the_generators(head):
    assert torch.equal(
        head.draw_noise(4, 2, generator=rng(7)), head.draw_noise(4, 2, generator=rng(7))
    )
    assert not torch.equal(
        head.draw_noise(4, 2, generator=rng(7)), head.draw_noise(4, 2, generator=rng(8))
    )
    assert head.draw_noise(4, 2, generator=rng()).shape == (4, 2, 3)


# Deviations that depend on the state.


def test_deviations_of_the_state_follow_the_means():
    # Half of the output are logarithms of what init_std is multiplied by: 0.5 * e^0 and
    # 0.5 * e^1; the noise, of one number for each action, is -2 and 1.
    head = GaussianDistribution(2, init_std=0.5, state_dependent_std=True)
    assert head.width == 4
    assert not list(head.parameters())
    assert head.draw_noise(5, generator=rng()).shape == (5, 2)
    output = torch.tensor([[3.0, 4.0, 0.0, 1.0]])
    assert torch.equal(head.mode(output), torch.tensor([[3.0, 4.0]]))
    action = head.sample(output, torch.tensor([[-2.0, 1.0]]))
    torch.testing.assert_close(action, torch.tensor([[2.0, 4.0 + 0.5 * math.e]]))


def test_log_prob_and_entropy_with_deviations_of_the_state_are_torchs():
    head = GaussianDistribution(3, init_std=0.7, state_dependent_std=True)
    output = 0.5 * torch.randn(2, 50, 6, generator=rng())  # deviations inside their range
    action = 2 * torch.randn(2, 50, 3, generator=rng(1))
    expected = Independent(Normal(output[..., :3], 0.7 * output[..., 3:].exp()), 1)
    torch.testing.assert_close(head.log_prob(output, action), expected.log_prob(action))
    torch.testing.assert_close(head.entropy(output), expected.entropy())


def test_deviations_of_the_state_stay_between_e_to_the_minus_5_and_e_squared():
    head = GaussianDistribution(1, init_std=1.0, state_dependent_std=True)
    noise = torch.ones(2, 1)
    action = head.sample(torch.tensor([[0.0, -1e6], [0.0, 1e6]]), noise)
    torch.testing.assert_close(action, torch.tensor([[math.exp(-5)], [math.exp(2)]]))


@pytest.mark.parametrize(("beyond", "bound"), [(-9.0, -5.0), (4.0, 2.0)])
@pytest.mark.parametrize(
    "state_dependent_std", [False, True], ids=["one-deviation", "of-the-state"]
)
def test_deviations_beyond_their_range_are_held_at_its_end_and_can_come_back(
    state_dependent_std, beyond, bound
):
    head = GaussianDistribution(1, init_std=1.0, state_dependent_std=state_dependent_std)
    output = torch.tensor([[0.3, beyond][: head.width]], requires_grad=True)
    if not state_dependent_std:
        with torch.no_grad():
            head.log_std.fill_(beyond)
    # The entropy of a normal is log(std) + log(2 pi e) / 2.
    entropy = head.entropy(output)
    assert entropy.item() == pytest.approx(bound + 0.5 * math.log(2 * math.pi * math.e))
    raw = output if state_dependent_std else head.log_std
    # A loss of which the slope leads back passes its gradient on, one that leads out passes none.
    for sign in (-1, 1):
        raw.grad = None
        (sign * head.entropy(output).sum()).backward()
        back = sign if sign * beyond > 0 else 0  # down the slope is towards 0
        assert raw.grad.flatten()[-1].item() == back


# Squashed.

KINDS = [
    {"state_dependent_std": state_dependent_std, "squash_output": True}
    for state_dependent_std in (False, True)
]
both_kinds = pytest.mark.parametrize("kind", KINDS, ids=["one-deviation", "of-the-state"])


def squashed(kind):
    """Return a head of two actions, an output for 40 states, and means and deviations by it."""
    head = GaussianDistribution(2, init_std=0.6, **kind)
    output = 0.5 * torch.randn(40, head.width, generator=rng())
    factor = output[:, 2:].exp() if kind["state_dependent_std"] else torch.ones(40, 2)
    return head, output, output[:, :2].double(), 0.6 * factor.double()


@both_kinds
def test_squashed_log_prob_is_torchs(kind):
    head, output, mean, std = squashed(kind)
    action = head.sample(output, head.draw_noise(40, generator=rng(1))).detach()
    expected = Independent(TransformedDistribution(Normal(mean, std), TanhTransform()), 1)
    found = head.log_prob(output, action).double()
    executed = action.double().tanh()
    torch.testing.assert_close(head.executed(action).double(), executed, rtol=0, atol=1e-6)
    torch.testing.assert_close(found, expected.log_prob(executed), rtol=0, atol=1e-5)


@pytest.mark.parametrize("u", [-8.0, 8.0, -30.0, 30.0])
def test_log_prob_of_actions_at_the_bounds_is_finite_and_exact(u):
    # log(1 - tanh^2 u) = log(4 / (e^u + e^-u)^2); in single precision 1 - tanh^2(30) would be 0.
    head = GaussianDistribution(1, init_std=2.0, squash_output=True)
    output = torch.tensor([[0.5]], requires_grad=True)
    found = head.log_prob(output, torch.tensor([[u]]))
    slope = math.log(4) - 2 * math.log(math.exp(u) + math.exp(-u))
    density = -0.5 * ((u - 0.5) / 2) ** 2 - math.log(2 * math.sqrt(2 * math.pi))
    assert found.item() == pytest.approx(density - slope, rel=1e-6, abs=1e-5)
    found.backward()
    # The slope is of the action taken, not of the mean: d log N / d mean = (u - mean) / std^2.
    assert output.grad.item() == pytest.approx((u - 0.5) / 4)


def test_a_squashed_density_integrates_to_one():
    # Over what is executed, between the bounds; the deviation is small enough that nothing
    # gathers at them. The midpoint rule with 200,000 intervals.
    head = GaussianDistribution(1, init_std=0.5, squash_output=True)
    executed = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 100_000 - 1
    log_prob = head.log_prob(torch.full((200_000, 1), 0.3), executed.atanh().float()[:, None])
    assert (log_prob.detach().double().exp().sum() / 100_000).item() == pytest.approx(1, abs=1e-4)


def entropy_by_integral(mean, std):
    """Entropy of tanh(u) of normal u: its own, and the mean of log(1 - tanh^2 u)."""
    u = np.linspace(mean - 12 * std, mean + 12 * std, 400_001)
    density = np.exp(-0.5 * ((u - mean) / std) ** 2) / (std * math.sqrt(2 * math.pi))
    slope = 2 * (math.log(2) - np.logaddexp(u, -u))
    own = math.log(std) + 0.5 * math.log(2 * math.pi * math.e)
    return own + float(np.sum(density * slope)) * (u[1] - u[0])


@pytest.mark.parametrize("mean", [0.0, 0.7, -4.0])
@pytest.mark.parametrize("std", [0.01, 0.5, 1.0, 3.0, 7.38])
def test_squashed_entropy_is_the_integral(mean, std):
    head = GaussianDistribution(1, init_std=std, squash_output=True)
    found = head.entropy(torch.full((1, 1), mean)).item()
    assert found == pytest.approx(entropy_by_integral(mean, std), abs=1e-3)


@both_kinds
def test_squashed_entropy_is_minus_the_mean_log_prob_of_samples(kind):
    head, output, _, _ = squashed(kind)
    many = output[:1].expand(200_000, -1)
    action = head.sample(many, head.draw_noise(200_000, generator=rng(1)))
    log_prob = head.log_prob(many, action).detach().double()
    error = 4 * log_prob.std().item() / math.sqrt(200_000)
    assert head.entropy(output[:1]).item() == pytest.approx(-log_prob.mean().item(), abs=error)
    assert head.entropy(output).shape == (40,)
    assert head.entropy(output.view(4, 10, -1)).shape == (4, 10)


@both_kinds
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_squashed_gradients_are_finite_and_reach_what_they_should(kind, scale):
    head, output, _, _ = squashed(kind)
    output = (scale * output).requires_grad_()
    noise = 10 * head.draw_noise(40, generator=rng(1))
    action = head.sample(output, noise).detach()
    (head.log_prob(output, action).sum() + head.entropy(output).sum()).backward()
    assert output.grad.isfinite().all()
    assert output.grad.abs().sum() > 0
    assert all(p.grad.isfinite().all() and bool(p.grad.any()) for p in head.parameters())


def test_squashing_changes_what_is_executed_alone():
    plain = GaussianDistribution(2, init_std=1.0)
    squash = GaussianDistribution(2, init_std=1.0, squash_output=True)
    output, noise = torch.randn(5, 2, generator=rng()), torch.randn(5, 2, generator=rng(1))
    action = plain.sample(output, noise)
    assert torch.equal(squash.sample(output, noise), action)
    assert torch.equal(squash.mode(output), output)
    assert torch.equal(plain.executed(action), action)
    assert torch.equal(squash.executed(action), action.tanh())


def test_what_a_categorical_head_executes_is_the_action():
    action = torch.tensor([2, 0])
    assert torch.equal(CategoricalDistribution(3).executed(action), action)


CHOICES = (2, 3, 5)


def chosen(count, seed=1):
    """Actions at random. Shape (count, 3)."""
    return torch.stack([torch.randint(n, (count,), generator=rng(seed)) for n in CHOICES], dim=-1)


def test_multi_categorical_log_prob_entropy_and_mode_are_sb3s():
    output, action = 3 * torch.randn(50, 10, generator=rng()), chosen(50)
    expected = SB3MultiCategorical(list(CHOICES)).proba_distribution(output)
    head = MultiCategoricalDistribution(CHOICES)
    assert head.width == 10
    torch.testing.assert_close(head.log_prob(output, action), expected.log_prob(action))
    torch.testing.assert_close(head.entropy(output), expected.entropy())
    assert torch.equal(head.mode(output), expected.mode())
    assert torch.equal(head.executed(action), action)


def test_multi_categorical_divergence_is_the_sum_of_torchs():
    first, second = 3 * torch.randn(2, 7, 50, 10, generator=rng())
    head = MultiCategoricalDistribution(CHOICES)
    pairs = zip(first.split(CHOICES, -1), second.split(CHOICES, -1), strict=True)
    expected = sum(kl_divergence(Categorical(logits=p), Categorical(logits=q)) for p, q in pairs)
    params = [head.distribution_params(logits) for logits in (first, second)]
    torch.testing.assert_close(head.kl_divergence(*params), expected)


def test_multi_categorical_of_two_choices_each_is_bernoulli():
    # Of logits (a, b) the second is chosen with probability sigmoid(b - a).
    output, second = 2 * torch.randn(2, 50, 6, generator=rng())
    action = torch.randint(2, (50, 3), generator=rng(1))
    logit, other = (each[:, 1::2] - each[:, ::2] for each in (output, second))
    head, sb3s = MultiCategoricalDistribution([2, 2, 2]), BernoulliDistribution(3)
    expected = sb3s.proba_distribution(logit)
    torch.testing.assert_close(head.log_prob(output, action), expected.log_prob(action.float()))
    torch.testing.assert_close(head.entropy(output), expected.entropy())
    assert torch.equal(head.mode(output).float(), expected.mode())
    divergence = kl_divergence(Bernoulli(logits=logit), Bernoulli(logits=other)).sum(dim=-1)
    torch.testing.assert_close(head.kl_divergence(output, second), divergence)


def test_multi_categorical_samples_are_independent_and_come_as_often_as_they_should():
    # All 2 * 3 pairs, 30,000 draws; a chi-square of 5 degrees of freedom exceeds 20.5 once in a
    # thousand.
    head = MultiCategoricalDistribution([2, 3])
    chances = [torch.tensor([0.3, 0.7]), torch.tensor([0.2, 0.3, 0.5])]
    output = torch.cat(chances).log().expand(30_000, 5)
    action = head.sample(output, head.draw_noise(30_000, generator=rng()))
    expected = 30_000 * torch.outer(*chances).flatten()
    counts = torch.bincount(3 * action[:, 0] + action[:, 1], minlength=6)
    assert float(((counts - expected) ** 2 / expected).sum()) < 20.5


def test_multi_categorical_gradients_are_torchs():
    output, action = torch.randn(20, 10, generator=rng(), requires_grad=True), chosen(20)
    head = MultiCategoricalDistribution(CHOICES)
    (ours,) = torch.autograd.grad(head.log_prob(output, action).sum(), output)
    logits = zip(output.split(CHOICES, -1), action.unbind(-1), strict=True)
    total = sum(Categorical(logits=each).log_prob(one).sum() for each, one in logits)
    assert isinstance(total, torch.Tensor)
    torch.testing.assert_close(ours, torch.autograd.grad(total, output)[0])
