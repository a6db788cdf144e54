"""One rollout on stage: an environment put where the rollout was, step by step, to be drawn.

This is for the processes that draw, and imports no torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec

from robolearn.errors import RobolearnError
from robolearn.making import refusals
from robolearn.spaces import flatten_batch
from robolearn_envs.single import RoboEnv
from robolearn_envs.vector import RoboVectorEnv

_CLOSE = 1e-4
"""Relative to its size, how far an observation lived through again may be off."""


@dataclass(frozen=True, kw_only=True)
class Script:
    """What there is to draw of a rollout, in plain parts; shapes as in ``Rollout``."""

    label: str
    spec: EnvSpec
    options: Mapping[str, Any]
    """Keyword arguments of the environment, those of its pictures among them."""
    seed: int
    states: Mapping[str, np.ndarray]
    actions: np.ndarray
    rewards: np.ndarray
    observations: np.ndarray | None
    thoughts: Mapping[str, np.ndarray]
    ending: str

    def __len__(self) -> int:
        """Return the number of steps T."""
        return len(self.rewards)


class Scene:
    """A rollout's environment, wherever in the episode it is asked to be."""

    def __init__(self, script: Script) -> None:
        """Make the environment.

        Raises:
            RobolearnError: It cannot be made.
        """
        self.script = script
        with refusals():
            self.env = gym.make(script.spec, render_mode="rgb_array", **script.options)
        base = self.env.unwrapped
        self._vector = base.vector if isinstance(base, RoboEnv) else None
        if script.states and self._vector is None:
            raise RobolearnError(f"{script.label}: {script.spec.id} has no states to be put into.")
        self._at = -1  # steps; not begun
        self._picture: np.ndarray | None = None

    def picture(self, step: int) -> np.ndarray:
        """Return the environment after some steps. Shape (height, width, 3), uint8, not to write.

        Raises:
            RobolearnError: The rollout is none of this environment.
        """
        if step != self._at or self._picture is None:
            self._go(step)
            self._picture = np.asarray(self.env.render())
        return self._picture

    def state(self) -> np.ndarray:
        """Return where the environment is: positions and velocities, or a flat observation."""
        if self._vector is None:
            return self._seen
        return np.concatenate([part[0] for part in self._vector.state()])

    def _go(self, step: int) -> None:
        if step < self._at or self._at < 0:
            self._begin()
        while self._at < step:
            self._at += 1
            if self._vector is None:
                self._step()
            else:
                self._show(self._vector)

    def _begin(self) -> None:
        observation, _ = self.env.reset(seed=self.script.seed)
        self._at = 0
        if self._vector is None:
            self._see(observation)
            return
        begun, first = self._vector.pictured(), self._state()
        alike = begun.keys() == first.keys()
        if not alike or not all(
            np.array_equal(begun[name], first[name]) for name in first
        ):  # it did not begin as this seed does
            self._show(self._vector, begin=True)

    def _state(self) -> dict[str, np.ndarray]:
        return {
            name: rows[[min(self._at, len(rows) - 1)]] for name, rows in self.script.states.items()
        }

    def _show(self, vector: RoboVectorEnv, *, begin: bool = False) -> None:
        state, now = self._state(), vector.pictured()
        for name in state.keys() | now.keys():
            # Another layout may have another number of obstacles, but not with other figures.
            shapes = [rows[name].shape if name in rows else () for rows in (state, now)]
            if len(shapes[0]) != len(shapes[1]) or shapes[0][-1:] != shapes[1][-1:]:
                raise RobolearnError(
                    f"{self.script.label}: {name} has shape {shapes[0][1:]}, of "
                    f"{self.script.spec.id} it has {shapes[1][1:]}."
                )
        vector.show(state, begin=begin)

    def _step(self) -> None:
        observation, *_ = self.env.step(self.script.actions[self._at - 1])
        self._see(observation)

    def _see(self, observation: Any) -> None:
        space = self.env.observation_space
        self._seen = np.zeros(0)
        if not space.is_np_flattenable:
            return
        self._seen = flatten_batch(space, observation, None)
        if self.script.observations is None:
            return
        expected = self.script.observations[self._at]
        if self._seen.shape != expected.shape or not np.allclose(
            self._seen, expected, rtol=_CLOSE, atol=_CLOSE
        ):
            raise RobolearnError(
                f"{self.script.label} cannot be drawn: lived through again, {self.script.spec.id} "
                f"leads elsewhere at step {self._at}."
            )

    @property
    def renderer(self) -> str | None:
        """What draws; None of environments that are not ours."""
        return None if self._vector is None else self._vector.renderer_name

    @property
    def place(self) -> str:
        """The physics engine, or a foreign environment's id."""
        return self.script.spec.id if self._vector is None else self._vector.engine_name

    @property
    def column(self) -> int:
        """Where there is room at the upper edge, in pixels from the left."""
        return 0 if self._vector is None else self._vector.caption_column

    @property
    def crowded(self) -> bool:
        """Whether a caption covers what matters: nothing but a map is shown."""
        return self.script.options.get("view") == "top"

    def close(self) -> None:
        """Release the environment."""
        self.env.close()
