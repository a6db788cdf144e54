"""One long vector goes where PyTorch's own clipping and Adam take the parameters one by one."""

from copy import deepcopy

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from robolearn.errors import DivergedError
from robolearn.networks.encoders import mlp
from robolearn.networks.flat_adam import FlatAdam

RATES = (3e-2, 1e-2, 0.0, 5e-3, 2e-2)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def network(seed=0):
    return mlp(4, (8, 5), 2, generator=rng(seed))


def loss_of(net, step):
    """A loss that is another at every step, and ten times as steep at every second one."""
    x, y = torch.randn(16, 4, generator=rng(step)), torch.randn(16, 2, generator=rng(step + 50))
    return (net(x) - y).square().mean() * (10 if step % 2 else 1)


def assert_equal(one, other, atol=1e-6):
    for ours, theirs in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=atol)


@pytest.mark.parametrize("eps", [1e-8, 1e-5, 0.1])
@pytest.mark.parametrize("max_norm", [1.0, 2.5, 1e9])
def test_steps_are_those_of_clip_grad_norm_and_adam(max_norm, eps):
    net, twin = network(), network()
    descent, adam = FlatAdam(net, eps=eps), torch.optim.Adam(twin.parameters(), eps=eps)
    clipped = []
    for step, rate in enumerate(RATES):
        descent.step(loss_of(net, step), rate=rate, max_norm=max_norm)
        adam.zero_grad()
        loss_of(twin, step).backward()
        norm = torch.nn.utils.clip_grad_norm_(twin.parameters(), max_norm)
        clipped.append(norm.item() > max_norm)
        adam.param_groups[0]["lr"] = rate
        adam.step()
        assert_equal(net, twin)
    assert sum(clipped) == {1.0: 4, 2.5: 2, 1e9: 0}[max_norm]  # with and without


@pytest.mark.parametrize("deferred", [False, True])
def test_rectified_steps_are_those_of_radam(deferred):
    # Of the first 5 steps the variance cannot be rectified, from the 6th on it is.
    net, twin = network(), network()
    descent = FlatAdam(net, rectified=True, deferred=deferred)
    radam = torch.optim.RAdam(twin.parameters())
    for step in range(12):
        rate = RATES[step % len(RATES)]
        descent.step(loss_of(net, step), rate=rate, max_norm=1e9)
        radam.zero_grad()
        loss_of(twin, step).backward()
        radam.param_groups[0]["lr"] = rate
        radam.step()
        assert_equal(net, twin)


@pytest.mark.parametrize("step", [2, 8])
def test_a_rectified_step_that_is_forbidden_changes_nothing(step):
    net = network()
    descent = FlatAdam(net, rectified=True, deferred=True)
    for k in range(step):
        descent.step(loss_of(net, k), rate=1e-2, max_norm=1.0)
    before, moments = deepcopy(net), {k: t.clone() for k, t in descent.moments.items()}
    descent.step(loss_of(net, 0) * float("nan"), rate=1e-2, max_norm=1.0)
    descent.step(loss_of(net, 0), rate=1e-2, max_norm=1.0)
    assert_equal(net, before, atol=0)
    assert all(torch.equal(moments[k], t) for k, t in descent.moments.items())
    with pytest.raises(DivergedError):
        descent.check()
    descent.step(loss_of(net, 0), rate=1e-2, max_norm=1.0)
    descent.check()
    with pytest.raises(AssertionError):
        assert_equal(net, before, atol=0)


def test_a_step_by_hand():
    # 3 a + 4 b has the gradient (3, 4) of length 5, shortened to (0.3, 0.4) by max_norm 0.5. Adam's
    # first step is rate * g / (|g| + eps): 0.1 * 0.3 / (0.3 + 0.1) and 0.1 * 0.4 / (0.4 + 0.1).
    net = torch.nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0, 1.0]]))
    descent = FlatAdam(net, eps=0.1)
    descent.step(net(torch.tensor([3.0, 4.0])).sum(), rate=0.1, max_norm=0.5)
    torch.testing.assert_close(net.weight.detach(), torch.tensor([[0.925, 0.92]]))


