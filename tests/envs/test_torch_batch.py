"""A batch on a torch device: who is in it does not matter, and it can be put away and cut."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from torch.utils._pytree import tree_leaves

from robolearn_envs import make_vec
from robolearn_envs.torch_vector import TorchVectorEnv

pytestmark = pytest.mark.usefixtures("small_datasets")

BALANCE, SWING_UP = "CartPoleBalance-v0", "CartPoleSwingUp-v0"
LIDAR, DEPTH = "NavLidar-v0", "NavDepth-v0"
MODES = list(AutoresetMode)
every_mode = pytest.mark.parametrize("mode", MODES, ids=[mode.name for mode in MODES])
N, SEED = 4, 5
NAN = float("nan")


def made(task, num_envs=N, mode=AutoresetMode.SAME_STEP, **options):
    return TorchVectorEnv(f"robolearn/{task}", num_envs, autoreset_mode=mode, **options)


def actions_for(env, steps, seed=0):
    """Return random actions, those of robots mostly straight on. Shape (steps, N, ...)."""
    env.action_space.seed(seed)
    actions = torch.from_numpy(np.stack([env.action_space.sample() for _ in range(steps)]))
    if actions.ndim == 3 and actions.shape[2] == 2:
        actions = 0.1 * actions + torch.tensor([0.9, 0.0])
    return actions


def played(env, actions):
    """Return, for each step, all that the environments gave and how they then stood."""
    return [tree_leaves((env.step(each), env.qpos_qvel())) for each in actions]


def assert_same(rows, others, index=slice(None), other=slice(None)):
    for row, same in zip(rows, others, strict=True):
        for one, two in zip(row, same, strict=True):
            assert one.dtype == two.dtype
            assert torch.equal(one[index], two[other])


def ends(rows, outputs=1):
    """Return how many episodes of the played rows ended."""
    return sum(int((row[outputs + 1] | row[outputs + 2]).sum()) for row in rows)


# Layout of the batch.


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "options"),
    [
        (BALANCE, {}),
        (SWING_UP, {"domain_randomization": 0.2, "dtype": torch.float64}),
        (LIDAR, {"level": 3, "domain_randomization": 0.2}),
        (LIDAR, {"level": 2, "curriculum": True, "dtype": torch.float64}),
        (DEPTH, {"level": 4, "domain_randomization": 0.2}),
    ],
)
def test_an_environment_does_not_depend_on_its_batch(task, options):
    big, steps = (5, 8) if task == DEPTH else (19, 40)
    whole = made(task, big, **options)
    actions = actions_for(whole, steps)
    first = tree_leaves(whole.reset(seed=SEED)[0])
    rows = [first, *played(whole, actions)]
    assert task in (SWING_UP, DEPTH) or ends(rows[1:]) > 1
    for index in (1, big - 1):
        single = made(task, 1, **options)
        alone = [tree_leaves(single.reset(seed=SEED + index)[0])]
        alone += played(single, actions[:, index : index + 1])
        assert_same(rows, alone, index, 0)
    turned = made(task, 4, **options)
    backwards = [tree_leaves(turned.reset(seed=[SEED + 3, SEED + 2, SEED + 1, SEED])[0])]
    backwards += played(turned, actions[:, [3, 2, 1, 0]])
    assert_same(rows, backwards, slice(4), [3, 2, 1, 0])


# An environment that breaks down.


def resumed(env, row, mode):
    """Reset what has ended, where nobody else does."""
    if mode is AutoresetMode.DISABLED:
        env.reset(options={"reset_mask": row[2] | row[3]})


@every_mode
@pytest.mark.parametrize(
    ("task", "options"),
    [(SWING_UP, {"domain_randomization": 0.2}), (LIDAR, {"level": 3, "domain_randomization": 0.2})],
)
def test_an_action_that_is_no_number_breaks_one_environment_only(task, options, mode):
    env, whole = (made(task, mode=mode, **options) for _ in range(2))
    actions = actions_for(env, 12)
    diverged = torch.tensor([False, True, False, False])
    for each in (env, whole):
        each.reset(seed=SEED)
    for step, action in enumerate(actions):
        wrong = action.clone()
        if step == 3:
            wrong[1, 0] = NAN
        row, same = env.step(wrong), whole.step(action)
        # Everyone else is as if nothing had happened, to the last bit.
        parts = ([*r[:4], *each.qpos_qvel()] for r, each in ((row, env), (same, whole)))
        for one, two in zip(*parts, strict=True):
            assert torch.equal(one[~diverged], two[~diverged])
        assert torch.isfinite(row[0]).all()
        assert torch.isfinite(row[1]).all()
        assert all(torch.isfinite(figure).all() for figure in tree_leaves(row[4]))
        lost = diverged & (step == 3)
        assert torch.equal(row[4]["diverged"], lost)
        if step == 3:
            assert torch.equal(row[3], lost)
            assert not row[2].any()
            assert row[1][1] == 0
            resumed(env, row, mode)
    # It goes on in the second episode of its stream, where a reset would have brought it.
    again = made(task, mode=mode, **options)
    again.reset(seed=SEED)
    again.reset()
    # Under NEXT_STEP step 4 has been the reset.
    for action in actions[5 if mode is AutoresetMode.NEXT_STEP else 4 :]:
        expected = again.step(action)
    assert torch.equal(row[0][1], expected[0][1])
    assert torch.equal(row[1][1], expected[1][1])


def test_infinite_actions_are_clipped_as_large_ones_are():
    env, other = made(SWING_UP), made(SWING_UP)
    for each in (env, other):
        each.reset(seed=SEED)
    rows = played(env, [torch.tensor([[float("inf")], [-float("inf")], [7.0], [-2.0]])])
    assert_same(rows, played(other, [torch.tensor([[1.0], [-1.0], [1.0], [-1.0]])]))


# States.

STORED = [
    (BALANCE, {}),
    (SWING_UP, {}),
    (SWING_UP, {"domain_randomization": 0.3}),
    (LIDAR, {"level": 4, "curriculum": True}),
    (LIDAR, {"level": 3, "domain_randomization": 0.2}),
    (DEPTH, {"level": 3}),
]


@pytest.mark.slow
@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize(("task", "options"), STORED)
def test_environments_taken_up_go_on_as_if_they_had_not_been_put_away(task, options, used):
    env, other = made(task, **options), made(task, **options)
    env.reset(seed=SEED)
    played(env, actions_for(env, 30))
    env.set_episode_lengths(torch.tensor([33, 35, 37, 39]))
    kept = env.get_state()
    copied = {name: array.copy() for name, array in kept.items()}
    later = actions_for(env, 50, seed=1)
    if used:
        other.reset(seed=99)
        played(other, actions_for(other, 7, seed=2))
    other.set_state(kept)
    whole = played(env, later)
    assert ends(whole, 2 if task == DEPTH else 1) >= N
    for name, array in copied.items():  # going on leaves it as it is
        np.testing.assert_array_equal(kept[name], array)
    assert_same(played(other, later), whole)


@every_mode
def test_environments_of_every_mode_are_taken_up(mode):
    env, other = made(BALANCE, mode=mode), made(BALANCE, mode=mode)
    env.reset(seed=SEED)
    ahead = actions_for(env, 60)
    ended = [ends(played(env, [action])) for action in ahead[:30]]
    while not ended[-1]:  # so that under NEXT_STEP the next step is a reset
        ended.append(ends(played(env, [ahead[len(ended)]])))
    other.set_state(env.get_state())
    later = actions_for(env, 30, seed=1)
    assert_same(played(other, later), played(env, later))


def test_environments_that_broke_are_mended_by_a_state():
    env = made(SWING_UP)
    env.reset(seed=SEED)
    kept = env.get_state()
    later = actions_for(env, 5)
    whole = played(env, later)
    env.set_state(kept)
    disabled = made(SWING_UP, mode=AutoresetMode.DISABLED)  # nobody begins a new episode there
    disabled.reset(seed=SEED)
    disabled.step(torch.full((N, 1), NAN))
    disabled.set_state(kept)
    for action, row in zip(later, whole, strict=True):
        observation, *_, info = disabled.step(action)
        assert torch.equal(observation, row[0])
        assert not info["diverged"].any()


@pytest.mark.parametrize(
    "lacking",
    ["made_as", "step_count", "episode_length", "task_state/success_streak", "engine/state"],
)
def test_a_state_that_lacks_something_is_refused_and_changes_nothing(lacking):
    env = made(SWING_UP)
    env.reset(seed=SEED)
    kept = env.get_state()
    others = {
        name: array if name == "made_as" else array + 1
        for name, array in kept.items()
        if name != lacking
    }
    assert len(others) == len(kept) - 1
    with pytest.raises(ValueError, match="This is no state of these environments"):
        env.set_state(others)
    for name, array in env.get_state().items():
        np.testing.assert_array_equal(array, kept[name])


@pytest.mark.parametrize("case", ["one", "more", "engine"])
def test_a_state_of_another_batch_is_refused_and_changes_nothing(case):
    env, other = made(SWING_UP), made(SWING_UP, 1 if case == "one" else N + 1)
    for each in (env, other):
        each.reset(seed=SEED)
    before = env.get_state()
    wrong = other.get_state()
    if case == "engine":
        wrong = {name: array for name, array in before.items() if name != "engine/state"}
    with pytest.raises(ValueError, match="This is no state of these environments"):
        env.set_state(wrong)
    for name, array in env.get_state().items():
        np.testing.assert_array_equal(array, before[name])


def test_a_state_of_the_host_is_refused_and_so_it_is_there():
    host = make_vec(f"robolearn/{SWING_UP}", N, engine="analytic")
    host.reset(seed=SEED)
    env = made(SWING_UP)
    with pytest.raises(ValueError, match="This is no state of these environments"):
        env.set_state(host.unwrapped.get_state())
    with pytest.raises(ValueError, match="This is no state of these environments"):
        host.unwrapped.set_state(env.get_state())
    host.close()


# How long episodes are.


@pytest.mark.slow
@every_mode
def test_first_episodes_can_be_cut_and_later_ones_are_of_full_length(mode):
    lengths = torch.tensor([3, 1, 7, 500])
    env = made(SWING_UP, mode=mode)
    env.reset(seed=SEED)
    env.set_episode_lengths(lengths)
    assert torch.equal(env.episode_lengths, lengths)
    own = lengths.clone()
    idle = torch.zeros(N, 1)
    truncated_at = [[] for _ in range(N)]
    for step in range(1, 512):
        *_, terminated, truncated, _ = env.step(idle)
        assert not terminated.any()
        for i in truncated.nonzero().flatten().tolist():
            truncated_at[i].append(step)
        if mode is AutoresetMode.DISABLED and truncated.any():
            env.reset(options={"reset_mask": truncated})
    # Under NEXT_STEP the reset is a step of its own. Later episodes last for 500 steps.
    gap = 501 if mode is AutoresetMode.NEXT_STEP else 500
    expected = [[at for at in (first, first + gap) if at < 512] for first in lengths.tolist()]
    assert truncated_at == expected
    assert torch.equal(lengths, own)


# By name.


@pytest.mark.parametrize("task", [BALANCE, SWING_UP, LIDAR, DEPTH])
def test_by_name_with_a_device_they_are_tensors_of_the_spaces_of_the_host(task):
    env = gym.make_vec(f"robolearn/{task}", num_envs=N, device="cpu", autoreset_mode="SameStep")
    host = gym.make_vec(f"robolearn/{task}", num_envs=N, engine="analytic")
    assert isinstance(env.unwrapped, TorchVectorEnv)
    assert env.unwrapped.engine_name == "torch"
    assert env.num_envs == N
    for space in (
        "observation_space",
        "action_space",
        "single_observation_space",
        "single_action_space",
    ):
        assert getattr(env, space) == getattr(host, space)
    assert env.metadata["render_fps"] == host.metadata["render_fps"]
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    observation, info = env.reset(seed=SEED)
    assert info == {}
    env.action_space.seed(0)
    stepped, reward, terminated, truncated, _ = env.step(env.action_space.sample())
    for given in (observation, stepped):
        assert all(part.dtype == torch.float32 for part in tree_leaves(given))
        arrays = {k: v.numpy() for k, v in given.items()} if task == DEPTH else given.numpy()
        assert env.observation_space.contains(arrays)
    assert (reward.dtype, terminated.dtype, truncated.dtype) == (
        torch.float32,
        torch.bool,
        torch.bool,
    )
    env.close()
    host.close()


@every_mode
def test_the_mode_is_told_as_on_the_host(mode):
    env = gym.make_vec(f"robolearn/{LIDAR}", num_envs=2, engine="torch", autoreset_mode=mode)
    assert env.metadata["autoreset_mode"] is mode
    env.close()


def test_without_a_device_or_an_engine_there_the_batch_is_on_the_host():
    env = gym.make_vec(f"robolearn/{LIDAR}", num_envs=2)
    assert env.unwrapped.engine_name == "mujoco"
    assert isinstance(env.reset(seed=SEED)[0], np.ndarray)
    env.close()
