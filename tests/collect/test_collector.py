"""Episodes are recorded whole, whatever the autoreset mode."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from robolearn.collect.collector import Collector
from robolearn.environments import EnvConfig, TrainingEnvs
from robolearn.errors import DivergedError

MODES = list(AutoresetMode)
every_mode = pytest.mark.parametrize("mode", MODES, ids=[mode.name for mode in MODES])


class Counting(gym.Env):
    """Episodes of 2, 3, 2, 3, ... steps; step k earns 10 ** k; the longer ones succeed."""

    observation_space = gym.spaces.Box(0.0, 9.0, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, first, told=("success",)):
        self.length, self.told = first, told

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
            info = {name: (self.length == 3) is (name == self.told[0]) for name in self.told}
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
@pytest.mark.parametrize("told", [("is_success",), ("success", "is_success")])
def test_is_success_is_read_where_success_is_absent(mode, told):
    envs = SyncVectorEnv(
        [lambda: Counting(2, told), lambda: Counting(3, told)], autoreset_mode=mode
    )
    found = [episode for row in episodes(envs, 13) for episode in row]
    # Those of three steps succeed. Where both are told, is_success tells the opposite.
    assert len(found) > 6
    assert all(episode.success is (episode.length == 3) for episode in found)


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
    assert all(episode.total_reward == episode.length for episode in found)


def test_raw_observations_follow_the_flat_ones():
    envs = SyncVectorEnv([lambda: Counting(3)], autoreset_mode=AutoresetMode.SAME_STEP)
    collector = Collector(envs, seed=0)
    seen = []
    for _ in range(4):
        step = collector.step(np.zeros(1, np.int64))
        seen.append((step.obs.item(), step.next_obs.item(), collector.observations.item()))
        assert collector.obs.item() == collector.observations.item()
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


class Reusing(gym.vector.VectorWrapper):
    """Gives the same arrays at every step, filled anew."""

    def step(self, actions):
        arrays = self.env.step(actions)[:4]
        self.kept = getattr(self, "kept", [array.copy() for array in arrays])
        for kept, array in zip(self.kept, arrays, strict=True):
            kept[:] = array
        return *self.kept, {}


def test_steps_stay_what_they_were_though_environments_use_their_arrays_again():
    def steps(wrap):
        envs = SyncVectorEnv([lambda: Counting(2), lambda: Counting(3)])  # of NEXT_STEP
        collector = Collector(wrap(envs), seed=0)
        seen = [(collector.starts, collector.step(np.zeros(2, np.int64))) for _ in range(7)]
        envs.close()
        return seen

    for (start, step), (other_start, other) in zip(
        steps(lambda envs: envs), steps(Reusing), strict=True
    ):
        np.testing.assert_array_equal(other_start, start)
        for field, same in zip(step, other, strict=True):
            np.testing.assert_array_equal(same, field)


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


def test_environments_that_need_not_honor_a_reset_mask_are_not_staggered():
    # Gymnasium's CartPoleVectorEnv resets all of its environments whatever the mask says.
    envs = TrainingEnvs.of(gym.make_vec("CartPole-v1", num_envs=8), None, {})
    collector = envs.collector(8, 0)
    for _ in range(600):
        step = collector.step(np.zeros(8, np.int64))
        # Pushing left for ever drops the pole in some ten steps: every end is a fall.
        np.testing.assert_array_equal(step.done, step.terminated)
    envs.close()


class Thrifty(gym.vector.VectorWrapper):
    """Hands out the same arrays at every step, written over, as a fast environment may."""

    def __init__(self, envs):
        super().__init__(envs)
        self.kept = None

    def step(self, actions):
        *arrays, info = self.env.step(actions)
        if self.kept is None:
            self.kept = [array.copy() for array in arrays]
        for mine, new in zip(self.kept, arrays, strict=True):
            mine[...] = new
        return *self.kept, info


@every_mode
def test_steps_are_not_changed_by_what_environments_do_with_their_arrays_later(mode):
    def steps(wrap):
        envs = SyncVectorEnv([lambda: Counting(2), lambda: Counting(3)], autoreset_mode=mode)
        collector = Collector(wrap(envs), seed=0)
        seen = []
        for _ in range(6):
            start = collector.starts
            seen.append((*collector.step(np.zeros(2, np.int64)), start))
        envs.close()
        return seen

    for thrifty, plain in zip(steps(Thrifty), steps(lambda envs: envs), strict=True):
        for one, other in zip(thrifty, plain, strict=True):
            np.testing.assert_array_equal(one, other)


# Beginning anew.


def counting(mode):
    return SyncVectorEnv([lambda: Counting(2), lambda: Counting(3)], autoreset_mode=mode)


@every_mode
@pytest.mark.parametrize("steps", [0, 1, 2, 3, 4])
def test_after_a_restart_every_environment_is_at_the_first_step_of_an_episode(mode, steps):
    collector = Collector(counting(mode), seed=0)
    for _ in range(steps):
        collector.step(np.zeros(2, np.int64))
    handed_out = len(collector.pop_episodes())
    collector.restart()
    np.testing.assert_array_equal(collector.obs, [[0.0], [0.0]])
    np.testing.assert_array_equal(collector.observations, collector.obs)
    assert collector.starts.all()
    rewards = np.zeros(2)
    for count in (1, 2):
        step = collector.step(np.zeros(2, np.int64))
        assert step.valid.all()  # also where a reset was due
        np.testing.assert_array_equal(step.next_obs, [[count], [count]])
        rewards += step.reward
    # What was earned and lived before the restart is in no episode: 1 + 10 or 1 + 10 + 100.
    for _ in range(2):
        collector.step(np.zeros(2, np.int64))
    found = collector.pop_episodes()
    assert handed_out + len(found) >= 2
    for env in (0, 1):
        first = next(episode for episode in found if episode.env == env)
        assert (first.total_reward, first.length) in ((11.0, 2), (111.0, 3))
    np.testing.assert_array_equal(rewards, [11.0, 11.0])
    collector.envs.close()


@every_mode
def test_episodes_that_ended_before_a_restart_are_still_handed_out(mode):
    collector = Collector(counting(mode), seed=0)
    for _ in range(2):
        collector.step(np.zeros(2, np.int64))
    collector.restart()
    assert [episode.env for episode in collector.pop_episodes()] == [0]
    collector.envs.close()


@every_mode
def test_episodes_begun_by_a_restart_are_not_staggered(mode):
    envs = EnvConfig(id="robolearn/CartPoleSwingUp-v0", engine="analytic").make_vec(8, mode)
    collector = Collector(envs, 0, stagger=40)
    collector.restart()
    for _ in range(499):
        assert not collector.step(np.zeros((8, 1), np.float32)).done.any()
    assert collector.step(np.zeros((8, 1), np.float32)).done.all()
    assert [episode.length for episode in collector.pop_episodes()] == [500] * 8
    envs.close()


def test_a_restart_goes_on_with_the_random_streams_unless_it_is_seeded():
    envs = EnvConfig(id="CartPole-v1").make_vec(2)
    collector = Collector(envs, 1)
    first = collector.obs
    collector.restart()
    assert not np.array_equal(collector.obs, first)
    collector.restart(1)
    np.testing.assert_array_equal(collector.obs, first)
    envs.close()


# Numbers that are none.


class Failing(gym.Env):
    """Episodes of 3 steps; on request a number of one of them is infinite or none."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, what="", number=0.0):
        self.what, self.number, self.episodes = what, number, 0

    def _observe(self):
        observation = np.full(2, self.steps, np.float32)
        wrong = {"reset": 0, "observation": 1, "final observation": 3}.get(self.what)
        if self.steps == wrong and self.episodes == 2:
            observation[1] = self.number
        return observation

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.episodes = 0, self.episodes + 1
        return self._observe(), {}

    def step(self, action):
        self.steps += 1
        wrong = self.what == "reward" and self.steps == 2 and self.episodes == 2
        reward = self.number if wrong else 1.0
        return self._observe(), reward, self.steps == 3, False, {}


