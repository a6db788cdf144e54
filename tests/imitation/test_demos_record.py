"""Recording: what is stored is what happened, and stopping makes no difference in the end."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace

import gymnasium as gym
import minari
import numpy as np
import pytest
from gymnasium import spaces

from robolearn.agents.ppo import PPO, PPOConfig
from robolearn.environments import HELD_OUT, SEED_SPACING, EnvConfig
from robolearn.errors import DivergedError, RobolearnError
from robolearn.imitation.demos.card import read_card
from robolearn.imitation.demos.experts import EXPERTS, RANDOM, expert_named
from robolearn.imitation.demos.noise import Noise
from robolearn.imitation.demos.record import RecordConfig, record_demos
from robolearn.imitation.demos.storage import read_demos
from robolearn.imitation.demos.waves import WIDEST
from robolearn_envs.core.episodes import Episodes
from robolearn_envs.vector import RoboVectorEnv

SWING_UP, BALANCE = "robolearn/CartPoleSwingUp-v0", "robolearn/CartPoleBalance-v0"
FOREIGN = EnvConfig(id="CartPole-v1")


def recorded(out, env=FOREIGN, expert=RANDOM, episodes=2, **how):
    """Record, without measuring scores unless asked to."""
    config = {"env": env, "expert": expert, "out": out, "episodes": episodes, "score_episodes": 0}
    return record_demos(RecordConfig(**{**config, **how}))


def parts(observation):
    return list(observation.values()) if isinstance(observation, dict) else [observation]


ENVS = {
    "mujoco": (EnvConfig(id=SWING_UP, engine="mujoco", kwargs={"domain_randomization": 0.2}), 0.2),
    "bullet": (EnvConfig(id=BALANCE, engine="bullet", kwargs={"action": "discrete"}), 0.3),
    "analytic": (EnvConfig(id=BALANCE, engine="analytic"), 0.0),
    "movers": (
        EnvConfig(id="robolearn/NavLidar-v0", kwargs={"level": 3, "domain_randomization": 0.1}),
        0.1,
    ),
    "depth": (EnvConfig(id="robolearn/NavDepth-v0", kwargs={"level": 0}), 0.0),
    "foreign": (FOREIGN, 0.0),
    "foreign box": (EnvConfig(id="Pendulum-v1"), 0.0),
    "foreign cells": (EnvConfig(id="FrozenLake-v1"), 0.0),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ENVS)
def test_a_single_environment_does_the_same_again_to_the_bit(tmp_path, name):
    env, noise = ENVS[name]
    who = "expert" if env.native else RANDOM
    folder = recorded(tmp_path / "set", env, who, noise=noise, seed=3).folder
    demos = read_demos(folder)
    assert [one.seed for one in demos.episodes] == [30_000, 30_001]
    single = gym.make(env.id, **env.arguments())
    for one in demos.episodes:
        seen = [single.reset(seed=one.seed)[0]]
        states = [single.unwrapped.vector_env.qpos_qvel()] if env.native else []
        for step, action in enumerate(one.action):
            obs, reward, terminated, truncated, info = single.step(action)
            assert reward == one.reward[step]
            assert (terminated, truncated) == (one.terminated[step], one.truncated[step])
            seen.append(obs)
            states += [single.unwrapped.vector_env.qpos_qvel()] if env.native else []
        assert terminated or truncated
        for step, obs in enumerate(seen):
            for ours, theirs in zip(parts(one.observation), parts(obs), strict=True):
                np.testing.assert_array_equal(ours[step], theirs)
        for step, state in enumerate(states):
            np.testing.assert_array_equal(one.state["qpos"][step], state[0][0])
            np.testing.assert_array_equal(one.state["qvel"][step], state[1][0])
        assert one.success == info.get("success")
        assert one.action.dtype == one.clean_action.dtype == single.action_space.dtype
        assert noise or np.array_equal(one.action, one.clean_action)
        assert not noise or not np.array_equal(one.action, one.clean_action)
    single.close()


def test_the_action_noted_as_wanted_is_the_experts_own(tmp_path):
    env = EnvConfig(id=BALANCE, engine="analytic")
    one = read_demos(recorded(tmp_path / "set", env, "lqr", noise=0.3).folder).episodes[0]
    single = env.make_vec(1)
    expert = expert_named("lqr", env).make(single, 0)
    single.reset(seed=one.seed)
    for action, wanted in zip(one.action[:100], one.clean_action[:100], strict=True):
        np.testing.assert_allclose(expert.predict(None)[0][0], wanted, rtol=1e-6, atol=1e-7)
        single.step(action[None])
    single.close()


def test_what_is_stored_belongs_to_the_episode_alone(tmp_path):
    env = EnvConfig(id="robolearn/NavLidar-v0", kwargs={"level": 1})
    episodes = read_demos(recorded(tmp_path / "set", env, "planner", episodes=6).folder).episodes
    lengths = [len(one) for one in episodes]
    assert len(set(lengths)) > 1  # they ended at different times
    assert all(one.success and one.terminated[-1] for one in episodes)


# Noise.


def test_noise_of_continuous_actions_is_in_halves_of_their_range():
    space = spaces.Box(np.float32([-3, 0]), np.float32([3, 8]))  # halves: 3 and 4
    middle = np.tile(np.float32([0, 4]), (500, 1))
    noise = Noise(space, 0.1, range(500))
    off = np.concatenate([noise.disturb(middle) - middle for _ in range(100)])
    assert off.dtype == np.float32
    # 50,000 numbers: a standard deviation is known within 0.4 %.
    np.testing.assert_allclose(off.std(axis=0), [0.3, 0.4], rtol=0.02)
    np.testing.assert_allclose(off.mean(axis=0), [0, 0], atol=0.01)


def test_noise_keeps_actions_within_their_bounds():
    space = spaces.Box(-1, 1, (1,), np.float32)
    edge = np.ones((200, 1), np.float32)
    disturbed = Noise(space, 2.0, range(200)).disturb(edge)
    assert disturbed.min() == -1
    assert disturbed.max() == 1


def test_noise_of_discrete_actions_is_the_part_drawn_at_random():
    space = spaces.Discrete(4, start=2)
    noise = Noise(space, 0.4, range(500))
    threes = np.full(500, 3)
    done = np.concatenate([noise.disturb(threes) for _ in range(100)])
    # A fourth of those that are drawn are a 3 again: 0.6 + 0.4 / 4 stay.
    share = [np.mean(done == action) for action in (2, 3, 4, 5)]
    np.testing.assert_allclose(share, [0.1, 0.7, 0.1, 0.1], atol=0.01)


@pytest.mark.parametrize("space", [spaces.Discrete(5), spaces.Box(-1, 1, (2,), np.float32)])
def test_noise_of_an_episode_does_not_depend_on_the_others(space):
    shape = space.shape
    alone, among = Noise(space, 0.5, [7]), Noise(space, 0.5, [5, 6, 7])
    for _ in range(150):
        zeros = np.zeros((3, *shape), space.dtype)
        np.testing.assert_array_equal(alone.disturb(zeros[:1])[0], among.disturb(zeros)[2])


@pytest.mark.parametrize(
    ("space", "amount", "message"),
    [
        (spaces.Discrete(2), 1.1, "between 0 and 1, the part of random actions, got 1.1"),
        (spaces.Discrete(2), float("nan"), "got nan"),
        (spaces.Box(-1, 1, (1,)), -0.1, "got -0.1"),
        (spaces.Box(-np.inf, 1, (1,)), 0.1, "has no bounds"),
    ],
)
def test_noise_that_cannot_be_is_refused(space, amount, message):
    with pytest.raises(RobolearnError, match=message):
        Noise(space, amount, [0])


# Stopping, going on.


@contextmanager
def signal_at_step(env_class, number, which=signal.SIGTERM):
    """Send this process a signal just before its environments make this step."""
    real, made = env_class.step, 0

    def counted(self, *given):
        nonlocal made
        made += 1
        if made == number:
            os.kill(os.getpid(), which)
        return real(self, *given)

    env_class.step = counted
    try:
        yield
    finally:
        env_class.step = real


def bytes_of(folder):
    return [(folder / "data" / name).read_bytes() for name in ("main_data.hdf5", "metadata.json")]


@pytest.fixture(scope="module")
def two_waves(tmp_path_factory):
    """A recording that was not stopped, of two waves of 52 and 62 steps."""
    whole = recorded(tmp_path_factory.mktemp("whole") / "set", episodes=WIDEST + 20)
    assert not whole.stopped
    return whole


# In the first wave, as the second begins, and near the end.
@pytest.mark.slow
@pytest.mark.parametrize("when", [15, 53, 110])
def test_a_recording_that_was_stopped_becomes_the_same_as_one_that_was_not(
    two_waves, tmp_path, when
):
    episodes = two_waves.card.episodes
    with signal_at_step(gym.vector.SyncVectorEnv, when):
        part = recorded(tmp_path / "part" / "set", episodes=episodes)
    assert part.stopped
    assert 1 <= part.card.episodes < part.card.asked == episodes
    kept = {one.seed: one for one in read_demos(part.folder).episodes}
    assert list(kept) == sorted(kept)
    again = recorded(tmp_path / "part" / "set", episodes=episodes, resume=True)
    assert not again.stopped
    assert bytes_of(again.folder) == bytes_of(two_waves.folder)
    assert [path.name for path in part.folder.parent.iterdir()] == ["set-v0"]


def test_stopping_again_loses_nothing(tmp_path):
    out = tmp_path / "set"
    with signal_at_step(gym.vector.SyncVectorEnv, 80):
        before = recorded(out, episodes=WIDEST + 20)
    with signal_at_step(gym.vector.SyncVectorEnv, 3):
        after = recorded(out, episodes=WIDEST + 20, resume=True)
    assert before.card.sha256 == after.card.sha256
    assert after.stopped


def test_a_stop_before_any_episode_has_ended_leaves_nothing(tmp_path):
    with (
        signal_at_step(RoboVectorEnv, 5, signal.SIGINT),
        pytest.raises(RobolearnError, match="Stopped before an episode had ended"),
    ):
        recorded(tmp_path / "set", EnvConfig(id=SWING_UP), "swingup")
    assert list(tmp_path.iterdir()) == []


def test_a_set_made_longer_is_the_same_as_one_that_was_made_so_long(tmp_path):
    whole = recorded(tmp_path / "whole" / "set", episodes=WIDEST + 5)
    recorded(tmp_path / "part" / "set", episodes=10)
    longer = recorded(tmp_path / "part" / "set", episodes=WIDEST + 5, resume=True)
    assert bytes_of(longer.folder) == bytes_of(whole.folder)
    same = recorded(tmp_path / "part" / "set", episodes=3, resume=True)
    assert same.steps_per_second is None
    assert same.card == longer.card


@pytest.mark.slow
def test_recording_twice_makes_the_same_bytes(tmp_path):
    env, noise = ENVS["movers"]
    folders = [
        recorded(tmp_path / name / "set", env, "planner", episodes=4, noise=noise).folder
        for name in "ab"
    ]
    assert bytes_of(folders[0]) == bytes_of(folders[1])
    other = recorded(tmp_path / "c" / "set", env, "planner", episodes=4, noise=noise, seed=1)
    assert bytes_of(folders[0]) != bytes_of(other.folder)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"noise": 0.1}, "noise is 0.0, now it would be 0.1"),
        ({"seed": 1}, "seed is 0, now it would be 1"),
        ({"env": EnvConfig(id="Acrobot-v1")}, "env is "),
    ],
)
def test_only_a_recording_with_the_same_settings_is_gone_on_with(tmp_path, changes, key):
    folder = recorded(tmp_path / "set").folder
    before = bytes_of(folder)
    with pytest.raises(RobolearnError, match=f"recorded with other settings: {key}"):
        recorded(tmp_path / "set", resume=True, **changes)
    assert bytes_of(folder) == before


def test_scores_missing_after_a_stop_are_measured_when_going_on(tmp_path):
    recorded(tmp_path / "set", episodes=3)
    scored = recorded(tmp_path / "set", episodes=3, resume=True, score_episodes=4)
    assert scored.card.random_score == scored.card.expert_score > 5
    assert scored.card.score_episodes == 4
    told = json.loads((scored.folder / "data" / "metadata.json").read_text())
    assert told["ref_min_score"] == told["ref_max_score"] == scored.card.random_score
    assert read_card(scored.folder / "card.json") == scored.card


@pytest.mark.slow
def test_a_kill_leaves_nothing_half_written_to_be_seen(tmp_path):
    out = tmp_path / "set-v0"
    command = ["demos", "record", "--env", "robolearn/NavLidar-v0", "--episodes", "900", "--out"]
    process = subprocess.Popen([sys.executable, "-m", "robolearn", *command, str(out)])
    try:
        limit = time.monotonic() + 120
        while not list(tmp_path.glob(".set-v0.part/data/main_data.hdf5")):
            assert time.monotonic() < limit
            time.sleep(0.01)
        time.sleep(0.5)
    finally:
        process.kill()
        process.wait()
    assert [path.name for path in tmp_path.iterdir()] == [".set-v0.part"]
    recorded(out)
    assert [path.name for path in tmp_path.iterdir()] == ["set-v0"]


# The card.


def test_the_card_tells_what_was_recorded(tmp_path):
    env = EnvConfig(id=BALANCE, engine="analytic")
    done = recorded(tmp_path / "set", env, "expert", episodes=3, noise=0.05, score_episodes=2)
    card = read_card(done.folder / "card.json")
    episodes = read_demos(done.folder).episodes
    totals = [sum(one.reward.tolist()) for one in episodes]
    assert card == done.card
    assert card.env == {"id": BALANCE, "engine": "analytic", "kwargs": {}}
    assert (card.expert, card.noise, card.seed) == ("lqr", 0.05, 0)
    assert card.parameters["weights"] == [5.0, 3.0, 0.4, 0.15]
    assert card.dt == 0.02
    assert (card.asked, card.episodes, card.steps) == (3, 3, sum(map(len, episodes)))
    assert card.mean_return == pytest.approx(sum(totals) / 3)
    assert (card.min_return, card.max_return) == pytest.approx((min(totals), max(totals)))
    assert card.success_rate == 1.0
    assert card.random_score < card.mean_return <= card.expert_score
    page = (done.folder / "README.md").read_text()
    for words in (BALANCE, "lqr", card.sha256, "minari.load_dataset", "read_demos"):
        assert words in page


# Who is recorded, and where.


@pytest.mark.parametrize("task", EXPERTS)
def test_whoever_suits_is_named(task):
    env = EnvConfig(id=f"robolearn/{task}")
    name = expert_named("expert", env).name
    assert expert_named(name, env).name == name


@pytest.mark.parametrize(
    ("name", "env", "message"),
    [
        ("lqr", EnvConfig(id=SWING_UP), "Did you mean 'swingup'"),
        ("planer", EnvConfig(id=SWING_UP), "Did you mean 'planner'"),
        ("lqr", FOREIGN, "no expert for CartPole-v1"),
        ("expert", FOREIGN, "no expert for CartPole-v1"),
    ],
)
def test_who_does_not_suit_is_refused(tmp_path, name, env, message):
    with pytest.raises(RobolearnError, match=message):
        recorded(tmp_path / "set", env, name)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    """A checkpoint of an agent for CartPole-v1 that has learned next to nothing."""
    folder = tmp_path_factory.mktemp("agent") / "checkpoint"
    config = PPOConfig(hidden_sizes=(8,), num_envs=2, n_steps=4, batch_size=8)
    PPO("CartPole-v1", config, device="cpu").save(folder)
    return folder


def test_an_agent_is_recorded_as_it_acts_best(tmp_path, agent):
    done = recorded(tmp_path / "set", FOREIGN, str(agent), episodes=3)
    assert done.card.expert == str(agent)
    assert done.card.parameters == {"agent": "PPO", "learned_steps": 0, "env": "CartPole-v1"}
    policy = PPO.load(agent, device="cpu")
    for one in read_demos(done.folder).episodes:
        best, _ = policy.predict(one.observation[:-1], deterministic=True)
        np.testing.assert_array_equal(one.action, best)


def test_an_agent_for_something_else_is_refused(tmp_path, agent):
    with pytest.raises(RobolearnError, match=r"does not fit Acrobot-v1: its observation_space is"):
        recorded(tmp_path / "set", EnvConfig(id="Acrobot-v1"), str(agent))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"episodes": 0}, "episodes must lie in"),
        ({"episodes": SEED_SPACING + 1}, "episodes must lie in"),
        ({"seed": HELD_OUT // SEED_SPACING}, "seed must lie in"),
        ({"noise": 1.5}, "noise must lie between"),
        (
            {"env": EnvConfig(id="robolearn/NavLidar-v0", kwargs={"split": "test"})},
            "split is 'test', expected 'train'",
        ),
        (
            {"env": EnvConfig(id="robolearn/NavLidar-v0", kwargs={"curriculum": True})},
            "say which level",
        ),
        ({"env": EnvConfig(id="Blackjack-v1", kwargs={"nonsense": 1})}, "nonsense"),
    ],
)
def test_what_cannot_be_recorded_is_refused_and_nothing_is_written(tmp_path, changes, message):
    with pytest.raises(RobolearnError, match=message):
        recorded(tmp_path / "set", **changes)
    assert list(tmp_path.iterdir()) == []


class Breaking(gym.Env):
    """Shows what is not finite after three steps."""

    observation_space = spaces.Box(-1, 1, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self._steps += 1
        shown = np.full(1, np.nan if self._steps == 3 else 0, np.float32)
        return shown, 0.0, self._steps == 5, False, {}


@pytest.fixture
def breaking():
    gym.register("test/Breaking-v0", Breaking, disable_env_checker=True)
    yield EnvConfig(id="test/Breaking-v0")
    del gym.registry["test/Breaking-v0"]


def test_numbers_that_are_not_finite_are_not_written(tmp_path, breaking):
    with pytest.raises(DivergedError, match=r"seed 0 has numbers that are not finite. Nothing was"):
        recorded(tmp_path / "set", breaking)
    assert list(tmp_path.iterdir()) == []


def test_a_simulation_that_breaks_down_is_not_written(tmp_path):
    real, made = Episodes._simulate, 0

    def burst(episodes, ctrl):
        nonlocal made
        made += 1
        real(episodes, ctrl * np.float64([[1], [np.nan if made == 7 else 1]]))

    Episodes._simulate = burst
    try:
        with pytest.raises(DivergedError, match="Nothing was written") as error:
            recorded(tmp_path / "set", EnvConfig(id=BALANCE, engine="analytic"), "lqr")
    finally:
        Episodes._simulate = real
    assert error.value.env == 1
    assert list(tmp_path.iterdir()) == []


def test_workers_are_done_without(tmp_path):
    env = replace(EnvConfig(id=BALANCE, engine="analytic"), num_workers=2)
    assert recorded(tmp_path / "set", env, "lqr").card.episodes == 2


def test_an_environment_that_no_file_can_name_is_known_by_its_card(tmp_path, breaking):
    class Sound(Breaking):
        def step(self, action):
            return np.zeros(1, np.float32), *super().step(action)[1:]

    gym.registry["test/Breaking-v0"].entry_point = Sound
    folder = recorded(tmp_path / "set", breaking).folder
    assert read_demos(folder).env == breaking
    assert minari.MinariDataset(folder / "data").total_steps == 10
