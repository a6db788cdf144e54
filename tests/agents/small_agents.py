"""Small agents that learn within a second, and what tests ask of them."""

import hashlib
from dataclasses import replace

import pytest

from robolearn.agents import AGENTS, agent_class
from robolearn.agents.a2c import A2CConfig
from robolearn.agents.dqn import DQNConfig
from robolearn.agents.ppo import PPOConfig
from robolearn.agents.pqn import PQNConfig
from robolearn.agents.reinforce import REINFORCEConfig
from robolearn.environments import EnvConfig

BALANCE = EnvConfig(id="robolearn/CartPoleBalance-v0", engine="analytic")
SMALL = {
    "dqn": DQNConfig(num_envs=4, warmup=64, batch=32, hidden=(16,), capacity=512),
    "pqn": PQNConfig(num_envs=4, rollout_steps=16, minibatch=32, epochs=2, hidden=(16,)),
    "ppo": PPOConfig(num_envs=4, rollout_steps=16, minibatch=32, epochs=2, hidden=(16,)),
    "a2c": A2CConfig(num_envs=4, rollout_steps=16, hidden=(16,)),
    "reinforce": REINFORCEConfig(num_envs=4, rollout_steps=64, hidden=(16,)),
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
