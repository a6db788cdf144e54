"""An adapter begins as no change, is all that is learned, and what it has learned can be kept."""

import pytest
import torch
from gymnasium import spaces
from torch import nn

from robolearn.errors import RobolearnError
from robolearn.networks.actor_critic import ActorCritic, GaussianDistribution
from robolearn.networks.adapters import (
    Bottleneck,
    LowRank,
    adapt,
    adapter_state,
    frozen_state,
    merge,
    trainable,
)
from robolearn.networks.encoders import ObservationEncoder, mlp
from robolearn.networks.flat_adam import FlatAdam

KINDS = ("lora", "bottleneck", "bitfit", "head")
every_kind = pytest.mark.parametrize("kind", KINDS)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def policy(hidden=(8, 5), seed=0, **options):
    """A policy whose biases, too, are not 0."""
    net = mlp(4, hidden, 2, generator=rng(seed), **options)
    for name, parameter in net.named_parameters():
        if name.endswith("bias"):
            parameter.data.normal_(generator=rng(9))
    return net


def adapted(kind, rank=3, **options):
    return adapt(policy(**options), kind, rank, rng(1))


def learned(net, steps=5):
    """Let a network learn something."""
    descent = FlatAdam(net)
    for step in range(steps):
        x, y = torch.randn(16, 4, generator=rng(step)), torch.randn(16, 2, generator=rng(step + 50))
        descent.step((net(x) - y).square().mean(), rate=0.1, max_norm=1e9)
    return net


X = torch.randn(33, 4, generator=rng(7))


@every_kind
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_an_adapter_changes_nothing_at_first(kind, activation):
    plain, net = policy(activation=activation), adapted(kind, activation=activation)
    torch.testing.assert_close(net(X), plain(X), rtol=0, atol=0)
    state = net.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in plain.state_dict().items())


@every_kind
def test_an_adapter_is_all_that_changes_and_all_of_it_does(kind):
    net, before = learned(adapted(kind)), adapted(kind)
    assert not torch.allclose(net(X), before(X), atol=1e-2)
    ours, theirs = frozen_state(net), frozen_state(before)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    was = adapter_state(before)
    assert all(not torch.equal(now, was[name]) for name, now in adapter_state(net).items())
    assert net.state_dict().keys() == frozen_state(net).keys() | was.keys()


def test_what_is_learned_is_counted():
    # Layers 4-8-5-2. All: 4*8+8 + 8*5+5 + 5*2+2 = 97. Changes of rank 3: 3 * (4+8 + 8+5 + 5+2).
    # Bottlenecks of width 3 after 8 and 5: 8*3+3 + 3*8+8 + 5*3+3 + 3*5+5. Biases: 8+5+2.
    # Last layer: 5*2+2.
    counts = {kind: trainable(adapted(kind)) for kind in ("none", *KINDS)}
    assert counts == {"none": 97, "lora": 96, "bottleneck": 97, "bitfit": 15, "head": 12}


def test_biases_alone_are_learned():
    assert list(adapter_state(adapted("bitfit"))) == ["0.bias", "2.bias", "4.bias"]


def test_the_last_layer_alone_is_learned():
    assert list(adapter_state(adapted("head"))) == ["4.weight", "4.bias"]


def test_a_low_rank_change_by_hand():
    # W = (1, 2), b = 3, A = ((1, 0), (2, 1)), B = (1, -1), alpha / rank = 8 / 2:
    # B A = (1 - 2, 0 - 1) = (-1, -1), W' = (1, 2) - 4 (1, 1) = (-3, -2), of (5, 7): -15 - 14 + 3.
    layer = nn.Linear(2, 1)
    layer.weight.data = torch.tensor([[1.0, 2.0]])
    layer.bias.data = torch.tensor([3.0])
    net = LowRank(layer, 2, rng())
    net.down.data = torch.tensor([[1.0, 0.0], [2.0, 1.0]])
    net.up.data = torch.tensor([[1.0, -1.0]])
    assert net(torch.tensor([5.0, 7.0])).tolist() == [-26.0]


def test_a_bottleneck_by_hand():
    # h = relu(2, -1) = (2, 0). Down (1, 5) h - 0.5 = 1.5. Up (10, -2) * 1.5 + (0, 1) = (15, -2).
    net = Bottleneck(nn.ReLU(), 2, 1, rng())
    net.down.weight.data, net.down.bias.data = torch.tensor([[1.0, 5.0]]), torch.tensor([-0.5])
    net.up.weight.data, net.up.bias.data = torch.tensor([[10.0], [-2.0]]), torch.tensor([0.0, 1.0])
    assert net(torch.tensor([2.0, -1.0])).tolist() == [17.0, -2.0]
    # Down -1.5: its activation is 0, and only the bias is added.
    net.down.weight.data = -net.down.weight.data
    assert net(torch.tensor([2.0, -1.0])).tolist() == [2.0, 1.0]


