"""Data sheets of the problems without physics, read from their docstrings."""

import re
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import load_env_creator

from benchmarks.docstrings import about, arguments, attributes, default, table
from robolearn_envs import FIRST_STEPS, NAMESPACE
from robolearn_envs.first_steps.finite import FiniteMDP

INTRODUCTION = """\
Small problems on the road from a table to a network: plain Gymnasium environments whose
observations are whole numbers. They have no engine, no rendering and none of the options above;
`gym.make_vec` steps them one after another. What they do is known to the last probability:
`env.unwrapped.mdp()` returns a `FiniteMDP`, of which `robolearn.agents.value_iteration` finds the
best action values."""


def index_rows() -> list[tuple[str, str, str]]:
    """Return the rows of these problems in the table of all environments."""
    return [
        (f"[{NAMESPACE}/{name}](#{name.lower()})", about(_class(name)).splitlines()[0], "-")
        for name in FIRST_STEPS
    ]


def first_steps() -> str:
    """Return what they have in common."""
    fields = [(f"`{name}`", said) for name, said in attributes(FiniteMDP).items()]
    return f"{INTRODUCTION}\n\n{table(('field of a `FiniteMDP`', 'meaning'), fields)}"


def first_sheet(name: str) -> str:
    """Return the data sheet of one problem."""
    cls = _class(name)
    summary, rules = _parts(cls)
    limit = FIRST_STEPS[name].max_steps
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
    return load_env_creator(FIRST_STEPS[name].entry_point)


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
