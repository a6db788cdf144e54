"""An encoder of your own: a circular convolution over the beams of a lidar.

    python examples/own_encoder.py [STEPS]

From the command line the class is an agent of its own, with the encoder in it:

    robolearn train own_encoder:LidarPPO --env robolearn/NavLidar-v0 --engine analytic
"""

import sys
import tempfile
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from robolearn import PPO, evaluate, load

ENV = "robolearn/NavLidar-v0"
BEAMS = 36  # the first entries of an observation, all around the robot


class LidarEncoder(nn.Module):
    """Convolves the beams as the ring they are; the rest of the observation stays as it is."""

    def __init__(self, others: int) -> None:
        """Expect ``others`` entries after the beams."""
        super().__init__()
        how: dict[str, Any] = {"kernel_size": 5, "padding": 2, "padding_mode": "circular"}
        self.ring = nn.Sequential(
            nn.Conv1d(1, 16, stride=2, **how),
            nn.ReLU(),
            nn.Conv1d(16, 8, stride=2, **how),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.width = 8 * BEAMS // 4 + others
        """Number of features; agents ask for it."""

    def forward(self, obs: Tensor) -> Tensor:
        """Return features of flat observations. Shape (..., width) for (..., D)."""
        beams = obs[..., :BEAMS].reshape(-1, 1, BEAMS)
        features = self.ring(beams).reshape(*obs.shape[:-1], -1)
        return torch.cat([features, obs[..., BEAMS:]], dim=-1)


def lidar_encoder(space: gym.Space, generator: torch.Generator) -> nn.Module:
    """Return an encoder for an observation space; ``seed=`` of the agent seeds its weights."""
    return LidarEncoder(gym.spaces.flatdim(space) - BEAMS)


class LidarPPO(PPO):
    """PPO with this encoder, for the command line."""

    def __init__(self, env: Any, config: Any = None, **options: Any) -> None:
        """Build the agent."""
        super().__init__(env, config, encoder=lidar_encoder, **options)


if __name__ == "__main__":
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 300_000
    agent = PPO(ENV, engine="analytic", encoder=lidar_encoder, seed=0)
    agent.learn(steps, progress=True)
    with tempfile.TemporaryDirectory() as folder:
        agent.save(folder + "/agent")
        again = load(folder + "/agent", encoder=lidar_encoder)  # a function is not saved
    assert again.predict(np.zeros(41, np.float32))[0].shape == (2,)
    print(evaluate(again, ENV, engine="analytic", episodes=20))
    agent.close()
