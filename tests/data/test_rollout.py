"""A rollout keeps what each step left, what it earned and what it reached."""

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from robolearn.data.rollout import Rollout, RolloutBuffer, Step

CPU = torch.device("cpu")
ENVS, WIDTH = 3, 2


def step(t, done=(), terminated=(), invalid=()):
    """A step whose observation is 10 t + env, reaching 1000 + 10 t + env."""
    index = np.arange(ENVS)
    obs = (10.0 * t + index)[:, None].astype(np.float32)
    return Step(
        obs,
        (obs[:, 0] / 2).astype(np.float32),
        obs + 1000,
        np.isin(index, terminated),
        np.isin(index, done),
        ~np.isin(index, invalid),
    )


def latent(t):
    """What a learner that remembers WIDTH numbers made of the observations of step t."""
    return (100.0 * t + torch.arange(ENVS))[:, None] + torch.arange(WIDTH) / 10


def put(buffer, steps, first=0):
    for t, one in enumerate(steps, start=first):
        buffer.put(np.arange(ENVS) == t, latent(t), torch.full((ENVS,), t), one)


def finish(buffer):
    return buffer.finish(np.full((ENVS, 1), 777, np.float32), np.ones(ENVS, np.bool_))


def begun(length=3):
    buffer = RolloutBuffer(ENVS, WIDTH, CPU)
    buffer.begin(torch.arange(float(length * ENVS)).view(length, ENVS))
    return buffer


def filled(steps):
    buffer = begun(len(steps))
    put(buffer, steps)
    return finish(buffer)


def test_next_value_takes_final_values_step_by_step_and_env_by_env():
    # Ends: env 2 at step 0, envs 0 and 1 at step 1. What they reached, in that order, is
    # 1002, 1010 and 1011; everywhere else the value is that of the next row.
    rollout = filled([step(0, done=[2]), step(1, done=[0, 1])])
    assert rollout.final_obs.squeeze(1).tolist() == [1002, 1010, 1011]
    value = -rollout.obs.squeeze(-1)  # V(s) = -s
    reached = rollout.next_value(value, -rollout.final_obs.squeeze(-1))
    assert reached.tolist() == [[-10, -11, -1002], [-1010, -1011, -777]]


def test_next_value_without_ends_is_the_value_of_the_next_row():
    rollout = filled([step(0), step(1)])
    assert rollout.final_obs.shape == (0, 1)
    value = rollout.obs.squeeze(-1)
    reached = rollout.next_value(value, rollout.final_obs.squeeze(-1))
    assert reached.tolist() == [[10, 11, 12], [777, 777, 777]]


def test_next_value_leaves_the_values_alone():
    rollout = filled([step(0, done=[0])])
    value = rollout.obs.squeeze(-1).clone()
    rollout.next_value(value, torch.tensor([5.0]))
    assert torch.equal(value, rollout.obs.squeeze(-1))


def test_a_partial_rollout_holds_only_its_own_steps():
    rollout = filled([step(0), step(1, done=[1], terminated=[1]), step(2, invalid=[1])])
    assert rollout.obs.squeeze(-1)[:, 1].tolist() == [1, 11, 21, 777]
    assert rollout.start.tolist() == [*np.eye(3, dtype=bool).tolist(), [True] * 3]
    assert rollout.reward.tolist() == [[0, 0.5, 1], [5, 5.5, 6], [10, 10.5, 11]]
    assert rollout.action.tolist() == [[0, 0, 0], [1, 1, 1], [2, 2, 2]]
    assert rollout.done.tolist() == [[False] * 3, [False, True, False], [False] * 3]
    assert rollout.terminated.tolist() == rollout.done.tolist()
    assert rollout.valid.tolist() == [[True] * 3, [True] * 3, [True, False, True]]


def test_a_time_limit_is_done_but_not_terminated():
    rollout = filled([step(0, done=[0, 1], terminated=[1])])
    assert rollout.done.tolist() == [[True, True, False]]
    assert rollout.terminated.tolist() == [[False, True, False]]


def test_a_finished_buffer_begins_anew():
    buffer = begun()
    put(buffer, [step(0, done=[0]), step(1, done=[0])])
    buffer.playing[1] = False
    finish(buffer)
    assert (len(buffer), buffer.length) == (0, 0)
    buffer.begin(torch.zeros(4, ENVS))
    assert (len(buffer), buffer.length) == (0, 4)
    assert buffer.playing.all()
    put(buffer, [step(5, done=[1])], first=5)
    assert len(buffer) == len(buffer.latents) == 1
    rollout = buffer.finish(np.ones((ENVS, 1), np.float32), np.zeros(ENVS, np.bool_))
    assert rollout.obs.squeeze(-1).tolist() == [[50, 51, 52], [1, 1, 1]]
    assert not rollout.start.any()
    assert rollout.final_obs.tolist() == [[1051]]
    assert rollout.action.tolist() == [[5, 5, 5]]


