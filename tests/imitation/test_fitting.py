"""Minibatches, the rate that falls, and the choice of what does best."""

import os
import signal

import pytest
import torch
from torch import nn

from robolearn.errors import DivergedError
from robolearn.imitation.fitting import choose, fit
from robolearn.runs.stopping import Stopped, stoppable


class One(nn.Module):
    """A single number."""

    def __init__(self):
        super().__init__()
        self.number = nn.Parameter(torch.zeros(()))
        self.register_buffer("seen", torch.zeros(()))


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(rows, batch, updates, seed=0):
    """Return which rows each gradient step was made on."""
    module, batches = One(), []

    def loss(chosen):
        batches.append(chosen.tolist())
        return module.number.square()

    steps = fit(module, loss, rows, updates=updates, batch=batch, learning_rate=0.1, rng=rng(seed))
    assert list(steps) == list(range(1, updates + 1))
    return batches


def test_each_row_comes_once_in_an_epoch():
    batches = drawn(rows=12, batch=4, updates=9)
    epochs = [[row for batch in batches[k : k + 3] for row in batch] for k in (0, 3, 6)]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3  # shuffled anew


def test_what_does_not_fill_a_minibatch_is_left_to_the_next_epoch():
    batches = drawn(rows=11, batch=4, updates=40)
    assert {len(batch) for batch in batches} == {4}
    for k in range(0, 40, 2):
        assert len(set(batches[k] + batches[k + 1])) == 8
    assert {row for batch in batches for row in batch} == set(range(11))


def test_of_few_rows_all_are_in_every_minibatch():
    assert [sorted(batch) for batch in drawn(rows=3, batch=4096, updates=5)] == [[0, 1, 2]] * 5


def test_the_generator_decides_on_the_order():
    assert drawn(12, 4, 6, seed=1) == drawn(12, 4, 6, seed=1)
    assert drawn(12, 4, 6, seed=1) != drawn(12, 4, 6, seed=2)


def test_the_rate_falls_to_nothing_by_hand():
    # Where the gradient never changes, Adam goes by the rate: 0.4 * (1 + 3/4 + 2/4 + 1/4) = 1.
    module, found = One(), []
    steps = fit(
        module,
        lambda rows: 3.0 * module.number,
        5,
        updates=4,
        batch=5,
        learning_rate=0.4,
        rng=rng(),
    )
    for _ in steps:
        found.append(module.number.item())
    assert found == pytest.approx([-0.4, -0.7, -0.9, -1.0], abs=1e-6)


def test_a_line_is_fitted_as_least_squares_fit_it():
    x = torch.randn(200, 3, generator=rng(1))
    y = x @ torch.tensor([[1.0], [-2.0], [0.5]]) + 0.3 + 0.1 * torch.randn(200, 1, generator=rng(2))
    module = nn.Linear(3, 1)
    steps = fit(
        module,
        lambda rows: (module(x[rows]) - y[rows]).square().mean(),
        200,
        updates=1500,
        batch=200,
        learning_rate=0.05,
        rng=rng(3),
    )
    assert sum(1 for _ in steps) == 1500
    exact = torch.linalg.lstsq(torch.cat([x, torch.ones(200, 1)], dim=1), y).solution.squeeze(1)
    found = torch.cat([module.weight.squeeze(0), module.bias])
    torch.testing.assert_close(found.detach(), exact, rtol=0, atol=1e-4)


def test_long_gradients_are_shortened_and_infinite_ones_refused():
    module, lengths = One(), []
    module.number.register_hook(lambda gradient: lengths.append(gradient.item()))
    slopes = iter([1e6, float("inf")])
    steps = fit(
        module,
        lambda rows: next(slopes) * module.number,
        1,
        updates=2,
        batch=1,
        learning_rate=0.1,
        rng=rng(),
        max_norm=0.5,
    )
    next(steps)
    before = module.number.item()
    assert module.number.grad.item() == pytest.approx(0.5, rel=1e-5)
    with pytest.raises(DivergedError):
        next(steps)
    assert module.number.item() == before
    assert lengths[0] == 1e6


def test_learning_stops_between_two_steps_when_asked_to():
    module = One()
    steps = fit(
        module,
        lambda rows: module.number.square(),
        1,
        updates=10,
        batch=1,
        learning_rate=0.1,
        rng=rng(),
    )
    with stoppable():
        assert [next(steps), next(steps), next(steps)] == [1, 2, 3]
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Stopped):
            next(steps)


# Choosing.


def chosen(scores, *, updates, every, target=None):
    """Return what was chosen where ``scores`` are found one after the other, and what was made."""
    module, made, found = One(), [], iter(scores)

    def steps():
        for k in range(1, updates + 1):
            with torch.no_grad():
                module.number.fill_(k)
                module.seen.fill_(10 * k)
            made.append(k)
            yield k

    choice = choose(module, steps(), lambda: next(found), every=every, target=target)
    assert next(found, None) is None  # every score was asked for
    assert module.seen.item() == 10 * module.number.item()  # buffers go with parameters
    return choice, module.number.item(), len(made)


def test_the_best_of_all_trials_is_kept():
    choice, number, made = chosen([1.0, 7.0, 3.0, 5.0], updates=12, every=3)
    assert choice == (7.0, 6, ((3, 1.0), (6, 7.0), (9, 3.0), (12, 5.0)))
    assert (number, made) == (6, 12)


def test_of_equals_the_later_one_is_kept():
    choice, number, _ = chosen([1.0, 7.0, 7.0, 2.0], updates=12, every=3)
    assert (choice.score, choice.update, number) == (7.0, 9, 9)


def test_there_is_a_trial_at_the_end_too():
    choice, number, _ = chosen([1.0, 2.0, 4.0], updates=8, every=3)
    assert choice.curve == ((3, 1.0), (6, 2.0), (8, 4.0))
    assert (choice.update, number) == (8, 8)


def test_fewer_steps_than_between_trials_are_tried_once():
    assert chosen([-3.0], updates=2, every=100)[0] == (-3.0, 2, ((2, -3.0),))


def test_a_score_that_is_enough_ends_it():
    choice, number, made = chosen([1.0, 7.0], updates=1000, every=3, target=6.5)
    assert choice == (7.0, 6, ((3, 1.0), (6, 7.0)))
    assert (number, made) == (6, 6)


def test_a_score_that_is_never_reached_ends_nothing():
    choice, _, made = chosen([1.0, 3.0, 2.0], updates=9, every=3, target=6.5)
    assert (choice.score, made) == (3.0, 9)


def test_steps_made_in_rounds_are_tried_when_a_round_is_over():
    # Rounds of 4, a trial every 6: after 8, not before 14, which is 16, and at the end.
    module, found = One(), iter([1.0, 2.0, 3.0])
    choice = choose(module, iter(range(4, 21, 4)), lambda: next(found), every=6)
    assert choice.curve == ((8, 1.0), (16, 2.0), (20, 3.0))
