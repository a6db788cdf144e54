"""What is watched on a device is what happened, and shown as such."""

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from on_host import SEED, described, on_device
from unseen import unseen

from robolearn.agents.ppo import PPO, PPOConfig
from robolearn.collect.device_collector import DeviceCollector
from robolearn.collect.trajectory_recorder import TrajectoryRecorder, last_complete_episode
from robolearn.environments import EnvConfig
from robolearn.video.recording import rollout_from_trajectory
from robolearn.video.rollout import Rollout
from robolearn_envs import make_vec

BALANCE, SWING_UP, LIDAR = "CartPoleBalance-v0", "CartPoleSwingUp-v0", "NavLidar-v0"
short = pytest.mark.usefixtures("short_episodes")
N = 5


def collecting(task, num_envs=N, *, every=2, most=2, stagger=0, **options):
    """Return what collects from environments in float64, two of which are watched."""
    envs = on_device(task, num_envs, dtype=torch.float64, **options)
    collector = DeviceCollector(envs, SEED, stagger=stagger)
    collector.recorder = TrajectoryRecorder(envs, every=every, most=most)
    return collector


def policy_actions(collector, steps):
    """Return actions of a policy that ends episodes of robots in several ways."""
    rng = torch.Generator().manual_seed(0)
    choices = getattr(collector.envs.single_action_space, "n", None)
    if choices is not None:
        return torch.randint(int(choices), (steps, collector.num_envs), generator=rng)
    shape = steps, collector.num_envs, *collector.envs.single_action_space.shape
    action = 3 * torch.rand(shape, generator=rng) - 1.5  # beyond full command at times
    return action + torch.linspace(0, 1, collector.num_envs)[:, None] if shape[-1] > 1 else action


def asked(watch):
    watch.request()
    return watch.fetch()


class Host:
    """The same environments on the host, by whom what happened is written down."""

    def __init__(self, task, num_envs=N, **options):
        self.envs = make_vec(
            f"robolearn/{task}",
            num_envs,
            engine="analytic",
            autoreset_mode=AutoresetMode.DISABLED,
            **options,
        ).unwrapped
        self.envs.reset(seed=SEED)
        self.running = [self._begun(i) for i in range(num_envs)]

    def _now(self, i):
        return {name: rows[i].copy() for name, rows in self.envs.get_render_state().items()}

    def _begun(self, i):
        return {"states": [self._now(i)], "actions": [], "rewards": []}

    def step(self, command):
        """Make a step and return the episodes that ended with it, by environment."""
        _, reward, terminated, truncated, info = self.envs.step(command)
        done, ended = terminated | truncated, {}
        for i, one in enumerate(self.running):
            one["states"].append(self._now(i))
            one["actions"].append(command[i])
            one["rewards"].append(reward[i])
            if done[i]:
                told = {
                    name: bool(info[name][i]) for name in ("success", "collision") if name in info
                }
                ended[i] = {**one, "ended": (terminated[i], truncated[i]), "outcome": told}
        if done.any():
            self.envs.reset(options={"reset_mask": done})
            for i in ended:
                self.running[i] = self._begun(i)
        return ended


def assert_is(episode, env, expected):
    assert episode.env == env
    assert episode.states.keys() == expected["states"][0].keys()
    for name, rows in episode.states.items():
        wanted = np.array([state[name] for state in expected["states"]])
        np.testing.assert_allclose(rows, wanted, rtol=0, atol=1e-9, err_msg=name)
    np.testing.assert_array_equal(episode.actions, np.array(expected["actions"]))
    assert episode.actions.dtype == np.array(expected["actions"]).dtype
    # Rewards are float32 on a device: below 16, half a unit is 5e-7.
    np.testing.assert_allclose(episode.rewards, expected["rewards"], rtol=0, atol=1e-6)
    assert (episode.terminated, episode.truncated) == expected["ended"]
    assert episode.outcome == expected["outcome"]


