"""A rollout keeps what each step left, what it earned and what it reached."""

import pytest
import torch
from safetensors.torch import load, save

from robolearn.buffers.rollout_buffer import Rollout, RolloutBuffer, Transition, counted

CPU = torch.device("cpu")
ENVS, WIDTH = 3, 2


def flags(*envs):
    return torch.tensor([i in envs for i in range(ENVS)])


def step(t, done=(), terminated=(), invalid=()):
    """A step whose observation is 10 t + env, reaching 1000 + 10 t + env."""
    obs = (10.0 * t + torch.arange(ENVS))[:, None]
    ends = flags(*terminated), flags(*done)
    return Transition(obs, obs[:, 0] / 2, obs + 1000, *ends, ~flags(*invalid))


def latent(t):
    """What a policy with WIDTH numbers a latent read of the observations of step t."""
    return (100.0 * t + torch.arange(ENVS))[:, None] + torch.arange(WIDTH) / 10


def put(buffer, steps, first=0):
    for t, one in enumerate(steps, start=first):
        buffer.add(torch.arange(ENVS) == t, latent(t), torch.full((ENVS,), t), one)


def begun(length=3):
    buffer = RolloutBuffer(ENVS, WIDTH, CPU)
    buffer.begin(torch.arange(float(length * ENVS)).view(length, ENVS))
    return buffer


def filled(steps):
    buffer = begun(len(steps))
    put(buffer, steps)
    return buffer.finish()


def test_a_rollout_holds_each_step_as_it_was():
    rollout = filled([step(0), step(1, done=[1], terminated=[1]), step(2, invalid=[1])])
    assert rollout.obs.squeeze(-1)[:, 1].tolist() == [1, 11, 21]
    assert rollout.next_obs.squeeze(-1)[:, 1].tolist() == [1001, 1011, 1021]
    assert rollout.episode_start.tolist() == torch.eye(3, dtype=torch.bool).tolist()
    assert rollout.reward.tolist() == [[0, 0.5, 1], [5, 5.5, 6], [10, 10.5, 11]]
    assert rollout.action.tolist() == [[0, 0, 0], [1, 1, 1], [2, 2, 2]]
    assert rollout.done.tolist() == [[False] * 3, [False, True, False], [False] * 3]
    assert rollout.terminated.tolist() == rollout.done.tolist()
    assert rollout.valid.tolist() == [[True] * 3, [True] * 3, [True, False, True]]
    assert torch.equal(rollout.latent, torch.stack([latent(t) for t in (0, 1, 2)]))
    assert torch.equal(rollout.initial_latent, torch.zeros(ENVS, WIDTH))


def test_where_all_steps_count_there_is_no_mask():
    assert filled([step(0), step(1)]).valid is None
    assert filled([step(0)._replace(valid=None)]).valid is None  # as on a device


def test_a_time_limit_is_done_but_not_terminated():
    rollout = filled([step(0, done=[0, 1], terminated=[1])])
    assert rollout.done.tolist() == [[True, True, False]]
    assert rollout.terminated.tolist() == [[False, True, False]]


def test_the_mean_and_the_rows_are_those_of_steps_that_count():
    rollout = filled([step(0, invalid=[2]), step(1)])
    each = torch.tensor([[1.0, 2.0, 99.0], [3.0, 4.0, 5.0]])
    assert counted(each, rollout.valid).tolist() == [1, 2, 3, 4, 5]
    assert rollout.mean(each).item() == pytest.approx(3.0)


def test_a_finished_buffer_begins_with_an_empty_rollout():
    buffer = begun()
    put(buffer, [step(0, done=[0]), step(1, done=[0])])
    buffer.playing[1] = False
    assert len(buffer.finish().obs) == 2  # of at most 3
    assert buffer.n_steps == 0
    buffer.begin(torch.zeros(4, ENVS))
    assert (buffer.step, buffer.n_steps) == (0, 4)
    assert buffer.playing.all()
    put(buffer, [step(5, done=[1])], first=5)
    rollout = buffer.finish()
    assert rollout.obs.squeeze(-1).tolist() == [[50, 51, 52]]
    assert not rollout.episode_start.any()
    assert rollout.action.tolist() == [[5, 5, 5]]


