"""Streams add up as the paper says, and noise acts where it is asked for."""

from copy import deepcopy

import pytest
import torch
from gymnasium import spaces
from torch import nn

from robolearn.networks.encoders import ObservationEncoder
from robolearn.networks.q_network import (
    CategoricalReturn,
    Expectation,
    NoisyLinear,
    QNetwork,
    QuantileReturn,
)

INPUTS, ACTIONS = 3, 4
KINDS = [Expectation(), CategoricalReturn(5, -2.0, 3.0), QuantileReturn(7)]
every_kind = pytest.mark.parametrize("returns", KINDS, ids=lambda kind: type(kind).__name__)
dueling_or_not = pytest.mark.parametrize("dueling", [False, True], ids=["plain", "dueling"])


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def network(returns=KINDS[0], *, hidden=(16, 8), seed=0, dtype=torch.float64, **options):
    generator = rng(seed)
    encoder = ObservationEncoder(
        spaces.Box(-1.0, 1.0, (INPUTS,)),
        features=6,
        log_scale_obs=False,
        normalize=True,
        generator=generator,
    )
    made = QNetwork(
        encoder, ACTIONS, deepcopy(returns), hidden=hidden, generator=generator, **options
    )
    with torch.no_grad():  # deviations begin alike and biases at zero, which would hide mistakes
        for name, parameter in made.named_parameters():
            if "bias" in name or "sigma" in name:
                parameter.copy_(0.5 * torch.rand(parameter.shape, generator=rng(7)))
    return made.to(dtype).requires_grad_(False)


def seen(*leading):
    return torch.randn(*leading, INPUTS, generator=rng(1), dtype=torch.float64)


def doubles(noise):
    return [part.double() for part in noise]


@every_kind
@dueling_or_not
def test_every_action_is_told_a_return(returns, dueling):
    net, obs = network(returns, dueling=dueling), seen(2, 5)
    assert net(obs).shape == (2, 5, ACTIONS, returns.width)
    assert torch.equal(net.q(obs), net.returns.mean(net(obs)))
    assert net.q(obs).shape == (2, 5, ACTIONS)
    torch.testing.assert_close(net(obs)[1, 3], net(obs[1, 3]))


@every_kind
@pytest.mark.parametrize("noisy", [False, True])
def test_advantages_add_nothing_to_the_value_on_average(returns, noisy):
    net, obs = network(returns, dueling=True, noisy=noisy), seen(5)
    noise = net.draw_noise(5, generator=rng(2))
    noise = noise and doubles(noise)
    features = net.trunk(net.encoder(obs))
    value = net.value(features, noise[2:] if noise else (None, None))
    told = net(obs, noise)
    torch.testing.assert_close(told.mean(dim=-2), value)
    # What is added differs from action to action as the advantages do.
    advantage = net.advantage(features, noise[:2] if noise else (None, None))
    advantage = advantage.unflatten(-1, (ACTIONS, returns.width))
    torch.testing.assert_close(told - told[:, :1], advantage - advantage[:, :1])
    assert (told - told[:, :1])[:, 1:].abs().min() > 1e-6


def test_a_network_by_hand():
    # One unit, weight 2 and bias 1, no norm: an observation (3, 0, 0) gives relu(7) = 7 and
    # (-3, 0, 0) gives relu(-5) = 0. Outputs are 1, 2, 3, 4 times that plus 0, 10, 20, 30.
    net = network(hidden=(1,), layer_norm=False)
    for layer, weight, bias in (
        (net.advantage.layers[0], [[2.0, 0.0, 0.0]], [1.0]),
        (net.advantage.layers[1], [[1.0], [2.0], [3.0], [4.0]], [0.0, 10.0, 20.0, 30.0]),
    ):
        layer.weight.copy_(torch.tensor(weight))
        layer.bias.copy_(torch.tensor(bias))
    obs = torch.tensor([[3.0, 0.0, 0.0], [-3.0, 0.0, 0.0]], dtype=torch.float64)
    assert net.q(obs).tolist() == [[7, 24, 41, 58], [0, 10, 20, 30]]
    # A value of 3 * relu(7 or -5) + 5 besides: the means, 32.5 and 15, make room for 26 and 5.
    duel = network(hidden=(1,), layer_norm=False, dueling=True)
    duel.advantage.load_state_dict(net.advantage.state_dict())
    duel.value.layers[0].load_state_dict(net.advantage.layers[0].state_dict())
    duel.value.layers[1].weight.fill_(3.0)
    duel.value.layers[1].bias.fill_(5.0)
    assert duel.q(obs).tolist() == [[0.5, 17.5, 34.5, 51.5], [-10, 0, 10, 20]]


@dueling_or_not
@pytest.mark.parametrize("noisy", [False, True])
def test_without_hidden_layers_values_are_linear_in_what_is_seen(dueling, noisy):
    net = network(hidden=(), dueling=dueling, noisy=noisy)
    one, other = seen(2)
    nothing = net.q(torch.zeros_like(one))
    torch.testing.assert_close(
        net.q(one + other) - nothing, (net.q(one) - nothing) + (net.q(other) - nothing)
    )
    if noisy:
        noise = doubles(net.draw_noise(2, generator=rng(1)))
        assert not torch.equal(net.q(torch.stack([one, one]), noise), net.q(torch.stack([one] * 2)))


