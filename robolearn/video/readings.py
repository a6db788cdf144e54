"""What there is to tell of a rollout at each step, ready to be drawn."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from robolearn.spaces import action_width, from_env_action
from robolearn.video.scene import Scene, Script
from robolearn_envs.single import RoboEnv

_MOST_BARS = 9


class Bars(NamedTuple):
    """A row of bars."""

    kind: Literal["signed", "Q", "p", "chosen"]
    """Signed ones grow from the middle; those of Q-values and probabilities from the left; where
    nothing but the choice is known, it is marked."""
    labels: Sequence[str]
    lengths: np.ndarray
    """In [-1, 1] of signed ones, else in [0, 1]. Shape (bars,)."""
    words: Sequence[str]
    """What is written behind each."""
    chosen: int | None
    """Which one is highlighted."""


class Reading(NamedTuple):
    """What there is to tell of one moment."""

    step: int
    total: float
    """Return until now."""
    place: str
    """Engine, or a foreign environment's id."""
    value: float | None
    bars: Bars | None
    ending: str
    """How the episode ended, if it just did."""


class Readings:
    """Tells what there is to tell of a scene's rollout."""

    def __init__(self, scene: Scene) -> None:
        """Look at its actions and thoughts."""
        self._script, self._place = scene.script, scene.place
        self._totals = np.concatenate([[0.0], np.cumsum(scene.script.rewards)])
        self._space = scene.env.action_space
        self._names = _names(scene.env)
        self._strength = _strength(self._space, scene.script)

    def at(self, step: int) -> Reading:
        """Return what there is to tell after some steps.

        Thoughts and action are of the step that comes next, and at the end of the last one.
        """
        script = self._script
        coming = min(step, len(script) - 1)
        value = script.thoughts.get("value")
        return Reading(
            step=step,
            total=float(self._totals[step]),
            place=self._place,
            value=None if value is None else float(value[coming]),
            bars=self._bars(coming),
            ending=script.ending if step == len(script) else "",
        )

    def _bars(self, step: int) -> Bars | None:
        if isinstance(self._space, spaces.Discrete):
            return self._choice(step, self._space)
        if not isinstance(self._space, spaces.Box) or action_width(self._space) > _MOST_BARS:
            return None
        action = from_env_action(self._space, self._script.actions[[step]])[0]
        lengths = np.clip(action / self._strength, -1.0, 1.0)
        return Bars("signed", self._names, lengths, [f"{part:+.2f}" for part in action], None)

    def _choice(self, step: int, space: spaces.Discrete) -> Bars | None:
        chosen, count = int(self._script.actions[step] - space.start), int(space.n)
        if count > _MOST_BARS:
            return None
        thoughts = self._script.thoughts
        if "probabilities" in thoughts:
            parts = thoughts["probabilities"][step]
            return Bars("p", self._names, parts, [f"{part:.0%}" for part in parts], chosen)
        if "q" in thoughts:
            parts, all_parts = thoughts["q"][step], thoughts["q"]
            low, high = float(all_parts.min()), float(all_parts.max())
            lengths = (parts - low) / max(high - low, 1e-9)
            return Bars("Q", self._names, lengths, [f"{part:.1f}" for part in parts], chosen)
        lengths = (np.arange(count) == chosen).astype(np.float64)
        return Bars("chosen", self._names, lengths, [""] * count, chosen)


def _strength(space: gym.Space, script: Script) -> float:
    """Return what a full bar stands for: 1 where actions are bounded, else the largest one."""
    if not isinstance(space, spaces.Box) or space.is_bounded():
        return 1.0
    return max(1e-9, float(np.abs(script.actions).max()))


def _names(env: gym.Env) -> list[str]:
    """Return what each action, or part of one, is called."""
    space, base = env.action_space, env.unwrapped
    count = action_width(space) if isinstance(space, spaces.Discrete | spaces.Box) else 0
    numbers = [str(k) for k in range(count)]
    if not isinstance(base, RoboEnv):
        return numbers
    task = base.vector.task
    if isinstance(space, spaces.Box):
        named = [part.name for part in task.commanded for _ in range(part.entries)]
        return named if len(named) == count else numbers
    if len(task.commanded) == 1:
        return [f"{command:+.2g}" for (command,) in task.choices]
    return numbers