def test_taking_parameters_over_changes_none():
    net, twin = network(), network()
    FlatAdam(net)
    assert_equal(net, twin, atol=0)
    assert all(ours.shape == theirs.shape for ours, theirs in zip(*both(net, twin), strict=True))
    x = torch.randn(3, 4, generator=rng())
    assert torch.equal(net(x), twin(x))


def both(one, other):
    return list(one.parameters()), list(other.parameters())


def test_parameters_that_are_read_back_are_the_ones_that_descend():
    net, twin, other = network(), network(), network(seed=1)
    descent, reference = FlatAdam(net), torch.optim.Adam(twin.parameters(), lr=1e-2)
    for each in (net, twin):
        each.load_state_dict(other.state_dict())
    before = [parameter.data_ptr() for parameter in net.parameters()]
    descent.step(loss_of(net, 0), rate=1e-2, max_norm=1e9)
    loss_of(twin, 0).backward()
    reference.step()
    assert_equal(net, twin)
    assert not torch.equal(net[0].weight, other[0].weight)
    vector = descent.vector
    assert before == [parameter.data_ptr() for parameter in net.parameters()]
    ends = (vector.data_ptr(), vector.data_ptr() + 4 * vector.numel())
    assert all(ends[0] <= place < ends[1] for place in before)


@pytest.mark.parametrize("deferred", [False, True])
def test_a_restart_learns_what_others_left_in_the_storage_there_was(deferred):
    net = network()
    descent = FlatAdam(net, deferred=deferred)
    places = [p.data_ptr() for p in net.parameters()]
    held = (descent.vector.data_ptr(), *(t.data_ptr() for t in descent.moments.values()))
    descent.step(loss_of(net, 0), rate=1e-2, max_norm=1e9)
    FlatAdam(net).step(loss_of(net, 1), rate=1e-2, max_norm=1e9)  # takes the parameters elsewhere
    assert [p.data_ptr() for p in net.parameters()] != places
    twin = deepcopy(net)
    assert descent.restart(net)
    assert [p.data_ptr() for p in net.parameters()] == places
    now = (descent.vector.data_ptr(), *(t.data_ptr() for t in descent.moments.values()))
    assert now == held
    fresh = FlatAdam(twin, deferred=deferred)
    for step in range(2, 5):
        for one, its in ((net, descent), (twin, fresh)):
            its.step(loss_of(one, step), rate=1e-2, max_norm=1e9)
    assert_equal(net, twin, atol=0)
    assert torch.equal(torch.cat([p.flatten() for p in net.parameters()]), descent.vector)


def test_a_restart_is_refused_where_other_parameters_are_learned():
    net = network()
    descent = FlatAdam(net)
    descent.step(loss_of(net, 0), rate=1e-2, max_norm=1e9)
    net[0].requires_grad_(False)
    assert not descent.restart(net)
    assert descent.moments["step"] == 1


def test_a_copy_of_the_network_stays_where_it_is():
    net = network()
    descent = FlatAdam(net)
    copy = deepcopy(net)
    descent.step(loss_of(net, 0), rate=1e-2, max_norm=1e9)
    assert_equal(copy, network(), atol=0)


def test_what_the_optimizer_remembers_is_saved_and_read_back():
    net = network()
    descent = FlatAdam(net)
    for step in range(3):
        descent.step(loss_of(net, step), rate=1e-2, max_norm=1e9)
    again = network(seed=1)
    again.load_state_dict(net.state_dict())
    restored, forgetful = FlatAdam(again), deepcopy(net)
    restored.load_state_dict(deepcopy(descent.moments))
    for step in range(3, 6):
        for one, its in ((net, descent), (again, restored)):
            its.step(loss_of(one, step), rate=1e-2, max_norm=1e9)
    assert_equal(again, net, atol=0)
    forgot = FlatAdam(forgetful)
    for step in range(3, 6):
        forgot.step(loss_of(forgetful, step), rate=1e-2, max_norm=1e9)
    assert (forgetful[0].weight - net[0].weight).abs().max() > 1e-4


# Numbers that are none.


