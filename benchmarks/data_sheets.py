"""Fills in the tables and data sheets of envs/README.md, read from the classes themselves.

    python -m benchmarks.data_sheets

The text between ``<!-- begin NAME -->`` and ``<!-- end NAME -->`` is replaced by that of ``PARTS``;
all else is written by hand. Where a docstring names a number as ``NAME`` its value is put in its
place.
"""

import math
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.arena_sheet import constants, levels, own_layouts, sensors, splits
from benchmarks.docstrings import (
    about,
    arguments,
    as_code,
    attributes,
    default,
    plain,
    table,
    with_numbers,
)
from benchmarks.evidence import parity, scores
from benchmarks.toy_sheet import finite_mdp, index_rows, toy_sheets
from robolearn_envs import ENVS
from robolearn_envs.config import ACTION_DELAY, MOTOR
from robolearn_envs.registry import keyword_names, supported_engines, task_of
from robolearn_envs.rendering import RENDERERS
from robolearn_envs.rendering.navigation import SIZES
from robolearn_envs.robots import DiffDriveRobot, Robot, UnicycleRobot
from robolearn_envs.tasks.base import Field, Task
from robolearn_envs.torch_vector import TorchVectorEnv
from robolearn_envs.vector import RoboVectorEnv

README = Path(__file__).parents[1] / "envs" / "README.md"


def options(task: Task) -> str:
    """Return the table of a task's keyword arguments."""
    cls = type(task)
    engines = supported_engines(task)
    rows = [
        ("`engine`", f"`'{engines[0]}'`", ", ".join(f"`'{engine}'`" for engine in engines)),
        ("`action`", f"`'{task.default_action}'`", "`'continuous'` or `'discrete'`"),
        ("`domain_randomization`", "`0.0`", randomization(task)),
    ]
    said: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        said |= arguments(base.__init__, cls)
    rows += [(f"`{name}`", default(cls.__init__, name), said[name]) for name in keyword_names(cls)]
    return table(("option", "default", "meaning"), rows)


def randomization(task: Task) -> str:
    """Return the fields of a task's domain randomization."""
    factors = [f"`{name}`" for name in (MOTOR, *task.robot.randomizable)]
    values = [
        f"`{parameter.name}` (r alone: {plain(parameter.at_full)} r)"
        for sensor in task.sensors
        for parameter in sensor.parameters
    ]
    number = "" if len(factors) > 1 else "No number but 0: a fixed public definition. "
    return (
        f"{number}Factors: {', '.join(factors)}. "
        f"Values: {', '.join([*values, f'`{ACTION_DELAY}`'])}."
    )


def one_unit(field: Field) -> str:
    """Return what 1 stands for."""
    scale = "" if field.scale == 1 else plain(field.scale)
    return f"{scale} {field.unit}".strip() or "1"


def observation(task: Task) -> str:
    """Return the table of a task's observations."""
    space = task.observation_space
    parts = space.spaces if isinstance(space, gym.spaces.Dict) else {"": space}
    remaining = iter(task.observation_fields)
    rows = []
    for key, part in parts.items():
        assert part.shape is not None
        k = 0
        while k < math.prod(part.shape):
            field = next(remaining)
            last = field.size - 1
            entry = f"{k}..{k + last}" if last else str(k)
            if len(part.shape) > 1:
                entry = " x ".join(map(str, part.shape))
            entry = f'"{key}" {entry}' if key else entry
            name = f"{field.name} 0..{last}" if last else field.name
            bounds = plain(field.low), plain(field.high)
            rows.append((entry, name, *bounds, one_unit(field), field.meaning))
            k += field.size
    return table(("entry", "name", "min", "max", "unit", "meaning"), rows)


def actions(task: Task) -> str:
    """Return the tables of a task's actions, continuous and discrete."""
    rows = [
        (str(k), field.name, "-1", "1", one_unit(field), field.meaning)
        for k, field in enumerate(task.ctrl_fields)
    ]
    box = table(("entry", "name", "min", "max", "unit", "meaning"), rows)
    names = [f"{field.name} ({field.unit})" for field in task.ctrl_fields]
    ctrl = np.array(task.discrete_actions)
    physical = ctrl * [field.scale for field in task.ctrl_fields]
    if isinstance(task.robot, DiffDriveRobot):
        names += ["v (m/s)", "omega (rad/s)"]
        physical = np.hstack([physical, twists(task.robot, ctrl)])
    choices = [
        (str(k), ", ".join(map(plain, one)), *map(plain, numbers))
        for k, (one, numbers) in enumerate(zip(ctrl, physical, strict=True))
    ]
    return (
        f"Continuous, `Box(-1, 1, ({task.num_ctrl},))`, clipped:\n\n{box}\n\n"
        f"Discrete, `Discrete({len(ctrl)})`:\n\n"
        f"{table(('action', 'ctrl', *names), choices)}"
    )


def twists(robot: UnicycleRobot | DiffDriveRobot, ctrl: np.ndarray) -> np.ndarray:
    """Return the forward speed and turning rate that ctrl asks for. Shape (C, 2)."""
    small = 1e-3 * np.eye(2)
    return 1e-3 * ctrl @ np.linalg.inv(robot.twist_to_ctrl(small[:, 0], small[:, 1]))


def robot(robot: Any) -> str:
    """Return what a robot is, and the table of its fields."""
    said = attributes(type(robot))
    rows = [
        (f"`{field.name}`", plain(getattr(robot, field.name)), as_code(said[field.name]))
        for field in fields(robot)
    ]
    return f"{about(type(robot))}\n\n{table(('field', 'here', 'meaning'), rows)}"