@every_mode
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("what", "after"),
    # In the second episode, whose first step is the 4th, or the 5th where a reset takes one.
    [("reward", 5), ("observation", 4), ("final observation", 6), ("reset", 3)],
)
def test_numbers_that_are_none_are_refused_where_they_come_up(mode, what, after, number):
    makers = [Failing, lambda: Failing(what, number), Failing]
    collector = Collector(SyncVectorEnv(makers, autoreset_mode=mode), seed=0)
    after += mode is AutoresetMode.NEXT_STEP
    same_step = mode is AutoresetMode.SAME_STEP
    named = (
        what if what == "reward" or (what == "final observation" and same_step) else ("observation")
    )
    place = "" if what == "reward" else " in entry 1"
    message = (
        f"The {named} of environment 1 is {number}{place} after step {after}\\. No update was made"
    )
    for _ in range(after - 1):
        collector.step(np.zeros(3, np.int64))
    with pytest.raises(DivergedError, match=message) as refusal:
        collector.step(np.zeros(3, np.int64))
    assert refusal.value.exit_code == 4
    assert refusal.value.env == 1
    assert "\n" not in str(refusal.value)
    collector.envs.close()


def test_first_observations_that_are_no_numbers_are_refused():
    envs = SyncVectorEnv([Failing, lambda: Failing("reset", np.nan)])
    envs.envs[1].episodes = 1
    with pytest.raises(DivergedError, match=r"environment 1 is nan in entry 1 after step 0\."):
        Collector(envs, seed=0)
    envs.close()
