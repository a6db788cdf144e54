"""The examples of tasks, robots, sensors and engines that a user brings, and how to drive them."""

from pathlib import Path

import numpy as np
import pytest
from optional_torch import needs_torch, torch

from robolearn_envs import make_vec

EXAMPLES = Path(__file__).parents[2] / "examples"
REACH, FOUR_WHEEL = "my_task:me/CartPoleReach-v0", "my_robot:me/NavFourWheel-v0"
SONAR, RK4 = "my_sensor:me/NavSonar-v0", "my_engine:robolearn/CartPoleSwingUp-v0"
ALL_ENGINES = ["mujoco", "bullet", "analytic", pytest.param("torch", marks=needs_torch)]
every_engine = pytest.mark.parametrize("engine", ALL_ENGINES)


def array(values):
    return values.numpy() if hasattr(values, "numpy") else np.asarray(values)


def make_batch(env_id, count, engine, **options):
    if engine == "torch":
        options["dtype"] = torch.float64
    return make_vec(env_id, count, engine=engine, **options)


def actions(count, steps, seed=1, width=1):
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (steps, count, width)).astype(np.float32)


def lines_of(module, name):
    """Return how many lines a class of an example has."""
    source = (EXAMPLES / f"{module}.py").read_text().splitlines()
    first = next(k for k, line in enumerate(source) if line.startswith(f"class {name}"))
    ends = [k for k, line in enumerate(source[first:]) if k and line and not line.startswith(" ")]
    return len("\n".join(source[first : first + ends[0]]).strip().splitlines())