def forces(task: Task) -> str:
    """Return the laws of the actuators, and of other forces."""
    cls, robot = type(task), type(task.robot)
    said = [about(cls.actuate, cls)] if cls.actuate is not Task.actuate else []
    kinds = {type(actuator): actuator for actuator in task.robot.actuators}
    if not kinds and robot.actuate is not Robot.actuate:
        said.append(about(robot.actuate, robot))
    for kind in kinds:
        joints = [f"`{one.joint}`" for one in task.robot.actuators if type(one) is kind]
        law = re.sub(r" Shape \([^)]*\)\.", "", as_code(about(kind.force)))
        said.append(f"`{kind.__name__}` on {' and '.join(joints)}: {about(kind)} {law}")
    return "\n\n".join(said)


def rules(task: Task) -> str:
    """Return how episodes begin, are rewarded and end."""
    cls = type(task)
    begins = getattr(cls, "_initial", cls.begin)
    steps = task.max_episode_steps
    seconds = plain(steps * task.timestep * task.frame_skip)
    success = with_numbers(task.metric_docs["success"], cls)
    lines = {
        "Start": about(begins, cls),
        "Forces": forces(task),
        "Reward": about(task.reward, cls),
        "Terminated": about(task.terminated, cls),
        "Truncated": f"After {steps} steps, {seconds} s.",
        "Success": f"{success[0].upper()}{success[1:]}.",
    }
    text = "\n\n".join(f"**{name}.** {said}" for name, said in lines.items())
    if task.reset_options:
        rows = [(f"`{name}`", said) for name, said in task.reset_options.items()]
        text += f"\n\nOptions of a reset:\n\n{table(('option', 'meaning'), rows)}"
    return text


def metrics(task: Task) -> str:
    """Return the task's own keys of the info."""
    rows = [(f"`{key}`", with_numbers(said, type(task))) for key, said in task.metric_docs.items()]
    return table(("key", "meaning"), rows)


def physics(task: Task) -> str:
    """Return the table of times and views."""
    step = task.timestep * task.frame_skip
    views = "from the side"
    if task.scene_type != "side":
        views = ", ".join(f"{view} ({w} x {h} pixels)" for view, (w, h) in SIZES.items())
    rows = [
        ("`timestep`, a physics step", f"{plain(task.timestep)} s"),
        ("`frame_skip`, physics steps in a control step", str(task.frame_skip)),
        ("control step", f"{plain(step)} s"),
        ("control rate", f"{plain(1 / step)} Hz"),
        (
            "`max_episode_steps`",
            f"{task.max_episode_steps}, {plain(task.max_episode_steps * step)} s",
        ),
        ("views", views),
    ]
    return table(("what", "number"), rows)


def sheet(env_id: str) -> str:
    """Return the data sheet of one environment."""
    cls = task_of(env_id)
    task, name = cls(), env_id.split("/")[-1]
    asked = ", level=2" if "level" in keyword_names(cls) else ""
    engine = [engine for engine in supported_engines(task) if engine not in ("torch", "warp")][-1]
    make = (
        "import gymnasium as gym\nimport robolearn_envs\n\n"
        f'env = gym.make("{env_id}", engine="{engine}"{asked})'
    )
    parts = {
        f"## {name}": f"{about(cls)}\n\n```python\n{make}\n```",
        "### Options": options(task),
        "### Observation": observation(task),
        "### Action": actions(task),
        "### Rules": rules(task),
        "### Info": metrics(task),
        f"### Robot: {type(task.robot).__name__}": robot(task.robot),
        "### Physics and rendering": physics(task),
        "### Parity": parity(name),
        "### Reference scores": scores(name),
    }
    return "\n\n".join(f"{title}\n\n{text}" for title, text in parts.items())


def sheets() -> str:
    """Return the data sheets of all environments with an engine."""
    return "\n\n".join(map(sheet, ENVS))


def index() -> str:
    """Return the table of all environments."""
    rows = []
    for env_id in ENVS:
        cls = task_of(env_id)
        link = f"[{env_id}](#{env_id.split('/')[-1].lower()})"
        rows.append((link, about(cls).splitlines()[0], ", ".join(supported_engines(cls()))))
    return table(("id", "what", "engines"), [*rows, *index_rows()])


def keywords(cls: type) -> str:
    """Return the table of keywords that every environment of a class takes."""
    init = cls.__init__
    rows = [
        (f"`{name}`", default(init, name), said)
        for name, said in arguments(init, cls).items()
        if name not in ("env_id", "num_envs", "task_options")
    ]
    return table(("option", "default", "meaning"), rows)


def renderers() -> str:
    """Return the table of renderers."""
    return table(("name", "what"), [(f"`{name}`", said) for name, said in RENDERERS.items()])


PARTS: dict[str, Callable[[], str]] = {
    "index": index,
    "keywords": lambda: keywords(RoboVectorEnv),
    "device keywords": lambda: keywords(TorchVectorEnv),
    "renderers": renderers,
    "sheets": sheets,
    "levels": levels,
    "splits": splits,
    "constants": constants,
    "layouts": own_layouts,
    "sensors": sensors,
    "finite mdp": finite_mdp,
    "toy sheets": toy_sheets,
}
"""What is filled in, by name, in the order of the file."""


def render() -> str:
    """Return the whole text of envs/README.md."""
    text = README.read_text()
    for name, part in PARTS.items():
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        assert text.count(begin) == text.count(end) == 1, f"{README} needs '{begin}' and '{end}'"
        before, rest = text.split(begin)
        _, after = rest.split(end)
        text = f"{before}{begin}\n\n{part()}\n\n{end}{after}"
    return text


def main() -> None:
    """Write the file."""
    README.write_text(render())
    print(f"Written to {README}.")


if __name__ == "__main__":
    main()