def remembered(net, descent):
    """Return copies of everything a step may change."""
    weights = [parameter.detach().clone() for parameter in net.parameters()]
    return weights, {name: moment.clone() for name, moment in descent.moments.items()}


def assert_same(one, other):
    for ours, theirs in zip(one[0], other[0], strict=True):
        assert torch.equal(ours, theirs)
    assert one[1].keys() == other[1].keys()
    for name, moment in one[1].items():
        assert torch.equal(moment, other[1][name]), name


class Infinite(torch.autograd.Function):
    """1, with a gradient as asked for."""

    @staticmethod
    def forward(ctx, parameter, number):
        ctx.shape, ctx.number = parameter.shape, number
        return torch.ones(())

    @staticmethod
    def backward(ctx, gradient):
        grad = torch.zeros(ctx.shape)
        grad.view(-1)[3] = ctx.number
        return grad, None


def bad_gradient(net, number):
    """A loss of 1 one number of whose gradient is not finite."""
    return Infinite.apply(net[0].weight, number)


BREAKDOWNS = {
    "loss nan": (lambda net: net[0].weight.sum() * torch.nan, "The loss is nan"),
    "loss inf": (lambda net: net[0].weight.sum() + torch.inf, "The loss is inf"),
    "gradient nan": (lambda net: bad_gradient(net, torch.nan), "The gradient norm is nan"),
    "gradient inf": (lambda net: bad_gradient(net, -torch.inf), "The gradient norm is inf"),
}


@pytest.mark.parametrize("taken", [0, 3], ids=["at once", "later"])
@pytest.mark.parametrize(("broken", "words"), BREAKDOWNS.values(), ids=BREAKDOWNS)
def test_a_step_that_is_not_finite_says_so_and_changes_nothing(broken, words, taken):
    net = network()
    descent = FlatAdam(net)
    for step in range(taken):
        descent.step(loss_of(net, step), rate=1e-2, max_norm=1.0)
    before = remembered(net, descent)
    with pytest.raises(DivergedError, match=f"{words}; no update was made. Try a lower"):
        descent.step(broken(net), rate=1e-2, max_norm=1.0)
    assert_same(remembered(net, descent), before)
    assert before[1]["step"] == taken


def test_who_gets_over_a_step_that_is_not_finite_goes_on_as_if_it_had_not_been():
    net, twin = network(), network()
    descent, undisturbed = FlatAdam(net), FlatAdam(twin)
    for step in range(4):
        if step == 2:
            with pytest.raises(DivergedError):
                descent.step(bad_gradient(net, torch.nan), rate=1e-2, max_norm=1.0)
        for one, its in ((net, descent), (twin, undisturbed)):
            its.step(loss_of(one, step), rate=1e-2, max_norm=1.0)
    assert_same(remembered(net, descent), remembered(twin, undisturbed))


def test_large_but_finite_gradients_are_shortened_and_taken():
    net = network()
    descent = FlatAdam(net)
    before = remembered(net, descent)
    descent.step(1e15 * loss_of(net, 0), rate=1e-2, max_norm=1.0)
    assert not torch.equal(remembered(net, descent)[0][0], before[0][0])


# Looked at once a round.


def good(net, descent, steps):
    for step in steps:
        descent.step(loss_of(net, step), max_norm=1.0)


def deferred(taken=0, rate=1e-2):
    net = network()
    descent = FlatAdam(net, deferred=True)
    descent.set_rate(rate)
    good(net, descent, range(taken))
    return net, descent


@pytest.mark.parametrize("eps", [1e-8, 0.1])
@pytest.mark.parametrize("max_norm", [1.0, 1e9])
def test_deferred_steps_are_the_others(max_norm, eps):
    net, twin = network(), network()
    plain, descent = FlatAdam(net, eps=eps), FlatAdam(twin, eps=eps, deferred=True)
    for step, rate in enumerate(RATES):
        plain.step(loss_of(net, step), rate=rate, max_norm=max_norm)
        if step % 2:
            descent.step(loss_of(twin, step), rate=rate, max_norm=max_norm)
        else:
            descent.set_rate(rate)
            descent.step(loss_of(twin, step), max_norm=max_norm)
        assert_same(remembered(twin, descent), remembered(net, plain))
        descent.check()