CASES = {
    "swing-up": (SWING_UP, {"domain_randomization": 0.2}),
    "balance by choices": (BALANCE, {"action": "discrete"}),
    "moving obstacles": (LIDAR, {"level": 3}),
    "walls, by choices": (LIDAR, {"level": 4, "action": "discrete"}),
}


@pytest.mark.slow
@short
@pytest.mark.parametrize(("task", "options"), CASES.values(), ids=CASES)
def test_what_is_watched_is_what_happened_and_the_latest_of_it(task, options):
    collector, host = collecting(task, **options), Host(task, **options)
    assert collector.recorder.indices == (0, 2)
    latest, lengths = None, set()
    for action in policy_actions(collector, 120):  # the ring holds 48 steps
        command = collector._to_env_action(action).numpy()
        collector.advance(action)
        ended = host.step(command)
        latest = next(((i, ended[i]) for i in (0, 2) if i in ended), latest)
        episode = asked(collector.recorder)
        if latest is None:
            assert episode is None
        else:
            assert_is(episode, *latest)
            lengths.add(len(episode.rewards))
    if task in (BALANCE, LIDAR):
        assert len(lengths) > 1  # some ended before their time was up
    assert task == BALANCE or 24 in lengths


@short
def test_obstacles_that_move_are_seen_to():
    collector = collecting(LIDAR, level=3)
    for action in policy_actions(collector, 60):
        collector.advance(action)
    now, cylinders = (
        asked(collector.recorder).states[name] for name in ("obstacle_positions", "cylinders")
    )
    moves = cylinders[0, :, 5] != 0
    assert moves.any()
    # Where they stand differs from step to step, for those that move alone.
    changed = (np.diff(now, axis=0) != 0).any(axis=(0, 2))
    np.testing.assert_array_equal(changed, moves)


@short
def test_an_episode_that_was_cut_short_is_none_and_a_collection_is_handed_out_once():
    collector = collecting(SWING_UP, 3, every=1, most=3, stagger=24)
    cuts = collector.envs.episode_lengths.tolist()
    assert all(0 < cut < 24 for cut in cuts)
    seen = []
    for action in policy_actions(collector, 47):
        collector.advance(action)
        seen.append(asked(collector.recorder))
    first = min(cuts) + 24  # steps until the first whole one is over
    assert [episode is None for episode in seen] == [True] * (first - 1) + [False] * (48 - first)
    assert all(len(episode.rewards) == 24 for episode in seen[first - 1 :])
    assert collector.recorder.fetch() is None
    assert collector.recorder.fetch(wait=True) is None


@short
def test_an_episode_that_broke_down_is_none():
    collector = collecting(SWING_UP, 1)
    for t, action in enumerate(policy_actions(collector, 24)):
        if t == 5:
            collector.envs._engine.qvel.fill_(torch.nan)
        collector.advance(action)
    assert asked(collector.recorder) is None  # the next one is not over
    for action in policy_actions(collector, 6):
        collector.advance(action)
    assert len(asked(collector.recorder).rewards) == 24


def test_what_was_asked_for_is_as_it_was_then(short_episodes):
    collector = collecting(SWING_UP)
    actions = policy_actions(collector, 60)
    for action in actions[:30]:
        collector.advance(action)
    before = asked(collector.recorder)
    collector.recorder.request()
    assert collector.recorder.arrived
    for action in actions[30:]:
        collector.advance(action)
    collector.recorder.request()  # is under way already
    after = collector.recorder.fetch()
    np.testing.assert_array_equal(after.states["qpos"], before.states["qpos"])
    assert not collector.recorder.arrived
    assert not np.array_equal(asked(collector.recorder).states["qpos"], before.states["qpos"])


