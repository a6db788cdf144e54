"""Small agents that learn within a second, and what tests ask of them."""

import hashlib
from dataclasses import replace

import pytest

from robolearn.agents import AGENTS, agent_class
from robolearn.agents.a2c import A2CConfig
from robolearn.agents.defaults import DQN_SHARED
from robolearn.agents.dqfd import DQfDConfig
from robolearn.agents.dqn import DQNConfig
from robolearn.agents.on_policy import collect
from robolearn.agents.ppo import PPOConfig
from robolearn.agents.pqn import PQNConfig
from robolearn.agents.reinforce import REINFORCEConfig
from robolearn.environments import EnvConfig

BALANCE = EnvConfig(id="robolearn/CartPoleBalance-v0", engine="analytic")
REPLAY = {
    **DQN_SHARED,
    "num_envs": 4,
    "learning_starts": 64,
    "batch_size": 32,
    "hidden_sizes": (16,),
    "buffer_size": 512,
    "target_update_interval": 200,
}
SMALL = {
    "dqn": DQNConfig(**REPLAY),
    "dqfd": DQfDConfig(**REPLAY),
    "pqn": PQNConfig(num_envs=4, n_steps=16, batch_size=32, n_epochs=2, hidden_sizes=(16,)),
    "ppo": PPOConfig(num_envs=4, n_steps=16, batch_size=32, n_epochs=2, hidden_sizes=(16,)),
    "a2c": A2CConfig(num_envs=4, n_steps=16, hidden_sizes=(16,)),
    "reinforce": REINFORCEConfig(num_envs=4, n_steps=64, hidden_sizes=(16,)),
}
TABULAR = ("q-learning", "sarsa")
DEEP = [name for name in AGENTS if name not in TABULAR]
POLICIES = ["ppo", "a2c", "reinforce"]

every_agent = pytest.mark.parametrize("name", DEEP)
every_policy = pytest.mark.parametrize("name", POLICIES)


def build(name, env=BALANCE, seed=0, **changes):
    return agent_class(name)(env, replace(SMALL[name], **changes), seed=seed)


def trained(name, steps=256, **options):
    agent = build(name, **options).learn(steps)
    agent.close()
    return agent


def weights(agent):
    """A checksum of all networks."""
    digest = hashlib.sha256()
    for module in agent.parts().modules.values():
        for tensor in module.state_dict().values():
            digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def collected(agent, collector, n_steps):
    """Return a rollout of a policy-gradient agent."""

    def draw_noise(*shape):
        return agent.net.head.draw_noise(*shape, generator=agent.parts().generators["train"])

    full = agent.full_episodes
    return collect(agent.net.act, draw_noise, collector, agent._buffer, n_steps, full_episodes=full)


def explored(agent, n_steps, epsilon):
    """Return steps of a Q-learner that acts at random in part of them, and its actions."""
    agent._exploration_rate.fill_(epsilon)
    return agent._collect(agent.collector, n_steps)
