"""Demonstrations stay in memory for good and are read as any other steps, held to slow loops."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from robolearn.data.demonstrated import DemonstratedReplay
from robolearn.data.replay import Replay
from robolearn.data.rollout import Step

CPU = torch.device("cpu")
ENVS = 3
EXPERT = -1.0
"""What observations of demonstrated steps say in place of an environment's number."""


def shown_steps(count, seed=0):
    """Return demonstrated steps; observations number them, rewards are 0, 1, 2, ..."""
    rng = np.random.default_rng(seed)
    obs = np.stack([np.arange(count), np.full(count, EXPERT)], axis=1).astype(np.float32)
    terminated, cut = rng.random((2, count)) < 0.2
    done = terminated | cut
    done[-1:] = True
    reward = np.arange(count, dtype=np.float32)
    return Step(obs, reward, obs + 1000, terminated, done, np.ones(count, np.bool_))


def own_steps(count, first=0):
    """Return steps of ENVS environments that never end; observations say step and environment."""
    steps = []
    for t in range(first, first + count):
        obs = np.stack([np.full(ENVS, t), np.arange(ENVS)], axis=1).astype(np.float32)
        reward = np.full(ENVS, -t - 1.0, np.float32)
        never = np.zeros(ENVS, np.bool_)
        steps.append(Step(obs, reward, obs + 1000, never, never, ~never))
    return steps


def memory(shown, *, rows=4, own=0, seed=0):
    """Return a replay with ``shown`` demonstrated steps, and ``own`` steps of each environment.

    What was done at demonstrated step k is 100 + k, what was wanted 200 + k.
    """
    replay = DemonstratedReplay(rows * ENVS, ENVS, 2, shown, CPU)
    if shown:
        number = torch.arange(shown)
        replay.show(shown_steps(shown, seed), 100 + number, 200 + number)
    for step in own_steps(own):
        replay.put([step], torch.zeros(1, ENVS, dtype=torch.int64))
    return replay


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def everything(replay):
    """Return where all stored steps lie."""
    own = torch.arange(replay.collected)
    return torch.cat([own, replay.capacity + torch.arange(replay.shown)])


def test_demonstrations_are_never_overwritten_however_much_is_stored_beside_them():
    replay = memory(5)
    where = replay.capacity + torch.arange(5)
    before = replay.read(where, 1, 0.9)
    for t in range(100):  # of a memory of 4 rows
        replay.put(own_steps(1, first=t), torch.zeros(1, ENVS, dtype=torch.int64))
        assert (replay.shown, replay.collected) == (5, ENVS * min(t + 1, 4))
        assert len(replay) == 5 + replay.collected
    assert all(torch.equal(*pair) for pair in zip(before, replay.read(where, 1, 0.9), strict=True))
    assert before.obs[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert before.action.tolist() == [100, 101, 102, 103, 104]
    assert replay.wanted(where).tolist() == [200, 201, 202, 203, 204]
    latest = replay.read(torch.arange(replay.collected), 1, 0.9).obs[:, 0]
    assert sorted(latest.tolist()) == sorted([96, 97, 98, 99] * ENVS)


def slow_transition(steps, k, n, gamma):
    """Follow demonstrated step k for up to n steps, one at a time."""
    reward, discount = 0.0, 1.0
    for j in range(k, k + n):
        reward += discount * float(steps.reward[j])
        discount *= gamma
        if steps.done[j]:
            break
    return reward, 0.0 if steps.terminated[j] else discount, steps.next_obs[j].tolist()


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    shown=st.integers(1, 20),
    own=st.integers(0, 9),
    n=st.integers(1, 6),
    gamma=st.sampled_from([0.0, 0.5, 0.99, 1.0]),
)
def test_what_is_read_of_demonstrations_is_what_followed_in_their_episode(
    seed, shown, own, n, gamma
):
    replay, steps = memory(shown, own=own, seed=seed), shown_steps(shown, seed)
    where = everything(replay)[torch.randperm(len(replay), generator=rng(seed))]
    batch, told = replay.read(where, n, gamma), replay.demonstrated(where)
    assert told.sum() == shown
    for b in range(len(where)):
        t, env = batch.obs[b].int().tolist()
        assert told[b].item() == (env == EXPERT)
        assert batch.weight[b] == 1.0
        if env != EXPERT:
            assert max(0, own - 4) <= t < own
            spanned = range(t, min(t + n, own))
            expected = sum(gamma**i * (-k - 1.0) for i, k in enumerate(spanned))
            assert batch.reward[b].item() == pytest.approx(expected, rel=1e-5)
            assert batch.discount[b].item() == pytest.approx(gamma ** len(spanned), abs=1e-6)
            continue
        reward, discount, reached = slow_transition(steps, t, n, gamma)
        assert batch.reward[b].item() == pytest.approx(reward, rel=1e-5)
        assert batch.discount[b].item() == pytest.approx(discount, abs=1e-6)
        assert batch.next_obs[b].tolist() == reached
        assert (batch.action[b].item(), replay.wanted(where)[b].item()) == (100 + t, 200 + t)


