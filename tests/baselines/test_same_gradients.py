"""Our losses have the gradients of SB3's: its own ``train`` and our own update, on equal numbers.

Nothing is learned: learning rates are 0 and gradients are not shortened, so that those of the
update are still there after it.
"""

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3 as sb3
import torch
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import Logger

from robolearn.agents.a2c import A2C, A2CConfig
from robolearn.agents.dqn import DQN, DQNConfig
from robolearn.agents.ppo import PPO, PPOBatch, PPOConfig, ppo_loss
from robolearn.buffers.rollout_buffer import Rollout, Transition

STEPS, ENVS = 16, 4
BATCH = STEPS * ENVS
ENTROPY = 0.05
NO_LIMIT = 1e9

COMMON = {
    "num_envs": ENVS,
    "n_steps": STEPS,
    "gamma": 0.9,
    "gae_lambda": 0.8,
    "learning_rate": 0.0,
    "ent_coef": ENTROPY,
    "max_grad_norm": NO_LIMIT,
    "normalize_obs": False,
    "normalize_value": False,
    "normalize_advantage": False,  # SB3 divides by the deviation of n - 1, and by the minibatch
}

PLAIN_DQN = DQNConfig(
    num_envs=1,
    gamma=0.9,
    batch_size=BATCH,
    buffer_size=BATCH,
    max_grad_norm=NO_LIMIT,
    hidden_sizes=(64, 64),
    normalize_obs=False,
)

every_policy = pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1"])


def frozen(algorithm, env_id, *, num_envs=ENVS, **arguments):
    """Return a model of SB3 that keeps its weights, which are other ones than it starts with.

    A fresh policy prefers no action, so that its entropy would have no gradient. The seed is also
    that of all of torch and NumPy.
    """
    model = algorithm(
        "MlpPolicy",
        make_vec_env(env_id, num_envs),
        learning_rate=0.0,
        max_grad_norm=NO_LIMIT,
        seed=0,
        device="cpu",
        **arguments,
    )
    model.set_logger(Logger(folder=None, output_formats=[]))
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def paired(net, policy):
    """Return the parameters that mean the same in our networks and in SB3's, with its weights."""
    extractor = policy.mlp_extractor
    theirs = [extractor.policy_net, policy.action_net, extractor.value_net, policy.value_net]
    theirs = [parameter for part in theirs for parameter in part.parameters()]
    theirs += [policy.log_std] if hasattr(policy, "log_std") else []
    ours = [*net.policy.parameters(), *net.critic.parameters(), *net.head.parameters()]
    return copied(ours, theirs)


@torch.no_grad()
def copied(ours, theirs):
    pairs = list(zip(ours, theirs, strict=True))
    for our, their in pairs:
        our.copy_(their)
    return pairs


def assert_same_gradients(pairs):
    ours, theirs = (
        torch.cat([one.grad.flatten() for one in side]) for side in zip(*pairs, strict=True)
    )
    assert all(their.grad.abs().max() > 1e-3 for _, their in pairs)  # there is something to compare
    assert (ours - theirs).abs().max() <= 1e-6
    assert (ours - theirs).abs().max() <= 1e-6 * theirs.abs().max()


def some_actions(space, *shape):
    if isinstance(space, gym.spaces.Discrete):
        return torch.randint(int(space.n), shape)
    return torch.randn(*shape, *space.shape)


@every_policy
def test_ppo_has_sb3s_gradient_of_policy_value_and_entropy(env_id):
    theirs = frozen(
        sb3.PPO,
        env_id,
        n_steps=STEPS,
        batch_size=BATCH,
        n_epochs=1,
        clip_range=0.2,
        ent_coef=ENTROPY,
        normalize_advantage=False,
    )
    ours = PPO(
        env_id,
        PPOConfig(**COMMON, n_epochs=1, batch_size=BATCH, clip_range=0.2),
        device="cpu",
    )
    pairs = paired(ours.net, theirs.policy)
    obs = torch.randn(STEPS, ENVS, *theirs.observation_space.shape)
    action = some_actions(theirs.action_space, STEPS, ENVS)
    with torch.no_grad():
        log_prob = ours.net.head.log_prob(ours.net.policy(obs), action)
    # Probability ratios are exp(+-0.3): about half of them lie outside 0.8 to 1.2.
    log_prob += 0.3 * torch.randn(STEPS, ENVS)
    value, advantage, target = torch.randn(3, STEPS, ENVS)

    buffer = theirs.rollout_buffer
    buffer.observations[:] = obs
    buffer.actions[:] = action.reshape(buffer.actions.shape)
    buffer.log_probs[:], buffer.values[:] = log_prob, value
    buffer.advantages[:], buffer.returns[:] = advantage, target
    buffer.full = True
    theirs.train()

    batch = PPOBatch(
        obs=obs,
        action=action,
        advantage=advantage,
        old_value=value,
        returns=target,
        old_log_prob=log_prob,
        ref_params=log_prob[..., None][..., :0],
    )
    flat = PPOBatch(*(field.flatten(0, 1) for field in batch))
    loss, _ = ppo_loss(ours.net, ours.config, flat.obs, flat)
    ours.optimizer.step(loss, max_norm=NO_LIMIT)
    ours.close()
    assert_same_gradients(pairs)


