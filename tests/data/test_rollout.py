"""A rollout keeps what each step left, what it earned and what it reached."""

import numpy as np
import torch

from robolearn.data.rollout import RolloutBuffer, Step

CPU = torch.device("cpu")
ENVS = 3


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


def filled(steps):
    buffer = RolloutBuffer(CPU)
    for t, one in enumerate(steps):
        buffer.see(one.obs, np.arange(ENVS) == t)
        buffer.put(one, torch.full((ENVS,), t))
    buffer.see(np.full((ENVS, 1), 777, np.float32), np.ones(ENVS, np.bool_))
    return buffer.finish()


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
    buffer = RolloutBuffer(CPU)
    never = np.zeros(ENVS, np.bool_)
    for t in range(2):
        buffer.see(step(t).obs, ~never)
        buffer.put(step(t, done=[0]), torch.zeros(ENVS))
    buffer.see(step(2).obs, never)
    buffer.finish()
    buffer.see(step(5).obs, never)
    buffer.put(step(5, done=[1]), torch.ones(ENVS))
    buffer.see(np.ones((ENVS, 1), np.float32), never)
    rollout = buffer.finish()
    assert rollout.obs.squeeze(-1).tolist() == [[50, 51, 52], [1, 1, 1]]
    assert not rollout.start.any()
    assert rollout.final_obs.tolist() == [[1051]]
    assert rollout.action.tolist() == [[1, 1, 1]]


def test_what_is_seen_comes_back_as_it_is_stored():
    buffer = RolloutBuffer(CPU)
    obs, start = buffer.see(step(4).obs, np.arange(ENVS) == 1)
    assert obs.squeeze(1).tolist() == [40, 41, 42]
    assert start.tolist() == [False, True, False]
