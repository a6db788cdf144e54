"""Jump-start (Uchendu et al., 2023): an expert begins each episode, and hands over ever earlier."""

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from robolearn.agents.protocols import Policy, TrainingUpdate
from robolearn.collect.collector import Collector, Episode
from robolearn.config import check_ranges

_JUDGED = 20  # episodes at one horizon before it is judged


@dataclass(frozen=True, kw_only=True)
class JumpStartConfig:
    """Settings of a jump-start."""

    horizon: int = 0
    """Steps of an episode the expert leads at first; 0 for the length of demonstrated ones."""
    stages: int = 10
    """Steps in which it hands over."""
    tolerance: float = 0.1
    """It hands over a step where the latest episodes return at most this part less than its own."""

    def __post_init__(self) -> None:
        """Refuse numbers that make no sense."""
        check_ranges(self, {"horizon": (0, math.inf), "stages": (1, math.inf), "tolerance": (0, 1)})


class JumpStart:
    """The expert, and for how long it leads: a guide of Q-learners."""

    def __init__(self, expert: Policy, horizon: int, score: float, config: JumpStartConfig) -> None:
        """Lead all of an episode at first.

        Args:
            expert: Made for the learner's environments.
            horizon: Steps it leads at first.
            score: What the expert returns by itself.
            config: Settings.
        """
        self._expert, self._memory = expert, None
        self.horizon = horizon
        """Steps of an episode the expert leads."""
        self._stage = math.ceil(horizon / config.stages)
        self._bar = score - config.tolerance * abs(score)
        self._latest: deque[float] = deque(maxlen=_JUDGED)

    def act(self, collector: Collector, actions: np.ndarray) -> np.ndarray:
        """Return the expert's actions where it leads, and the learner's elsewhere."""
        if not self.horizon:
            return actions
        asked, self._memory = self._expert.predict(
            collector.observations, self._memory, collector.starts, deterministic=True
        )
        return np.where(collector.episode_steps < self.horizon, asked, actions)

    def follow(self, reports: Iterator[TrainingUpdate]) -> Iterator[TrainingUpdate]:
        """Pass reports on; hand over where the episodes in them are good enough."""
        for report in reports:
            self._judge(report.episodes)
            figures = {**report.metrics, "rollout/guide_horizon": float(self.horizon)}
            yield report._replace(metrics=figures)

    def _judge(self, episodes: list[Episode]) -> None:
        for episode in episodes:
            self._latest.append(episode.total_reward)
            if len(self._latest) == _JUDGED and float(np.mean(self._latest)) >= self._bar:
                self.horizon = max(self.horizon - self._stage, 0)
                self._latest.clear()