@every_policy
def test_a2c_has_sb3s_gradient_of_a_whole_rollout(env_id):
    theirs = frozen(sb3.A2C, env_id, n_steps=STEPS, gamma=0.9, gae_lambda=0.8, ent_coef=ENTROPY)
    ours = A2C(env_id, A2CConfig(**COMMON), device="cpu")
    pairs = paired(ours.net, theirs.policy)
    obs = torch.randn(STEPS + 1, ENVS, *theirs.observation_space.shape)
    action = some_actions(theirs.action_space, STEPS, ENVS)
    reward = torch.randn(STEPS, ENVS)
    # No time limits: SB3 adds the value of what they cut off to rewards, before its buffer.
    terminated = torch.rand(STEPS, ENVS) < 0.2
    terminated[-1] = torch.tensor([True, False, True, False])
    start = torch.cat([torch.ones(1, ENVS, dtype=torch.bool), terminated])

    with torch.no_grad():
        value = theirs.policy.predict_values(obs.flatten(0, 1)).reshape(STEPS + 1, ENVS)
    unused = torch.zeros(ENVS)  # the log-probability of then
    for t in range(STEPS):
        numbers = (array[t].numpy() for array in (obs, action, reward, start))
        theirs.rollout_buffer.add(*numbers, value[t], unused)
    theirs.rollout_buffer.compute_returns_and_advantage(value[-1], terminated[-1].numpy())
    theirs.train()

    ended = terminated[..., None]
    next_obs = torch.where(ended, torch.randn_like(obs[1:]), obs[1:])
    flags, initial = (terminated, terminated, None), torch.zeros_like(obs[0])
    seen = obs[:-1]
    ours._update(Rollout(seen, start[:-1], action, reward, next_obs, *flags, seen, initial))
    ours.close()
    assert_same_gradients(pairs)


def test_dqn_has_sb3s_gradient_of_the_huber_loss(monkeypatch):
    theirs = frozen(sb3.DQN, "CartPole-v1", num_envs=1, gamma=0.9, buffer_size=BATCH)
    ours = DQN("CartPole-v1", PLAIN_DQN, device="cpu")
    pairs = copied(ours.online.parameters(), theirs.q_net.parameters())
    copied(ours.target.parameters(), theirs.q_net_target.parameters())
    for _ in range(BATCH):
        obs, next_obs = torch.randn(2, 1, 4).numpy()
        action = torch.randint(2, (1,))
        reward = (3 * torch.randn(1)).numpy()  # errors on both sides of Huber's 1
        terminated = (torch.rand(1) < 0.3).numpy()
        theirs.replay_buffer.add(obs, next_obs, action.numpy(), reward, terminated, [{}])
        fields = map(torch.from_numpy, (obs, reward, next_obs, terminated, terminated))
        step = Transition(*(field[None] for field in fields), valid=None)
        ours._replay.add(step, action[None])

    # Each transition once, instead of some drawn at random.
    everything = np.arange(BATCH)
    samples = theirs.replay_buffer._get_samples
    monkeypatch.setattr(theirs.replay_buffer, "sample", lambda *_, env: samples(everything, env))
    monkeypatch.setattr(ours, "sample_indices", lambda *_: torch.from_numpy(everything)[None])
    theirs.train(gradient_steps=1, batch_size=BATCH)
    ours._update(1.0, 0.0)
    ours.close()
    assert_same_gradients(pairs)
