"""What is collected on a device is what is collected of the same environments on the host."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from on_host import collector_on_host, described, on_device
from tasks_by_name import TASKS

from robolearn.collect.device_collector import EPISODE_METRICS, RECENT, DeviceCollector
from robolearn.environments import TrainingEnvs
from robolearn.errors import DivergedError
from robolearn.spaces import flatten_batch, to_env_action

BALANCE, SWING_UP = "CartPoleBalance-v0", "CartPoleSwingUp-v0"
LIDAR, DEPTH = "NavLidar-v0", "NavDepth-v0"
N, SEED = 6, 7
EPS = 2.0**-24  # relative rounding error of float32


def collector(task, num_envs=N, *, stagger=0, on_divergence="raise", **options):
    envs = on_device(task, num_envs, **options)
    return DeviceCollector(envs, SEED, stagger=stagger, on_divergence=on_divergence)


def pair(task, num_envs=N, **options):
    """Return collectors of the same environments, their first episodes cut at the same steps."""
    host = collector_on_host(task, num_envs, SEED, **options)
    return host, collector(task, num_envs, stagger=TASKS[task].max_episode_steps, **options)


def chosen(space, steps, num_envs=N, seed=0):
    """Draw actions as a policy does, which may go beyond what there is. Shape (steps, N, ...)."""
    rng = np.random.default_rng(seed)
    if isinstance(space, spaces.Discrete):
        return rng.integers(space.n, size=(steps, num_envs))
    return rng.normal(size=(steps, num_envs, *space.shape)).astype(np.float32)


def both(host, device, steps, seed=0):
    """Let both do the same and yield what they say of it."""
    space = device.envs.single_action_space
    for action in chosen(space, steps, device.num_envs, seed):
        yield host.step(to_env_action(space, action)), device.advance(torch.from_numpy(action))


def summed(episodes, recent=()):
    """Return what a device tells of episodes, of which ``recent`` are those before."""
    returns = [each.total_reward for each in (*recent, *episodes)][-100:]
    told = {"rollout/ep_rew_mean": np.mean(returns)} if returns else {}
    if not episodes:
        return told
    rows = [(each.length, each.success) for each in episodes]
    return told | dict(zip(EPISODE_METRICS, (len(rows), *np.mean(rows, axis=0)), strict=True))


# Steps.


@pytest.mark.slow
@pytest.mark.usefixtures("short_episodes")
@pytest.mark.parametrize(
    ("task", "options"),
    [
        (BALANCE, {}),
        (SWING_UP, {"domain_randomization": 0.2}),
        (LIDAR, {"level": 3, "curriculum": True}),
    ],
)
def test_steps_are_those_of_the_host(task, options):
    host, device = pair(task, **options)
    for here, there in both(host, device, 60):
        assert here.valid.all()
        assert there.valid is None
        for name, expected in list(here._asdict().items())[:-1]:
            got = getattr(there, name)
            assert got.dtype == torch.from_numpy(expected).dtype, name
            np.testing.assert_array_equal(got.numpy(), expected, err_msg=name)
        np.testing.assert_array_equal(device.obs.numpy(), host.obs)
        np.testing.assert_array_equal(device.starts.numpy(), host.starts)
    assert host.envs.ends.cut > 0
    assert host.envs.ends.truncated > 0


def test_what_an_end_reached_is_told_and_the_next_episode_is_acted_on():
    device = collector(BALANCE, 3)
    device.envs.set_episode_lengths(torch.tensor([2, 500, 500]))
    push = torch.tensor([1, 1, 0])
    first = device.advance(push)
    assert torch.equal(device.obs, first.next_obs)
    before = device.obs.clone()
    second = device.advance(push)
    assert torch.equal(second.obs, before)
    assert second.done.tolist() == device.starts.tolist() == [True, False, False]
    assert not second.terminated.any()
    assert torch.equal(device.obs[1:], second.next_obs[1:])
    # Two pushes to the right later the cart is faster than any episode begins; it has gone on.
    assert second.next_obs[0, 1] > first.next_obs[0, 1] > 0.05
    assert device.obs[0].abs().max() <= 0.05
    assert torch.equal(device.advance(push).obs[0], second.next_obs[0]) is False


def test_a_step_is_not_overwritten_by_the_next():
    device = collector(BALANCE)
    given, kept = [], []
    for action in chosen(device.envs.single_action_space, 4):
        step = device.advance(torch.from_numpy(action))
        given += step[:-1]
        kept += [field.clone() for field in step[:-1]]
    assert all(torch.equal(field, copy) for field, copy in zip(given, kept, strict=True))


# Figures.


@pytest.mark.usefixtures("short_episodes")
@pytest.mark.parametrize("task", [BALANCE, SWING_UP])
def test_figures_are_those_of_the_episodes_on_the_host(task):
    host, device = pair(task, 16)
    for _ in both(host, device, 24, seed=9):  # till no first episode is left
        pass
    episodes = host.pop_episodes()
    device.episode_metrics()
    successes = []
    for k in range(4):
        for _ in both(host, device, 20, seed=k):
            pass
        new = host.pop_episodes()
        expected, got = summed(new, episodes), device.episode_metrics()
        episodes += new
        assert got.keys() == expected.keys()
        if not new:
            continue
        # Returns are summed in float32: a rounding error a step, of totals of at most 24.
        off = abs(got.pop("rollout/ep_rew_mean") - expected.pop("rollout/ep_rew_mean"))
        assert off <= 24 * 24 * EPS
        assert got == pytest.approx(expected, rel=1e-12, abs=0)
        successes.append(got["rollout/success_rate"])
    assert len(successes) >= 2
    assert device.episode_metrics().keys() == {"rollout/ep_rew_mean"}  # all else was told
    if task == BALANCE:
        assert 0 < sum(successes) < len(successes)


@pytest.mark.usefixtures("short_episodes")
@pytest.mark.parametrize("groups", [1, 2])
def test_the_return_is_the_mean_of_the_last_hundred_episodes_of_a_group(groups):
    # Balancing earns 1 a step. Pushed to one side the poles of 90 environments fall at various
    # steps, often several at once; no episode before the last 100 of a group counts.
    device = DeviceCollector(on_device(BALANCE, 90), SEED, num_seeds=groups)
    returns = [[] for _ in range(groups)]
    push = torch.ones(90, dtype=torch.int64)
    for _ in range(60):
        before = device.length.clone()
        ended = device.advance(push).done.view(groups, -1)
        for group, own in enumerate(returns):
            own += (before + 1).view(groups, -1)[group][ended[group]].tolist()
        for told, own in zip(device.episode_metrics_by_seed([""] * groups), returns, strict=True):
            assert told.get("rollout/ep_rew_mean", 0) == pytest.approx(np.mean(own[-100:] or [0]))
    assert all(len(own) > 2.5 * RECENT for own in returns)


def test_of_more_than_a_hundred_episodes_at_once_the_last_hundred_count():
    # All of 250 end in the same step; the return of environment i is i: the mean of 150 to 249.
    device = collector(BALANCE, 250)
    device.envs.set_episode_lengths(torch.full((250,), 500))
    device.total.copy_(torch.arange(250))
    device._record_returns(torch.ones(250, dtype=torch.bool))
    assert device.episode_metrics() == {"rollout/ep_rew_mean": 199.5}


@pytest.mark.usefixtures("short_episodes")
def test_first_episodes_are_cut_where_the_host_cuts_them_and_not_counted():
    # Swinging up ends by time limits alone: all 16 first episodes are cut in steps 1 ... 23, so by
    # step 23 nothing was counted, and then each episode has its 24 steps.
    host, device = pair(SWING_UP, 16)
    cuts = np.random.default_rng(SEED).integers(1, 24, 16)
    assert device.envs.episode_lengths.tolist() == cuts.tolist()
    for t, (here, there) in enumerate(both(host, device, 23), start=1):
        assert there.done.tolist() == here.done.tolist() == (cuts == t).tolist()
    assert device.episode_metrics() == summed(host.pop_episodes()) == {}
    for _ in both(host, device, 24):
        pass
    got = device.episode_metrics()
    assert got["rollout/num_episodes"] == 16
    assert got["rollout/ep_len_mean"] == 24


def test_first_episodes_of_several_seeds_are_cut_as_those_of_each_alone():
    device = collector(BALANCE, 6)
    device.stagger(np.array([4, 9]), 100)
    alone = [np.random.default_rng(seed).integers(1, 100, 3) for seed in (4, 9)]
    assert device.envs.episode_lengths.tolist() == np.concatenate(alone).tolist()


@pytest.mark.usefixtures("short_episodes")
def test_an_episode_that_comes_to_its_end_where_it_would_be_cut_is_counted_as_on_the_host():
    # A pole that is pushed to one side alone falls after some eight steps; so many are cut there.
    host, device = pair(BALANCE, 128)
    push = np.ones(128, np.int64)
    coincided = 0
    for _ in range(12):
        limit = device.envs.episode_lengths.clone()
        before = device.length.clone()
        host.step(push)
        step = device.advance(torch.from_numpy(push))
        coincided += int((step.terminated & (before + 1 == limit) & (limit < 24)).sum())
    assert coincided > 0
    assert device.episode_metrics()["rollout/num_episodes"] == len(host.pop_episodes())


# What breaks down.


def broken(on_divergence):
    """Let the second of three environments break down in step 3 of 5."""
    device = collector(SWING_UP, 3, on_divergence=on_divergence)
    steps = []
    for t in range(5):
        action = torch.full((3, 1), 0.5)
        if t == 2:
            action[1] = torch.nan
        steps.append(device.advance(action))
    return device, steps


def test_a_breakdown_stops_where_it_is_asked_to():
    device, _ = broken("raise")
    with pytest.raises(DivergedError, match="1 environments diverged"):
        device.episode_metrics()
    assert device.num_dropped == 1


def test_a_breakdown_begins_a_new_episode_where_it_is_asked_to():
    device, steps = broken("truncate")
    undisturbed, others = collector(SWING_UP, 3), []
    for _ in range(5):
        others.append(undisturbed.advance(torch.full((3, 1), 0.5)))
    assert steps[2].done.tolist() == [False, True, False]
    assert steps[2].reward[1] == 0
    assert not steps[2].terminated.any()
    for step, other in zip(steps, others, strict=True):
        assert all(field.isfinite().all() for field in step[:-1])
        for got, expected in zip(step[:-1], other[:-1], strict=True):
            assert torch.equal(got[::2], expected[::2])
    assert device.length.tolist() == [5, 2, 5]
    assert device.episode_metrics() == {}  # it is not counted as one that ended
    assert device.num_dropped == 1
    device.advance(torch.full((3, 1), torch.nan))
    device.episode_metrics()
    assert device.num_dropped == 4


# Storage.


def places(device):
    idle = torch.from_numpy(np.zeros_like(device.envs.action_space.sample()))
    kept = {
        name: getattr(device, name)
        for name in ("obs", "starts", "total", "length", "tally", "recent", "finished")
    }
    device.advance(idle)
    kept["limit"] = device.envs.episode_lengths
    return {name: (part.data_ptr(), part.shape, part.dtype) for name, part in kept.items()}


@pytest.mark.usefixtures("short_episodes")
@pytest.mark.parametrize("task", [BALANCE, SWING_UP, DEPTH])
def test_all_is_kept_where_it_is(task):
    device = collector(task, 3, stagger=24)
    before = places(device)
    facts, arrays = device.snapshot()
    for action in chosen(device.envs.single_action_space, 26, 3):
        device.advance(torch.from_numpy(action))
    device.episode_metrics()
    assert places(device) == before
    device.resume(facts, arrays)
    device.stagger(np.array([1]), 24)
    assert places(device) == before


@pytest.mark.usefixtures("short_episodes")
def test_a_snapshot_taken_up_goes_on_as_if_nothing_had_happened():
    device = collector(BALANCE, stagger=24, on_divergence="truncate")
    actions = torch.from_numpy(chosen(device.envs.single_action_space, 40))
    for action in actions[:15]:
        device.advance(action)
    facts, arrays = device.snapshot()
    ours = [device.advance(action) for action in actions[15:]]
    told = device.episode_metrics()
    again = collector(BALANCE, on_divergence="truncate")
    assert again.resume(facts, arrays)
    theirs = [again.advance(action) for action in actions[15:]]
    for one, other in zip(ours, theirs, strict=True):
        assert all(torch.equal(*fields) for fields in zip(one[:-1], other[:-1], strict=True))
    assert again.episode_metrics() == told
    assert told["rollout/num_episodes"] > 0
    assert not np.array_equal(arrays["obs"], device.obs.numpy())  # it was a copy


def test_a_snapshot_of_other_environments_is_refused():
    facts, arrays = collector(BALANCE, 4).snapshot()
    with pytest.raises((ValueError, RuntimeError)):
        collector(BALANCE, 3).resume(facts, arrays)


# Observations and actions.


def test_observations_of_several_parts_are_joined_as_on_the_host():
    host, device = pair(DEPTH)
    space = device.envs.single_observation_space
    assert isinstance(space, spaces.Dict)
    raw, _ = on_device(DEPTH, N).reset(seed=SEED)
    expected = flatten_batch(space, {name: part.numpy() for name, part in raw.items()}, N)
    np.testing.assert_array_equal(device.obs.numpy(), expected)
    assert device.obs.dtype == torch.float32
    assert device.width == expected.shape[1]
    device.envs.set_episode_lengths(torch.tensor([1, 2, 3, 9, 9, 9]))
    host._cut_at = np.array([1, 2, 3, 9, 9, 9])
    for here, there in both(host, device, 3):
        for name in ("obs", "next_obs"):
            np.testing.assert_array_equal(getattr(there, name).numpy(), getattr(here, name))
    assert host.envs.ends.cut == 3


BOXES = {
    "unit": spaces.Box(-1.0, 1.0, (2,)),
    "uneven": spaces.Box(np.float32([-2.0, 0.5]), np.float32([3.0, 0.7])),
    "tiny": spaces.Box(np.float32([-1e-6, 1e6]), np.float32([1e-6, 1e6 + 1])),
}


@pytest.mark.parametrize("box", BOXES.values(), ids=BOXES)
def test_actions_are_mapped_as_on_the_host(box):
    # The environments are told that their actions are others, and what they get is written down.
    envs = on_device(LIDAR, 1000)
    transition, given = envs.step_fn, []
    envs.single_action_space = box
    envs.step_fn = lambda action: (given.append(action), transition(action))[1]
    device = DeviceCollector(envs, SEED)
    action = np.random.default_rng(0).normal(size=(1000, 2)).astype(np.float32)
    action[0], action[1], action[2] = [-1, 1], [0, -0.0], [-5, 5]
    device.advance(torch.from_numpy(action))
    expected = to_env_action(box, action)
    assert given[0].dtype == torch.float32
    np.testing.assert_array_equal(given[0].numpy(), expected)


def test_choices_are_handed_on_as_they_are():
    envs = on_device(BALANCE, N)
    transition, given = envs.step_fn, []
    envs.step_fn = lambda action: (given.append(action), transition(action))[1]
    action = torch.tensor([0, 1, 1, 0, 1, 0])
    DeviceCollector(envs, SEED).advance(action)
    expected = to_env_action(envs.single_action_space, action.numpy())
    np.testing.assert_array_equal(given[0].numpy(), expected)


def test_what_an_agent_collects_from_is_staggered_and_seeded_as_on_the_host():
    device = TrainingEnvs.of(described(BALANCE), None, {}).collector(N, 2)
    assert isinstance(device, DeviceCollector)
    host = collector_on_host(BALANCE, N, 20_000)
    np.testing.assert_array_equal(device.obs.numpy(), host.obs)
    assert device.envs.episode_lengths.tolist() == host._cut_at.tolist()
