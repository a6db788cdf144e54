"""An agent of your own: the cross-entropy method on a linear policy (Mannor et al., 2003).

In this folder, or with it on PYTHONPATH, all commands take it by name:

    robolearn train own_agent:CrossEntropy --env CartPole-v1 --steps 60000 --run runs/own
    robolearn eval runs/own
    robolearn compare own_agent:CrossEntropy ppo --env CartPole-v1 --out runs/compared

``BaseAgent`` adds seeds, saving, exact resume, ``predict``, ``learn`` and the environments.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robolearn import evaluate
from robolearn.agents.base import BaseAgent
from robolearn.agents.saving import Parts
from robolearn.collect.collector import Collector
from robolearn.collect.device_collector import AnyCollector
from robolearn.spaces import action_width, flat_size, to_env_action


@dataclass(frozen=True, kw_only=True)
class CrossEntropyConfig:
    """Hyper-parameters of :class:`CrossEntropy`; each is an option of ``robolearn train``."""

    num_envs: int = 32
    """Candidates of an iteration; each plays one episode in an environment of its own."""
    elite_fraction: float = 0.2
    """Part of the candidates the next ones are drawn around."""
    noise: float = 0.1
    """Standard deviation added to that of the elite, so that the search does not end early."""
    max_steps: int = 500
    """Steps after which an episode is cut."""


class SearchDistribution(nn.Module):
    """Independent normals over the weights of a linear policy. Shapes (D + 1, A)."""

    mean: Tensor
    std: Tensor

    def __init__(self, inputs: int, actions: int) -> None:
        """Begin with standard normals."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(inputs + 1, actions))
        self.register_buffer("std", torch.ones(inputs + 1, actions))


def scores(weights: Tensor, obs: Tensor) -> Tensor:
    """Return the score of each action. Shape (N, A), for (D + 1, A) or (N, D + 1, A) weights."""
    one = torch.ones(len(obs), 1)
    return (torch.cat([obs, one], dim=1)[:, None] @ weights).squeeze(1)


class CrossEntropy(BaseAgent[CrossEntropyConfig]):
    """Draws policies, keeps the best, and draws the next ones around them."""

    name = "cross-entropy"
    Config = CrossEntropyConfig
    discrete_only = True

    def _build(self, weights: torch.Generator) -> None:
        inputs, actions = flat_size(self.envs.observation_space), action_width(self._actions)
        self.search = SearchDistribution(inputs, actions)

    def training_iteration(
        self, collector: AnyCollector, progress_remaining: float
    ) -> dict[str, float]:
        """Return metrics of an iteration: play, and move towards the best."""
        assert isinstance(collector, Collector)
        config, search = self.config, self.search
        noise = torch.randn(config.num_envs, *search.mean.shape, generator=self._rng)
        candidates = search.mean + search.std * noise
        returns = self._returns(collector, candidates)
        count = max(2, round(config.elite_fraction * config.num_envs))
        elite = candidates[np.argsort(returns)[-count:].copy()]
        search.mean.copy_(elite.mean(dim=0))
        search.std.copy_(elite.std(dim=0) + config.noise)
        return {"train/elite_return": float(np.sort(returns)[-count:].mean())}

    def _returns(self, collector: Collector, candidates: Tensor) -> np.ndarray:
        """Return what each candidate gets in one episode. Shape (N,)."""
        collector.restart()
        total, playing = np.zeros(len(candidates)), np.ones(len(candidates), np.bool_)
        for _ in range(self.config.max_steps):
            obs = torch.from_numpy(collector.obs)
            action = scores(candidates, obs).argmax(dim=1).numpy()
            step = collector.step(to_env_action(self._actions, action))
            self.steps += len(candidates)
            total += np.where(playing, step.reward, 0.0)
            playing &= ~step.done
            if not playing.any():
                break
        return total

    def _act(
        self, obs: Tensor, state: Any, episode_start: Any, deterministic: bool
    ) -> tuple[Tensor, Any]:
        return scores(self.search.mean, obs).argmax(dim=1), state

    def parts(self) -> Parts:
        """Return what changes while it learns: all of it is saved, and read back."""
        return Parts(
            modules={"search": self.search},
            optimizer=None,
            generators={"train": self._rng, "play": self._predict_rng},
            counters=("steps",),
        )


if __name__ == "__main__":
    agent = CrossEntropy("CartPole-v1", seed=0).learn(60_000, progress=True)
    print(evaluate(agent, "CartPole-v1", episodes=20))
    agent.close()
