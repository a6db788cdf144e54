"""Seconds of training until a task is solved, by PPO that learns where the simulation is."""

import time
from dataclasses import dataclass
from typing import Any

from benchmarks.gpu_parts.common import Rows, Setting, found, greedy
from robolearn.agents.ppo import PPO, PPOConfig
from robolearn.environments import EnvConfig


@dataclass(frozen=True)
class Problem:
    """What is to be solved, and how it is learned."""

    name: str
    env: EnvConfig
    config: PPOConfig
    steps: int
    """Environment steps at most; the learning rate falls to their end."""
    score: float
    """Mean return of the greedy policy that solves it; success where ``by_success``."""
    by_success: bool
    every: int
    """Iterations between looks, which are not counted."""
    seeds: int
    goal: str


def _nav(level: int, goal: str, score: float, num_envs: int, steps: int) -> Problem:
    return Problem(
        f"NavLidar-v0 level {level}",
        EnvConfig(id="robolearn/NavLidar-v0", engine="torch", kwargs={"level": level}),
        PPOConfig(
            num_envs=num_envs,
            rollout_steps=32,
            minibatch=4 * num_envs,
            epochs=4,
            gamma=0.995,
            hidden=(128, 128),
            activation="relu",
            logarithm=True,
        ),
        steps,
        score,
        True,
        10,
        3,
        goal,
    )


PROBLEMS = (
    Problem(
        "CartPoleBalance-v0",
        EnvConfig(id="robolearn/CartPoleBalance-v0", engine="torch"),
        PPOConfig(num_envs=1_024, rollout_steps=32, minibatch=4_096, epochs=5, learning_rate=3e-3),
        1_000_000,
        475.0,
        False,
        2,
        10,
        "<= 1 s",
    ),
    Problem(
        "CartPoleSwingUp-v0",
        EnvConfig(id="robolearn/CartPoleSwingUp-v0", engine="torch"),
        PPOConfig(
            num_envs=1_024,
            rollout_steps=64,
            minibatch=8_192,
            epochs=5,
            gamma=0.995,
            learning_rate=2e-3,
            entropy=0.005,
        ),
        6_000_000,
        0.95,
        True,
        5,
        10,
        "<= 5 s",
    ),
    _nav(2, "<= 15 s", 0.95, 1_024, 6_000_000),
    _nav(4, "<= 60 s", 0.90, 2_048, 12_000_000),
)


def solve(problem: Problem, seed: int, device: str, compile: str) -> dict[str, Any]:
    """Train until the problem is solved, or to the end of its steps.

    Returns:
        Whether it was, steps and iterations made, the best score, seconds of training in all and
        without the iterations before the capture.
    """
    agent = PPO(problem.env, problem.config, seed=seed, device=device, compile=compile)
    judged = problem.env.held_out("test")
    spent = after = best = 0.0
    made = 0
    reports = agent.iterate(problem.steps)
    while True:
        began = time.perf_counter()
        if next(reports, None) is None:
            break
        taken = time.perf_counter() - began
        spent += taken
        made += 1
        after += taken if made > 4 else 0.0
        if made % problem.every == 0 or agent.steps >= problem.steps:
            score = greedy(agent, judged, 256)[problem.by_success]
            best = max(best, score)
            if score >= problem.score:
                break
    return {
        "seed": seed,
        "solved": best >= problem.score,
        "steps": agent.steps,
        "iterations": made,
        "best": best,
        "seconds": spent,
        "seconds_after_capture": after,
    }


def problems(setting: Setting, chosen: tuple[Problem, ...]) -> Rows:
    """Solve some problems, each with several seeds."""
    for problem in chosen:
        seeds = range(setting.size(problem.seeds, 1))
        if setting.quick:
            small = PPOConfig(num_envs=8, rollout_steps=8, minibatch=32)
            problem = Problem(**{**problem.__dict__, "config": small, "steps": 128, "every": 1})
        told = [solve(problem, seed, str(setting.device), "auto") for seed in seeds]
        solved = [one for one in told if one["solved"]]
        told_of, note = f"{len(solved)} of {len(told)} seeds", ""
        if solved:
            slowest, whole, most = (
                max(one[name] for one in solved)
                for name in ("seconds_after_capture", "seconds", "steps")
            )
            told_of += f", the slowest in {slowest:.2f} s"
            note = f"{whole:.2f} s with the capture, {most:,} steps"
        yield (
            found(
                f"{problem.name}, solved at {problem.score:g}",
                told_of,
                problem.goal,
                runs=told,
                note=note,
            )
        )


def poles(setting: Setting) -> Rows:
    """Solve the cart-poles."""
    return problems(setting, PROBLEMS[:2])


def navigation(setting: Setting) -> Rows:
    """Solve navigation."""
    return problems(setting, PROBLEMS[2:])
