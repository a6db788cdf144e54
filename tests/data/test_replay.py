"""What is drawn from the replay memory is what a slow walk over the recorded stream gives."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from robolearn.data.replay import Replay
from robolearn.data.rollout import DeviceStep, Step

CPU = torch.device("cpu")
ENVS = 3
DRAWS = 256


def recorded(seed, steps):
    """A stream of steps of ENVS environments; observations name step and env, so none repeats."""
    rng = np.random.default_rng(seed)
    stream = []
    for t in range(steps):
        obs = np.stack([np.full(ENVS, t), np.arange(ENVS)], axis=1).astype(np.float32)
        terminated, truncated = rng.random((2, ENVS)) < 0.15
        stream.append(
            Step(
                obs,
                rng.normal(size=ENVS).astype(np.float32),
                obs + 1000,
                terminated,
                terminated | truncated,
                rng.random(ENVS) > 0.1,
            )
        )
    return stream


def stored(stream, rows, at_once=1):
    """Return a replay that was given the stream ``at_once`` steps at a time."""
    replay = Replay(rows * ENVS, ENVS, 2, CPU)
    actions = torch.arange(ENVS) + 10 * torch.arange(len(stream))[:, None]
    for t in range(0, len(stream), at_once):
        replay.put(stream[t : t + at_once], actions[t : t + at_once])
    return replay


def sampled(replay, count, n, gamma, rng):
    return replay.read(replay.draw(count, rng=rng), n, gamma)


def slow_transition(stream, t, env, n, gamma):
    """Follow step t of an environment for up to n steps, one at a time."""
    reward, discount = 0.0, 1.0
    for k in range(t, min(t + n, len(stream))):
        reward += discount * float(stream[k].reward[env])
        discount *= gamma
        last = k
        if stream[k].done[env]:
            break
    if stream[last].terminated[env]:
        discount = 0.0
    return reward, discount, stream[last].next_obs[env]


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    steps=st.integers(1, 25),
    rows=st.integers(1, 10),
    at_once=st.integers(1, 12),
    n=st.integers(1, 6),
    gamma=st.sampled_from([0.0, 0.5, 0.99, 1.0]),
)
def test_samples_are_the_transitions_of_the_stream(seed, steps, rows, at_once, n, gamma):
    stream = recorded(seed, steps)
    rng = torch.Generator().manual_seed(seed)
    batch = sampled(stored(stream, rows, at_once), 64, n, gamma, rng)
    for b in range(64):
        t, env = batch.obs[b].int().tolist()
        assert steps - rows <= t < steps  # the newest rows are stored, older ones overwritten
        reward, discount, reached = slow_transition(stream, t, env, n, gamma)
        assert batch.reward[b].item() == pytest.approx(reward, abs=1e-5)
        assert batch.discount[b].item() == pytest.approx(discount, abs=1e-6)
        assert batch.next_obs[b].tolist() == reached.tolist()
        assert batch.action[b].item() == env + 10 * t
        assert batch.weight[b].item() == float(stream[t].valid[env])


def one_env(rewards, ends=()):
    """A replay of one environment that earned ``rewards``; ``ends`` maps step to terminated."""
    replay = Replay(len(rewards), 1, 1, CPU)
    for t, reward in enumerate(rewards):
        obs = np.array([[t]], np.float32)
        done = np.array([t in ends])
        dead = np.array([t in ends and ends[t]])
        earned = np.array([reward], np.float32)
        step = Step(obs, earned, obs + 1, dead, done, np.array([True]))
        replay.put([step], torch.zeros(1, 1, dtype=torch.int64))
    return replay


def transition_from(replay, t, n):
    batch = sampled(replay, DRAWS, n, 0.5, torch.Generator().manual_seed(0))
    b = int((batch.obs.squeeze(1) == t).nonzero()[0])
    return batch.reward[b].item(), batch.discount[b].item(), batch.next_obs[b].item()


def test_three_steps_by_hand():
    # Rewards 1, 2, 4: 1 + 0.5 * 2 + 0.25 * 4 = 3; the state three steps on counts 0.5^3.
    assert transition_from(one_env([1, 2, 4, 8]), 0, 3) == (3.0, 0.125, 3.0)


def test_a_time_limit_cuts_the_return_and_keeps_the_bootstrap():
    # 1 + 0.5 * 2 = 2, then the state reached by step 1 counts 0.5^2.
    assert transition_from(one_env([1, 2, 4, 8], {1: False}), 0, 3) == (2.0, 0.25, 2.0)


def test_death_cuts_the_return_and_the_bootstrap():
    assert transition_from(one_env([1, 2, 4, 8], {1: True}), 0, 3) == (2.0, 0.0, 2.0)


def test_the_newest_step_spans_what_is_stored():
    assert transition_from(one_env([1, 2, 4, 8]), 3, 3) == (8.0, 0.5, 4.0)


def test_the_newest_step_does_not_run_into_the_oldest_of_the_ring():
    # Room for 3: rewards 16, 2, 4 lie in the ring and 16 is the newest.
    replay = one_env([1, 2, 4])
    obs = np.array([[3.0]], np.float32)
    no, yes = np.array([False]), np.array([True])
    newest = Step(obs, np.array([16], np.float32), obs + 1, no, no, yes)
    replay.put([newest], torch.zeros(1, 1, dtype=torch.int64))
    assert transition_from(replay, 3, 3) == (16.0, 0.5, 4.0)
    # And the second newest goes on into it across the seam: 4 + 0.5 * 16.
    assert transition_from(replay, 2, 3) == (12.0, 0.25, 4.0)


def test_every_stored_step_is_drawn_equally_often():
    # 4 rows of 3 environments, 12,000 draws: 1000 each, deviation sqrt(1000 * 11/12) = 30.3.
    # A chi-square of 11 degrees of freedom exceeds 31.3 once in a thousand.
    replay = stored(recorded(0, 9), rows=4)
    batch = sampled(replay, 12_000, 1, 0.9, torch.Generator().manual_seed(1))
    cells = (batch.obs[:, 0] * ENVS + batch.obs[:, 1]).long() - 5 * ENVS
    counts = torch.bincount(cells, minlength=4 * ENVS)
    assert len(counts) == 4 * ENVS
    assert float(((counts - 1000.0) ** 2 / 1000.0).sum()) < 31.3


def test_length_counts_environment_steps_up_to_the_capacity():
    stream = recorded(0, 9)
    assert len(stored(stream[:0], 4)) == 0
    assert len(stored(stream[:3], 4)) == 9
    assert len(stored(stream, 4)) == 12


def test_capacity_is_rounded_down_to_whole_rows():
    replay = Replay(8, ENVS, 2, CPU)  # two rows of three
    for t, step in enumerate(recorded(0, 5)):
        replay.put([step], torch.full((1, ENVS), t))
    assert len(replay) == 6


def test_the_same_generator_state_draws_the_same_batch():
    replay = stored(recorded(0, 9), rows=4)
    one, other = (sampled(replay, 64, 3, 0.9, torch.Generator().manual_seed(5)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_put_says_where_steps_lie_and_which_were_only_a_reset():
    # Rows of 3 in a ring of 4: after 3 rows the next two are 3 and, from the start again, 0.
    replay, stream = stored(recorded(0, 3), rows=4), recorded(1, 2)
    where, valid = replay.put(stream, torch.zeros(2, ENVS, dtype=torch.int64))
    assert where.tolist() == [9, 10, 11, 0, 1, 2]
    assert valid.tolist() == [float(one) for step in stream for one in step.valid]
    batch = replay.read(where, 1, 0.9)
    assert torch.equal(batch.obs, torch.from_numpy(np.concatenate([step.obs for step in stream])))
    assert torch.equal(batch.weight, valid)


def test_of_more_steps_than_there_is_room_for_the_newest_are_stored():
    replay, stream = Replay(2 * ENVS, ENVS, 2, CPU), recorded(0, 7)
    where, valid = replay.put(stream, torch.arange(7)[:, None].expand(7, ENVS))
    assert len(where) == len(valid) == len(replay) == 6
    batch = replay.read(where, 1, 0.9)
    assert batch.obs[:, 0].tolist() == [5, 5, 5, 6, 6, 6]
    assert batch.action.tolist() == [5, 5, 5, 6, 6, 6]


def test_what_is_drawn_has_the_shape_asked_for_and_so_has_what_is_read():
    replay = stored(recorded(0, 9), rows=4)
    where = replay.draw(5, 7, rng=torch.Generator().manual_seed(0))
    assert where.shape == (5, 7)
    batch = replay.read(where, 3, 0.9)
    assert batch.obs.shape == batch.next_obs.shape == (5, 7, 2)
    flat = replay.read(where.flatten(), 3, 0.9)
    for whole, part in zip(batch, flat, strict=True):
        assert whole.shape[:2] == (5, 7)
        assert torch.equal(whole.flatten(0, 1), part)


def test_reward_bounds_are_those_of_what_is_stored():
    replay = one_env([1, -2, 4])
    assert replay.reward_bounds() == (-2.0, 4.0)
    one = recorded(0, 1)[0]
    part = Replay(10, 1, 1, CPU)  # with room left, where anything may lie
    for earned in (3.0, 7.0):
        reward = np.array([earned], np.float32)
        step = Step(*(field[:1] for field in one))._replace(obs=one.obs[:1, :1])
        step = step._replace(reward=reward, next_obs=step.obs)
        part.put([step], torch.zeros(1, 1, dtype=torch.int64))
    assert part.reward_bounds() == (3.0, 7.0)


# Of steps on a device.


@pytest.mark.parametrize(("steps", "rows", "at_once"), [(3, 4, 1), (9, 4, 3), (9, 4, 6), (5, 5, 5)])
def test_steps_of_a_device_are_stored_as_those_of_the_host(steps, rows, at_once):
    stream = [step._replace(valid=np.ones(ENVS, np.bool_)) for step in recorded(0, steps)]
    there = [DeviceStep(*map(torch.from_numpy, step)) for step in stream]
    one, other = stored(stream, rows, at_once), stored(there, rows, at_once)
    assert_same_memories(one, other)
    assert len(one) == min(steps, rows) * ENVS
    ours, theirs = (
        each.put(more[-2:], torch.full((2, ENVS), 7))
        for each, more in ((one, stream), (other, there))
    )
    assert all(torch.equal(*pair) for pair in zip(ours, theirs, strict=True))
    assert_same_memories(one, other)


def test_what_a_device_overwrites_after_it_was_stored_is_not_touched():
    there = [DeviceStep(*map(torch.from_numpy, step)) for step in recorded(0, 3)]
    replay = stored(there, 4)
    before = {name: tensor.clone() for name, tensor in replay.state().items()}
    for step in there:
        for field in step:
            field.fill_(1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in replay.state().items())


# Put away and taken up again.


def taken_up(replay, rows):
    """Return another replay that goes on where this one is, through the bytes of a file."""
    other = Replay(rows * ENVS, ENVS, 2, CPU)
    other.restore(load(save(replay.state())))
    return other


def assert_same_memories(one, other):
    ours, theirs = one.state(), other.state()
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert tensor.dtype == theirs[name].dtype, name
        assert torch.equal(tensor, theirs[name]), name


@pytest.mark.parametrize(
    ("steps", "rows"), [(1, 4), (3, 4), (4, 4), (6, 4), (9, 4)], ids=lambda count: str(count)
)
def test_a_replay_taken_up_draws_and_forgets_as_if_it_had_not_been_put_away(steps, rows):
    stream, later = recorded(0, steps), recorded(1, 3)
    replay = stored(stream, rows)
    other = taken_up(replay, rows)
    assert len(other) == len(replay) == min(steps, rows) * ENVS
    assert_same_memories(replay, other)
    for put in (None, later):  # also what is stored next lies where it would have lain
        found = []
        for each in (replay, other):
            if put:
                where, _ = each.put(put, torch.full((3, ENVS), 7))
                found.append(where)
            generator = torch.Generator().manual_seed(2)
            found += sampled(each, 64, 3, 0.9, generator)
        half = len(found) // 2
        assert all(torch.equal(*pair) for pair in zip(found[:half], found[half:], strict=True))
    assert_same_memories(replay, other)


def test_a_replay_that_holds_nothing_is_taken_up_as_one():
    other = taken_up(stored([], 4), 4)
    assert len(other) == 0
    stream = recorded(0, 2)
    other.put(stream, torch.zeros(2, ENVS, dtype=torch.int64))
    assert len(other) == 6
    whole = stored([], 4)
    whole.put(stream, torch.zeros(2, ENVS, dtype=torch.int64))
    assert_same_memories(other, whole)


def test_what_was_never_stored_is_not_put_away():
    # Memory that was taken and not written to may hold anything, secrets and NaN included.
    state = stored(recorded(0, 3), rows=1000).state()
    assert {name: len(tensor) for name, tensor in state.items() if name != "put"} == dict.fromkeys(
        state.keys() - {"put"}, 9
    )


def test_a_replay_of_another_size_is_not_taken_up():
    with pytest.raises(ValueError, match="has shape"):
        taken_up(stored(recorded(0, 9), rows=4), 8)