@pytest.mark.parametrize(
    ("terminated", "discount"), [(True, 0.0), (False, 0.25)], ids=["death", "time-limit"]
)
def test_a_demonstrated_return_ends_with_its_episode_by_hand(terminated, discount):
    # Two episodes of two steps with rewards 1, 2 | 4, 8: from the first step 1 + 0.5 * 2 = 2,
    # and not a part of the 4. A time limit leaves the value of what was reached, by 0.5^2.
    obs = np.arange(4, dtype=np.float32)[:, None].repeat(2, axis=1)
    done = np.array([False, True, False, True])
    steps = Step(
        obs, 2.0 ** np.arange(4, dtype=np.float32), obs + 10, done & terminated, done, ~done | done
    )
    replay = DemonstratedReplay(6, ENVS, 2, 4, CPU)
    where = replay.show(steps, torch.zeros(4, dtype=torch.int64), torch.zeros(4, dtype=torch.int64))
    batch = replay.read(where, 3, 0.5)
    assert batch.reward.tolist() == [2.0, 2.0, 8.0, 8.0]
    assert batch.next_obs[:, 0].tolist() == [11.0, 11.0, 13.0, 13.0]
    assert batch.discount.tolist() == [discount, 2 * discount] * 2


def test_all_that_is_stored_is_drawn_equally_often():
    # 5 demonstrated steps and 2 rows of 3, in a memory of 4 rows, and 11,000 draws: 1000 each. A
    # chi-square of 10 degrees of freedom exceeds 29.6 once in a thousand.
    replay = memory(5, own=2)
    where = replay.draw(110, 100, rng=rng(1))
    assert where.shape == (110, 100)
    counts = torch.bincount(where.flatten())[everything(replay)]
    assert counts.sum() == 11_000
    assert float(((counts - 1000.0) ** 2 / 1000.0).sum()) < 29.6


@pytest.mark.parametrize(
    ("share", "expected"), [(0.5, 8), (0.25, 4), (0.2, 3), (1.0, 16), (0.0, 0)]
)
def test_of_each_mixed_minibatch_exactly_the_share_asked_for_is_demonstrated(share, expected):
    replay = memory(5, own=9)
    where = replay.draw_mixed(50, 16, share=share, rng=rng())
    assert where.shape == (50, 16)
    assert replay.demonstrated(where).sum(dim=1).tolist() == [expected] * 50  # 0.2 * 16 = 3.2


def test_both_parts_of_a_mixed_draw_are_drawn_equally_often():
    # 12,000 draws of each: 2400 of 5 demonstrated steps, 2000 of 6 own ones. Chi-squares of 4 and
    # 5 degrees of freedom exceed 18.5 and 20.5 once in a thousand.
    replay = memory(5, own=2)
    counts = torch.bincount(replay.draw_mixed(1500, 16, share=0.5, rng=rng(2)).flatten())
    told, own = counts[replay.capacity :], counts[: replay.capacity]
    assert told.shape == (5,)
    assert float(((told - 2400.0) ** 2 / 2400.0).sum()) < 18.5
    assert own[6:].sum() == 0  # nothing is stored there yet
    assert float(((own[:6] - 2000.0) ** 2 / 2000.0).sum()) < 20.5


def test_before_anything_else_is_stored_demonstrations_are_all_that_is_drawn():
    replay = memory(5)
    for where in (replay.draw(40, 16, rng=rng()), replay.draw_mixed(40, 16, share=0.1, rng=rng())):
        assert where.shape == (40, 16)
        assert where.unique().tolist() == everything(replay).tolist()


