"""Episodes are recorded whole, whatever the autoreset mode."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from robolearn.collect import Collector
from robolearn.environments import EnvConfig, TrainingEnvs

MODES = list(AutoresetMode)
every_mode = pytest.mark.parametrize("mode", MODES, ids=[mode.name for mode in MODES])


class Counting(gym.Env):
    """Episodes of 2, 3, 2, 3, ... steps; step k earns 10 ** k; the longer ones succeed."""

    observation_space = gym.spaces.Box(0.0, 9.0, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, first):
        self.length = first

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        reward = 10.0**self.steps
        self.steps += 1
        info = {}
        terminated = self.steps == self.length
        if terminated:
            info["success"] = self.length == 3
            self.length = 5 - self.length
        return np.full(1, self.steps, np.float32), reward, terminated, False, info


def episodes(envs, steps):
    collector = Collector(envs, seed=0)
    found = []
    for _ in range(steps):
        collector.step(np.zeros(envs.num_envs, np.int64))
        found.append(collector.pop_episodes())
    envs.close()
    return found


@every_mode
def test_returns_lengths_and_successes_are_those_of_each_episode(mode):
    envs = SyncVectorEnv([lambda: Counting(2), lambda: Counting(3)], autoreset_mode=mode)
    found = [tuple(episode) for row in episodes(envs, 13) for episode in row]
    short, long = (11.0, 2, False, {}), (111.0, 3, True, {})  # 1 + 10 and 1 + 10 + 100
    assert [episode[1:] for episode in found if episode[0] == 0][:4] == [short, long, short, long]
    assert [episode[1:] for episode in found if episode[0] == 1][:4] == [long, short, long, short]


@every_mode
def test_an_episode_is_handed_out_when_it_ends_and_once(mode):
    envs = SyncVectorEnv([lambda: Counting(2)], autoreset_mode=mode)
    counts = [len(row) for row in episodes(envs, 5)]
    # Two steps, then three; with a step in between where the reset takes one.
    pause = [0] if mode is AutoresetMode.NEXT_STEP else []
    assert counts == ([0, 1, *pause, 0, 0, 1])[:5]


def test_success_is_unknown_where_the_environment_does_not_say():
    envs = gym.make_vec(
        "CartPole-v1",
        num_envs=2,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
    )
    found = [episode for row in episodes(envs, 30) for episode in row]
    assert found
    assert {episode.success for episode in found} == {None}


@every_mode
def test_our_environments_say_success(mode):
    config = EnvConfig(id="robolearn/CartPoleBalance-v0", engine="analytic")
    found = [episode for row in episodes(config.make_vec(2, mode), 60) for episode in row]
    assert found
    assert {episode.success for episode in found} == {False}  # always pushing left falls soon
    assert all(episode.total == episode.length for episode in found)


def test_raw_observations_follow_the_flat_ones():
    envs = SyncVectorEnv([lambda: Counting(3)], autoreset_mode=AutoresetMode.SAME_STEP)
    collector = Collector(envs, seed=0)
    seen = []
    for _ in range(4):
        step = collector.step(np.zeros(1, np.int64))
        seen.append((step.obs.item(), step.next_obs.item(), collector.raw.item()))
        assert collector.obs.item() == collector.raw.item()
    envs.close()
    # The episode of three ends on reaching 3, whose successor begins at 0.
    assert seen == [(0, 1, 1), (1, 2, 2), (2, 3, 0), (0, 1, 1)]


@every_mode
def test_starts_are_the_first_observations_of_episodes(mode):
    envs = SyncVectorEnv([lambda: Counting(2), lambda: Counting(3)], autoreset_mode=mode)
    collector = Collector(envs, seed=0)
    for _ in range(20):
        # Counting shows 0 at its first step alone.
        np.testing.assert_array_equal(collector.starts, collector.obs[:, 0] == 0)
        collector.step(np.zeros(2, np.int64))
    envs.close()


@every_mode
def test_an_episode_after_a_cut_starts_too(mode):
    envs = EnvConfig(id="robolearn/CartPoleSwingUp-v0", engine="analytic").make_vec(8, mode)
    collector = Collector(envs, 0, stagger=20)
    assert collector.starts.all()
    for _ in range(20):
        step = collector.step(np.zeros((8, 1), np.float32))
        np.testing.assert_array_equal(collector.starts, step.done)
    envs.close()


class Keyed(gym.Env):
    """A Dict observation: the number of steps, twice; episodes of 3."""

    observation_space = gym.spaces.Dict(
        {"b": gym.spaces.Box(0.0, 9.0, (1, 2)), "a": gym.spaces.Box(0.0, 90.0, (1,))}
    )
    action_space = gym.spaces.Discrete(2)

    def _observe(self):
        count = np.float32(self.steps)
        return {"b": np.full((1, 2), count), "a": np.full(1, 10 * count)}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self._observe(), {}

    def step(self, action):
        self.steps += 1
        return self._observe(), 1.0, self.steps == 3, False, {}


class Batched(gym.vector.VectorWrapper):
    """Gives final observations as a batch of the space, as a native environment may."""

    def step(self, actions):
        *rest, info = self.env.step(actions)
        if "final_obs" in info:
            blank = {"b": np.full((1, 2), np.nan), "a": np.full(1, np.nan)}
            rows = [blank if one is None else one for one in info["final_obs"]]
            info["final_obs"] = {key: np.stack([row[key] for row in rows]) for key in blank}
        return *rest, info


@pytest.mark.parametrize("wrap", [lambda envs: envs, Batched], ids=["one-by-one", "batched"])
def test_final_observations_of_dictionaries_are_put_back(wrap):
    mode = AutoresetMode.SAME_STEP
    collector = Collector(wrap(SyncVectorEnv([Keyed, Keyed], autoreset_mode=mode)), seed=0)
    for count in range(7):
        step = collector.step(np.zeros(2, np.int64))
        # A comes before b: ten times the steps, then the steps twice; 3 on ending.
        reached = count % 3 + 1
        np.testing.assert_array_equal(step.next_obs, [[10 * reached, reached, reached]] * 2)
        assert step.done.all() == (reached == 3)
    collector.envs.close()


def test_the_seed_decides_the_first_observations():
    def first(seed):
        envs = EnvConfig(id="CartPole-v1").make_vec(2)
        obs = Collector(envs, seed).obs
        envs.close()
        return obs

    np.testing.assert_array_equal(first(1), first(1))
    assert not np.array_equal(first(1), first(2))


@every_mode
def test_staggered_first_episodes_are_cut_as_by_a_time_limit_and_not_reported(mode):
    envs = EnvConfig(id="robolearn/CartPoleSwingUp-v0", engine="analytic").make_vec(8, mode)
    collector = Collector(envs, 0, stagger=40)
    cuts = np.zeros(8, dtype=int)
    for count in range(1, 41):
        before = collector.obs
        step = collector.step(np.full((8, 1), 0.3, np.float32))
        # Nothing ends by itself before step 500: what is over has been cut, and only once.
        assert not step.terminated.any()
        assert (cuts[step.done] == 0).all()
        cuts[step.done] = count
        np.testing.assert_array_equal(step.obs, before)
        # A cut step reached what one step of 3 N leads to, not a reset state: the cart of about
        # 1 kg is some 3 * 0.02 = 0.06 m/s faster, hence at 0.06 * count m/s.
        assert (np.abs(step.next_obs[:, 3] - step.obs[:, 3] - 0.06) < 0.02).all()
        # The next step begins from the reset state, which hangs at rest near the middle.
        assert (np.abs(collector.obs[step.done, 3]) <= 0.05).all()
    assert (cuts > 0).all()
    assert len(set(cuts.tolist())) > 4  # at different steps
    assert collector.pop_episodes() == []
    for _ in range(499):  # the second episodes have their full length; some began at step 1
        collector.step(np.zeros((8, 1), np.float32))
    assert [episode.length for episode in collector.pop_episodes()] == [500] * 8
    envs.close()


def test_agents_train_on_staggered_environments_with_seeds_of_their_own():
    # Seeds 0 and 1 must not share an environment's stream: 0..7 against 10000..10007.
    starts = []
    for seed in (0, 1):
        envs = TrainingEnvs.of("robolearn/CartPoleSwingUp-v0", "analytic", {})
        starts.append(envs.collector(8, seed).obs)
        envs.close()
    assert not set(starts[0][:, 0].tolist()) & set(starts[1][:, 0].tolist())


def test_environments_that_need_not_honour_a_reset_mask_are_not_staggered():
    # Gymnasium's CartPoleVectorEnv resets all of its environments whatever the mask says.
    envs = TrainingEnvs.of(gym.make_vec("CartPole-v1", num_envs=8), None, {})
    collector = envs.collector(8, 0)
    for _ in range(600):
        step = collector.step(np.zeros(8, np.int64))
        # Pushing left for ever drops the pole in some ten steps: every end is a fall.
        np.testing.assert_array_equal(step.done, step.terminated)
    envs.close()
