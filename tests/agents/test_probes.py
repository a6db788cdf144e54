"""Every agent learns problems whose values are known, and learns them to 2 %."""

from dataclasses import replace

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from probe_env import (
    ALL_STATES,
    CHOICES,
    CONSTANT,
    CREDIT,
    DELAYED,
    ECHO,
    LUCK,
    MATCH,
    Probe,
    Walk,
)

from robolearn.agents.a2c import A2C, A2CConfig
from robolearn.agents.deep_q import DeepQAgent
from robolearn.agents.dqn import DQN, DQNConfig
from robolearn.agents.ppo import PPO, PPOConfig
from robolearn.agents.pqn import PQN, PQNConfig
from robolearn.agents.reinforce import REINFORCE, REINFORCEConfig

GAMMA = 0.8

_SHARED = {
    "gamma": GAMMA,
    "hidden_sizes": (16,),
    "learning_rate": 0.02,
    "normalize_obs": True,
}
_Q = {
    **_SHARED,
    "layer_norm": True,
    "max_grad_norm": 10.0,
    "exploration_initial_eps": 1.0,
    "exploration_final_eps": 1.0,
}
"""Q-learners act at random all the time, and learn the values of acting best."""

_POLICY = {**_SHARED, "max_grad_norm": 0.5, "ent_coef": 0.0, "normalize_advantage": True}

DQN_PROBE = DQNConfig(
    **_Q,
    num_envs=16,
    double_q=True,
    lr_schedule="linear",
    n_step=1,
    prioritized_replay=False,
    value_distribution="none",
    batch_size=128,
    buffer_size=4_000,
    learning_starts=160,
    train_freq=2,
    gradient_steps=4,
    target_update_interval=80,
)
PQN_PROBE = PQNConfig(
    **_Q,
    num_envs=32,
    n_steps=8,
    q_lambda=0.0,
    n_epochs=2,
    batch_size=64,
)
PPO_PROBE = PPOConfig(
    **_POLICY, num_envs=32, n_steps=8, gae_lambda=0.95, clip_range=0.2, n_epochs=4, batch_size=64
)
A2C_PROBE = A2CConfig(**_POLICY, num_envs=64, n_steps=4, gae_lambda=0.95)
REINFORCE_PROBE = REINFORCEConfig(**_POLICY, num_envs=64, n_steps=20, baseline=True)

AGENTS = {
    "dqn": (DQN, DQN_PROBE, 3_000),
    "pqn": (PQN, PQN_PROBE, 24_000),  # RAdam takes 2,000 gradient steps to its full rate
    "ppo": (PPO, PPO_PROBE, 8_000),
    "a2c": (A2C, A2C_PROBE, 40_000),
    "reinforce": (REINFORCE, REINFORCE_PROBE, 20_000),
}
every_agent = pytest.mark.parametrize("name", AGENTS)


def learned(name, table, **options):
    """Return an agent that learned a table, or the walk where there is none, and is done."""
    agent_class, config, steps = AGENTS[name]
    config = replace(config, **options)
    count, mode = config.num_envs, AutoresetMode.SAME_STEP
    envs = Walk(mode, num_envs=count) if table is None else Probe(table, count)
    agent = agent_class(envs, config, seed=0, device="cpu").learn(steps)
    agent.close()
    return agent


def require_values(agent, obs, q):
    """Check what an agent says of states against the known Q of each action, to 3 %.

    Of agents that tell V, the largest Q is asked: they have come to act by it.
    """
    obs, q = np.array(obs, np.float32), np.array(q)
    if isinstance(agent, DeepQAgent):
        np.testing.assert_allclose(agent.q_values(obs), q, rtol=0.03)
    else:
        np.testing.assert_allclose(agent.value(obs), q.max(axis=1), rtol=0.03)


def acts(agent, obs):
    """Return what an agent does at its best."""
    return agent.predict(np.array(obs, np.float32), deterministic=True)[0].tolist()


@pytest.mark.slow
@every_agent
def test_the_value_of_a_last_step_is_its_reward(name):
    # To look beyond the end would give 1 / (1 - g) = 5.
    require_values(learned(name, CONSTANT), [[1.0]], [[1.0, 1.0]])


@pytest.mark.slow
@every_agent
def test_a_reward_is_told_from_what_is_seen(name):
    require_values(learned(name, ECHO), [[-1.0], [2.0]], [[-1.0, -1.0], [2.0, 2.0]])


