"""SB3 sees our batches as they are, and SB3's own tools work on our agents unchanged."""

import warnings
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3 as sb3
import torch
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecNormalize

from robolearn.accelerate import one_thread
from robolearn.agents.dqn import DQN, DQNConfig
from robolearn.agents.ppo import PPO, PPOConfig
from robolearn.baselines.sb3_view import SB3VecEnv
from robolearn.environments import EnvConfig
from robolearn.errors import RobolearnError

BALANCE = EnvConfig(id="robolearn/CartPoleBalance-v0", engine="analytic")
SWING_UP = EnvConfig(id="robolearn/CartPoleSwingUp-v0", engine="analytic")
GYMNASIUM = EnvConfig(id="CartPole-v1")

every_env = pytest.mark.parametrize("env", [BALANCE, GYMNASIUM], ids=["native", "foreign"])


@pytest.fixture
def view():
    """Make views, closed after the test."""
    made = []

    def make(env, num_envs=3):
        made.append(SB3VecEnv(env.make_vec(num_envs)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def balancing(obs):
    """Return the pushes of a controller that keeps the pole up."""
    return (obs @ np.array([0.1, 0.3, 3.0, 1.0]) > 0).astype(np.int64)


@every_env
def test_transitions_are_those_of_the_vector_env_stepped_by_hand(view, env):
    seen, by_hand = view(env), env.make_vec(3)
    seen.seed(7)
    np.testing.assert_array_equal(seen.reset(), by_hand.reset(seed=7)[0])
    rng, ends = np.random.default_rng(0), 0
    for _ in range(80):
        actions = rng.integers(2, size=3)
        obs, rewards, dones, infos = seen.step(actions)
        expected, reward, terminated, truncated, info = by_hand.step(actions)
        np.testing.assert_array_equal(obs, expected)
        np.testing.assert_array_equal(rewards, reward)
        np.testing.assert_array_equal(dones, terminated | truncated)
        for i in range(3):
            if not dones[i]:
                assert infos[i] == {}
                continue
            ends += 1
            np.testing.assert_array_equal(infos[i]["terminal_observation"], info["final_obs"][i])
            assert not np.array_equal(infos[i]["terminal_observation"], obs[i])
            assert infos[i]["TimeLimit.truncated"] is False
    by_hand.close()
    assert ends >= 3


def test_a_time_limit_is_told_from_a_fall(view):
    seen = view(BALANCE, 2)
    seen.seed(0)
    obs, found = seen.reset(), {}
    for _ in range(500):
        actions = balancing(obs)
        actions[0] = 0  # env 0 is pushed to the left until its pole falls
        obs, _, dones, infos = seen.step(actions)
        found |= {int(i): infos[i] for i in np.flatnonzero(dones)}
    assert found[0]["TimeLimit.truncated"] is False
    assert abs(found[0]["terminal_observation"][2]) > np.deg2rad(12)
    assert found[0]["is_success"] is False
    assert found[1]["TimeLimit.truncated"] is True
    assert abs(found[1]["terminal_observation"][2]) < np.deg2rad(12)
    assert found[1]["is_success"] is True


def test_a_fall_in_the_last_step_is_no_time_limit():
    class FallsAtTheLimit(gym.vector.VectorEnv):
        def __init__(self):
            self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
            self.num_envs = 1
            self.single_observation_space = gym.spaces.Box(0.0, 1.0, (1,))
            self.single_action_space = gym.spaces.Discrete(2)

        def step(self, actions):
            info = {"final_obs": np.ones((1, 1)), "final_info": {}}
            return np.zeros((1, 1)), np.ones(1), np.array([True]), np.array([True]), info

    _, _, done, infos = SB3VecEnv(FallsAtTheLimit()).step(np.zeros(1, dtype=np.int64))
    assert done.tolist() == [True]
    assert infos[0]["TimeLimit.truncated"] is False


@every_env
def test_an_episode_is_told_as_monitor_tells_it(view, env):
    seen = view(env, 2)
    seen.seed(3)
    seen.reset()
    lengths, told = np.zeros(2, dtype=int), []
    while len(told) < 6:
        _, _, dones, infos = seen.step(np.array([0, 1]))
        lengths += 1
        for i in np.flatnonzero(dones):
            told.append((infos[i]["episode"], lengths[i]))
            lengths[i] = 0
    for episode, length in told:
        assert set(episode) == {"r", "l", "t"}
        assert episode["r"] == episode["l"] == length  # both environments pay 1 per step
    times = [episode["t"] for episode, _ in told]
    assert 0.0 < times[0] <= times[-1]


def test_arrays_of_one_step_are_not_touched_by_the_next(view):
    seen = view(BALANCE)
    seen.seed(0)
    seen.reset()
    first = seen.step(np.zeros(3, dtype=np.int64))
    copies = [np.copy(array) for array in first[:3]]
    seen.step(np.ones(3, dtype=np.int64))
    for array, copy in zip(first[:3], copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_rewards_are_float32(view):
    seen = view(SWING_UP)
    seen.reset()
    rewards = seen.step(np.zeros((3, 1), dtype=np.float32))[1]
    assert rewards.dtype == np.float32


def test_float_actions_reach_the_environment_as_they_are(view):
    seen, by_hand = view(SWING_UP), SWING_UP.make_vec(3)
    seen.seed(1)
    seen.reset()
    by_hand.reset(seed=1)
    actions = np.array([[-1.0], [0.25], [0.7]], dtype=np.float32)
    np.testing.assert_array_equal(seen.step(actions)[0], by_hand.step(actions)[0])
    by_hand.close()


@every_env
def test_seed_counts_up_and_serves_one_reset(view, env):
    seen = view(env)
    assert list(seen.seed(5)) == [5, 6, 7]
    first, later = seen.reset(), seen.reset()
    assert not np.array_equal(first, later)
    seen.seed(5)
    np.testing.assert_array_equal(seen.reset(), first)
    seen.seed(6)
    np.testing.assert_array_equal(seen.reset()[0], first[1])


@every_env
def test_attributes_are_those_of_single_environments(view, env):
    seen = view(env)
    assert seen.get_attr("action_space") == [gym.spaces.Discrete(2)] * 3
    assert seen.get_attr("render_mode", indices=1) == [None]
    assert not seen.has_attr("no_such_attribute")
    seen.set_attr("mark", 4)
    assert seen.get_attr("mark", indices=[0, 2]) == [4, 4]


def test_a_native_batch_has_no_attributes_of_one_environment(view):
    with pytest.raises(NotImplementedError, match=r"'mark' cannot be set for \[1\] alone"):
        view(BALANCE).set_attr("mark", 4, indices=1)


def test_a_foreign_batch_has_attributes_of_one_environment(view):
    seen = view(GYMNASIUM)
    seen.set_attr("mark", 4, indices=1)
    assert seen.get_attr("mark", indices=[1]) == [4]
    with pytest.raises(AttributeError):
        seen.get_attr("mark", indices=[0])


def test_methods_answer_once_for_each_environment(view):
    native, foreign = view(BALANCE), view(GYMNASIUM)
    native.reset()
    assert [cart.pole_length for cart in native.env_method("robot_params", 0, indices=[0, 2])] == [
        1.0
    ] * 2
    assert foreign.env_method("get_wrapper_attr", "spec")[2].id == "CartPole-v1"


@every_env
def test_it_passes_for_wrapped_by_monitor_and_by_nothing_else(view, env):
    seen = view(env)
    assert seen.env_is_wrapped(Monitor) == [True] * 3
    assert seen.env_is_wrapped(gym.wrappers.NormalizeReward, indices=0) == [False]


def test_images_are_one_for_each_environment():
    config = replace(BALANCE, kwargs={"render_mode": "rgb_array", "width": 64, "height": 48})
    seen = SB3VecEnv(config.make_vec(2))
    seen.reset()
    images = seen.get_images()
    assert [image.shape for image in images] == [(48, 64, 3)] * 2
    assert seen.render().shape == (96, 64, 3)  # SB3 puts two on top of each other
    seen.close()


def test_reset_options_are_refused(view):
    with pytest.raises(NotImplementedError, match="no reset options"):
        view(BALANCE).set_options({"low": 0.0})


def test_environments_that_reset_in_another_step_are_refused():
    envs = BALANCE.make_vec(2, AutoresetMode.NEXT_STEP)
    with pytest.raises(RobolearnError, match="needs autoreset_mode=SAME_STEP, got NEXT_STEP"):
        SB3VecEnv(envs)
    envs.close()


@pytest.mark.slow
@pytest.mark.parametrize("env", [BALANCE, SWING_UP, GYMNASIUM], ids=lambda env: env.id)
def test_sb3_learns_on_the_view(view, env):
    model = sb3.PPO("MlpPolicy", view(env, 4), n_steps=64, batch_size=64, seed=0, device="cpu")
    before = [parameter.clone() for parameter in model.policy.parameters()]
    with one_thread():
        model.learn(512)
    assert model.num_timesteps == 512
    assert all(
        not parameter.equal(old)
        for parameter, old in zip(model.policy.parameters(), before, strict=True)
    )


def test_sb3_logs_the_episodes_of_the_view(view):
    model = sb3.PPO("MlpPolicy", view(BALANCE, 4), n_steps=64, batch_size=64, seed=0, device="cpu")
    with one_thread():
        model.learn(512)
    buffer = model.ep_info_buffer
    # A random policy holds the pole for 10 to 100 steps, so 512 steps are several episodes.
    assert 5 <= len(buffer) <= 51
    assert sum(episode["l"] for episode in buffer) <= 512
    assert len(model.ep_success_buffer) == len(buffer)


def test_vecnormalize_normalizes_the_last_observation_too(view):
    normalized = VecNormalize(view(BALANCE), gamma=0.9)
    normalized.seed(0)
    normalized.reset()
    for _ in range(200):
        _, _, dones, infos = normalized.step(np.zeros(3, dtype=np.int64))
        if dones.any():
            break
    first = int(np.flatnonzero(dones)[0])
    # The raw angle at a fall is just beyond 12° = 0.21 rad; in standard deviations it is far more.
    assert abs(infos[first]["terminal_observation"][2]) > 1.0


@pytest.mark.parametrize(
    ("agent", "config"),
    [
        (PPO, PPOConfig(hidden_sizes=(8,))),
        (PPO, PPOConfig(hidden_sizes=(8,), gru_hidden_size=4)),
        (DQN, DQNConfig(hidden_sizes=(8,))),
    ],
    ids=["ppo", "ppo-memory", "dqn"],
)
def test_sb3s_evaluate_policy_runs_on_our_agents(agent, config, view):
    ours = agent(BALANCE, config, seed=0, device="cpu")
    single = Monitor(gym.make("robolearn/CartPoleBalance-v0", engine="analytic"))
    single.reset(seed=11)
    alone = evaluate_policy(ours, single, n_eval_episodes=3, return_episode_rewards=True)
    batch = view(BALANCE, 2)
    batch.seed(11)
    together = evaluate_policy(ours, batch, n_eval_episodes=4, return_episode_rewards=True)
    single.close()
    ours.close()
    for (rewards, lengths), episodes in ((alone, 3), (together, 4)):
        assert len(rewards) == episodes
        assert rewards == lengths  # 1 per step


def test_evaluate_policy_carries_a_memory_through_each_episode_alone(view):
    ours = PPO(BALANCE, PPOConfig(hidden_sizes=(8,), gru_hidden_size=4), seed=0, device="cpu")
    with torch.no_grad():
        ours.net.policy[-1].weight.mul_(300.0)
    batch, by_hand = view(BALANCE, 2), BALANCE.make_vec(2)
    batch.seed(11)
    rewards, _ = evaluate_policy(ours, batch, n_eval_episodes=2, return_episode_rewards=True)
    obs, expected = by_hand.reset(seed=11)[0], {}
    states, steps = [None, None], 0
    while len(expected) < 2:
        pairs = [ours.predict(obs[i], states[i], None, True) for i in range(2)]
        states = [state for _, state in pairs]
        obs, _, terminated, truncated, _ = by_hand.step(np.array([action for action, _ in pairs]))
        steps += 1
        for i in np.flatnonzero(terminated | truncated):
            expected.setdefault(int(i), float(steps))
    by_hand.close()
    ours.close()
    assert sorted(rewards) == sorted(expected.values())


def test_evaluate_policy_has_nothing_to_warn_of(view):
    ours = PPO(BALANCE, PPOConfig(hidden_sizes=(8,)), seed=0, device="cpu")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        evaluate_policy(ours, view(BALANCE, 2), n_eval_episodes=2)
    ours.close()
    assert caught == []
