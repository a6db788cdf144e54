"""Learning task after task from experts, without forgetting the earlier ones."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from robolearn.accelerate import one_thread
from robolearn.agents.ppo import PPO
from robolearn.environments import SEED_SPACING, EnvConfig, TrainingEnvs
from robolearn.errors import RobolearnError
from robolearn.evaluation import evaluate, evaluate_made
from robolearn.imitation.clone import cloning_loss, tensors
from robolearn.imitation.demos.episodes import Demonstrations
from robolearn.imitation.demos.experts import expert_named
from robolearn.imitation.demos.waves import Waves
from robolearn.imitation.fitting import fit
from robolearn.imitation.keeping import Acting, ContinualConfig, Keeper, new_keeper
from robolearn.imitation.transfer import require_same_spaces

_EXPERT_EPISODES = 100
"""Of measuring an expert."""


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


def shown_by_expert(
    agent: PPO,
    env: EnvConfig,
    *,
    steps: int,
    noise: float = 0.5,
    expert: str = "expert",
    seed: int = 0,
) -> Task:
    """Record an expert and return what there is to learn of it.

    Args:
        agent: Who is to learn it.
        env: Where.
        steps: Samples; more of them are recorded, to the end of episodes, and left out.
        noise: How much the expert's actions are disturbed, while what it wanted is kept.
        expert: See :func:`robolearn.imitation.demos.experts.expert_named`.
        seed: Of the environments.

    Raises:
        RobolearnError: Nobody is an expert there, or other spaces than the agent's.
    """
    require_same_spaces(agent.envs, TrainingEnvs.of(env, None, {}))
    shows = expert_named(expert, env)
    waves, episodes, made = Waves(shows, env, noise), [], 0
    first = SEED_SPACING * seed
    try:
        with one_thread():
            while made < steps:
                seeds = range(first + len(episodes), first + len(episodes) + waves.width)
                episodes += waves.record(seeds, lambda *_: None)
                made = sum(map(len, episodes))
    finally:
        waves.close()
    recorded = Demonstrations(
        env=env,
        observation_space=waves.observation_space,
        action_space=waves.action_space,
        episodes=episodes,
    )
    obs, action = (part[:steps] for part in tensors(agent, recorded.steps()))
    there = env.held_out("test")
    reached = evaluate_made(lambda envs: shows.make(envs, 0), there, episodes=_EXPERT_EPISODES)
    return Task(env, obs, action, reached.mean)


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

    Its normalizer learns the moments of the first task and stays: a change would be forgotten by
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
        raise RobolearnError(
            f"The agent must have no GRU, got gru_hidden_size={agent.config.gru_hidden_size}."
        )
    rng = torch.Generator(agent.device).manual_seed(seed)
    agent.net.encoder.update_normalization(tasks[0].obs, even_frozen=True)
    keeper = new_keeper(agent.net, config, rng)

    def measured() -> list[float]:
        where = [task.env.held_out("test") for task in tasks]
        return [evaluate(agent, env, episodes=episodes).mean for env in where]

    untrained = measured()
    returns = []
    for task in tasks:
        _learn(agent, task, keeper, config, rng)
        returns.append(measured())
    agent.set_reference_policy()
    expert = np.array([task.expert for task in tasks])
    return Record(normalized(np.array(returns), np.array(untrained), expert), np.array(untrained))


def _learn(
    agent: PPO, task: Task, keeper: Keeper, config: ContinualConfig, rng: torch.Generator
) -> None:
    """Clone an expert with a penalty."""
    acting = Acting(agent.net)

    def loss(rows: Tensor) -> Tensor:
        cloning = cloning_loss(agent.net, acting(task.obs[rows]), task.action[rows])
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
    keeper.remember(acting, task.obs)


def normalized(returns: np.ndarray, untrained: np.ndarray, expert: np.ndarray) -> np.ndarray:
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

    The mean over j < K - 1 of max_(i < K - 1) R[i, j] - R[K - 1, j]; negative where
    they gained. Shape (K, K), rows after each task.
    """
    return float((scores[:-1].max(axis=0) - scores[-1])[:-1].mean())


def forward_transfer(scores: np.ndarray, untrained: np.ndarray) -> float:
    """Return how much better tasks begin for those before (Lopez-Paz & Ranzato, 2017, eq. 4).

    The mean over i > 0 of R[i - 1, i] minus the untrained score of i.

    Args:
        scores: Shape (K, K), rows after each task.
        untrained: Scores before any. Shape (K,).
    """
    return float((scores.diagonal(offset=1) - untrained[1:]).mean())