@pytest.mark.slow
@every_agent
def test_a_reward_one_step_ahead_is_discounted_once(name):
    # V(second) = 1 and V(first) = g V(second) = 0.8.
    require_values(learned(name, DELAYED), [[0.0], [1.0]], [[0.8, 0.8], [1.0, 1.0]])


@pytest.mark.slow
@every_agent
def test_a_reward_is_told_from_what_is_seen_and_done(name):
    agent = learned(name, MATCH)
    assert acts(agent, [[0.0], [1.0]]) == [0, 1]
    require_values(agent, [[0.0], [1.0]], [[1.0, -1.0], [-1.0, 1.0]])


@pytest.mark.slow
@every_agent
def test_the_value_of_a_lottery_is_its_mean(name):
    require_values(learned(name, LUCK, learning_rate=0.005), [[1.0]], [[1 / 4]])


@pytest.mark.slow
@every_agent
def test_the_value_of_a_choice_is_that_of_the_best_to_be_chosen_next(name):
    agent = learned(name, CHOICES)
    # Q(1, .) = 1, and Q(2, .) = 1.5 and -1.5. From state 0 action 0 earns 0.8 * 1 and action 1
    # 0.8 * 1.5 = 1.2. Choosing badly or at random in 2, action 0 would be better in 0; choosing in
    # 2 what is best in 0, Q(0, 1) would be -1.2.
    assert acts(agent, np.eye(3)[[0, 2]]) == [1, 0]
    require_values(agent, np.eye(3), [[0.8, 1.2], [1.0, 1.0], [1.5, -1.5]])


CREDITED = np.stack([[-(0.8**3), -0.64, -0.8, -1, 0.64, 0.8, 1]] * 2, axis=1)
CREDITED[0, 1] = 0.8**3
"""Q of CREDIT: what the last step pays, -1 in state 3 and 1 in state 6, times 0.8 for each step
before it. State 0 is three steps before either, according to the action. Shape (7, 2)."""


@pytest.mark.slow
@every_agent
def test_the_first_step_is_credited_with_what_the_last_one_pays(name):
    agent = learned(name, CREDIT)
    assert acts(agent, np.eye(7)[[0]]) == [1]
    # Who acts at its best stops seeing states 1 to 3.
    seen = slice(None) if isinstance(agent, DeepQAgent) else [0, 4, 5, 6]
    require_values(agent, np.eye(7)[seen], CREDITED[seen])


V0 = 1 / (1 - 0.8**3)
WALKED = np.stack([[V0, 0.64 * V0, 0.8 * V0]] * 2, axis=1)
"""Q of the walk as it is worked out in test_truncation.py. Shape (3, 2)."""


@pytest.mark.slow
@every_agent
def test_a_time_limit_changes_nothing_of_values(name):
    require_values(learned(name, None), ALL_STATES, WALKED)


LONGER = [("dqn", {"n_step": 3}), ("pqn", {"q_lambda": 0.65}), ("pqn", {"q_lambda": 1.0})]
"""Returns of more than one step; where actions after the first change nothing, what they are worth
does not depend on what is done."""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), LONGER)
def test_longer_returns_credit_the_first_step_alike(name, options):
    agent = learned(name, CREDIT, **options)
    assert acts(agent, np.eye(7)[[0]]) == [1]
    require_values(agent, np.eye(7), CREDITED)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), LONGER)
def test_longer_returns_value_a_time_limit_alike(name, options):
    require_values(learned(name, None, **options), ALL_STATES, WALKED)


def test_dqn_without_double_learns_the_value_of_choices_alike():
    agent = learned("dqn", CHOICES, double_q=False)
    require_values(agent, np.eye(3), [[0.8, 1.2], [1.0, 1.0], [1.5, -1.5]])


def test_prioritised_replay_does_not_bias_the_value_of_a_lottery():
    # At the mean 1/4 the lot that pays is off by 3/4 and the three others by 1/4: replayed by the
    # power 0.6 of that, it comes 3 ** 0.6 = 1.93 times too often, and the mean of what is replayed
    # is 1.93 / (1.93 + 3) = 0.39.
    agent = learned("dqn", LUCK, prioritized_replay=True, per_beta_start=1.0, learning_rate=0.005)
    require_values(agent, [[1.0]], [[1 / 4]])


@pytest.mark.slow
@pytest.mark.parametrize("normalize_advantage", [True, False])
def test_reinforce_without_a_baseline_does_what_pays(normalize_advantage):
    agent = learned("reinforce", MATCH, baseline=False, normalize_advantage=normalize_advantage)
    assert acts(agent, [[0.0], [1.0]]) == [0, 1]
