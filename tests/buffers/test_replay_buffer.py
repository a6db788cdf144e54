"""The replay buffer, with and without demonstrations, agrees with slow loops over the stream."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from robolearn.buffers.replay_buffer import ReplayBuffer
from robolearn.buffers.rollout_buffer import Step, Transition

CPU = torch.device("cpu")
ENVS = 3
DRAWS = 256


def recorded(seed, steps):
    """Return steps of ENVS environments; observations name step and environment.

    A step reaches the observation of the next one, unless it ends an episode (mostly), is left out,
    or the environments were restarted after it.
    """
    rng = np.random.default_rng(seed)
    stream = []
    for t in range(steps):
        obs = np.stack([np.full(ENVS, t), np.arange(ENVS)], axis=1).astype(np.float32)
        terminated, truncated, restarted, same_step = rng.random((4, ENVS)) < [
            [0.15],
            [0.15],
            [0.05],
            [0.8],
        ]
        done, valid = terminated | truncated, rng.random(ENVS) > 0.1
        reached = np.where(restarted | (done & same_step), 1000, 1)[:, None] * [1, 0]
        reached = np.where(valid[:, None], reached, 0)
        reward = rng.normal(size=ENVS).astype(np.float32)
        stream.append(
            Step(obs, reward, (obs + reached).astype(np.float32), terminated, done, valid)
        )
    return stream


def together(steps):
    """Return T steps as one, of tensors."""
    return Transition(*(torch.from_numpy(np.stack(rows)) for rows in zip(*steps, strict=True)))


def stored(stream, rows, at_once=1, **options):
    """Return a buffer to which the stream was added ``at_once`` steps at a time."""
    replay = ReplayBuffer(rows * ENVS, ENVS, 2, CPU, **options)
    actions = torch.arange(ENVS) + 10 * torch.arange(len(stream))[:, None]
    for t in range(0, len(stream), at_once):
        replay.add(together(stream[t : t + at_once]), actions[t : t + at_once])
    return replay


def sampled(replay, count, n, gamma, rng):
    return replay.get(replay.sample_indices(count, rng=rng), n, gamma)


def slow_transition(stream, t, env, n, gamma):
    """Follow step t of an environment for up to n steps, one at a time."""
    reward, discount = 0.0, 1.0
    for k in range(t, min(t + n, len(stream))):
        if k > t and not stream[k].valid[env]:
            break
        reward += discount * float(stream[k].reward[env])
        discount *= gamma
        last = k
        if stream[k].done[env] or stream[k].next_obs[env][0] != k + 1:
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
    fixed=st.booleans(),
)
def test_samples_are_the_transitions_of_the_stream(seed, steps, rows, at_once, n, gamma, fixed):
    stream = recorded(seed, steps)
    rng = torch.Generator().manual_seed(seed)
    batch = sampled(stored(stream, rows, at_once, fixed=fixed), 64, n, gamma, rng)
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
    replay = ReplayBuffer(len(rewards), 1, 1, CPU)
    for t, reward in enumerate(rewards):
        obs = np.array([[t]], np.float32)
        done = np.array([t in ends])
        dead = np.array([t in ends and ends[t]])
        earned = np.array([reward], np.float32)
        step = Step(obs, earned, obs + 1, dead, done, np.array([True]))
        replay.add(together([step]), torch.zeros(1, 1, dtype=torch.int64))
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


def test_a_step_that_was_left_out_cuts_the_return_before_it_and_keeps_the_bootstrap():
    # Each step earns 1; the third was left out: an environment that broke down earned 0 and ended.
    replay, yes, no = ReplayBuffer(4, 1, 1, CPU), np.array([True]), np.array([False])
    for t in range(4):
        obs, lost = np.array([[t]], np.float32), np.array([t == 2])
        earned, reached = (~lost).astype(np.float32), obs + 1 if t != 2 else obs
        step = Step(obs, earned, reached, no, lost, yes & ~lost)
        replay.add(together([step]), torch.zeros(1, 1, dtype=torch.int64))
    # From 0: 1 + 0.5, then state 2 counts 0.5^2. From 1: 1, then state 2 counts 0.5.
    assert transition_from(replay, 0, 3) == (1.5, 0.25, 2.0)
    assert transition_from(replay, 1, 3) == (1.0, 0.5, 2.0)


def test_the_newest_step_spans_what_is_stored():
    assert transition_from(one_env([1, 2, 4, 8]), 3, 3) == (8.0, 0.5, 4.0)


def test_the_newest_step_does_not_run_into_the_oldest_of_the_ring():
    # Room for 3: rewards 16, 2, 4 lie in the ring and 16 is the newest.
    replay = one_env([1, 2, 4])
    obs = np.array([[3.0]], np.float32)
    no, yes = np.array([False]), np.array([True])
    newest = Step(obs, np.array([16], np.float32), obs + 1, no, no, yes)
    replay.add(together([newest]), torch.zeros(1, 1, dtype=torch.int64))
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
    replay = ReplayBuffer(8, ENVS, 2, CPU)  # two rows of three
    for t, step in enumerate(recorded(0, 5)):
        replay.add(together([step]), torch.full((1, ENVS), t))
    assert len(replay) == 6


def test_the_same_generator_state_draws_the_same_batch():
    replay = stored(recorded(0, 9), rows=4)
    one, other = (sampled(replay, 64, 3, 0.9, torch.Generator().manual_seed(5)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_put_says_where_steps_lie_and_which_were_only_a_reset():
    # Rows of 3 in a ring of 4: after 3 rows the next two are 3 and, from the start again, 0.
    replay, stream = stored(recorded(0, 3), rows=4), recorded(1, 2)
    where, valid = replay.add(together(stream), torch.zeros(2, ENVS, dtype=torch.int64))
    assert where.tolist() == [9, 10, 11, 0, 1, 2]
    assert valid.tolist() == [float(one) for step in stream for one in step.valid]
    batch = replay.get(where, 1, 0.9)
    assert torch.equal(batch.obs, torch.from_numpy(np.concatenate([step.obs for step in stream])))
    assert torch.equal(batch.weight, valid)


def test_of_more_steps_than_there_is_room_for_the_newest_are_stored():
    replay, stream = ReplayBuffer(2 * ENVS, ENVS, 2, CPU), recorded(0, 7)
    where, valid = replay.add(together(stream), torch.arange(7)[:, None].expand(7, ENVS))
    assert len(where) == len(valid) == len(replay) == 6
    batch = replay.get(where, 1, 0.9)
    assert batch.obs[:, 0].tolist() == [5, 5, 5, 6, 6, 6]
    assert batch.action.tolist() == [5, 5, 5, 6, 6, 6]


def test_what_is_drawn_has_the_shape_asked_for_and_so_has_what_is_read():
    replay = stored(recorded(0, 9), rows=4)
    where = replay.sample_indices(5, 7, rng=torch.Generator().manual_seed(0))
    assert where.shape == (5, 7)
    batch = replay.get(where, 3, 0.9)
    assert batch.obs.shape == batch.next_obs.shape == (5, 7, 2)
    flat = replay.get(where.flatten(), 3, 0.9)
    for whole, part in zip(batch, flat, strict=True):
        assert whole.shape[:2] == (5, 7)
        assert torch.equal(whole.flatten(0, 1), part)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_observations_are_stored_in_their_type_and_read_as_float32(dtype):
    replay = ReplayBuffer(4, 1, 2, CPU, dtype=dtype)
    no = np.array([False])
    obs, reached = np.array([[0, 255]], np.float32), np.array([[7, 128]], np.float32)
    replay.add(
        together([Step(obs, no.astype(np.float32), reached, no, no, ~no)]), torch.zeros(1, 1).long()
    )
    batch = replay.get(torch.tensor([0]), 1, 0.9)
    assert (batch.obs.tolist(), batch.next_obs.tolist()) == ([[0.0, 255.0]], [[7.0, 128.0]])
    assert batch.obs.dtype == batch.next_obs.dtype == torch.float32
    state = load(save(replay.state()))
    assert state["obs"].dtype == state["latest_obs"].dtype == dtype
    again = ReplayBuffer(4, 1, 2, CPU, dtype=dtype)
    again.restore(state)
    assert_same_memories(again, replay)


# Memory.


def held(replay):
    """Return the bytes of all tensors of a buffer."""
    storages = [x.untyped_storage() for x in vars(replay).values() if isinstance(x, torch.Tensor)]
    return sum({each.data_ptr(): each.nbytes() for each in storages}.values())


def images(steps, episode):
    """Return steps of a single environment with 16 x 16 images, whose episodes have one length."""
    rng, no, stream = np.random.default_rng(0), np.zeros(1, np.bool_), []
    frames = rng.integers(0, 256, (steps + 1, 1, 256)).astype(np.float32)
    for t in range(steps):
        done = np.array([t % episode == episode - 1])
        reached = np.where(done, frames[t + 1] // 2, frames[t + 1])
        stream.append(Step(frames[t], np.zeros(1, np.float32), reached, no, done, ~no))
    return stream


@pytest.mark.parametrize("episode", [50, 10])
def test_each_image_is_stored_once_and_each_final_one_beside_them(episode):
    # Of 256 bytes; 26 bytes are action, reward, three flags, and where the final image lies.
    replay = ReplayBuffer(1000, 1, 256, CPU, dtype=torch.uint8)
    stream = images(2500, episode)
    for step in stream:
        replay.add(together([step]), torch.zeros(1, 1, dtype=torch.int64))
    slots = 15 * 2 ** (1 if episode == 50 else 3)  # doubled until the ends of 1000 steps fit
    assert replay.num_final_slots == slots
    expected = 1000 * (256 + 26) + 256 + 256 * slots
    assert held(replay) - expected <= 8 + 8 * slots  # the newest row's number, free slots
    batch = replay.get(torch.arange(1000), 1, 0.9)
    numbers = [2000 + k if k < 500 else 1000 + k for k in range(1000)]
    assert batch.next_obs.tolist() == [stream[t].next_obs[0].tolist() for t in numbers]


def test_an_environment_that_is_restarted_cuts_the_return_and_keeps_the_bootstrap():
    # Step 1 reaches 2, but 7 is acted on next, as in a run that is resumed in new episodes.
    replay, yes, no = ReplayBuffer(4, 1, 1, CPU), np.array([True]), np.array([False])
    for number in (0, 1, 7, 8):
        obs = np.array([[number]], np.float32)
        step = Step(obs, np.ones(1, np.float32), obs + 1, no, no, yes)
        replay.add(together([step]), torch.zeros(1, 1, dtype=torch.int64))
    assert transition_from(replay, 0, 3) == (1.5, 0.25, 2.0)
    assert transition_from(replay, 7, 3) == (1.5, 0.25, 9.0)


def test_a_buffer_of_fixed_size_is_never_allocated_again():
    replay, stream = ReplayBuffer(4 * ENVS, ENVS, 2, CPU, fixed=True), recorded(0, 40)
    replay.add(together(stream[:2]), torch.zeros(2, ENVS, dtype=torch.int64))
    before = {name: x.data_ptr() for name, x in vars(replay).items() if torch.is_tensor(x)}
    for step in stream[2:]:
        replay.add(together([step]), torch.zeros(1, ENVS, dtype=torch.int64))
    after = {name: x.data_ptr() for name, x in vars(replay).items() if torch.is_tensor(x)}
    assert before == after


# Of steps on a device.


@pytest.mark.parametrize(("steps", "rows"), [(3, 4), (9, 4), (5, 5)])
def test_steps_that_all_count_need_no_mask(steps, rows):
    stream = [step._replace(valid=np.ones(ENVS, np.bool_)) for step in recorded(0, steps)]
    one, other = (ReplayBuffer(rows * ENVS, ENVS, 2, CPU) for _ in range(2))
    actions, moved = torch.arange(steps * ENVS).view(steps, ENVS), together(stream)
    ours, theirs = one.add(moved, actions), other.add(moved._replace(valid=None), actions)
    assert all(torch.equal(*pair) for pair in zip(ours, theirs, strict=True))
    assert_same_memories(one, other)


def test_what_a_device_overwrites_after_it_was_stored_is_not_touched():
    there, replay = together(recorded(0, 3)), ReplayBuffer(4 * ENVS, ENVS, 2, CPU)
    replay.add(there, torch.zeros(3, ENVS, dtype=torch.int64))
    before = {name: tensor.clone() for name, tensor in replay.state().items()}
    for field in there:
        field.fill_(1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in replay.state().items())


# Put away and taken up again.


def taken_up(replay, rows, demos=0):
    """Return another buffer with the state of this one, through the bytes of a file."""
    other = ReplayBuffer(rows * ENVS, ENVS, 2, CPU, num_demos=demos)
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
                where, _ = each.add(together(put), torch.full((3, ENVS), 7))
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
    other.add(together(stream), torch.zeros(2, ENVS, dtype=torch.int64))
    assert len(other) == 6
    whole = stored([], 4)
    whole.add(together(stream), torch.zeros(2, ENVS, dtype=torch.int64))
    assert_same_memories(other, whole)


def test_memory_that_was_never_written_is_not_saved():
    # It may hold anything, secrets and NaN included.
    state = stored(recorded(0, 3), rows=1000).state()
    sizes = {name: len(state[name]) for name in state.keys() - {"num_added"}}
    ends = int(state["ended"].sum())
    assert sizes == {**dict.fromkeys(sizes, 9), "final_obs": ends, "latest_obs": ENVS}


def test_a_replay_of_another_size_is_not_taken_up():
    with pytest.raises(ValueError, match="has shape"):
        taken_up(stored(recorded(0, 9), rows=4), 8)


# Demonstrations.

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
    reached = (obs + np.where(done, 1000, 1)[:, None] * [[1, 0]]).astype(np.float32)
    return Step(obs, reward, reached, terminated, done, np.ones(count, np.bool_))


def own_steps(count, first=0):
    """Return steps of ENVS environments that never end; observations say step and environment."""
    steps = []
    for t in range(first, first + count):
        obs = np.stack([np.full(ENVS, t), np.arange(ENVS)], axis=1).astype(np.float32)
        reward = np.full(ENVS, -t - 1.0, np.float32)
        never = np.zeros(ENVS, np.bool_)
        steps.append(Step(obs, reward, obs + np.float32([1, 0]), never, never, ~never))
    return steps


def memory(shown, *, rows=4, own=0, seed=0):
    """Return a replay with ``shown`` demonstrated steps, and ``own`` steps of each environment.

    What was done at demonstrated step k is 100 + k, what was wanted 200 + k.
    """
    replay = ReplayBuffer(rows * ENVS, ENVS, 2, CPU, num_demos=shown)
    if shown:
        number = torch.arange(shown)
        replay.add_demonstrations(shown_steps(shown, seed), 100 + number, 200 + number)
    for step in own_steps(own):
        replay.add(together([step]), torch.zeros(1, ENVS, dtype=torch.int64))
    return replay


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def everything(replay):
    """Return where all stored steps lie."""
    own = torch.arange(replay.num_collected)
    return torch.cat([own, replay.capacity + torch.arange(replay.num_demos)])


def test_demonstrations_are_never_overwritten_however_much_is_stored_beside_them():
    replay = memory(5)
    where = replay.capacity + torch.arange(5)
    before = replay.get(where, 1, 0.9)
    for t in range(100):  # of a memory of 4 rows
        replay.add(together(own_steps(1, first=t)), torch.zeros(1, ENVS, dtype=torch.int64))
        assert (replay.num_demos, replay.num_collected) == (5, ENVS * min(t + 1, 4))
        assert len(replay) == 5 + replay.num_collected
    assert all(torch.equal(*pair) for pair in zip(before, replay.get(where, 1, 0.9), strict=True))
    assert before.obs[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert before.action.tolist() == [100, 101, 102, 103, 104]
    assert replay.expert_actions(where).tolist() == [200, 201, 202, 203, 204]
    latest = replay.get(torch.arange(replay.num_collected), 1, 0.9).obs[:, 0]
    assert sorted(latest.tolist()) == sorted([96, 97, 98, 99] * ENVS)


def slow_demonstrated(steps, k, n, gamma):
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
    batch, told = replay.get(where, n, gamma), replay.is_demo(where)
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
        reward, discount, reached = slow_demonstrated(steps, t, n, gamma)
        assert batch.reward[b].item() == pytest.approx(reward, rel=1e-5)
        assert batch.discount[b].item() == pytest.approx(discount, abs=1e-6)
        assert batch.next_obs[b].tolist() == reached
        assert (batch.action[b].item(), replay.expert_actions(where)[b].item()) == (
            100 + t,
            200 + t,
        )


@pytest.mark.parametrize(
    ("terminated", "discount"), [(True, 0.0), (False, 0.25)], ids=["death", "time-limit"]
)
def test_a_demonstrated_return_ends_with_its_episode_by_hand(terminated, discount):
    # Two episodes of two steps with rewards 1, 2 | 4, 8: from the first step 1 + 0.5 * 2 = 2,
    # and not a part of the 4. A time limit leaves the value of what was reached, by 0.5^2.
    obs = np.arange(4, dtype=np.float32)[:, None].repeat(2, axis=1)
    done = np.array([False, True, False, True])
    steps = Step(
        obs,
        2.0 ** np.arange(4, dtype=np.float32),
        obs + np.where(done, 10, 1)[:, None].astype(np.float32),
        done & terminated,
        done,
        ~done | done,
    )
    replay = ReplayBuffer(6, ENVS, 2, CPU, num_demos=4)
    where = replay.add_demonstrations(
        steps, torch.zeros(4, dtype=torch.int64), torch.zeros(4, dtype=torch.int64)
    )
    batch = replay.get(where, 3, 0.5)
    assert batch.reward.tolist() == [2.0, 2.0, 8.0, 8.0]
    assert batch.next_obs[:, 0].tolist() == [11.0, 11.0, 13.0, 13.0]
    assert batch.discount.tolist() == [discount, 2 * discount] * 2


def test_all_that_is_stored_is_drawn_equally_often():
    # 5 demonstrated steps and 2 rows of 3, in a memory of 4 rows, and 11,000 draws: 1000 each. A
    # chi-square of 10 degrees of freedom exceeds 29.6 once in a thousand.
    replay = memory(5, own=2)
    where = replay.sample_indices(110, 100, rng=rng(1))
    assert where.shape == (110, 100)
    counts = torch.bincount(where.flatten())[everything(replay)]
    assert counts.sum() == 11_000
    assert float(((counts - 1000.0) ** 2 / 1000.0).sum()) < 29.6


@pytest.mark.parametrize(
    ("ratio", "expected"), [(0.5, 8), (0.25, 4), (0.2, 3), (1.0, 16), (0.0, 0)]
)
def test_of_each_mixed_minibatch_exactly_the_share_asked_for_is_demonstrated(ratio, expected):
    replay = memory(5, own=9)
    where = replay.sample_mixed_indices(50, 16, demo_ratio=ratio, rng=rng())
    assert where.shape == (50, 16)
    assert replay.is_demo(where).sum(dim=1).tolist() == [expected] * 50  # 0.2 * 16 = 3.2


def test_both_parts_of_a_mixed_draw_are_drawn_equally_often():
    # 12,000 draws of each: 2400 of 5 demonstrated steps, 2000 of 6 own ones. Chi-squares of 4 and
    # 5 degrees of freedom exceed 18.5 and 20.5 once in a thousand.
    replay = memory(5, own=2)
    counts = torch.bincount(
        replay.sample_mixed_indices(1500, 16, demo_ratio=0.5, rng=rng(2)).flatten()
    )
    told, own = counts[replay.capacity :], counts[: replay.capacity]
    assert told.shape == (5,)
    assert float(((told - 2400.0) ** 2 / 2400.0).sum()) < 18.5
    assert own[6:].sum() == 0  # nothing is stored there yet
    assert float(((own[:6] - 2000.0) ** 2 / 2000.0).sum()) < 20.5


def test_before_anything_else_is_stored_demonstrations_are_all_that_is_drawn():
    replay = memory(5)
    for where in (
        replay.sample_indices(40, 16, rng=rng()),
        replay.sample_mixed_indices(40, 16, demo_ratio=0.1, rng=rng()),
    ):
        assert where.shape == (40, 16)
        assert where.unique().tolist() == everything(replay).tolist()


def test_the_scale_of_rewards_is_that_of_what_was_shown():
    # Shown are 0, 1, 2, 3 and 4, of mean magnitude 2, some of them negative; own ones are -1, -2.
    replay = ReplayBuffer(6, ENVS, 2, CPU, num_demos=5)
    steps, zeros = shown_steps(5), torch.zeros(5, dtype=torch.int64)
    replay.add_demonstrations(steps._replace(reward=steps.reward * [1, -1, 1, -1, 1]), zeros, zeros)
    replay.add(together(own_steps(2)), torch.zeros(2, ENVS, dtype=torch.int64))
    assert replay.demo_reward_scale() == 2.0


@pytest.mark.parametrize("count", [4, 6])
def test_another_number_of_demonstrated_steps_than_there_is_room_for_is_refused(count):
    replay = ReplayBuffer(12, ENVS, 2, CPU, num_demos=5)
    number = torch.arange(count)
    with pytest.raises(ValueError, match=f"room for 5 steps, got {count}"):
        replay.add_demonstrations(shown_steps(count), number, number)
    assert replay.num_demos == 0


@pytest.mark.parametrize("own", [0, 2, 9])
@pytest.mark.parametrize("shown", [0, 5])
def test_a_memory_taken_up_goes_on_as_if_it_had_not_been_put_away(own, shown):
    replay = memory(shown, own=own)
    other = taken_up(replay, 4, shown)
    assert (len(other), other.num_demos, other.num_collected) == (
        len(replay),
        shown,
        min(own, 4) * ENVS,
    )
    assert_same_memories(replay, other)
    for one in (replay, other):
        one.add(together(own_steps(3, first=20)), torch.ones(3, ENVS, dtype=torch.int64))
    assert_same_memories(replay, other)
    where = replay.sample_indices(64, rng=rng())
    assert torch.equal(where, other.sample_indices(64, rng=rng()))
    for ours, theirs in zip(replay.get(where, 3, 0.9), other.get(where, 3, 0.9), strict=True):
        assert torch.equal(ours, theirs)
    if shown:
        assert torch.equal(replay.expert_actions(where), other.expert_actions(where))


def test_a_memory_nobody_showed_anything_is_taken_up_as_one():
    bare = ReplayBuffer(12, ENVS, 2, CPU, num_demos=5)
    other = taken_up(bare, 4, 5)
    assert (len(other), other.num_demos) == (0, 0)
    number = torch.arange(5)
    other.add_demonstrations(shown_steps(5), 100 + number, 200 + number)
    assert_same_memories(other, memory(5))


@pytest.mark.parametrize("shown", [4, 6], ids=["fewer", "more"])
def test_a_memory_of_another_number_of_demonstrated_steps_is_not_taken_up(shown):
    with pytest.raises(ValueError, match="expert_action has shape"):
        taken_up(memory(shown, own=2), 4, 5)


def test_a_memory_of_other_sizes_is_not_taken_up():
    with pytest.raises(ValueError, match="has shape"):
        taken_up(memory(5, own=9), 8, 5)
    state = memory(5).state()
    with pytest.raises(ValueError, match="expert_action has shape"):
        ReplayBuffer(12, ENVS, 2, CPU, num_demos=5).restore(
            {**state, "expert_action": torch.arange(6)}
        )
    with pytest.raises(ValueError, match="has shape"):
        ReplayBuffer(12, ENVS, 3, CPU, num_demos=5).restore(state)
