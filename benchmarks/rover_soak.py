"""A long drive of the rover under random actions: does its physics stay finite and upright?

python -m benchmarks.rover_soak --out benchmarks/results/rover_soak
"""

import time
from dataclasses import dataclass
from pathlib import Path

import gymnasium as gym
import numpy as np
import tyro

import robolearn_envs  # noqa: F401 - registers the environments
from benchmarks.results import Table, write_results
from robolearn_envs.robots import DiffDriveRobot


@dataclass(frozen=True, kw_only=True)
class Options:
    """Drive the rover about at random."""

    steps: int = 1_000_000
    """Environment steps on each engine, of 0.1 s and ten physics steps each."""
    engines: tuple[str, ...] = ("mujoco", "bullet")
    """Which engines; Bullet makes some 500 steps a second, MuJoCo 10,000."""
    num_envs: int = 64
    """Rovers at a time."""
    level: int = 3
    """Of the arena."""
    domain_randomization: float = 0.2
    """Of masses, motors and readings."""
    hold: int = 5
    """Environment steps each random action is held for."""
    seed: int = 0
    """Of the first episode and of the actions."""
    out: Path | None = None
    """Where to write .json and .md; without it only the terminal."""


def soak(engine: str, options: Options) -> dict[str, float]:
    """Return what was seen on one engine."""
    envs = gym.make_vec(
        "robolearn/NavRover-v0",
        num_envs=options.num_envs,
        engine=engine,
        level=options.level,
        domain_randomization=options.domain_randomization,
        autoreset_mode="SameStep",
    )
    envs.reset(seed=options.seed)
    rng = np.random.default_rng(options.seed)
    actions = np.zeros((options.num_envs, 2), dtype=np.float32)
    began = time.perf_counter()
    seen = {"steps": 0, "episodes": 0, "not finite": 0, "tipped over": 0, "off its wheels": 0}
    for step in range(-(-options.steps // options.num_envs)):
        if step % options.hold == 0:
            actions = rng.uniform(-1, 1, (options.num_envs, 2)).astype(np.float32)
        observation, reward, terminated, truncated, _ = envs.step(actions)
        qpos, qvel = envs.unwrapped.qpos_qvel()  # type: ignore[attr-defined]
        finite = np.isfinite(np.hstack([observation, reward[:, None], qpos, qvel])).all(axis=1)
        seen["steps"] += options.num_envs
        seen["episodes"] += int((terminated | truncated).sum())
        seen["not finite"] += int((~finite).sum())
        seen["tipped over"] += int(DiffDriveRobot().has_tipped_over(qpos).sum())
        seen["off its wheels"] += int(
            (np.abs(qpos[:, 2] - DiffDriveRobot().wheel_radius) > 0.01).sum()
        )
    envs.close()
    return {**seen, "steps/s": seen["steps"] / (time.perf_counter() - began)}


def main(options: Options) -> None:
    """Drive on every engine and print what was seen."""
    found = {engine: soak(engine, options) for engine in options.engines}
    table = Table("engine", *next(iter(found.values())))
    for engine, seen in found.items():
        table.add(engine, *(f"{figure:,.0f}" for figure in seen.values()))
    write_results(options.out, table, found)


if __name__ == "__main__":
    main(tyro.cli(Options))
