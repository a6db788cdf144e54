"""Calls of agents while an episode is recorded, and their values, Q-values and probabilities."""

import numpy as np
import pytest
import torch

from robolearn.agents.dqn import DQN
from robolearn.agents.ppo import PPO
from robolearn.baselines.rows import SB3Row
from robolearn.baselines.sb3 import train_sb3
from robolearn.environments import EnvConfig
from robolearn.video.policy_outputs import policy_outputs
from robolearn.video.recording import record_episode

BALANCE = EnvConfig(id="robolearn/CartPoleBalance-v0", engine="analytic")
SWING_UP = EnvConfig(id="robolearn/CartPoleSwingUp-v0", engine="analytic")
OBS = np.array([[0.1, -0.2, 0.05, 0.3], [0.0, 0.4, -0.1, 0.2]], dtype=np.float32)


class Noted:
    """Records the arguments of its calls, and counts them in its recurrent state."""

    def __init__(self):
        self.calls = []

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        self.calls.append((state, episode_start.tolist(), deterministic))
        return np.zeros(1, np.int64), 1 if state is None else state + 1


def test_a_recorded_agent_keeps_its_recurrent_state_and_acts_deterministically():
    agent = Noted()
    rollout = record_episode(agent, BALANCE, title="noted", max_steps=3)
    assert agent.calls == [(None, [True], True), (1, [False], True), (2, [False], True)]
    assert rollout.policy_outputs == {}


def test_probabilities_are_how_often_actions_are_drawn():
    agent = PPO(BALANCE, seed=0, device="cpu").learn(2048)
    told = agent.action_probabilities(OBS[:1])
    drawn, _ = agent.predict(np.repeat(OBS[:1], 4000, axis=0))
    agent.close()
    assert told.sum() == pytest.approx(1, abs=1e-6)
    # A standard deviation of at most sqrt(1/4 / 4000) = 0.8 %.
    assert drawn.mean() == pytest.approx(told[0, 1], abs=0.03)


def test_continuous_policies_have_a_value_and_no_probabilities():
    agent = PPO(SWING_UP, seed=0, device="cpu")
    observation = np.zeros((1, 5), np.float32)
    told = policy_outputs(agent, observation, None)
    agent.close()
    assert told.keys() == {"value"}
    assert told["value"] == agent.value(observation)[0]


def test_a_q_learner_has_q_values():
    agent = DQN(BALANCE, seed=0, device="cpu")
    told = policy_outputs(agent, OBS[:1], None)
    agent.close()
    assert told.keys() == {"q_values"}
    assert told["q_values"].argmax() == agent.predict(OBS[:1], deterministic=True)[0][0]


def test_sb3s_dqn_has_the_q_values_it_acts_by():
    agent = train_sb3("dqn", BALANCE, 1, 0)
    told = agent.q_values(OBS)
    assert told.shape == (2, 2)
    np.testing.assert_array_equal(told.argmax(axis=1), agent.predict(OBS, deterministic=True)[0])
    assert agent.value(OBS) is None
    assert agent.action_probabilities(OBS) is None


def test_sb3s_policy_gradients_have_the_values_and_probabilities_of_sb3():
    agent = train_sb3("a2c", BALANCE, 40, 0)
    policy = agent.model.policy
    with torch.inference_mode():
        for action in (0, 1):
            actions = torch.full((2,), action)
            value, log_prob, _ = policy.evaluate_actions(torch.from_numpy(OBS), actions)
            np.testing.assert_allclose(
                agent.action_probabilities(OBS)[:, action], log_prob.exp(), rtol=1e-5
            )
    np.testing.assert_allclose(agent.value(OBS), value[:, 0], rtol=1e-5)
    assert agent.q_values(OBS) is None


def test_sb3s_values_are_in_units_of_reward_where_it_normalizes():
    row = SB3Row(source="", num_envs=2, normalize=True, arguments={"n_steps": 64, "gamma": 0.99})
    agent = train_sb3("a2c", SWING_UP, 128, 0, hyper=row)
    envs = agent.model.get_vec_normalize_env()
    observation = np.ones((1, 5), np.float32)
    with torch.inference_mode():
        seen = torch.from_numpy(envs.normalize_obs(observation))
        normalized = agent.model.policy.predict_values(seen).item()
    # VecNormalize divides rewards by the deviation of returns.
    scale = np.sqrt(envs.ret_rms.var + envs.epsilon)
    assert abs(scale - 1) > 0.01
    assert agent.value(observation)[0] == pytest.approx(normalized * scale, rel=1e-5)
