"""How much memory DQN takes for 50,000 images of 84 x 84 x 4 bytes, and how large a checkpoint is.

``python -m benchmarks.replay_memory [--steps 50000]``; some minutes, and as much disk as memory.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from robolearn.agents.dqn import DQN, DQNConfig
from robolearn.agents.saving import save_learning

PAGE = 4096  # bytes


class RandomImages(gym.Env):
    """Random images; an episode has 200 steps."""

    observation_space = spaces.Box(0, 255, (84, 84, 4), np.uint8)
    action_space = spaces.Discrete(4)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed)
        self._step = 0
        return self._image(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Show another image; every step earns 1."""
        self._step += 1
        return self._image(), 1.0, self._step >= 200, False, {}

    def _image(self) -> np.ndarray:
        return self.np_random.integers(0, 256, (84, 84, 4), dtype=np.uint8)


def resident_gb() -> float:
    """Return the resident memory of this process, in GB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / 1e9


def main() -> None:
    """Fill the replay buffer, learn a little, save, and print what that took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=50_000)
    steps = parser.parse_args().steps
    config = DQNConfig(
        num_envs=8, buffer_size=steps, learning_starts=steps - 1000, batch_size=32, gradient_steps=1
    )
    agent = DQN(RandomImages, config, device="cpu")
    print(f"before: {resident_gb():.2f} GB resident")
    agent.learn(steps)
    print(f"after {steps:,} steps: {resident_gb():.2f} GB resident")
    with tempfile.TemporaryDirectory() as folder:
        save_learning(agent, Path(folder) / "agent", {})
        size = sum(file.stat().st_size for file in (Path(folder) / "agent").iterdir())
    print(f"after saving: {resident_gb():.2f} GB resident, a checkpoint of {size / 1e9:.2f} GB")
    agent.close()


if __name__ == "__main__":
    main()