def test_a_rollout_remembers_what_was_made_of_the_last_observations_before_it():
    buffer = begun()
    assert buffer.before.tolist() == [[0.0] * WIDTH] * ENVS  # nothing yet
    put(buffer, [step(0), step(1)])
    assert torch.equal(buffer.before, torch.zeros(ENVS, WIDTH))
    assert torch.equal(torch.stack(buffer.latents), torch.stack([latent(0), latent(1)]))
    finish(buffer)
    buffer.begin(torch.zeros(1, ENVS))
    assert torch.equal(buffer.before, latent(1))
    assert torch.equal(buffer.latent, latent(1))


def test_arrays_come_back_on_the_device_as_they_are():
    obs, start = begun().on_device(step(4).obs, np.arange(ENVS) == 1)
    assert obs.squeeze(1).tolist() == [40, 41, 42]
    assert start.tolist() == [False, True, False]


# Put away in the middle of a rollout.


def taken_up(buffer):
    """Return another buffer that goes on where this one is, through the bytes of a file."""
    other = RolloutBuffer(ENVS, WIDTH, CPU)
    contiguous = {name: tensor.contiguous() for name, tensor in buffer.state().items()}
    other.restore(load(save(contiguous)))
    return other


def assert_same_buffers(one, other):
    assert (len(one), one.length) == (len(other), other.length)
    ours, theirs = one.state(), other.state()
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert tensor.dtype == theirs[name].dtype, name
        assert torch.equal(tensor, theirs[name]), name


def assert_same_rollouts(one, other):
    for name, ours, theirs in zip(Rollout._fields, one, other, strict=True):
        assert ours.dtype == theirs.dtype, name
        assert torch.equal(ours, theirs), name


STREAM = [
    step(0, done=[2]),
    step(1, done=[0, 1], terminated=[1], invalid=[2]),
    step(2, done=[1], terminated=[1]),
]


@pytest.mark.parametrize("made", range(4))
def test_a_rollout_put_away_after_any_step_ends_as_if_it_had_not_been(made):
    buffer = begun()
    put(buffer, STREAM[:made])
    buffer.playing &= np.array([True, False, True])
    other = taken_up(buffer)
    assert_same_buffers(buffer, other)
    assert other.playing.tolist() == [True, False, True]
    for one in (buffer, other):
        put(one, STREAM[made:], first=made)
    assert torch.equal(torch.stack(buffer.latents), torch.stack(other.latents))
    assert_same_rollouts(finish(buffer), finish(other))
    assert torch.equal(buffer.latent, other.latent)


def test_a_buffer_put_away_between_two_rollouts_remembers_what_was_made_of_observations():
    buffer = begun()
    put(buffer, STREAM)
    finish(buffer)
    other = taken_up(buffer)
    assert_same_buffers(buffer, other)
    assert (len(other), other.length) == (0, 0)
    assert torch.equal(other.latent, latent(2))


def test_a_fresh_buffer_is_put_away_as_one():
    fresh = RolloutBuffer(ENVS, WIDTH, CPU)
    other = taken_up(fresh)
    assert_same_buffers(fresh, other)
    assert other.length == 0


def test_what_is_taken_up_replaces_what_was_there():
    buffer, other = begun(), begun(2)
    put(buffer, STREAM[:1])
    put(other, STREAM[1:])
    other.restore(buffer.state())
    assert_same_buffers(buffer, other)
    other.restore(RolloutBuffer(ENVS, WIDTH, CPU).state())
    assert (len(other), other.length) == (0, 0)


def test_a_buffer_that_was_taken_up_can_be_played_on():
    buffer = begun()
    put(buffer, STREAM[:1])
    other = taken_up(buffer)
    other.playing &= np.array([True, False, True])  # writable, and its own
    assert other.playing.tolist() == [True, False, True]


def test_playing_on_leaves_what_was_put_away_alone():
    buffer = begun()
    put(buffer, STREAM[:1])
    state = buffer.state()
    buffer.playing[0] = False
    put(buffer, STREAM[1:], first=1)
    assert state["playing"].all()
    assert len(state["latents"]) == 1
