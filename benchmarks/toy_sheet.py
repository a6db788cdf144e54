"""Data sheets of the problems without physics, read from their docstrings."""

import re
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import load_env_creator

from benchmarks.docstrings import about, arguments, as_code, attributes, default, table
from robolearn_envs import NAMESPACE, TOY_ENVS
from robolearn_envs.toy.finite import FiniteMDP


def index_rows() -> list[tuple[str, str, str]]:
    """Return the rows of these problems in the table of all environments."""
    return [
        (f"[{NAMESPACE}/{name}](#{name.lower()})", about(_class(name)).splitlines()[0], "-")
        for name in TOY_ENVS
    ]


def finite_mdp() -> str:
    """Return the fields of a ``FiniteMDP``."""
    rows = [(f"`{name}`", as_code(said)) for name, said in attributes(FiniteMDP).items()]
    return table(("field of a `FiniteMDP`", "meaning"), rows)


def toy_sheets() -> str:
    """Return the data sheets of all problems."""
    return "\n\n".join(map(toy_sheet, TOY_ENVS))


def toy_sheet(name: str) -> str:
    """Return the data sheet of one problem."""
    cls = _class(name)
    summary, rules = _parts(cls)
    limit = TOY_ENVS[name].max_episode_steps
    rules["Truncated"] = f"After {limit} steps." if limit else "Never."
    make = f'import gymnasium as gym\nimport robolearn_envs\n\nenv = gym.make("{NAMESPACE}/{name}")'
    said = arguments(cls.__init__, cls)
    options = [(f"`{option}`", default(cls.__init__, option), said[option]) for option in said]
    parts = {
        f"## {name}": f"{summary}\n\n```python\n{make}\n```",
        "### Spaces": _spaces(name),
        "### Options": table(("option", "default", "meaning"), options),
        "### Rules": "\n\n".join(f"**{rule}.** {text}" for rule, text in rules.items()),
    }
    return "\n\n".join(f"{title}\n\n{text}" for title, text in parts.items())


def _class(name: str) -> Any:
    return load_env_creator(TOY_ENVS[name].entry_point)


def _parts(cls: Any) -> tuple[str, dict[str, str]]:
    """Return a docstring's summary, and its paragraphs that begin with 'Word: ', by this word."""
    summary, *parts = re.split(r"\n\n(\w+): ", about(cls))
    return summary, dict(zip(parts[::2], parts[1::2], strict=True))


def _spaces(name: str) -> str:
    env = gym.make(f"{NAMESPACE}/{name}")
    spaces = {"observation": env.observation_space, "action": env.action_space}
    env.close()
    rows = [(kind, f"`{space}`") for kind, space in spaces.items()]
    return table(("space", "with the default options"), rows)
