"""``robolearn list``."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gymnasium.envs.registration import load_env_creator
from rich.console import Console
from rich.table import Column, Table

from robolearn.agents import AGENTS
from robolearn.commands.common import parse, print_json
from robolearn_envs import NAMESPACE, TOY_ENVS
from robolearn_envs.registry import (
    max_episode_steps_of,
    registered_ids,
    supported_engines,
    task_of,
)

SB3_AGENTS = ("sb3-a2c", "sb3-dqn", "sb3-ppo")


@dataclass(frozen=True, kw_only=True)
class ListOptions:
    """What environments, engines and agents there are."""

    json: bool = False
    """Print one JSON object instead of words."""


def main(arguments: Sequence[str]) -> int:
    """List."""
    options = parse(ListOptions, arguments, "list")
    envs = environments()
    if options.json:
        print_json({"environments": envs, "agents": list(AGENTS), "baselines": list(SB3_AGENTS)})
        return 0
    table = Table(Column("environment", no_wrap=True), "engines", "actions", "steps", box=None)
    for name, facts in envs.items():
        engines = ", ".join(facts["engines"]) or "-"
        table.add_row(name, engines, facts["actions"], str(facts["steps"] or "-"))
    Console().print(table)
    for name, facts in envs.items():
        print(f"\n{name}\n  {facts['about']}")
    print(f"\nagents: {', '.join(AGENTS)}; to compare with: {', '.join(SB3_AGENTS)}")
    print("Any other Gymnasium id works with the agents too, e.g. CartPole-v1.")
    return 0


def environments() -> dict[str, dict[str, Any]]:
    """Return what there is to say of each environment, by id; steps are None without a limit."""
    physics = {
        env_id: {
            "engines": list(supported_engines(task_of(env_id))),
            "actions": task_of(env_id).default_action,
            "steps": max_episode_steps_of(env_id),
            "about": _summary(task_of(env_id)),
        }
        for env_id in registered_ids()
    }
    toy_envs = {
        f"{NAMESPACE}/{name}": {
            "engines": [],
            "actions": "discrete",
            "steps": step.max_episode_steps,
            "about": _summary(load_env_creator(step.entry_point)),
        }
        for name, step in TOY_ENVS.items()
    }
    return physics | toy_envs


def _summary(thing: Any) -> str:
    """Return the first line of a docstring."""
    return (thing.__doc__ or "").splitlines()[0]