def test_a_rollout_has_the_latents_before_it():
    buffer = begun()
    assert buffer.initial_latent.tolist() == [[0.0] * WIDTH] * ENVS  # nothing yet
    put(buffer, [step(0), step(1)])
    assert torch.equal(buffer.finish().initial_latent, torch.zeros(ENVS, WIDTH))
    buffer.begin(torch.zeros(1, ENVS))
    assert torch.equal(buffer.initial_latent, latent(1))
    assert torch.equal(buffer.latent, latent(1))


def test_observations_keep_their_type():
    buffer = begun(1)
    put(buffer, [step(7)._replace(obs=torch.full((ENVS, 5), 200, dtype=torch.uint8))])
    rollout = buffer.finish()
    assert rollout.obs.dtype == torch.uint8
    assert rollout.obs.shape == (1, ENVS, 5)


# Saved in the middle of a rollout.


def restored(buffer):
    """Return another buffer that goes on where this one is, through the bytes of a file."""
    other = RolloutBuffer(ENVS, WIDTH, CPU)
    contiguous = {name: tensor.contiguous() for name, tensor in buffer.state().items()}
    other.restore(load(save(contiguous)))
    return other


def assert_same_buffers(one, other):
    assert (one.step, one.n_steps) == (other.step, other.n_steps)
    ours = {name: tensor for name, tensor in one.state().items() if len(tensor)}
    theirs = {name: tensor for name, tensor in other.state().items() if len(tensor)}
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert tensor.dtype == theirs[name].dtype, name
        assert torch.equal(tensor, theirs[name]), name


STREAM = [
    step(0, done=[2]),
    step(1, done=[0, 1], terminated=[1], invalid=[2]),
    step(2, done=[1], terminated=[1]),
]


@pytest.mark.parametrize("made", range(4))
def test_a_rollout_saved_after_any_step_ends_as_if_it_had_not_been(made):
    buffer = begun()
    put(buffer, STREAM[:made])
    buffer.playing &= torch.tensor([True, False, True])
    other = restored(buffer)
    assert_same_buffers(buffer, other)
    assert other.playing.tolist() == [True, False, True]
    rollouts = []
    for one in (buffer, other):
        put(one, STREAM[made:], first=made)
        rollouts.append(one.finish())
    for name, ours, theirs in zip(Rollout._fields, *rollouts, strict=True):
        assert ours.dtype == theirs.dtype, name
        assert torch.equal(ours, theirs), name
    assert torch.equal(buffer.latent, other.latent)


def test_a_buffer_saved_between_two_rollouts_has_the_latest_latents():
    buffer = begun()
    put(buffer, STREAM)
    buffer.finish()
    other = restored(buffer)
    assert other.n_steps == 0
    assert torch.equal(other.latent, latent(2))


def test_a_fresh_buffer_is_restored_as_one():
    fresh = RolloutBuffer(ENVS, WIDTH, CPU)
    other = restored(fresh)
    assert_same_buffers(fresh, other)
    assert other.n_steps == 0


def test_what_is_restored_replaces_what_was_there():
    buffer, other = begun(), begun(2)
    put(buffer, STREAM[:1])
    put(other, STREAM[1:])
    other.restore(buffer.state())
    assert_same_buffers(buffer, other)
    other.restore(RolloutBuffer(ENVS, WIDTH, CPU).state())
    assert other.n_steps == 0


def test_going_on_leaves_what_was_saved_alone():
    buffer = begun()
    put(buffer, STREAM[:1])
    state = buffer.state()
    buffer.playing[0] = False
    put(buffer, STREAM[1:], first=1)
    assert state["playing"].all()
    assert torch.equal(state["latent"], latent(0))
    assert state["step.obs"].squeeze(-1).tolist() == [[0, 1, 2]]
