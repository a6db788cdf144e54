"""Small problems on the road from a table to a network: no physics, no engine, no rendering."""

from typing import NamedTuple


class FirstStep(NamedTuple):
    """Where a problem is, and how long its episodes may be."""

    entry_point: str
    """Module and class, imported when the first one is made."""
    max_steps: int | None
    """Steps after which an episode is truncated; None where all episodes terminate before."""


FIRST_STEPS: dict[str, FirstStep] = {
    "RandomGame-v0": FirstStep("robolearn_envs.first_steps.random_game:RandomGame", 20),
    "Bandit-v0": FirstStep("robolearn_envs.first_steps.bandit:Bandit", None),
    "Recommender-v0": FirstStep("robolearn_envs.first_steps.recommender:Recommender", 10),
}
