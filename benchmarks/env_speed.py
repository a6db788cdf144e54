"""Environment steps per second through the public ``RoboVectorEnv.step``, in one interleaved run.

Reward, autoreset and final observations are included; actions are drawn beforehand. Ratios are
against Gymnasium's ``InvertedPendulum-v5`` in a synchronous vector of 64, timed in the same run.

    python -m benchmarks.env_speed --out benchmarks/results/env_speed
"""

import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tyro
from gymnasium.vector import VectorEnv

import robolearn_envs  # noqa: F401 - registers the environments
from benchmarks.results import Table, write_results

BASELINE = "gymnasium InvertedPendulum-v5, sync"

NAVIGATION = (
    ("NavLidar-v0", "analytic", 256),
    ("NavLidar-v0", "mujoco", 256),
    ("NavLidar-v0", "bullet", 256),
    ("NavRover-v0", "mujoco", 256),
    ("NavRover-v0", "bullet", 64),
    ("NavDepth-v0", "analytic", 64),
    ("NavDepth-v0", "mujoco", 32),
    ("NavDepth-v0", "bullet", 32),
)
"""Task, engine and number of environments."""
COMPILED = (
    ("CartPoleBalance-v0", 1024),
    ("CartPoleSwingUp-v0", 1024),
    ("NavLidar-v0", 256),
    ("NavDepth-v0", 64),
)
"""Task and number of environments of the closed form on torch, compiled, on one thread."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Time the environments."""

    seconds: float = 1.0
    """Time of one measurement."""
    repeats: int = 5
    """Measurements of each row, interleaved."""
    out: Path | None = None
    """Where to write .json and .md; without it only the terminal."""


def rows() -> dict[str, VectorEnv]:
    """Return the environments to time, by label."""
    found: dict[str, VectorEnv] = {
        BASELINE: gym.make_vec("InvertedPendulum-v5", num_envs=64, vectorization_mode="sync")
    }
    for task in ("CartPoleBalance-v0", "CartPoleSwingUp-v0", "CartPoleDMC-v0"):
        for engine, num_envs in (("analytic", 1024), ("mujoco", 1024), ("bullet", 64)):
            if task == "CartPoleDMC-v0" and engine != "mujoco":
                continue
            found[f"{task}, {engine}"] = gym.make_vec(
                f"robolearn/{task}", num_envs=num_envs, engine=engine, autoreset_mode="SameStep"
            )
    for task, engine, num_envs in NAVIGATION:
        found[f"{task} level 2, {engine}"] = gym.make_vec(
            f"robolearn/{task}",
            num_envs=num_envs,
            engine=engine,
            autoreset_mode="SameStep",
            level=2,
        )
    for task, num_envs in COMPILED:
        leveled: dict[str, Any] = {"level": 2} if task.startswith("Nav") else {}
        found[f"{task}{' level 2' if leveled else ''}, torch, compiled"] = gym.make_vec(
            f"robolearn/{task}",
            num_envs=num_envs,
            engine="torch",
            compile_step=True,
            autoreset_mode="SameStep",
            **leveled,
        )
    return found


def steps_per_second(envs: VectorEnv, actions: list[np.ndarray], seconds: float) -> float:
    """Step for a while and return environment steps per second."""
    began, steps = time.perf_counter(), 0
    while (passed := time.perf_counter() - began) < seconds:
        envs.step(actions[steps // envs.num_envs % len(actions)])
        steps += envs.num_envs
    return steps / passed


def main(options: Options) -> None:
    """Time every row in turn, ``repeats`` times over."""
    torch.set_num_threads(1)
    envs = rows()
    actions: dict[str, list[np.ndarray]] = {}
    for label, env in envs.items():
        env.reset(seed=0)
        env.action_space.seed(0)
        actions[label] = [env.action_space.sample() for _ in range(16)]
        env.step(actions[label][0])  # those that are compiled take half a minute
        steps_per_second(env, actions[label], 0.2)  # warm up
    rates: dict[str, list[float]] = {label: [] for label in envs}
    for _ in range(options.repeats):
        for label, env in envs.items():
            rates[label].append(steps_per_second(env, actions[label], options.seconds))
    table = Table("environment", "envs", "steps/s (median)", "ratio (median)", "ratio (min)")
    for label, own in rates.items():
        ratios = [a / b for a, b in zip(own, rates[BASELINE], strict=True)]
        table.add(
            label,
            str(envs[label].num_envs),
            f"{statistics.median(own):,.0f}",
            f"{statistics.median(ratios):.1f}x",
            f"{min(ratios):.1f}x",
        )
    for env in envs.values():
        env.close()
    write_results(options.out, table, {"rates": rates})


if __name__ == "__main__":
    main(tyro.cli(Options))
