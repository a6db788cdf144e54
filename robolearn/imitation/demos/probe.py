"""Whether demonstrations can be learned from: a short cloning, tried in their environment."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv

from robolearn.agents.defaults import default_config
from robolearn.agents.ppo import PPO, PPOConfig
from robolearn.environments import EnvConfig
from robolearn.errors import DivergedError, RobolearnError
from robolearn.evaluation import evaluate_made
from robolearn.imitation.clone import CloneConfig, clone
from robolearn.imitation.demos.episodes import Demonstrations
from robolearn.imitation.demos.findings import Finding
from robolearn.imitation.demos.storage import require_for

EPISODES = 10
"""In which the clone is tried."""
UPDATES = 2_000
"""Gradient steps of the clone."""
ENOUGH = 0.5
"""Part of the way from random actions to the demonstrations that a clone should come."""


class _Random:
    """Acts at random."""

    def __init__(self, envs: VectorEnv, seed: int) -> None:
        self._space = envs.action_space
        self._space.seed(seed)

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, Any]:
        """Return uniformly drawn actions."""
        return np.asarray(self._space.sample()), state


def probe(demos: Demonstrations, *, updates: int = UPDATES, seed: int = 0) -> list[Finding]:
    """Clone what demonstrations show, and say how far that leads in their environment.

    A clone that is no better than random actions is a sign of observations and actions that do not
    belong together, of observations that do not tell enough, or of too few demonstrations.

    Args:
        demos: Without errors.
        updates: Gradient steps.
        seed: Of everything random.
    """
    return list(_probe(demos, updates, seed))


def _probe(demos: Demonstrations, updates: int, seed: int) -> Iterator[Finding]:
    if demos.env is None:
        yield Finding("note", "probe", "not tried: nobody says what environment this is.")
        return
    try:
        reached = _cloned(demos, demos.env, updates, seed)
        random = evaluate_made(
            lambda envs: _Random(envs, seed), demos.env.held_out("val"), episodes=EPISODES, seed=1
        ).mean
    except DivergedError as error:
        yield Finding("warning", "probe", f"a clone of them came to grief: {error}")
        return
    except RobolearnError as error:
        yield Finding("note", "probe", f"not tried: {error}")
        return
    shown = float(demos.returns.mean())
    told = (
        f"a short cloning reaches a return of {reached:.4g} in {EPISODES} episodes; the "
        f"demonstrations have {shown:.4g}, random actions {random:.4g}."
    )
    if shown <= random:
        yield Finding("warning", "probe", f"{told} They show nothing that chance does not.")
    elif reached - random < ENOUGH * (shown - random):
        yield Finding("warning", "probe", f"{told} Are there enough, and do they belong together?")
    else:
        yield Finding("note", "probe", told)


def _cloned(demos: Demonstrations, env: EnvConfig, updates: int, seed: int) -> float:
    """Return the mean return of a clone."""
    usual = default_config(PPOConfig, "ppo", env.id, None)
    agent = PPO(env, replace(usual, gru_hidden_size=0), seed=seed, device="cpu")
    try:
        require_for(demos, agent.envs)
        how = CloneConfig(updates=updates, try_every=updates, try_episodes=EPISODES)
        return clone(agent, demos.steps(), how, seed).score
    finally:
        agent.envs.close()
