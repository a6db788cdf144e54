"""A clone does what was wanted, and goes on to learn from there."""

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from recorded import recorded

from robolearn.agents.ppo import PPO, PPOConfig
from robolearn.environments import EnvConfig
from robolearn.errors import DivergedError, RobolearnError
from robolearn.evaluation import evaluate
from robolearn.imitation.clone import CloneConfig, clone, cloning_loss
from robolearn.imitation.demos.episodes import Shown
from robolearn.imitation.demos.mirror import with_mirrored
from robolearn.imitation.fitting import TRIALS

BALANCE = EnvConfig(id="robolearn/CartPoleBalance-v0", engine="analytic")
FORCED = replace(BALANCE, kwargs={"action": "continuous"})
SMALL = PPOConfig(num_envs=4, n_steps=16, batch_size=32, n_epochs=2, hidden_sizes=(16,))
FEW = CloneConfig(updates=30, try_every=30, try_episodes=2)


@pytest.fixture(scope="module")
def one():
    """A single demonstration, and its mirror image."""
    return with_mirrored(recorded("CartPoleBalance-v0", seeds=(0,), engine="analytic"))


def agent_for(env=BALANCE, seed=0, **changes):
    return PPO(env, replace(SMALL, **changes), seed=seed)


def invented(steps=64, width=4, seed=0):
    """Return steps at random observations where 1 was wanted, and 0 done, if the first is > 0."""
    rng = np.random.default_rng(seed)
    obs = (5 + 2 * rng.normal(size=(steps, width))).astype(np.float32)
    wanted = (obs[:, 0] > 5).astype(np.int64)
    never = np.zeros(steps, np.bool_)
    return Shown(obs, 1 - wanted, wanted, np.ones(steps, np.float32), obs, never, never)


def test_the_loss_of_discrete_actions_is_their_mean_surprise_by_hand():
    # Probabilities 1/2, 1/4, 1/4 and 1/10, 1/10, 8/10; told were the second and the third:
    # (log 4 + log(10 / 8)) / 2 = log(5) / 2.
    net = agent_for().net
    output = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]).log() + 3
    loss = cloning_loss(net, output, torch.tensor([1, 2]))
    assert loss.item() == pytest.approx(np.log(5) / 2, rel=1e-6)


@pytest.mark.parametrize("squash", [False, True])
def test_the_loss_of_continuous_actions_is_half_the_squared_error_by_hand(squash):
    # Errors 1 and -2, and 0.5 and 0: (1 + 4 + 0.25) / 2 / 2. Squashed, means are told by tanh.
    told = torch.tensor([[0.5, -0.9], [0.25, 0.75]])
    output = told.atanh() if squash else told
    action = told - torch.tensor([[1.0, -2.0], [0.5, 0.0]])
    net = agent_for(FORCED, squash_output=squash).net
    loss = cloning_loss(net, output, action)
    assert loss.item() == pytest.approx(1.3125, rel=1e-5)


@pytest.mark.slow
def test_a_clone_of_a_single_demonstration_and_its_mirror_image_balances(one):
    agent = agent_for(hidden_sizes=(64, 64))
    config = CloneConfig(updates=600, clone_rate=3e-3, try_every=300, try_episodes=10)
    choice = clone(agent, one.steps(), config, 0)
    assert evaluate(agent, BALANCE, episodes=10, seed=TRIALS).mean == choice.score
    assert evaluate(agent, BALANCE, episodes=20).mean >= 490
    assert [made for made, _ in choice.curve] == [300, 600]
    assert choice.score == max(score for _, score in choice.curve)
    assert (agent.steps, agent.envs._envs) == (0, None)


def test_what_was_wanted_is_learned_and_not_what_was_done():
    agent, shown = agent_for(), invented()
    clone(agent, shown, replace(FEW, updates=300, try_every=300, clone_rate=1e-2), 0)
    assert agent.predict(shown.obs, deterministic=True)[0].tolist() == shown.wanted.tolist()


