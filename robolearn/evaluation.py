"""Measuring a controller: vectorized, on held-out seeds, unbiased by episode length."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv

from robolearn.accelerate import one_thread
from robolearn.agents.protocols import Policy
from robolearn.collect.collector import Collector, Episode
from robolearn.environments import HELD_OUT, EnvConfig, check_seed
from robolearn.errors import DivergedError, RobolearnError
from robolearn.runs.stopping import check_stop

_MOST_LOST = 10  # times as many as are wanted
_BATCH = 25  # environments at most: few enough for Bullet's memory, enough to be fast


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Episodes of one controller, in a fixed order."""

    returns: np.ndarray
    """Undiscounted returns. Shape (episodes,)."""
    lengths: np.ndarray
    """Steps. Shape (episodes,)."""
    successes: np.ndarray | None
    """Shape (episodes,), bool; None where the environment does not say."""
    details: Mapping[str, np.ndarray]
    """What else the task of a robolearn environment tells, by name. Shapes (episodes,)."""

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(self.returns.mean())

    @property
    def std(self) -> float:
        """Standard deviation of the returns."""
        return float(self.returns.std())

    @property
    def success_rate(self) -> float | None:
        """Part of the episodes that succeeded, None where the environment does not say."""
        return None if self.successes is None else float(self.successes.mean())

    def summary(self) -> dict[str, Any]:
        """Return all figures as JSON can hold them."""
        told = {f"mean_{name}": figure for name, figure in self.means().items()}
        return {**self.scores(), **told}

    def means(self) -> dict[str, float]:
        """Return the means of what the task tells, by name."""
        return {name: float(figures.mean()) for name, figures in self.details.items()}

    def scores(self) -> dict[str, Any]:
        """Return the figures that every environment has."""
        return {
            "episodes": len(self.returns),
            "mean_return": self.mean,
            "std_return": self.std,
            "min_return": float(self.returns.min()),
            "max_return": float(self.returns.max()),
            "mean_length": float(self.lengths.mean()),
            "success_rate": self.success_rate,
        }

    def __str__(self) -> str:
        """Return one line for people."""
        success = "" if self.success_rate is None else f", success {self.success_rate:.0%}"
        named = {"spl": "SPL", "collision": "collisions", "timeout": "timeouts"}
        told = [f", {named[n]} {mean:.2f}" for n, mean in self.means().items() if n in named]
        score = f"return {self.mean:.1f} ± {self.std:.1f}{success}{''.join(sorted(told))}"
        return f"{score} ({len(self.returns)} episodes)"


def evaluate(
    agent: Policy,
    env: str | EnvConfig,
    *,
    engine: str | None = None,
    episodes: int = 100,
    seed: int = 0,
    deterministic: bool = True,
    **env_kwargs: Any,
) -> Evaluation:
    """Run a controller for a fixed number of episodes; see :func:`evaluate_made` for how.

    Args:
        agent: Anything with SB3's ``predict``.
        env: A Gymnasium id or an :class:`EnvConfig`.
        engine: Physics engine, for a robolearn id.
        episodes: How many, at least 1.
        seed: Of the evaluation.
        deterministic: Take the best action instead of drawing one.
        **env_kwargs: Passed on to the environment, for an id.

    Raises:
        RobolearnError: No episodes, a seed out of range, or an environment that cannot be made.
    """
    if not isinstance(env, str) and (engine is not None or env_kwargs):
        raise RobolearnError("engine and environment options go into the EnvConfig given.")
    config = EnvConfig(id=env, engine=engine, kwargs=env_kwargs) if isinstance(env, str) else env
    return evaluate_made(
        lambda _: agent, config, episodes=episodes, seed=seed, deterministic=deterministic
    )


def evaluate_made(
    make: Callable[[VectorEnv], Policy],
    env: EnvConfig,
    *,
    episodes: int = 100,
    seed: int = 0,
    deterministic: bool = True,
) -> Evaluation:
    """Run a controller that is made for the very environments it is evaluated in.

    Every environment of the batch runs its own fixed share of them, so that short episodes are
    not counted more often than long ones (which the first ``episodes`` to finish would be).

    Args:
        make: Returns the controller of some environments.
        env: Where to run it.
        episodes: How many, at least 1.
        seed: Of the evaluation; the environments are seeded ``HELD_OUT + 1000 * seed`` and up.
        deterministic: Take the best action instead of drawing one.

    Raises:
        RobolearnError: No episodes, a seed out of range, or an environment that cannot be made.
    """
    if episodes < 1:
        raise RobolearnError(f"episodes must be at least 1, got {episodes}.")
    check_seed(seed)
    num_envs = min(episodes, _BATCH)
    quota = np.full(num_envs, episodes // num_envs)
    quota[: episodes % num_envs] += 1
    envs = env.make_vec(num_envs)
    try:
        with one_thread():
            collector = Collector(envs, HELD_OUT + 1000 * seed, on_divergence=env.on_divergence)
            finished = _run(make(envs), collector, quota, deterministic)
    finally:
        envs.close()
    successes = [episode.success for episode in finished]
    return Evaluation(
        returns=np.array([episode.total_reward for episode in finished]),
        lengths=np.array([episode.length for episode in finished]),
        successes=None if None in successes else np.array(successes, dtype=np.bool_),
        details={
            name: np.array([episode.info[name] for episode in finished])
            for name in finished[0].info
        },
    )


def _run(
    agent: Policy, collector: Collector, quota: np.ndarray, deterministic: bool
) -> list[Episode]:
    """Return the first ``quota[i]`` episodes of each environment i, by environment and order."""
    taken: list[list[Episode]] = [[] for _ in quota]
    state = None
    while any(len(own) < share for own, share in zip(taken, quota, strict=True)):
        check_stop()
        if collector.num_dropped > _MOST_LOST * quota.sum():
            raise DivergedError(
                f"{collector.num_dropped} episodes of an evaluation broke down, "
                f"{sum(map(len, taken))} of {quota.sum()} came to their end. Check the environment."
            )
        actions, state = agent.predict(
            collector.observations, state, collector.starts, deterministic
        )
        collector.step(actions)
        for episode in collector.pop_episodes():
            if len(taken[episode.env]) < quota[episode.env]:
                taken[episode.env].append(episode)
    return [episode for own in taken for episode in own]
