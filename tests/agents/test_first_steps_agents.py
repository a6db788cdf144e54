"""Networks on the first-steps problems, measured against the tables that planning computes."""

import gymnasium as gym
import numpy as np
import pytest

from robolearn.agents.dqn import DQN, DQNConfig
from robolearn.agents.ppo import PPO, PPOConfig
from robolearn.agents.pqn import PQN, PQNConfig
from robolearn.agents.value_iteration import policy_value, value_iteration
from robolearn.environments import EnvConfig
from robolearn.evaluation import evaluate
from robolearn_envs.toy.finite import FiniteMDP

GAME, BANDIT = "robolearn/RingWalk-v0", "robolearn/Bandit-v0"
RECOMMENDER = EnvConfig(id="robolearn/Recommender-v0", kwargs={"users": 3, "items": 4})
SEEING = EnvConfig(id=BANDIT, kwargs={"context": "image", "arms": 4, "problem": 14})
"""Its arms are worth 0.70, -0.98, -1.57 and -2.92 in context 0."""


def mdp_of(env_id: str, **kwargs: int) -> FiniteMDP:
    return gym.make(env_id, **kwargs).unwrapped.mdp()


def trained(agent_class, env, config, steps):
    agent = agent_class(env, config, seed=0).learn(steps)
    agent.close()
    return agent


def greedy_value(mdp, q, gamma):
    """Value of the states under the policy that is greedy by q. Shape (S,)."""
    return policy_value(mdp, np.eye(q.shape[1])[q.argmax(axis=1)], gamma)


USUAL = {"double_q": True, "layer_norm": True, "lr_schedule": "linear"}

# A target network is copied after 50 gradient steps, of which there are 8 to 64 (128)
# environment steps. Each copy takes gamma of the error away: 50 leave 0.9^50 = 0.5 %.
DEEP_Q = DQNConfig(
    num_envs=16,
    gamma=0.9,
    **USUAL,
    hidden_sizes=(64,),
    learning_rate=2e-3,
    exploration_final_eps=1.0,
    batch_size=64,
    buffer_size=8_000,
    learning_starts=500,
    target_update_interval=400,
)
PARALLEL_Q = PQNConfig(
    num_envs=32,
    gamma=0.9,
    q_lambda=0.0,  # longer returns would be those of acting at random
    hidden_sizes=(64,),
    learning_rate=3e-3,
    exploration_final_eps=1.0,
    n_steps=16,
    batch_size=128,
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("agent_class", "config", "steps"), [(DQN, DEEP_Q, 20_000), (PQN, PARALLEL_Q, 40_000)]
)
def test_acting_at_random_a_network_learns_the_table_of_the_ring(agent_class, config, steps):
    # The ring is cut after 20 steps, which the values that planning finds know nothing of. Taking
    # that for death would miss all that comes after: 0.9^20 = 12 % of the value of a first state,
    # more of all others.
    mdp = mdp_of(GAME)
    optimal = value_iteration(mdp, 0.9)
    q = trained(agent_class, GAME, config, steps).q_values(np.arange(11))
    np.testing.assert_allclose(q, optimal, rtol=0.02)
    np.testing.assert_allclose(greedy_value(mdp, q, 0.9), optimal.max(axis=1), rtol=1e-9)


@pytest.mark.slow
def test_dqn_finds_the_best_arm_and_what_each_is_worth():
    # 1200 pulls of each arm: their mean deviates by 1 / sqrt(1200) = 0.029, the last minibatches
    # add some. 0.1 is three deviations; the best arm is 0.36 ahead of the next.
    config = DQNConfig(
        num_envs=32,
        **USUAL,
        hidden_sizes=(32,),
        learning_rate=1e-2,  # Adam moves a weight by this at most, 750 times: beyond any mean
        exploration_final_eps=1.0,
        batch_size=512,
        buffer_size=12_000,
        learning_starts=500,
        target_update_interval=800,
    )
    q = trained(DQN, BANDIT, config, 12_000).q_values(np.zeros(1, np.int64))
    means = mdp_of(BANDIT).reward
    assert q.argmax() == means.argmax()
    np.testing.assert_allclose(q, means, rtol=0, atol=0.1)


@pytest.mark.slow
def test_dqn_recommends_as_well_as_anybody_could():
    kwargs = {"users": 3, "items": 4}
    mdp = mdp_of(RECOMMENDER.id, **kwargs)
    config = DQNConfig(
        num_envs=32,
        gamma=0.8,
        **USUAL,
        hidden_sizes=(64,),
        learning_rate=2e-3,
        exploration_final_eps=1.0,
        batch_size=256,
        buffer_size=16_000,
        learning_starts=500,
        target_update_interval=320,  # 50 copies in 1000 gradient steps leave 0.8^50 of the error
    )
    q = trained(DQN, RECOMMENDER, config, 16_000).q_values(np.arange(3))
    optimal = value_iteration(mdp, 0.8).max(axis=1)
    assert (greedy_value(mdp, q, 0.8) >= 0.98 * optimal).all()
    # Some mistakes would cost more than that: the worst item for each user, at least a fifth.
    worst = greedy_value(mdp, -value_iteration(mdp, 0.8), 0.8)
    assert (worst < 0.8 * optimal).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("agent_class", "config", "steps"),
    [
        (
            DQN,
            DQNConfig(
                num_envs=32,
                **USUAL,
                hidden_sizes=(32,),
                cnn_features_dim=32,
                exploration_fraction=0.5,
                batch_size=64,
                buffer_size=8_000,
                learning_starts=500,
                target_update_interval=800,
            ),
            5_000,
        ),
        (
            PPO,
            PPOConfig(
                num_envs=64,
                n_steps=8,
                batch_size=128,
                n_epochs=4,
                hidden_sizes=(32,),
                cnn_features_dim=32,
                learning_rate=2e-3,
            ),
            8_000,
        ),
    ],
    ids=["dqn", "ppo"],
)
def test_a_picture_tells_which_arm_is_best(agent_class, config, steps):
    # Four machines in equal parts: blind one is right in a quarter of cases at most.
    agent = trained(agent_class, SEEING, config, steps)
    assert evaluate(agent, SEEING, episodes=200).success_rate >= 0.9
