"""``robolearn eval RUN|expert``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from robolearn.agents.load import load_agent
from robolearn.commands.common import parse, print_json
from robolearn.commands.env_options import parse_env_kwargs, parse_randomization
from robolearn.environments import EnvConfig
from robolearn.errors import RobolearnError
from robolearn.evaluation import Evaluation, evaluate, evaluate_made
from robolearn.imitation.experts import expert_for

EXPERT = "expert"


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Run a trained agent, or an environment's expert, and print how well it does."""

    run: Annotated[str, tyro.conf.Positional]
    """Run folder (its best checkpoint), checkpoint folder, or the word expert."""
    episodes: int = 100
    """How many episodes."""
    env: str | None = None
    """Another environment than the one it was trained in; an expert needs one."""
    engine: str | None = None
    """Another engine: mujoco, bullet or analytic."""
    domain_randomization: tuple[str, ...] = ()
    """Other domain randomization than it was trained with: a number, or FIELD=LOW:HIGH."""
    env_kwargs: tuple[str, ...] = ()
    """Other keyword arguments of the environment, as NAME=VALUE."""
    level: int | None = None
    """Of navigation: another level than it was trained on."""
    split: str | None = None
    """Of navigation: layouts for train, val or test; without it test."""
    seed: int = 0
    """Of the evaluation."""
    json: bool = False
    """Print one JSON object instead of words."""


def main(arguments: Sequence[str]) -> int:
    """Evaluate."""
    options = parse(EvaluateOptions, arguments, "eval")
    asked = {
        "domain_randomization": parse_randomization(options.domain_randomization),
        "level": options.level,
        "split": options.split,
    }
    changes = {name: value for name, value in asked.items() if value is not None}
    changes |= parse_env_kwargs(options.env_kwargs)
    env, result = _run(options, changes)
    if options.json:
        facts = {"run": options.run, "env": env.id, "engine": env.engine, **env.kwargs}
        print_json({**facts, **result.summary()})
    else:
        how = ", ".join(f"{name} {value}" for name, value in env.kwargs.items())
        place = f"{env.id} on {env.engine or 'its default engine'}"
        print(f"{place}{f' ({how})' if how else ''}: {result}")
    return 0


def _run(options: EvaluateOptions, changes: dict[str, Any]) -> tuple[EnvConfig, Evaluation]:
    """Return where the controller was run, and how well it did."""
    if options.run != EXPERT:
        agent = load_agent(Path(options.run))
        env = agent.envs.elsewhere(options.env, options.engine, changes)
        return env, evaluate(agent, env, episodes=options.episodes, seed=options.seed)
    if options.env is None:
        raise RobolearnError("An expert of what? Add --env, e.g. --env robolearn/NavLidar-v0.")
    env = EnvConfig(id=options.env, engine=options.engine, kwargs=changes)
    env = env.held_out(options.split or "test")
    return env, evaluate_made(expert_for, env, episodes=options.episodes, seed=options.seed)
