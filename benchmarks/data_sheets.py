"""Writes envs/README.md: a data sheet for each environment, read from the classes themselves.

    python -m benchmarks.data_sheets

Nothing is said twice: where a docstring names a number as ``NAME`` its value is put in its place.
"""

from dataclasses import fields
from pathlib import Path

import gymnasium as gym
import numpy as np

from benchmarks.arena_sheet import arenas, own_layouts
from benchmarks.docstrings import about, arguments, attributes, default, plain, table, told
from benchmarks.evidence import parity, scores
from benchmarks.first_steps_sheet import first_sheet, first_steps, index_rows
from robolearn_envs import FIRST_STEPS, NAMESPACE
from robolearn_envs.rendering import RENDERERS
from robolearn_envs.rendering.navigation import SIZES
from robolearn_envs.robots import DiscRobot, Robot, Rover
from robolearn_envs.tasks import TASKS
from robolearn_envs.tasks.base import Quantity, Task
from robolearn_envs.torch_vector import TorchVectorEnv
from robolearn_envs.vector import RoboVectorEnv

README = Path(__file__).parents[1] / "envs" / "README.md"
INTRODUCTION = """\
One sheet per environment. Everything is in SI units and radians; axes are right-handed. In tables
of observations and actions *unit* is what 1 stands for: an entry of 0.4 whose unit is 5 m means
2 m. Observations are float32 and clipped to min and max; so are actions. What ends an episode for
good is *terminated*; a time limit is *truncated*. `gym.make_vec(id, num_envs=64, ...)` makes a
batch with the same options."""
IMPORTS = "import gymnasium as gym\nimport robolearn_envs"


def options(task: Task) -> str:
    """Return the table of a task's keyword arguments."""
    engines = ", ".join(f"`'{engine}'`" for engine in task.engines)
    if task.device_engines:
        there = ", ".join(f"`'{engine}'`" for engine in task.device_engines)
        engines += f"; batches on a device {there}"
    varied = ", ".join(f"`{field}`" for field in task.robot.randomized)
    about_noise = f" Sensors: {about(task.disturb, type(task))}" if task.sensor_draws else ""
    randomize = (
        f"r in [0, 1): what the action commands (see Action) and {varied} are multiplied by "
        f"factors uniform in (1 - r, 1 + r), anew each episode.{about_noise}"
    )
    rows = [
        ("`engine`", f"`'{task.engines[0]}'`", engines),
        ("`action`", f"`'{task.default_action}'`", "`'continuous'` or `'discrete'`"),
        ("`randomize`", "`0.0`", randomize if varied else "0 only: a fixed public definition"),
    ]
    said = arguments(type(task).__init__, type(task))
    for name in task.options:
        rows.append((f"`{name}`", default(type(task).__init__, name), said[name]))
    return table(("option", "default", "meaning"), rows)


def one_unit(quantity: Quantity) -> str:
    """Return what 1 stands for."""
    scale = "" if quantity.scale == 1 else plain(quantity.scale)
    return f"{scale} {quantity.unit}".strip() or "1"


def observation(task: Task) -> str:
    """Return the table of a task's observations."""
    space = task.observation_space
    parts = space.items() if isinstance(space, gym.spaces.Dict) else [("", space)]
    quantities = iter(task.observed)
    rows = []
    for key, part in parts:
        assert isinstance(part, gym.spaces.Box)
        low, high, k = part.low.ravel(), part.high.ravel(), 0
        while k < low.size:
            one = next(quantities)
            several = one.entries > 1
            entry = f"{k}..{k + one.entries - 1}" if several else str(k)
            if len(part.shape) > 1:
                entry = " x ".join(map(str, part.shape))
            entry = f'"{key}" {entry}' if key else entry
            name = f"{one.name} 0..{one.entries - 1}" if several else one.name
            bounds = plain(low[k]), plain(high[k])
            rows.append((entry, name, *bounds, one_unit(one), one.meaning))
            k += one.entries
    assert next(quantities, None) is None, "more is described than is observed"
    header = ("entry", "name", "min", "max", "unit", "meaning")
    return table(header, rows)


def actions(task: Task) -> str:
    """Return the tables of a task's actions, continuous and discrete."""
    rows = [
        (str(k), one.name, "-1", "1", one_unit(one), one.meaning)
        for k, one in enumerate(task.commanded)
    ]
    box = table(("entry", "name", "min", "max", "unit", "meaning"), rows)
    names = [f"{one.name} ({one.unit})" for one in task.commanded]
    commands = np.array(task.choices)
    physical = commands * [one.scale for one in task.commanded]
    if isinstance(task.robot, Rover):
        names += ["v (m/s)", "omega (rad/s)"]
        physical = np.hstack([physical, twists(task.robot, commands)])
    choices = [
        (str(k), ", ".join(map(plain, command)), *map(plain, numbers))
        for k, (command, numbers) in enumerate(zip(commands, physical, strict=True))
    ]
    return (
        f"Continuous, `Box(-1, 1, ({len(task.commanded)},))`, clipped:\n\n{box}\n\n"
        f"Discrete, `Discrete({len(commands)})`:\n\n"
        f"{table(('action', 'command', *names), choices)}"
    )


def twists(robot: DiscRobot | Rover, commands: np.ndarray) -> np.ndarray:
    """Return forward speed and turning rate that commands ask for. Shape (C, 2)."""
    small = 1e-3 * np.eye(2)
    return 1e-3 * commands @ np.linalg.inv(robot.command_for(small[:, 0], small[:, 1]))


