"""A memory over a sequence is the memory step by step, emptied by hand where episodes begin."""

import numpy as np
import torch

from robolearn.networks.actor_critic import Memory

STEPS, ENVS, INPUTS, WIDTH = 12, 5, 3, 4


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def memory(seed=0):
    made = Memory(INPUTS, WIDTH, rng(seed))
    with torch.no_grad():  # biases begin at zero, where a wrong one would not show
        for bias in (made.cell.bias_ih, made.cell.bias_hh):
            bias.copy_(torch.randn(3 * WIDTH, generator=rng(9)))
    return made


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def by_hand(cell, x, h):
    """Cho et al. (2014) in the order of PyTorch's gates, one environment. Shape (WIDTH,)."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    w, u, b, c = (getattr(cell, name).detach().numpy().astype(np.float64) for name in names)
    seen, kept = np.split(w @ x + b, 3), np.split(u @ h + c, 3)
    reset, update = sigmoid(seen[0] + kept[0]), sigmoid(seen[1] + kept[1])
    return (1 - update) * np.tanh(seen[2] + reset * kept[2]) + update * h


def example():
    x = torch.randn(STEPS, ENVS, INPUTS, generator=rng(1))
    before = torch.randn(ENVS, WIDTH, generator=rng(2))
    start = torch.rand(STEPS, ENVS, generator=rng(3)) < 0.3
    assert start[0].any()
    assert not start[0].all()
    assert start[1:].any()
    return x, before, start


def test_a_sequence_is_every_environment_step_by_step_from_nothing_where_it_starts():
    made, (x, before, start) = memory(), example()
    found = made.sequence(x, before, start).detach().numpy()
    for i in range(ENVS):
        h = before[i].numpy().astype(np.float64)
        for t in range(STEPS):
            h = by_hand(made.cell, x[t, i].numpy(), np.zeros(WIDTH) if start[t, i] else h)
            np.testing.assert_allclose(found[t, i], h, atol=1e-5)


def test_one_step_is_a_sequence_of_one():
    made, (x, before, start) = memory(), example()
    assert torch.equal(made(x[0], before, start[0]), made.sequence(x[:1], before, start[:1])[0])


def test_gradients_flow_back_to_the_start_of_an_episode_and_no_further():
    made, (x, before, _) = memory(), example()
    x.requires_grad_()
    start = torch.zeros(STEPS, ENVS, dtype=torch.bool)
    start[4, 1] = True
    made.sequence(x, before, start)[6, 1].sum().backward()
    reached = x.grad.abs().sum(-1) > 0
    # Step 6 of environment 1 remembers steps 4, 5 and itself.
    assert reached.nonzero().tolist() == [[4, 1], [5, 1], [6, 1]]


def test_every_gate_begins_orthogonal_and_by_the_generator_alone():
    torch.manual_seed(1)
    one = Memory(INPUTS, WIDTH, rng(4)).cell
    torch.manual_seed(2)
    same, other = Memory(INPUTS, WIDTH, rng(4)).cell, Memory(INPUTS, WIDTH, rng(5)).cell
    for name in ("weight_ih", "weight_hh"):
        for gate in getattr(one, name).detach().chunk(3):
            torch.testing.assert_close(gate.T @ gate, torch.eye(gate.shape[1]))
        assert torch.equal(getattr(one, name), getattr(same, name))
        assert not torch.equal(getattr(one, name), getattr(other, name))
    assert not one.bias_ih.any()
    assert not one.bias_hh.any()
