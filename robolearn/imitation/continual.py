"""Learning task after task from experts, without forgetting the earlier ones."""

from collections.abc import Sequence
from copy import deepcopy
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from robolearn.agents.ppo import PPO
from robolearn.environments import EnvConfig
from robolearn.errors import RobolearnError
from robolearn.evaluation import evaluate
from robolearn.imitation.clone import cloning_loss
from robolearn.imitation.fitting import fit
from robolearn.imitation.keeping import Acting, ContinualConfig, Keeper, new_keeper


class Task(NamedTuple):
    """S samples of what an expert does."""

    env: EnvConfig
    """Where, and where what is learned of it is measured."""
    obs: Tensor
    """Shape (S, D)."""
    action: Tensor
    """What the expert wanted, as policies have it. Shape (S,) int64 or (S, A)."""
    expert: float
    """The expert's mean return there."""


class Record(NamedTuple):
    """How K tasks went, learned one after the other."""

    scores: np.ndarray
    """[i, j]: of task j after learning 0..i; 0 as untrained, 1 as the expert. Shape (K, K)."""
    untrained: np.ndarray
    """Mean returns before learning. Shape (K,)."""


def learn_in_turn(
    agent: PPO, tasks: Sequence[Task], config: ContinualConfig, *, seed: int, episodes: int = 50
) -> Record:
    """Let an agent's policy learn tasks one after the other; it is measured on all after each.

    Its normaliser learns the moments of the first task and stays: a change would be forgotten by
    no penalty. Its critic learns nothing.

    Args:
        agent: Without a memory; its spaces are those of all tasks.
        tasks: In their order, at least two.
        config: Settings.
        seed: Shuffles, and draws what is kept.
        episodes: Of a measurement, on test layouts where there are such.

    Raises:
        RobolearnError: An agent with a memory.
        DivergedError: A loss or gradient is not finite.
    """
    if agent.net.memory is not None:
        raise RobolearnError(f"The agent must have no memory, got memory={agent.config.memory}.")
    rng = torch.Generator(agent.device).manual_seed(seed)
    everything = torch.ones(len(tasks[0].obs), dtype=torch.bool, device=agent.device)
    agent.net.perception.learn_moments(tasks[0].obs, everything)
    keeper = new_keeper(agent.net, config, rng)

    def measured() -> list[float]:
        where = [task.env.held_out("test") for task in tasks]
        return [evaluate(agent, env, episodes=episodes).mean for env in where]

    untrained = measured()
    returns = []
    for task in tasks:
        _learn(agent, task, keeper, config, rng)
        returns.append(measured())
    expert = np.array([task.expert for task in tasks])
    return Record(normalised(np.array(returns), np.array(untrained), expert), np.array(untrained))


def _learn(
    agent: PPO, task: Task, keeper: Keeper, config: ContinualConfig, rng: torch.Generator
) -> None:
    """Clone an expert with a penalty. A copy learns: the agent's optimiser keeps its parameters."""
    net = deepcopy(agent.net)
    acting = Acting(net)

    def loss(rows: Tensor) -> Tensor:
        cloning = cloning_loss(net, acting(task.obs[rows]), task.action[rows])
        return cloning + keeper.penalty(acting)

    steps = fit(
        acting,
        loss,
        len(task.obs),
        updates=config.updates,
        batch=config.batch,
        learning_rate=config.continual_rate,
        rng=rng,
    )
    for _ in steps:
        pass
    agent.net.load_state_dict(net.state_dict())
    keeper.remember(acting, task.obs)


def normalised(returns: np.ndarray, untrained: np.ndarray, expert: np.ndarray) -> np.ndarray:
    """Return scores that are 0 for the untrained and 1 for the expert's return of each task.

    Args:
        returns: Shape (..., K).
        untrained: Shape (K,).
        expert: Shape (K,).
    """
    return (returns - untrained) / (expert - untrained)


def average(scores: np.ndarray) -> float:
    """Return the mean score of all tasks in the end. Shape (K, K), rows after each task."""
    return float(scores[-1].mean())


def forgetting(scores: np.ndarray) -> float:
    """Return how far tasks but the last fell from their best (Chaudhry et al., 2018, eq. 3).

    The mean over j < K - 1 of max_i R[i, j] - R[K - 1, j]. Shape (K, K), rows after each task.
    """
    return float((scores.max(axis=0) - scores[-1])[:-1].mean())


def forward_transfer(scores: np.ndarray, untrained: np.ndarray) -> float:
    """Return how much better tasks begin for those before (Lopez-Paz & Ranzato, 2017, eq. 4).

    The mean over i > 0 of R[i - 1, i] minus the untrained score of i.

    Args:
        scores: Shape (K, K), rows after each task.
        untrained: Scores before any. Shape (K,).
    """
    return float((scores.diagonal(offset=1) - untrained[1:]).mean())
