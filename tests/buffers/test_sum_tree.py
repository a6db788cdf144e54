"""The sum tree finds what a running sum finds, and draws come as often as priorities say."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from scipy.stats import chisquare

from robolearn.buffers.sum_tree import SumTree, importance_weights, stratified

CPU = torch.device("cpu")


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def tree_of(*priorities):
    tree = SumTree(len(priorities), CPU)
    tree.update(torch.arange(len(priorities)), torch.tensor(priorities, dtype=torch.float64))
    return tree


def masses(*values):
    return torch.tensor(values, dtype=torch.float64)


@settings(deadline=None)
@given(
    seed=st.integers(0, 10**6),
    capacity=st.integers(1, 40),
    updates=st.integers(1, 5),
    empty=st.sampled_from([0.0, 0.5, 0.9]),
)
def test_leaves_are_found_where_numpys_running_sum_says(seed, capacity, updates, empty):
    generator = np.random.default_rng(seed)
    tree, expected = SumTree(capacity, CPU), np.zeros(capacity)
    for _ in range(updates):  # whole numbers, whose sums are exact in any order
        leaf = generator.permutation(capacity)[: generator.integers(1, capacity + 1)]
        priority = generator.integers(1, 100, len(leaf)) * (generator.random(len(leaf)) >= empty)
        tree.update(torch.from_numpy(leaf), torch.from_numpy(priority))
        expected[leaf] = priority
    assert tree.get(torch.arange(capacity)).tolist() == expected.tolist()
    assert tree.total.item() == expected.sum()
    mass = np.arange(0.0, expected.sum(), 0.5)
    found = tree.find(torch.from_numpy(mass))
    assert found.tolist() == np.searchsorted(expected.cumsum(), mass, side="right").tolist()


def test_leaves_by_hand():
    # Running sums 2, 2, 5, 6: mass 2 is the first of leaf 2, and nothing finds the empty leaf 1.
    tree = tree_of(2.0, 0.0, 3.0, 1.0)
    assert tree.find(masses(0, 1.9, 2, 4.9, 5, 5.9)).tolist() == [0, 0, 2, 2, 3, 3]
    assert tree.total.item() == 6.0


def test_masses_of_any_shape_are_found():
    assert tree_of(2.0, 3.0).find(masses(0, 1, 2, 4).view(2, 2)).tolist() == [[0, 0], [1, 1]]


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 5e-324, 1e-9, 0.1, 1 / 3, 7.0, 1e9]), min_size=1, max_size=20)
)
def test_an_empty_leaf_is_never_found_however_sums_round(priorities):
    if not any(priorities):
        priorities = [*priorities, 0.1]
    tree = tree_of(*priorities)
    total = tree.total.item()
    sums = np.concatenate([np.cumsum(priorities), np.cumsum(priorities[::-1]), [0.0, total]])
    edges = np.concatenate([np.nextafter(sums, -1), sums, np.nextafter(sums, np.inf)])
    found = tree.find(torch.from_numpy(edges.clip(0, total)))
    assert bool((tree.get(found) > 0).all())


def test_the_total_itself_finds_the_last_leaf_that_is_not_empty():
    assert tree_of(2.0, 3.0, 0.0).find(masses(5)).tolist() == [1]
    assert tree_of(0.0, 4.0).find(masses(4)).tolist() == [1]
    assert tree_of(4.0, 0.0).find(masses(4)).tolist() == [0]


def test_every_parent_is_the_sum_of_its_children_to_the_last_bit():
    # 30 rounds over 50 leaves, so most are set many times; a tree that added differences to
    # its parents would drift.
    tree = SumTree(50, CPU)
    for seed in range(30):
        leaf = torch.randint(50, (20,), generator=rng(seed))
        tree.update(leaf, 10 ** (8 * torch.rand(20, dtype=torch.float64, generator=rng(seed))))
    afresh = tree_of(*tree.get(torch.arange(50)).tolist())
    assert tree.total.item() == afresh.total.item()
    mass = torch.linspace(0, 1, 1000, dtype=torch.float64) * tree.total
    assert torch.equal(tree.find(mass), afresh.find(mass))


def test_of_a_leaf_named_twice_the_larger_priority_counts():
    tree = tree_of(9.0, 1.0, 1.0)
    tree.update(torch.tensor([0, 2, 0, 0]), torch.tensor([3.0, 2.0, 5.0, 4.0]))
    assert tree.get(torch.arange(3)).tolist() == [5.0, 1.0, 2.0]
    assert tree.total.item() == 8.0


def test_a_total_taken_before_an_update_stays_what_it_was():
    tree = tree_of(1.0, 2.0)
    before = tree.total
    tree.update(torch.tensor([0]), torch.tensor([5.0]))
    assert (before.item(), tree.total.item()) == (3.0, 7.0)


def test_finding_leaves_the_masses_alone():
    mass = masses(1, 3)
    tree_of(2.0, 3.0).find(mass)
    assert mass.tolist() == [1, 3]


PRIORITIES = (1.0, 0.0, 4.0, 2.0, 0.5, 2.5)  # 10 in all, one of them never drawn


def p_value(leaf, priorities):
    """Return the chance of counts as uneven as these, or more, if drawn by ``priorities``."""
    counts = torch.bincount(leaf, minlength=len(PRIORITIES)).numpy()
    shares = np.array(priorities) / np.sum(priorities)
    drawable = shares > 0
    assert not counts[~drawable].any()
    return chisquare(counts[drawable], len(leaf) * shares[drawable]).pvalue


def test_masses_drawn_evenly_find_leaves_in_proportion_to_priority():
    tree = tree_of(*PRIORITIES)
    mass = torch.rand(20_000, dtype=torch.float64, generator=rng()) * tree.total
    leaf = tree.find(mass)
    assert p_value(leaf, PRIORITIES) > 1e-3
    # And the test would notice a tenth more of one priority.
    assert p_value(leaf, (1.0, 0.0, 4.4, 2.0, 0.5, 2.5)) < 1e-3


def test_stratified_draws_come_in_proportion_to_priority():
    tree, generator = tree_of(*PRIORITIES), rng()
    leaf = torch.cat([stratified(tree, 4, generator) for _ in range(5_000)])
    assert p_value(leaf, PRIORITIES) > 1e-3
    assert p_value(leaf, (1.0, 0.0, 4.4, 2.0, 0.5, 2.5)) < 1e-3


@settings(deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 30))
def test_every_slice_of_the_mass_gives_one_leaf(seed, count):
    priority = np.random.default_rng(seed).integers(1, 9, 13).astype(float)
    leaf = stratified(tree_of(*priority), count, rng(seed)).numpy()
    end = priority.cumsum()[leaf]
    slices = np.arange(count) * priority.sum() / count
    assert (end > slices).all()
    assert (end - priority[leaf] < slices + priority.sum() / count).all()


def test_places_in_the_slices_are_drawn_independently():
    # 1000 leaves, 10 slices of 100: the places of two slices do not correlate. The standard
    # error over 4000 draws is 1 / sqrt(4000) = 0.016; within 4.
    tree, generator = tree_of(*[1.0] * 1000), rng()
    leaf = torch.stack([stratified(tree, 10, generator) for _ in range(4_000)])
    assert bool((leaf // 100 == torch.arange(10)).all())
    correlation = torch.corrcoef((leaf % 100).double().T) - torch.eye(10)
    assert float(correlation.abs().max()) < 4 / 4000**0.5


def test_the_same_generator_state_draws_the_same_leaves():
    tree = tree_of(*range(1, 40))
    assert torch.equal(stratified(tree, 16, rng(3)), stratified(tree, 16, rng(3)))
    assert not torch.equal(stratified(tree, 16, rng(3)), stratified(tree, 16, rng(4)))


@pytest.mark.parametrize(
    ("beta", "expected"),
    [
        # 10 stored, priorities 20 in all: 10 P = 0.5 and 2.
        (0.5, [1.0, 0.5]),  # 0.5^-0.5 = 1.414 and 2^-0.5 = 0.707, over 1.414
        (1.0, [1.0, 0.25]),  # 2 and 0.5, over 2
        (0.0, [1.0, 1.0]),
    ],
)
def test_importance_weights_by_hand(beta, expected):
    weight = importance_weights(masses(1, 4), torch.tensor(20.0), 10, beta)
    assert weight.tolist() == pytest.approx(expected)


def test_every_row_of_importance_weights_has_its_own_largest():
    # 100 stored, 50 in all: 100 P = 2, 8 and 16, 32, to the power -1, over 1/2 and 1/16.
    priority = torch.tensor([[1.0, 4.0], [8.0, 16.0]])
    weight = importance_weights(priority, 50.0, 100, torch.tensor(1.0))
    assert weight.tolist() == [[1.0, 0.25], [1.0, 0.5]]


# Put away and taken up again.


def taken_up(tree, capacity):
    """Return another tree that goes on where this one is, through the bytes of a file."""
    other = SumTree(capacity, CPU)
    other.restore(load(save(tree.state())))
    return other


@pytest.mark.parametrize("updates", [0, 1, 3])
def test_a_tree_taken_up_finds_and_forgets_as_if_it_had_not_been_put_away(updates):
    tree, generator = SumTree(11, CPU), rng(4)
    for _ in range(updates):
        leaf = torch.randperm(11, generator=generator)[:6]
        tree.update(leaf, 3 * torch.rand(6, generator=generator, dtype=torch.float64))
    other = taken_up(tree, 11)
    everything = torch.arange(11)
    for each in (tree, other):
        if updates:  # what comes next is done to both
            each.update(torch.tensor([2, 9]), masses(0.3, 0.7))
    assert torch.equal(other.get(everything), tree.get(everything))
    assert torch.equal(other.total, tree.total)
    assert torch.equal(other.highest, tree.highest)
    if updates:
        drawn = [stratified(each, 64, rng(1)) for each in (tree, other)]
        assert torch.equal(*drawn)


def test_the_highest_priority_is_the_largest_there_ever_was_and_at_least_1():
    tree = tree_of(0.5, 0.25)
    assert tree.highest.item() == 1.0
    tree.update(torch.tensor([0, 1]), masses(3.0, 2.0))
    assert tree.highest.item() == 3.0
    tree.update(torch.tensor([0, 1]), masses(0.0, 0.5))  # which is no longer there
    assert tree.highest.item() == 3.0
    assert taken_up(tree, 2).highest.item() == 3.0


def test_a_tree_taken_up_has_nodes_of_its_own():
    tree = tree_of(1.0, 2.0)
    other = SumTree(2, CPU)
    other.restore(tree.state())
    tree.update(torch.tensor([0]), masses(5.0))
    assert other.get(torch.arange(2)).tolist() == [1.0, 2.0]
    assert other.highest.item() == 2.0


def test_a_tree_of_another_size_is_not_taken_up():
    with pytest.raises(ValueError, match="node has shape"):
        taken_up(tree_of(1.0, 2.0), 9)
