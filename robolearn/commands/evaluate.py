"""``robolearn eval RUN``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from robolearn.agents.load import load_agent
from robolearn.commands.common import parse, print_json
from robolearn.evaluation import evaluate


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Run a trained agent and print how well it does."""

    run: Annotated[Path, tyro.conf.Positional]
    """Run folder (its best checkpoint) or checkpoint folder."""
    episodes: int = 100
    """How many episodes."""
    env: str | None = None
    """Another environment than the one it was trained in."""
    engine: str | None = None
    """Another engine: mujoco, bullet or analytic."""
    randomize: float | None = None
    """Other domain randomisation than it was trained with."""
    seed: int = 0
    """Of the evaluation."""
    json: bool = False
    """Print one JSON object instead of words."""


def main(arguments: Sequence[str]) -> int:
    """Evaluate."""
    options = parse(EvaluateOptions, arguments, "eval")
    agent = load_agent(options.run)
    changes = {"randomize": options.randomize} if options.randomize is not None else {}
    env = agent.envs.elsewhere(options.env, options.engine, changes)
    result = evaluate(agent, env, episodes=options.episodes, seed=options.seed)
    if options.json:
        print_json(
            {"run": str(options.run), "env": env.id, "engine": env.engine, **result.summary()}
        )
    else:
        print(f"{env.id} on {env.engine or 'its default engine'}: {result}")
    return 0