def robot(robot: Robot) -> str:
    """Return what a robot is, and the table of its fields."""
    cls = type(robot)
    said = attributes(cls)
    rows = [
        (f"`{field.name}`", plain(getattr(robot, field.name)), said[field.name])
        for field in fields(robot)
    ]
    servo = f"**Servos.** {about(cls.servo, cls)}\n\n" if issubclass(cls, DiscRobot | Rover) else ""
    return f"{about(cls)}\n\n{servo}{table(('field', 'here', 'meaning'), rows)}"


def rules(task: Task) -> str:
    """Return how episodes begin, are rewarded and end."""
    cls = type(task)
    begins = getattr(cls, "_initial", cls.start)
    seconds = plain(task.max_steps * task.timestep * task.substeps)
    lines = {
        "Start": about(begins, cls),
        "Forces": about(task.force, cls),
        "Reward": about(task.reward, cls),
        "Terminated": about(task.terminated, cls),
        "Truncated": f"After {task.max_steps} steps, {seconds} s.",
        "Success": f"{upper(told(task.outcomes['success'], cls))}.",
    }
    text = "\n\n".join(f"**{name}.** {said}" for name, said in lines.items())
    if task.reset_options:
        rows = [(f"`{name}`", said) for name, said in task.reset_options.items()]
        text += f"\n\nOptions of a reset:\n\n{table(('option', 'meaning'), rows)}"
    return text


def upper(text: str) -> str:
    """Return text that begins with a capital letter."""
    return text[0].upper() + text[1:]


def physics(task: Task) -> str:
    """Return the table of times and views."""
    step = task.timestep * task.substeps
    views = "from the side"
    if task.picture != "side":
        views = ", ".join(f"{view} ({w} x {h} pixels)" for view, (w, h) in SIZES.items())
    rows = [
        ("physics step", f"{plain(task.timestep)} s"),
        ("physics steps in an environment step", str(task.substeps)),
        ("environment step", f"{plain(step)} s"),
        ("control rate", f"{plain(1 / step)} Hz"),
        ("longest episode", f"{task.max_steps} steps, {plain(task.max_steps * step)} s"),
        ("views", views),
    ]
    return table(("what", "number"), rows)


def sheet(name: str, cls: type[Task]) -> str:
    """Return the data sheet of one environment."""
    task = cls()
    asked = ", level=2" if "level" in cls.options else ""
    ended = table(
        ("key", "meaning"), [(f"`{k}`", told(said, cls)) for k, said in cls.outcomes.items()]
    )
    make = f'env = gym.make("{NAMESPACE}/{name}", engine="{task.engines[-1]}"{asked})'
    parts = {
        f"## {name}": f"{about(cls)}\n\n```python\n{IMPORTS}\n\n{make}\n```",
        "### Options": options(task),
        "### Observation": observation(task),
        "### Action": actions(task),
        "### Rules": rules(task),
        "### Info at the end of an episode": ended,
        f"### Robot: {type(task.robot).__name__}": robot(task.robot),
        "### Physics and pictures": physics(task),
        "### Parity": parity(name),
        "### Reference scores": scores(name),
    }
    return "\n\n".join(f"{title}\n\n{text}" for title, text in parts.items())


def general(cls: type) -> str:
    """Return the table of options that every environment of a class takes."""
    init = cls.__init__
    rows = [
        (f"`{name}`", default(init, name), said)
        for name, said in arguments(init, cls).items()
        if name not in ("task", "num_envs", "task_options")
    ]
    return table(("option", "default", "meaning"), rows)


def on_device() -> str:
    """Return the section on batches that are tensors."""
    make = (
        f"```python\n{IMPORTS}\n\n"
        f'envs = gym.make_vec("{NAMESPACE}/NavLidar-v0", num_envs=1024, engine="torch", '
        'device="cpu")\nobservations, info = envs.reset(seed=0)\n```'
    )
    return f"{about(TorchVectorEnv)}\n\n{make}\n\n{general(TorchVectorEnv)}"


def render() -> str:
    """Return the whole text of envs/README.md."""
    index = [
        (
            f"[{NAMESPACE}/{name}](#{name.lower()})",
            about(cls).splitlines()[0],
            ", ".join([*cls.engines, *cls.device_engines]),
        )
        for name, cls in TASKS.items()
    ]
    renderers = [(f"`{name}`", said) for name, said in RENDERERS.items()]
    parts = [
        "<!-- Written by python -m benchmarks.data_sheets: change the classes, not this. -->",
        f"# Environments\n\n{INTRODUCTION}",
        table(("id", "what", "engines"), [*index, *index_rows()]),
        f"## Batches\n\n{about(RoboVectorEnv)}",
        f"## Options of every environment with an engine\n\n{general(RoboVectorEnv)}",
        f"## Batches on a device\n\n{on_device()}",
        f"## Renderers\n\n{table(('name', 'what'), renderers)}",
        *(sheet(name, cls) for name, cls in TASKS.items()),
        f"## Arenas and sensors\n\n{arenas()}",
        f"## Layouts of your own\n\n{own_layouts()}",
        f"## First steps\n\n{first_steps()}",
        *(first_sheet(name) for name in FIRST_STEPS),
    ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Write the file."""
    README.write_text(render())
    print(f"Written to {README}.")


if __name__ == "__main__":
    main()
