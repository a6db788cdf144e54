"""What the guards against NaN cost a training: with and without them, in turn.

python -m benchmarks.guard_cost --out benchmarks/results/guard_cost

Without: no array is checked, no step is recorded, and no loss or gradient norm is checked.
CPU time of learning, least of interleaved pairs: what else the machine does only adds to it.
"""

import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import tyro

from benchmarks.results import Table, write_results
from robolearn.agents import agent_class
from robolearn.collect import collector as collecting
from robolearn.environments import EnvConfig
from robolearn.networks import flat_adam
from robolearn_envs.vector import RoboVectorEnv


@dataclass(frozen=True, kw_only=True)
class Options:
    """Train with and without guards."""

    pairs: int = 9
    """Trainings of each kind."""
    out: Path | None = None
    """Where to write .json and .md; without it only the terminal."""


TRAININGS = {
    "ppo CartPoleBalance analytic": (
        "ppo",
        EnvConfig(id="robolearn/CartPoleBalance-v0", engine="analytic"),
        60_000,
    ),
    "ppo CartPoleSwingUp mujoco": (
        "ppo",
        EnvConfig(id="robolearn/CartPoleSwingUp-v0", engine="mujoco"),
        60_000,
    ),
    "a2c CartPoleSwingUp mujoco": (
        "a2c",
        EnvConfig(id="robolearn/CartPoleSwingUp-v0", engine="mujoco"),
        40_000,
    ),
    "dqn CartPoleBalance analytic": (
        "dqn",
        EnvConfig(id="robolearn/CartPoleBalance-v0", engine="analytic"),
        15_000,
    ),
    "ppo NavLidar mujoco": ("ppo", EnvConfig(id="robolearn/NavLidar-v0", engine="mujoco"), 33_000),
}


class Forgets(deque[Any]):
    """Remembers nothing."""

    def append(self, item: Any) -> None:
        """Leave it."""


def seconds(name: str, *, guarded: bool) -> float:
    agent_name, env, steps = TRAININGS[name]
    kept = collecting._finite, RoboVectorEnv.get_render_state, flat_adam.math
    agent = agent_class(agent_name)(env, seed=0)
    if not guarded:
        collecting._finite = lambda array: True
        RoboVectorEnv.get_render_state = lambda self: {}
        flat_adam.math = SimpleNamespace(isfinite=lambda number: True)
        agent.collector.recent_steps = Forgets()
    began = time.process_time()
    agent.learn(steps)
    took = time.process_time() - began
    collecting._finite, RoboVectorEnv.get_render_state, flat_adam.math = kept
    agent.close()
    return took


def main(options: Options) -> None:
    """Time all trainings and print how much longer they take with guards."""
    table, found = Table("training", "guards cost", "without", "with"), {}
    for name in TRAININGS:
        seconds(name, guarded=True)  # warms up
        pairs = [
            (seconds(name, guarded=False), seconds(name, guarded=True))
            for _ in range(options.pairs)
        ]
        without, with_ = (min(times) for times in zip(*pairs, strict=True))
        found[name] = pairs
        table.add(name, f"{with_ / without - 1:+.1%}", f"{without:.2f} s", f"{with_:.2f} s")
        print(name, f"{with_ / without - 1:+.1%}", flush=True)
    write_results(options.out, table, {"seconds without and with": found})


if __name__ == "__main__":
    main(tyro.cli(Options))
