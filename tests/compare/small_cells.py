"""Cells made by hand, and who is in the comparison that is not."""

from contextlib import contextmanager

import pytest
from tasks_by_name import TASKS, shorten

from robolearn.compare.cell import Cell, Point

AGENTS = ("ppo", "sb3-ppo", "sb3-ppo-batch", "dqn")
"""Of the comparison all tests here share."""
CURVE = ((0, 0.0, 10.0), (1000, 2.0, 100.0))
"""Steps, seconds and return of evaluations on the way."""


@contextmanager
def short_episodes():
    """Let episodes of CartPoleBalance-v0 end after 200 steps; SB3's agents balance untrained."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TASKS["CartPoleBalance-v0"], "success_steps", 200)
        shorten("CartPoleBalance-v0", 200, patch.setattr)
        yield


def cell(agent="ppo", seed=0, *, curve=CURVE, **figures):
    told = {
        "actions": "discrete",
        "steps": 1000,
        "wall_s": 2.0,
        "steps_per_s": 500.0,
        "episodes": 2,
        "mean_return": 100.0,
        "std_return": 10.0,
        "min_return": 90.0,
        "max_return": 110.0,
        "mean_length": 100.0,
        "success_rate": None,
        "details": {},
        "source": "nowhere",
        "hyper": {"gamma": 0.99, "hidden_sizes": [64, 64]},
        "split": {"env": 0.5, "update": 1.0},
        "returns": (90.0, 110.0),
    }
    points = tuple(Point(steps=n, seconds=s, mean_return=r) for n, s, r in curve)
    return Cell(agent=agent, seed=seed, curve=points, **(told | figures))


def cells(agent, returns, **figures):
    """Return a cell with each of these mean returns, seeds 0, 1, ..."""
    return [cell(agent, seed, mean_return=mean, **figures) for seed, mean in enumerate(returns)]