@pytest.mark.parametrize(("layer_norm", "count"), [(True, 2), (False, 0)])
def test_each_hidden_layer_is_normalized_if_asked(layer_norm, count):
    net = network(layer_norm=layer_norm)
    norms = [module for module in net.modules() if isinstance(module, nn.LayerNorm)]
    assert [norm.normalized_shape for norm in norms] == [(16,), (8,)][:count]


# Noise.


@dueling_or_not
def test_without_noisy_layers_there_is_no_noise(dueling):
    net = network(dueling=dueling)
    generator = rng(2)
    before = generator.get_state()
    assert net.draw_noise(4, 5, generator=generator) is None
    assert torch.equal(generator.get_state(), before)


@dueling_or_not
def test_the_last_hidden_layer_and_the_output_are_noisy(dueling):
    net = network(dueling=dueling, noisy=True)
    layers = [name for name, module in net.named_modules() if isinstance(module, NoisyLinear)]
    streams = ("advantage", "value") if dueling else ("advantage",)
    assert layers == [
        f"{stream}.{layer}" for stream in streams for layer in ("layers.0", "layers.1")
    ]
    # f_in and f_out of 16 to 8, and of 8 to 4 actions or 1 value.
    widths = [16 + 8, 8 + 4, 16 + 8, 8 + 1][: len(layers)]
    noise = net.draw_noise(2, 5, generator=rng(2))
    assert [part.shape for part in noise] == [(2, 5, width) for width in widths]


@every_kind
@dueling_or_not
def test_without_noise_the_weights_are_their_means(returns, dueling):
    net, obs = network(returns, dueling=dueling, noisy=True), seen(5)
    noise = doubles(net.draw_noise(5, generator=rng(2)))
    found = net(obs)
    assert torch.equal(found, net(obs))
    assert (net(obs, noise) - found).abs().min() > 1e-6
    for name, parameter in net.named_parameters():
        if "sigma" in name:
            parameter.zero_()
    torch.testing.assert_close(net(obs, noise), found)


@every_kind
@dueling_or_not
def test_several_batches_with_a_noise_each_are_told_as_one_by_one(returns, dueling):
    net, obs = network(returns, dueling=dueling, noisy=True), seen(6, 5)
    noise = doubles(net.draw_noise(6, 1, generator=rng(2)))
    together = net(obs, noise)
    assert together.shape == (6, 5, ACTIONS, returns.width)
    for k in range(6):
        alone = net(obs[k], [part[k] for part in noise])
        torch.testing.assert_close(together[k], alone)
    other = net(obs[0], [part[1] for part in noise])
    assert not torch.allclose(together[0], other, rtol=1e-3)


def test_noise_of_the_value_moves_all_actions_alike_and_that_of_advantages_not_their_mean():
    net, obs = network(dueling=True, noisy=True), seen(5)
    noise = doubles(net.draw_noise(5, generator=rng(2)))
    still = [torch.zeros_like(part) for part in noise]
    moved = net.q(obs, [*still[:2], *noise[2:]]) - net.q(obs, still)
    torch.testing.assert_close(moved, moved[:, :1].expand(5, ACTIONS))
    assert moved.abs().min() > 1e-6
    moved = net.q(obs, [*noise[:2], *still[2:]]) - net.q(obs, still)
    torch.testing.assert_close(moved.mean(dim=-1), torch.zeros(5, dtype=torch.float64))
    assert moved.abs().min() > 1e-6


def test_the_noise_of_a_copy_is_as_good_as_its_own():
    net, obs = network(noisy=True, dueling=True), seen(5)
    copy = deepcopy(net)
    for generator in (rng(3), rng(3)):
        noise = doubles(copy.draw_noise(5, generator=generator))
        assert torch.equal(net(obs, noise), copy(obs, noise))
    copy.advantage.layers[1].weight_sigma.zero_()
    assert not torch.equal(net(obs, noise), copy(obs, noise))


@dueling_or_not
@pytest.mark.parametrize("noisy", [False, True])
def test_the_generator_alone_decides_the_weights(dueling, noisy):
    options = {"dueling": dueling, "noisy": noisy}
    torch.manual_seed(1)
    one = network(seed=4, **options)
    torch.manual_seed(2)
    same, other = network(seed=4, **options), network(seed=5, **options)
    obs = seen(3)
    assert torch.equal(one(obs), same(obs))
    assert not torch.equal(one(obs), other(obs))


def test_one_hidden_layer_is_enough():
    assert network(hidden=(8,), dueling=True, noisy=True)(seen(5)).shape == (5, ACTIONS, 1)


@pytest.mark.parametrize("noisy", [False, True], ids=["plain", "noisy"])
@dueling_or_not
@pytest.mark.parametrize("hidden", [(), (8,), (16, 8), (16, 12, 8)], ids=len)
def test_first_layer_gain_scales_the_first_layer_and_no_other(hidden, dueling, noisy):
    options = {"hidden": hidden, "dueling": dueling, "noisy": noisy}
    usual, sharp = (
        dict(network(first_layer_gain=s, **options).named_parameters()) for s in (1.0, 8.0)
    )
    # The first layers are those that read the features, of which there are as many as inputs.
    first = {name for name, p in usual.items() if p.ndim == 2 and p.shape[1] == INPUTS}
    first -= {name for name in first if "sigma" in name}
    assert len(first) == (2 if dueling and len(hidden) < 2 else 1)
    for name, parameter in usual.items():
        assert torch.equal(sharp[name], parameter * (8 if name in first else 1)), name
