"""Every row sees weights of its own, which the layer never forms and these tests do."""

import math

import pytest
import torch

from robolearn.networks.q_network import NoisyLinear

ROWS, INPUTS, OUTPUTS = 6, 4, 3


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def layer():
    made = NoisyLinear(INPUTS, OUTPUTS, rng()).double()
    with torch.no_grad():  # deviations begin alike, where a transposed one would not show
        for seed, sigma in enumerate((made.weight_sigma, made.bias_sigma)):
            sigma.copy_(torch.rand(sigma.shape, generator=rng(10 + seed)))
    return made


def example(made):
    x = torch.randn(ROWS, INPUTS, generator=rng(1), dtype=torch.float64)
    return x, made.draw_noise(ROWS, generator=rng(2)).double()


def test_each_row_sees_the_noisy_weights_of_its_own_noise():
    made = layer().requires_grad_(False)
    x, noise = example(made)
    found = made(x, noise)
    for row in range(ROWS):
        f_in, f_out = noise[row, :INPUTS], noise[row, INPUTS:]
        for i in range(OUTPUTS):
            y = made.bias[i] + made.bias_sigma[i] * f_out[i]
            for j in range(INPUTS):
                weight = made.weight[i, j] + made.weight_sigma[i, j] * f_out[i] * f_in[j]
                y = y + weight * x[row, j]
            assert found[row, i].item() == pytest.approx(y.item(), abs=1e-12)


def test_an_output_by_hand():
    # Weights 1, 2 and bias 3, deviations 0.5, 0.25 and 0.125; noise in 2, -4 and out -1:
    # weights 1 - 0.5 * 2 = 0 and 2 + 0.25 * 4 = 3, bias 3 - 0.125 = 2.875.
    # Inputs 10 and 1 give 3 + 2.875; by the mean weights 10 + 2 + 3.
    made = NoisyLinear(2, 1, rng()).requires_grad_(False)
    made.weight.copy_(torch.tensor([[1.0, 2.0]]))
    made.bias.fill_(3.0)
    made.weight_sigma.copy_(torch.tensor([[0.5, 0.25]]))
    made.bias_sigma.fill_(0.125)
    x = torch.tensor([[10.0, 1.0]])
    assert made(x, torch.tensor([[2.0, -4.0, -1.0]])).item() == 5.875
    assert made(x, None).item() == 15.0


def test_without_noise_the_weights_are_their_means():
    made = layer()
    x, noise = example(made)
    expected = x @ made.weight.T + made.bias
    torch.testing.assert_close(made(x, None), expected)
    assert torch.equal(made(x, None), made(x, None))
    torch.testing.assert_close(made(x, torch.zeros_like(noise)), expected)


def test_leading_dimensions_are_rows():
    made = layer()
    x, noise = example(made)
    folded = made(x.view(2, 3, INPUTS), noise.view(2, 3, -1))
    torch.testing.assert_close(folded, made(x, noise).view(2, 3, OUTPUTS))


def test_gradients_reach_means_and_deviations():
    made = layer()
    made(*example(made)).sum().backward()
    assert all(bool(parameter.grad.all()) for parameter in made.parameters())
    assert sorted(made.state_dict()) == ["bias", "bias_sigma", "weight", "weight_sigma"]


def test_noise_is_the_signed_root_of_a_normal():
    # f = sgn(x) sqrt|x| of normal x: f has mean 0 and f |f| = x deviation 1. The variance of f is
    # E|x| = sqrt(2 / pi), and that of f^2 is E x^2 - 2 / pi = 1 - 2 / pi. Over 70,000 numbers,
    # within 4 standard errors.
    noise = NoisyLinear(4, 3, rng()).draw_noise(10_000, generator=rng(1)).double()
    assert noise.shape == (10_000, 7)
    root = noise.numel() ** 0.5
    variance = math.sqrt(2 / math.pi)
    assert abs(noise.mean().item()) < 4 * math.sqrt(variance) / root
    assert abs((noise**2).mean().item() - variance) < 4 * math.sqrt(1 - 2 / math.pi) / root
    x = noise * noise.abs()
    assert abs(x.mean().item()) < 4 / root
    assert abs((x**2).mean().item() - 1) < 4 * math.sqrt(2) / root
    # And 68.27 % of x, so of f, lie within 1: the standard error is sqrt(0.683 * 0.317) / root.
    assert abs((noise.abs() < 1).double().mean().item() - 0.6827) < 4 * 0.465 / root


def test_rows_and_columns_of_noise_are_drawn_independently():
    noise = NoisyLinear(4, 3, rng()).draw_noise(10_000, generator=rng(1))
    assert float((torch.corrcoef(noise.T) - torch.eye(7)).abs().max()) < 4 / 100
    assert len(noise.unique()) > 0.99 * noise.numel()


def test_noise_is_the_generators():
    made = NoisyLinear(4, 3, rng())
    assert torch.equal(made.draw_noise(5, generator=rng(7)), made.draw_noise(5, generator=rng(7)))
    assert not torch.equal(
        made.draw_noise(5, generator=rng(7)), made.draw_noise(5, generator=rng(8))
    )


def test_it_starts_as_the_paper_says():
    # 400 inputs: means uniform within 1 / 20, whose deviation is 0.05 / sqrt(3) = 0.0289;
    # deviations 0.5 / 20.
    made = NoisyLinear(400, 300, rng()).requires_grad_(False)
    for mean in (made.weight, made.bias):
        assert float(mean.abs().max()) <= 0.05
        assert float(mean.max()) > 0.049
        assert float(mean.min()) < -0.049
    assert float(made.weight.std()) == pytest.approx(0.05 / math.sqrt(3), rel=0.01)
    for sigma in (made.weight_sigma, made.bias_sigma):
        assert sigma.unique().tolist() == [pytest.approx(0.025)]
    # 16 inputs and sigma 0.8: 0.8 / 4.
    assert NoisyLinear(16, 1, rng(), 0.8).bias_sigma.tolist() == [pytest.approx(0.2)]


def test_weights_are_drawn_by_the_generator_alone():
    torch.manual_seed(1)
    one = NoisyLinear(4, 3, rng(4))
    torch.manual_seed(2)
    same, other = NoisyLinear(4, 3, rng(4)), NoisyLinear(4, 3, rng(5))
    for name in ("weight", "bias"):
        assert torch.equal(getattr(one, name), getattr(same, name))
        assert not torch.equal(getattr(one, name), getattr(other, name))
