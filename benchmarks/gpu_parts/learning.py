"""Seconds of training until a task is solved, by PPO that learns where the simulation is."""

import sys
import time
from dataclasses import dataclass
from typing import Any

from benchmarks.gpu_parts.common import Judge, Rows, Setting, found
from robolearn.agents.ppo import PPO, PPOConfig
from robolearn.collect.cuda_graph import NUM_WARMUP
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
            n_steps=32,
            batch_size=4 * num_envs,
            n_epochs=4,
            gamma=0.995,
            hidden_sizes=(128, 128),
            activation="relu",
            log_scale_obs=True,
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
        PPOConfig(num_envs=1_024, n_steps=32, batch_size=4_096, n_epochs=5, learning_rate=3e-3),
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
            n_steps=64,
            batch_size=8_192,
            n_epochs=5,
            gamma=0.995,
            learning_rate=2e-3,
            ent_coef=0.005,
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


def solve(
    problem: Problem, seed: int, device: str, compile: str, *, ready: bool = False
) -> dict[str, Any]:
    """Train until the problem is solved, or to the end of its steps.

    Args:
        problem: What is to be solved.
        seed: Of the agent.
        device: Where.
        compile: See ``BaseAgent``.
        ready: Before the clock starts all is compiled and captured, by learning that is forgotten.

    Returns:
        Whether it was solved, steps and iterations made, the best score, seconds of training.
    """
    agent = PPO(problem.env, problem.config, seed=seed, device=device, compile=compile)
    judge = Judge(agent, problem.env.held_out("test"), 256)
    if ready:
        _get_ready(agent)
    spent = best = 0.0
    made = 0
    reports = agent.iterate(problem.steps)
    while True:
        began = time.perf_counter()
        if next(reports, None) is None:
            break
        spent += time.perf_counter() - began
        made += 1
        if made % problem.every == 0 or agent.steps >= problem.steps:
            score = judge.look()[problem.by_success]
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
    }


def _get_ready(agent: PPO) -> None:
    """Let an agent learn until its iteration is captured, and put all back but its random streams.

    In place, for a graph knows where things lie.
    """
    before = {name: tensor.clone() for name, tensor in agent.net.state_dict().items()}
    facts, arrays = agent.collector.snapshot() or ({}, {})
    agent.learn((NUM_WARMUP + 1) * agent.config.rollout_size)
    agent.net.load_state_dict(before)
    agent.collector.resume(facts, arrays)
    agent.parts().optimizer.load_state_dict({})  # type: ignore[union-attr]
    agent.parts().keepers["rollout"].state()["latent"].zero_()
    agent.steps = 0


def problems(setting: Setting, chosen: tuple[Problem, ...]) -> Rows:
    """Solve some problems, each with several seeds."""
    for problem in chosen:
        seeds = range(setting.size(problem.seeds, 1))
        if setting.quick:
            small = PPOConfig(num_envs=8, n_steps=8, batch_size=32)
            problem = Problem(**{**problem.__dict__, "config": small, "steps": 128, "every": 1})
        told = []
        for seed in seeds:
            told.append(solve(problem, seed, str(setting.device), "auto", ready=True))
            print(problem.name, told[-1], file=sys.stderr, flush=True)
        solved = [one for one in told if one["solved"]]
        told_of, note = f"{len(solved)} of {len(told)} seeds", ""
        if solved:
            slowest, most = (max(one[name] for one in solved) for name in ("seconds", "steps"))
            told_of += f", the slowest in {slowest:.2f} s"
            note = f"{most:,} steps at most; after compiling and capturing"
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
