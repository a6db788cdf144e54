"""Looking at demonstrations for what would spoil learning from them."""

from collections.abc import Sequence

import gymnasium as gym

from robolearn.environments import EnvConfig
from robolearn.imitation.demos.episodes import Demonstrations
from robolearn.imitation.demos.findings import Finding, parts
from robolearn.imitation.demos.lint_episode import contents, structure
from robolearn.imitation.demos.lint_set import together
from robolearn.making import import_env_module
from robolearn_envs.registry import max_episode_steps_of


def lint(
    demos: Demonstrations, *, stated_returns: Sequence[float | None] | None = None
) -> list[Finding]:
    """Return what is wrong, or worth knowing, about demonstrations.

    Every episode's arrays are compared with the spaces and with each other; those whose shapes and
    lengths are right also for what they hold, and together. Whether they can be learned from is
    for :func:`robolearn.imitation.demos.probe.probe` to say.

    Args:
        demos: Of any contents: nothing about the arrays is taken for granted.
        stated_returns: The return that a card or an info states of each episode; None for those
            nobody tells of.
    """
    if not demos.episodes:
        return [Finding("error", "length", "there are no episodes.")]
    limit = time_limit(demos.env)
    found: list[Finding] = []
    sound = {}
    for k, one in enumerate(demos.episodes):
        arrays = list(parts(demos, one))
        broken = structure(k, arrays)
        found += broken or contents(k, one, arrays, limit)
        if not broken:
            sound[k] = one
    if sound:
        found += together(demos, sound, stated_returns)
    return found


def time_limit(env: EnvConfig | None) -> int | None:
    """Return after how many steps an environment truncates; None for never, or unknown."""
    if env is None:
        return None
    if env.native:
        return max_episode_steps_of(env.id)
    return gym.registry[import_env_module(env.id)].max_episode_steps
