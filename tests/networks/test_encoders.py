"""Networks begin with orthogonal weights that only the generator decides."""

import pytest
import torch
from torch import nn

from robolearn.networks.encoders import cnn, mlp


def network(seed=0, hidden=(64, 32), **options):
    return mlp(8, hidden, 3, generator=torch.Generator().manual_seed(seed), **options)


def linears(net):
    return [module for module in net if isinstance(module, nn.Linear)]


@pytest.mark.parametrize(("activation", "gain"), [("tanh", 5 / 3), ("relu", 2**0.5)])
def test_weights_are_orthogonal_and_biases_zero(activation, gain):
    for layer, scale in zip(
        linears(network(activation=activation, output_gain=0.01)), (gain, gain, 0.01), strict=True
    ):
        weight = layer.weight.detach()
        tall = weight if weight.shape[0] >= weight.shape[1] else weight.T
        expected = scale**2 * torch.eye(tall.shape[1])
        torch.testing.assert_close(tall.T @ tall, expected, rtol=1e-4, atol=1e-5 * scale**2)
        assert not layer.bias.any()


def test_layers_alternate_as_asked():
    plain = [type(module) for module in network(activation="relu")]
    assert plain == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]


def test_no_hidden_layers_is_a_linear_map():
    net = network(hidden=())
    assert [type(module) for module in net] == [nn.Linear]
    assert net(torch.zeros(2, 8)).shape == (2, 3)


def test_the_generator_alone_decides_the_weights():
    torch.manual_seed(1)
    one = network(seed=4)
    torch.manual_seed(2)
    same, other = network(seed=4), network(seed=5)
    pairs = list(zip(linears(one), linears(same), linears(other), strict=True))
    assert all(torch.equal(a.weight, b.weight) for a, b, _ in pairs)
    assert not any(torch.equal(a.weight, c.weight) for a, _, c in pairs)


def test_a_cnn_begins_orthogonal_too():
    net = cnn(3, 40, 30, 7, generator=torch.Generator().manual_seed(0))
    layers = [module for module in net if isinstance(module, nn.Conv2d | nn.Linear)]
    assert len(layers) == 4
    for layer in layers:
        weight = layer.weight.detach().flatten(1)
        tall = weight if weight.shape[0] >= weight.shape[1] else weight.T
        torch.testing.assert_close(tall.T @ tall, 2 * torch.eye(tall.shape[1]))
        assert not layer.bias.any()


@pytest.mark.parametrize("sides", [(16, 16), (16, 97), (64, 64), (84, 84), (37, 18)])
def test_a_cnn_takes_images_of_any_size_from_16_on(sides):
    net = cnn(2, *sides, 7, generator=torch.Generator().manual_seed(0))
    assert net(torch.zeros(3, 2, *sides)).shape == (3, 7)


def test_the_input_gain_scales_an_output_layer_that_is_also_the_first():
    usual, sharp = (
        mlp(3, (), 2, input_gain=gain, generator=torch.Generator().manual_seed(0))[0].weight
        for gain in (1.0, 8.0)
    )
    torch.testing.assert_close(sharp, 8 * usual)