@pytest.mark.parametrize(
    ("num_envs", "indices"),
    [
        (1, [0]),
        (1000, [0]),
        (1001, [0, 1000]),
        (2500, [0, 1000, 2000]),
        (9000, [1000 * k for k in range(8)]),
    ],
)
def test_one_in_a_thousand_is_watched_and_eight_at_most(num_envs, indices):
    collector = DeviceCollector(on_device(BALANCE, num_envs), SEED)
    collector.recorder = TrajectoryRecorder(collector.envs)
    assert collector.recorder.indices == tuple(indices)
    step = collector.envs.step_fn(torch.zeros(num_envs, dtype=torch.int64))
    assert [rows.shape for rows in step.render_states] == [(len(indices), 4)] * 2


def test_who_does_not_watch_pays_nothing():
    envs = on_device(BALANCE, 2)
    envs.reset(seed=SEED)
    assert envs.step_fn(torch.zeros(2, dtype=torch.int64)).render_states == ()


@pytest.mark.parametrize("how", [{"every": 0}, {"most": 0}])
def test_to_watch_nobody_is_refused(how):
    envs = on_device(BALANCE, 2)
    envs.reset(seed=SEED)
    with pytest.raises(ValueError, match="every and most must be at least 1, got"):
        TrajectoryRecorder(envs, **how)


def test_the_latest_whole_episode_is_the_one_that_ended_last():
    start = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 1, 0]], bool)
    whole = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 0], [0, 0, 0]], bool)
    # Env 0 lived from 1 to 2, and before 0 from nobody knows when; env 1 from 0 to 2 as well.
    assert last_complete_episode(start, whole) == (0, 1, 2)
    assert last_complete_episode(start[:, 1:], whole[:, 1:]) == (0, 0, 2)
    assert last_complete_episode(start[:, 2:], whole[:, 2:]) is None  # its start is forgotten
    assert last_complete_episode(start[:2], whole[:2]) is None


@pytest.mark.slow
@short
@pytest.mark.parametrize(("task", "options"), CASES.values(), ids=CASES)
def test_nothing_that_is_noted_is_looked_at(task, options):
    collector = collecting(task, **options)
    actions = policy_actions(collector, 60)
    with unseen():
        for action in actions:
            collector.advance(action)
    assert asked(collector.recorder) is not None


@short
def test_an_agent_learns_the_same_watched_or_not():
    config = PPOConfig(num_envs=4, hidden_sizes=(8,), n_steps=8, batch_size=16, n_epochs=2)
    nets = []
    for watched in (False, True):
        agent = PPO(described(SWING_UP), config, seed=SEED)
        if watched:
            agent.collector.recorder = TrajectoryRecorder(agent.collector.envs)
        nets.append(agent.learn(8 * 4 * 10).net.state_dict())
    for one, other in zip(*(net.values() for net in nets), strict=True):
        assert torch.equal(one, other)


def watched_rollout(task=SWING_UP, steps=1234, **options):
    collector = collecting(task, **options)
    for action in policy_actions(collector, 60):
        collector.advance(action)
    env = described(task, **options)
    return rollout_from_trajectory(asked(collector.recorder), env, seed=20_000, steps=steps)


@short
def test_a_rollout_of_it_can_be_kept_and_says_who_acts(tmp_path):
    rollout = watched_rollout(LIDAR, level=3)
    rollout.save(tmp_path / "a.npz")
    kept = Rollout.load(tmp_path / "a.npz")
    assert kept.title == "exploring, about 1,234 steps into training"
    assert (kept.fps, kept.seed) == (10.0, 20_002)  # of env 2, of 0 and 2
    assert kept.env == EnvConfig(id=f"robolearn/{LIDAR}", engine="torch", kwargs={"level": 3})
    assert len(kept) == 4  # it begins in front of an obstacle
    assert kept.render_states["cylinders"].shape == (1, 12, 7)
    assert kept.render_states["obstacle_positions"].shape == (5, 12, 3)
    ended = kept.terminated, kept.truncated, kept.success, kept.end_reason
    assert ended == (True, False, False, "collision")