@pytest.mark.parametrize("rows", [1, 2, 33, 200])
@pytest.mark.parametrize("hidden", [(8, 5), (64, 64), (), (31,)])
def test_merged_low_rank_changes_say_bit_by_bit_the_same(hidden, rows):
    net = learned(adapted("lora", hidden=hidden))
    plain = merge(net)
    assert [type(layer) for layer in plain] == [type(layer) for layer in policy(hidden=hidden)]
    x = torch.randn(rows, 4, generator=rng(2))
    assert torch.equal(plain(x), net(x))
    assert torch.equal(plain(x[0]), net(x[0]))
    assert not torch.equal(plain(x), policy(hidden=hidden)(x))


@pytest.mark.parametrize("kind", ["none", "lora", "bitfit", "head"])
def test_a_merged_policy_is_plain_its_own_and_all_to_be_learned(kind):
    net = learned(adapted(kind))
    before, plain = net(X), merge(net)
    assert plain.state_dict().keys() == policy().state_dict().keys()
    assert trainable(plain) == 97
    assert torch.equal(plain(X), before)
    learned(plain)
    assert not torch.equal(plain(X), before)
    assert torch.equal(net(X), before)


def test_bottlenecks_cannot_be_merged():
    with pytest.raises(RobolearnError, match="bottlenecks cannot be merged into plain"):
        merge(adapted("bottleneck"))


def test_a_bottleneck_needs_hidden_layers():
    with pytest.raises(RobolearnError, match="A bottleneck comes after hidden layers, got none"):
        adapted("bottleneck", hidden=())


@pytest.mark.parametrize("kind", ["lora", "bottleneck"])
def test_the_generator_alone_decides_what_is_added(kind):
    one, same = (adapter_state(adapt(policy(), kind, 3, rng(4))) for _ in range(2))
    other = adapter_state(adapt(policy(), kind, 3, rng(5)))
    drawn = [name for name in one if "down" in name and "bias" not in name]
    assert len(drawn) == (3 if kind == "lora" else 2)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not any(torch.equal(one[name], other[name]) for name in drawn)


def actor_critic(kind, memory=0):
    space = spaces.Dict(
        eye=spaces.Box(0, 255, (16, 16), "uint8"), wheel=spaces.Box(-9, 9, (3,), "float32")
    )
    eyes = ObservationEncoder(
        space, features=4, log_scale_obs=False, normalize=True, generator=rng()
    )
    how = {"hidden": (8,), "activation": "tanh", "memory": memory, "generator": rng(1)}
    net = ActorCritic(eyes, GaussianDistribution(2, init_std=1.0), **how)
    net.adapt(kind, 2, rng(2))
    return net


def parts_learned(net):
    return {name.split(".")[0] for name, p in net.named_parameters() if p.requires_grad}


@every_kind
def test_neither_what_is_seen_nor_remembered_changes_under_an_adapter(kind):
    assert parts_learned(actor_critic(kind, memory=6)) == {"policy", "critic", "head"}
    everything = {"policy", "critic", "head", "memory", "encoder"}
    assert parts_learned(actor_critic("none", memory=6)) == everything


@pytest.mark.parametrize(("kind", "count"), [("none", 5.0), *((kind, 0.0) for kind in KINDS)])
def test_normalizers_learn_no_moments_under_an_adapter(kind, count):
    net = actor_critic(kind)
    obs = torch.randn(5, 259, generator=rng(3))
    before = net.encoder(obs)
    net.encoder.update_normalization(obs)
    assert net.encoder.observations.count.item() == count
    assert torch.equal(net.encoder(obs), before) == (kind != "none")


def test_only_what_is_to_be_learned_descends():
    net = actor_critic("bitfit")
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    descent = FlatAdam(net)
    assert (
        descent.vector.numel() == trainable(net) == 8 + 2 + 2 + (7 * 8 + 8 + 8 + 1)
    )  # and the critic
    features = net.encoder(torch.randn(5, 259, generator=rng(3)))
    loss = net.policy(features).sum() + net.critic(features).sum() + net.head.log_std.sum()
    descent.step(loss, rate=0.1, max_norm=1e9)
    changed = {name for name, p in net.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {name for name, p in net.named_parameters() if p.requires_grad}