def test_without_demonstrations_it_is_a_replay_memory_like_any_other():
    replay, plain = memory(0, own=9), Replay(4 * ENVS, ENVS, 2, CPU)
    for step in own_steps(9):
        plain.put([step], torch.zeros(1, ENVS, dtype=torch.int64))
    assert (len(replay), replay.shown, replay.capacity) == (len(plain), 0, plain.capacity)
    where = replay.draw(8, 16, rng=rng(3))
    assert torch.equal(where, plain.draw(8, 16, rng=rng(3)))
    assert not replay.demonstrated(where).any()
    for ours, theirs in zip(replay.read(where, 3, 0.9), plain.read(where, 3, 0.9), strict=True):
        assert torch.equal(ours, theirs)
    assert replay.state().keys() == plain.state().keys()


def test_rewards_are_bounded_by_all_that_is_stored_and_scaled_by_what_was_shown():
    # Shown are 0, 1, 2, 3 and 4, of mean magnitude 2; of -1 to -9 the latest four are stored.
    assert memory(5).reward_bounds() == (0.0, 4.0)
    assert memory(5, own=9).reward_bounds() == (-9.0, 4.0)
    assert memory(0, own=9).reward_bounds() == (-9.0, -6.0)
    replay = DemonstratedReplay(6, ENVS, 2, 5, CPU)
    steps, zeros = shown_steps(5), torch.zeros(5, dtype=torch.int64)
    replay.show(steps._replace(reward=steps.reward * [1, -1, 1, -1, 1]), zeros, zeros)
    replay.put(own_steps(2), torch.zeros(2, ENVS, dtype=torch.int64))
    assert replay.reward_scale() == 2.0


@pytest.mark.parametrize("count", [4, 6])
def test_another_number_of_demonstrated_steps_than_there_is_room_for_is_refused(count):
    replay = DemonstratedReplay(12, ENVS, 2, 5, CPU)
    number = torch.arange(count)
    with pytest.raises(ValueError, match=f"room for 5 steps, got {count}"):
        replay.show(shown_steps(count), number, number)
    assert replay.shown == 0


# Put away and taken up again.


def taken_up(replay, shown, rows=4):
    """Return another memory that goes on where this one is, through the bytes of a file."""
    other = DemonstratedReplay(rows * ENVS, ENVS, 2, shown, CPU)
    other.restore(load(save(replay.state())))
    return other


def assert_same(one, other):
    ours, theirs = one.state(), other.state()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


@pytest.mark.parametrize("own", [0, 2, 9])
@pytest.mark.parametrize("shown", [0, 5])
def test_a_memory_taken_up_goes_on_as_if_it_had_not_been_put_away(own, shown):
    replay = memory(shown, own=own)
    other = taken_up(replay, shown)
    assert (len(other), other.shown, other.collected) == (len(replay), shown, min(own, 4) * ENVS)
    assert_same(replay, other)
    for one in (replay, other):
        one.put(own_steps(3, first=20), torch.ones(3, ENVS, dtype=torch.int64))
    assert_same(replay, other)
    where = replay.draw(64, rng=rng())
    assert torch.equal(where, other.draw(64, rng=rng()))
    for ours, theirs in zip(replay.read(where, 3, 0.9), other.read(where, 3, 0.9), strict=True):
        assert torch.equal(ours, theirs)
    if shown:
        assert torch.equal(replay.wanted(where), other.wanted(where))


def test_a_memory_nobody_showed_anything_is_taken_up_as_one():
    bare = DemonstratedReplay(12, ENVS, 2, 5, CPU)
    other = taken_up(bare, 5)
    assert (len(other), other.shown) == (0, 0)
    number = torch.arange(5)
    other.show(shown_steps(5), 100 + number, 200 + number)
    assert_same(other, memory(5))


@pytest.mark.parametrize("shown", [4, 6, 0], ids=["fewer", "more", "none"])
def test_a_memory_of_another_number_of_demonstrated_steps_is_not_taken_up(shown):
    with pytest.raises((ValueError, KeyError)):
        taken_up(memory(shown, own=2), 5)


def test_a_memory_of_other_sizes_is_not_taken_up():
    with pytest.raises(ValueError, match="has shape"):
        taken_up(memory(5, own=9), 5, rows=8)
    state = memory(5).state()
    with pytest.raises(ValueError, match="wanted has shape"):
        DemonstratedReplay(12, ENVS, 2, 5, CPU).restore({**state, "wanted": torch.arange(6)})
    with pytest.raises(ValueError, match="has shape"):
        DemonstratedReplay(12, ENVS, 3, 5, CPU).restore(state)
