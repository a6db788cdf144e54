"""DQN from demonstrations (DQfD; Hester et al., 2018): pretraining, before a step is made."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from robolearn.agents.dqfd import DQfD
from robolearn.buffers.rollout_buffer import Step
from robolearn.config import check_ranges
from robolearn.environments import EnvConfig
from robolearn.evaluation import evaluate
from robolearn.imitation.demos.episodes import Shown
from robolearn.imitation.fitting import TRIALS, Choice, choose
from robolearn.runs.stopping import check_stop


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """Settings of pretraining by demonstrations."""

    pretrain_updates: int = 4_000
    """Gradient steps at most."""
    pretrain_rate: float = 1e-3
    """Adam's learning rate at the start; it falls to 0."""
    enough: float | None = None
    """Mean return in a trial at which pretraining ends; without it all updates are made."""
    try_every: int = 500
    """Gradient steps between two trials of the agent in the environment."""
    try_episodes: int = 25
    """Episodes of a trial; the agent that does best in one is kept."""

    def __post_init__(self) -> None:
        """Refuse numbers that make no sense."""
        counts = ("pretrain_updates", "try_every", "try_episodes")
        ranges: dict[str, tuple[float, float]] = {name: (1, math.inf) for name in counts}
        check_ranges(self, {**ranges, "pretrain_rate": (0, math.inf)})


def add_demonstrations(agent: DQfD, shown: Shown) -> None:
    """Store demonstrations in an agent's replay buffer.

    Args:
        agent: Its ``config.num_demo_transitions`` is the number of steps.
        shown: The demonstrations.
    """
    valid = np.ones(len(shown.reward), dtype=np.bool_)
    steps = Step(shown.obs, shown.reward, shown.next_obs, shown.terminated, shown.done, valid)
    agent.add_demonstrations(steps, shown.action, shown.wanted)


def pretrain(agent: DQfD, config: PretrainConfig, where: EnvConfig) -> Choice:
    """Learn from the demonstrations an agent keeps; what does best in trials is kept.

    Args:
        agent: It was shown some.
        config: Settings.
        where: Where it is tried.

    Raises:
        DivergedError: A number is not finite.
    """

    def steps() -> Iterator[int]:
        for _ in agent.pretrain(config.pretrain_updates, config.pretrain_rate):
            check_stop()
            yield agent.num_updates

    choice = choose(
        agent.online,
        steps(),
        lambda: evaluate(agent, where, episodes=config.try_episodes, seed=TRIALS).mean,
        every=config.try_every,
        target=config.enough,
    )
    agent.target.load_state_dict(agent.online.state_dict())
    return choice
