"""Small problems on the road from a table to a network: no physics, no engine, no rendering."""

from typing import NamedTuple


class ToyEnvSpec(NamedTuple):
    """Where a problem is, and how long its episodes may be."""

    entry_point: str
    """Module and class, imported when the first one is made."""
    max_episode_steps: int | None
    """Steps after which an episode is truncated; None where all episodes terminate before."""


TOY_ENVS: dict[str, ToyEnvSpec] = {
    "RingWalk-v0": ToyEnvSpec("robolearn_envs.toy.ring_walk:RingWalk", 20),
    "Bandit-v0": ToyEnvSpec("robolearn_envs.toy.bandit:Bandit", None),
    "Recommender-v0": ToyEnvSpec("robolearn_envs.toy.recommender:Recommender", 10),
}
