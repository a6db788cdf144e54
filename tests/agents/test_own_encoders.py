"""Networks with an encoder of the user's."""

import runpy
import sys
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from small_agents import SMALL, TABULAR, build, every_agent, weights
from torch import nn

from robolearn import PPO, PPOConfig, evaluate, load
from robolearn.agents import AGENTS, agent_class
from robolearn.errors import RobolearnError

EXAMPLES = Path(__file__).parents[2] / "examples"
OBS = np.random.default_rng(0).uniform(-0.2, 0.2, (20, 4)).astype(np.float32)


class Squares(nn.Module):
    """Products of all pairs of entries, through a layer."""

    def __init__(self, inputs, width):
        super().__init__()
        self.layer, self.width = nn.Linear(inputs * inputs, width), width

    def forward(self, obs):
        pairs = (obs[..., :, None] * obs[..., None, :]).flatten(-2)
        return torch.relu(self.layer(pairs))


def squares(space, generator):
    return Squares(gym.spaces.flatdim(space), 12)


def small(name, env="CartPole-v1", encoder=squares, **options):
    return agent_class(name)(env, SMALL[name], encoder=encoder, **options)


@every_agent
def test_an_encoder_is_trained_with_the_agent_saved_and_read_back(name, tmp_path):
    agent = small(name, seed=1)
    network = next(iter(agent.parts().modules.values()))
    before = network.encoder.custom.layer.weight.clone()
    agent.learn(256)
    assert not torch.equal(network.encoder.custom.layer.weight, before)
    agent.save(tmp_path / "agent")
    again = load(tmp_path / "agent", encoder=squares)
    np.testing.assert_array_equal(again.predict(OBS)[0], agent.predict(OBS)[0])
    assert weights(again) == weights(agent)
    again.learn(64).close()
    agent.close()


@every_agent
def test_loading_without_the_encoder_says_so(name, tmp_path):
    small(name).save(tmp_path / "agent")
    with pytest.raises(RobolearnError, match=r"made by 'squares', which is not saved.*encoder="):
        load(tmp_path / "agent")
    assert {path.suffix for path in (tmp_path / "agent").iterdir()} == {".json", ".safetensors"}


def test_loading_with_an_encoder_that_was_not_there_says_so(tmp_path):
    build("ppo").save(tmp_path / "agent")
    with pytest.raises(RobolearnError, match=r"has no encoder of yours, got squares"):
        load(tmp_path / "agent", encoder=squares)


def test_the_policy_sees_what_the_encoder_returns():
    # Squares tell no sign: the mirrored observation gives the same action and value.
    agent = PPO("CartPole-v1", replace(SMALL["ppo"], normalize_obs=False), encoder=squares)
    np.testing.assert_array_equal(agent.value(OBS), agent.value(-OBS))
    assert not np.array_equal(agent.value(OBS), agent.value(2 * OBS))
    plain = PPO("CartPole-v1", replace(SMALL["ppo"], normalize_obs=False))
    assert not np.array_equal(plain.value(OBS), plain.value(-OBS))


def test_the_seed_of_the_agent_decides_the_encoders_first_weights():
    one, same, other = (weights(small("ppo", seed=seed)) for seed in (0, 0, 1))
    assert one == same != other


def test_an_encoder_goes_with_a_memory():
    config = replace(SMALL["ppo"], gru_hidden_size=8)
    agent = PPO("CartPole-v1", config, encoder=squares).learn(128)
    assert agent.predict(OBS)[1].shape == (20, 8)
    agent.close()


def test_what_is_no_image_is_normalized_before_the_encoder_and_images_are_not():
    seen = []

    class Look(nn.Module):
        width = 1

        def forward(self, obs):
            seen.append(obs.detach().clone())
            return obs[..., :1]

    class Pictured(gym.Env):
        observation_space = gym.spaces.Dict(
            {
                "image": gym.spaces.Box(0, 255, (16, 16), np.uint8),
                "speed": gym.spaces.Box(-1e4, 1e4, (1,), np.float32),
            }
        )
        action_space = gym.spaces.Discrete(2)

        def _observe(self):
            speed = self.np_random.normal(1000.0, 10.0, 1).astype(np.float32)
            return {"image": np.full((16, 16), 7, np.uint8), "speed": speed}

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            return self._observe(), {}

        def step(self, action):
            return self._observe(), 1.0, False, False, {}

    agent = PPO(Pictured, SMALL["ppo"], encoder=lambda space, generator: Look()).learn(128)
    obs = {"image": np.full((16, 16), 9, np.uint8), "speed": np.array([1000.0], np.float32)}
    seen.clear()
    agent.predict(obs)
    assert (seen[0][0, :256] == 9).all()
    assert abs(seen[0][0, 256]) < 0.5  # 1000 is the mean, or nearly


def test_a_policy_with_an_own_encoder_learns():
    # The pole's angle and speed are enough; of squares alone no policy could balance.
    class Pole(nn.Module):
        width = 2

        def forward(self, obs):
            return obs[..., 2:]

    config = PPOConfig(num_envs=16, n_steps=64, batch_size=256)
    agent = PPO("CartPole-v1", config, encoder=lambda *_: Pole(), seed=0).learn(40_000)
    assert evaluate(agent, "CartPole-v1", episodes=10).mean > 150
    agent.close()


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: 42, "must return a torch.nn.Module, got int"),
        (lambda: nn.Linear(4, 3), "Linear needs an attribute width, .* got None"),
        (lambda: wide(nn.Linear(4, 3), 5), r"must map observations of shape \(2, 4\) to \(2, 5\)"),
        (lambda: wide(nn.Flatten(0), 4), r"must map .* to \(2, 4\), got \(8,\)"),
    ],
)
def test_an_encoder_that_cannot_be_is_refused(made, message):
    with pytest.raises(RobolearnError, match=message):
        PPO("CartPole-v1", encoder=lambda space, generator: made())


def wide(module, width):
    module.width = width
    return module


@pytest.mark.parametrize("name", [name for name in AGENTS if name in TABULAR])
def test_tables_take_no_encoder(name):
    with pytest.raises(RobolearnError, match="takes no encoder"):
        agent_class(name)("Blackjack-v1", encoder=squares)


def test_the_example_trains_saves_and_loads(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["own_encoder.py", "8192"])  # one rollout of 128 x 64
    runpy.run_path(str(EXAMPLES / "own_encoder.py"), run_name="__main__")
    assert "(20 episodes)" in capsys.readouterr().out


def test_the_examples_class_is_read_back_without_being_given_the_encoder(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    cls = agent_class("own_encoder:LidarPPO")
    agent = cls("robolearn/NavLidar-v0", engine="analytic")
    agent.save(tmp_path / "agent")
    again = load(tmp_path / "agent")
    assert weights(again) == weights(agent)