def test_continuous_actions_are_learned_too():
    agent, shown = agent_for(FORCED), invented()
    force = np.tanh(shown.obs[:, 1:2] - 5)
    shown = shown._replace(action=-force, wanted=force)
    clone(agent, shown, replace(FEW, updates=600, try_every=600, clone_rate=1e-2), 0)
    error = agent.predict(shown.obs, deterministic=True)[0] - force
    assert np.abs(error).max() < 0.1 < force.std()


def test_the_normalizer_learns_what_was_observed():
    agent, shown = agent_for(), invented()
    clone(agent, shown, FEW, 0)
    norm = agent.net.encoder.observations
    np.testing.assert_allclose(norm.mean, shown.obs.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(norm.variance, shown.obs.var(axis=0), rtol=1e-5)
    assert norm.count.item() == 64


def test_the_critic_learns_nothing_and_the_deviation_neither():
    agent = agent_for(FORCED, init_std=0.3)
    critic = [p.clone() for p in agent.net.critic.parameters()]
    policy = [p.clone() for p in agent.net.policy.parameters()]
    force = invented().obs[:, 1:2] - 5
    clone(agent, invented()._replace(wanted=force), FEW, 0)
    assert all(map(torch.equal, critic, agent.net.critic.parameters()))
    assert not any(map(torch.equal, policy, agent.net.policy.parameters()))
    assert agent.net.head.log_std.item() == pytest.approx(np.log(0.3))


def test_after_cloning_learning_changes_the_network_with_a_fresh_optimizer():
    agent = agent_for(bc_kl_coef=1.0)
    clone(agent, invented(), FEW, 0)
    assert agent.parts().optimizer.moments["step"] == 0
    before = {name: tensor.clone() for name, tensor in agent.net.state_dict().items()}
    kept = agent.ref_policy.state_dict()
    assert all(torch.equal(kept[name], tensor) for name, tensor in before.items())
    agent.learn(64)
    agent.close()
    after = agent.net.state_dict()
    assert [name for name in before if torch.equal(before[name], after[name])] == []
    assert agent.parts().optimizer.moments["step"] == 4  # two epochs of two minibatches
    assert all(torch.equal(kept[name], tensor) for name, tensor in before.items())


def test_the_same_seed_makes_the_same_clone_and_another_one_another():
    clones = []
    for seed in (0, 0, 1):
        agent = agent_for()
        clone(agent, invented(), replace(FEW, batch=16), seed)
        clones.append(agent.net.policy[0].weight)
    assert torch.equal(clones[0], clones[1])
    assert not torch.equal(clones[0], clones[2])


def test_an_agent_with_a_memory_is_refused():
    with pytest.raises(RobolearnError, match="agent without a GRU, got gru_hidden_size=8"):
        clone(agent_for(gru_hidden_size=8), invented(), FEW, 0)


def test_numbers_that_are_not_finite_are_not_learned():
    shown = invented()
    shown.obs[3, 1] = np.nan
    with pytest.raises(DivergedError):
        clone(agent_for(), shown, FEW, 0)


class Corridor(gym.Env):
    """A place of no name."""

    observation_space = spaces.Box(-9.0, 9.0, (4,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(4, np.float32), {}

    def step(self, action):
        return np.zeros(4, np.float32), 1.0, True, False, {}


def test_a_place_to_try_it_must_be_known():
    envs = SyncVectorEnv([Corridor] * 4, autoreset_mode=AutoresetMode.SAME_STEP)
    with pytest.raises(RobolearnError, match="Say where the clone is to be tried"):
        clone(agent_for(envs), invented(), FEW, 0)
    choice = clone(agent_for(envs), invented(), FEW, 0, where=BALANCE)
    assert 5 < choice.score < 500


@pytest.mark.parametrize("name", ["updates", "batch", "try_every", "try_episodes"])
def test_senseless_settings_are_refused(name):
    with pytest.raises(RobolearnError, match=f"{name} must"):
        CloneConfig(**{name: 0})
    with pytest.raises(RobolearnError, match="clone_rate must"):
        CloneConfig(clone_rate=-1.0)