@pytest.mark.parametrize("taken", [0, 3], ids=["at once", "later"])
@pytest.mark.parametrize(("broken", "words"), BREAKDOWNS.values(), ids=BREAKDOWNS)
def test_after_a_deferred_step_that_is_not_finite_none_changes_anything(broken, words, taken):
    net, descent = deferred(taken)
    weights = remembered(net, descent)[0]
    descent.step(broken(net), max_norm=1.0)
    before = remembered(net, descent)
    assert all(torch.equal(*each) for each in zip(before[0], weights, strict=True))
    assert before[1]["step"].item() == taken
    if not taken:
        assert not before[1]["exp_avg"].any()
        assert not before[1]["exp_avg_sq"].any()
    good(net, descent, range(3, 6))
    for another, _ in BREAKDOWNS.values():  # the first of them is told
        descent.step(another(net), max_norm=1.0)
    assert_same(remembered(net, descent), before)
    with pytest.raises(DivergedError, match=f"{words}; no update was made. Try a lower"):
        descent.check()
    descent.check()  # once


@pytest.mark.parametrize("taken", [0, 3], ids=["at once", "later"])
@pytest.mark.parametrize("what", [*BREAKDOWNS, "return"])
def test_after_it_was_told_learning_goes_on_as_if_it_had_not_been(what, taken):
    net, descent = deferred(taken)
    twin, undisturbed = deferred(taken)
    if what == "return":
        descent.forbid(torch.tensor(True))
    else:
        descent.step(BREAKDOWNS[what][0](net), max_norm=1.0)
    good(net, descent, [7])
    with pytest.raises(DivergedError):
        descent.check()
    for one, its in ((net, descent), (twin, undisturbed)):
        good(one, its, range(4, 7))
        its.check()
    assert_same(remembered(net, descent), remembered(twin, undisturbed))


def test_what_is_forbidden_is_not_learned_from():
    net, descent = deferred(2)
    descent.forbid(torch.tensor(False))
    before = remembered(net, descent)
    good(net, descent, [2])
    assert not torch.equal(remembered(net, descent)[0][0], before[0][0])
    descent.check()
    before = remembered(net, descent)
    descent.forbid(torch.tensor(True))
    descent.forbid(torch.tensor(False))  # allows nothing again
    good(net, descent, [3])
    assert_same(remembered(net, descent), before)
    with pytest.raises(DivergedError, match="A return is not finite; no update was made"):
        descent.check()


def test_a_forbidden_return_is_told_though_another_step_was_told_before():
    net, descent = deferred(1)
    descent.step(bad_gradient(net, torch.nan), max_norm=1.0)
    with pytest.raises(DivergedError, match="The gradient norm is nan"):
        descent.check()
    descent.forbid(torch.tensor(True))
    with pytest.raises(DivergedError, match="A return is not finite"):
        descent.check()


class Unseen(TorchDispatchMode):
    """Lets nobody look at a number, or choose by a mask what to compute with."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket
        aten = torch.ops.aten
        masked = name in (aten.index, aten.index_put_) and any(
            index is not None and index.dtype is torch.bool for index in args[1]
        )
        if masked or name in (aten._local_scalar_dense, aten.nonzero, aten.lift_fresh):
            raise AssertionError(f"{func} looks")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("look", [torch.Tensor.item, bool, lambda x: x[x > 0], torch.nonzero])
def test_who_looks_is_noticed(look):
    with pytest.raises(AssertionError, match="looks"), Unseen():
        look(torch.ones(()))


def test_a_deferred_step_looks_at_nothing():
    net, descent = deferred(0)
    x, bad = torch.ones(3, 4), torch.tensor(False)
    with Unseen():
        for _ in range(3):
            descent.step(net(x).square().mean(), rate=1e-2, max_norm=1.0)
            descent.forbid(bad)
    descent.check()
    assert remembered(net, descent)[1]["step"].item() == 3
