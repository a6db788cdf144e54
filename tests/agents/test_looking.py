"""PPO looks at images: in dictionaries, with and without a memory."""

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from robolearn.agents.ppo import PPO, PPOConfig
from robolearn.environments import EnvConfig
from robolearn.evaluation import evaluate

CONFIG = PPOConfig(
    num_envs=16,
    n_steps=16,
    batch_size=64,
    n_epochs=4,
    gamma=0.9,
    hidden_sizes=(16,),
    cnn_features_dim=16,
    learning_rate=2e-3,
)


class BrightSide(gym.Env):
    """The action that names the brighter half of a noisy picture earns 1; 8 steps long."""

    observation_space = spaces.Dict(
        {
            "picture": spaces.Box(0, 255, (16, 20), np.uint8),
            "clock": spaces.Box(0.0, 8.0, (1,), np.float32),
        }
    )
    action_space = spaces.Discrete(2)

    def _observe(self):
        self.side = int(self.np_random.integers(2))
        picture = self.np_random.integers(0, 150, (16, 20), np.uint8)
        picture[:, 10 * self.side : 10 * self.side + 10] += 100
        return {"picture": picture, "clock": np.array([self.steps], np.float32)}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self._observe(), {}

    def step(self, action):
        reward = float(action == self.side)
        self.steps += 1
        return self._observe(), reward, False, self.steps == 8, {}


@pytest.fixture
def side():
    gym.register("tests/BrightSide-v0", BrightSide)
    yield EnvConfig(id="tests/BrightSide-v0")
    gym.registry.pop("tests/BrightSide-v0")


@pytest.mark.slow
@pytest.mark.parametrize("memory", [0, 16], ids=["without-memory", "with-memory"])
def test_what_only_an_image_tells_is_learned(memory, side):
    agent = PPO(side, replace(CONFIG, gru_hidden_size=memory), seed=0).learn(8_000)
    agent.close()
    # Of 8 at best; guessing earns 4.
    assert evaluate(agent, side, episodes=25).mean > 7.8


@pytest.mark.parametrize("memory", [0, 16], ids=["without-memory", "with-memory"])
def test_before_the_first_gradient_step_probabilities_are_those_of_acting(memory, side):
    agent = PPO(
        side, replace(CONFIG, gru_hidden_size=memory, learning_rate=0.0, n_epochs=1), seed=0
    )
    with torch.no_grad():
        agent.net.policy[-1].weight.mul_(500.0)
    for report in agent.iterate(512):  # nothing is learned, so that all steps are first ones
        assert abs(report.metrics["train/approx_kl"]) < 1e-6
        assert report.metrics["train/entropy"] < 0.6  # sharp enough to tell
    agent.close()


def test_vectors_beside_an_image_are_normalized_and_pixels_are_not_counted(side):
    agent = PPO(side, CONFIG, seed=0).learn(2_048)
    agent.close()
    moments = agent.net.encoder.observations
    # The clock shows 0 to 7 before a step: mean 3.5, variance (64 - 1) / 12; first episodes are
    # staggered only where there is a time limit of Gymnasium's.
    assert moments.mean.tolist() == pytest.approx([3.5])
    assert moments.variance.tolist() == pytest.approx([5.25])
    assert moments.count.item() == 2_048


@pytest.mark.slow
@pytest.mark.parametrize("memory", [0, 16], ids=["without-memory", "with-memory"])
def test_an_agent_that_looks_at_images_is_read_back(memory, side, tmp_path):
    agent = PPO(side, replace(CONFIG, gru_hidden_size=memory), seed=0).learn(512)
    agent.close()
    agent.save(tmp_path / "agent")
    copies = [PPO.load(tmp_path / "agent") for _ in range(2)]
    assert copies[0].envs.observation_space == BrightSide.observation_space
    env = BrightSide()
    one, _ = env.reset(seed=0)
    batch = {key: np.stack([part] * 3) for key, part in one.items()}
    for again in copies:
        np.testing.assert_array_equal(again.value(batch), agent.value(batch))
        again.learn(512)
        again.close()
    ours, theirs = (copy.net.state_dict() for copy in copies)
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    single, together = (copies[0].predict(obs, deterministic=True)[0] for obs in (one, batch))
    assert together.tolist() == [int(single)] * 3
