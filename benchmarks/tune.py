r"""Tries hyper-parameters: this is how the table in ``robolearn/agents/defaults.py`` was found.

    python -m benchmarks.tune ppo LunarLander-v3 --steps 1000000 \
        --try '{gamma: 0.999, entropy: 0.01}' '{gamma: 0.99}' --seeds 0 1 2

Each setting, in YAML, goes over what the agent's config says; the table itself is left out unless
``--over-table``. Greedy episodes on held-out seeds, the best settings first.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Annotated, Any

import tyro
import yaml

from benchmarks.results import Table
from robolearn.agents import agent_class
from robolearn.agents.defaults import default_total_steps, tuned
from robolearn.environments import EnvConfig
from robolearn.evaluation import evaluate


@dataclass(frozen=True, kw_only=True)
class Options:
    """Train with each setting and each seed."""

    agent: tyro.conf.Positional[str]
    """Its name."""
    env: tyro.conf.Positional[str]
    """Gymnasium id."""
    settings: Annotated[tuple[str, ...], tyro.conf.arg(name="try")] = ("{}",)
    """Hyper-parameters to try, each a YAML mapping."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of the trainings."""
    steps: int | None = None
    """Environment steps; None for the usual ones."""
    engine: str | None = None
    """Physics engine."""
    kwargs: str = "{}"
    """Keyword arguments of the environment, a YAML mapping."""
    over_table: bool = False
    """Put the settings over the table's own."""


def score(options: Options, hyper: Mapping[str, Any], seed: int) -> tuple[float, float]:
    """Return the mean return of 100 episodes after training, and the training's seconds."""
    kwargs = yaml.safe_load(options.kwargs)
    env = EnvConfig(id=options.env, engine=options.engine, kwargs=kwargs)
    cls = agent_class(options.agent)
    began = time.perf_counter()
    agent = cls(env, cls.Config(**hyper), seed=seed)
    agent.learn(options.steps or default_total_steps(options.agent, options.env))
    agent.close()
    seconds = time.perf_counter() - began
    return evaluate(agent, env.held_out("val"), episodes=100, seed=1).mean, seconds


def main(options: Options) -> None:
    """Try all settings."""
    table = tuned(options.agent, options.env) if options.over_table else {}
    found = []
    for text in options.settings:
        scores = []
        for seed in options.seeds:
            scores.append(score(options, table | yaml.safe_load(text), seed))
            mean, seconds = scores[-1]
            print(f"{text} seed {seed}: {mean:.1f} in {seconds:.0f} s", flush=True)
        found.append((fmean(mean for mean, _ in scores), text, scores))
    made = Table("setting", "mean return", "by seed", "time")
    for mean, text, scores in sorted(found, reverse=True):
        by_seed = " ".join(f"{one:.1f}" for one, _ in scores)
        made.add(text, f"{mean:.1f}", by_seed, f"{max(s for _, s in scores):.0f} s at most")
    print(made)


if __name__ == "__main__":
    main(tyro.cli(Options))
