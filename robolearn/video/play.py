"""Playing an episode and keeping it as states, so that it can be drawn later and elsewhere."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from robolearn.agents.base import Predictor
from robolearn.config import to_dict
from robolearn.environments import HELD_OUT, EnvConfig, described
from robolearn.errors import RobolearnError
from robolearn.files import shown
from robolearn.runs.stopping import check_stop
from robolearn.spaces import flatten_any
from robolearn.video.stored import (
    LONGEST,
    choice_in,
    named,
    number_in,
    numbers_in,
    read_rollout,
    states_in,
    thoughts_in,
    write_rollout,
)
from robolearn.video.thoughts import thoughts_of
from robolearn_envs.vector import RoboVectorEnv

ENDINGS = ("", "success", "collision", "fell", "time is up", "over")
"""How an episode can end; "" is one cut short."""
_OUTCOMES = ("success", "collision")
_LONGEST_LABEL = 200  # characters


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """One episode, or its beginning, of a controller: enough to draw it anywhere."""

    label: str
    """Who acts; shown above a pane."""
    env: EnvConfig
    """Of the episode."""
    seed: int
    """The environment was reset with."""
    fps: float
    """Steps per second of simulated time."""
    actions: np.ndarray
    """As the environment takes them. Shape (T, ...)."""
    rewards: np.ndarray
    """Shape (T,)."""
    states: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Of a robolearn environment what ``RoboVectorEnv.show`` draws, by name, before the first step
    and after each; (1, ...) of what is always the same. Shapes (T + 1, ...)."""
    observations: np.ndarray | None = None
    """Of a foreign environment, flat: it is lived through again, and may not lead elsewhere. Shape
    (T + 1, D); None where observations have no fixed width."""
    terminated: bool = False
    """The last step entered an absorbing state."""
    truncated: bool = False
    """The last step came to the time limit."""
    success: bool | None = None
    """None where the environment does not say, or the episode did not end."""
    ending: str = ""
    """One of ``ENDINGS``."""
    thoughts: Mapping[str, np.ndarray] = field(default_factory=dict)
    """What the agent thought before each step, as far as it tells: ``value``, shape (T,), in units
    of reward; ``q`` or ``probabilities``, shape (T, actions)."""

    def __len__(self) -> int:
        """Return the number of steps T."""
        return len(self.rewards)

    @property
    def total(self) -> float:
        """Undiscounted return."""
        return float(self.rewards.sum())

    def state(self, step: int) -> dict[str, np.ndarray]:
        """Return the state after some steps, by name. Shapes (1, ...), as ``show`` takes them."""
        return {name: rows[[min(step, len(rows) - 1)]] for name, rows in self.states.items()}

    def save(self, path: Path) -> None:
        """Write the rollout to an npz, whole or not at all.

        Raises:
            OSError: Disk full or not writable.
        """
        facts = {
            "label": self.label,
            "env": to_dict(self.env),
            "seed": self.seed,
            "fps": self.fps,
            "terminated": self.terminated,
            "truncated": self.truncated,
            "success": self.success,
            "ending": self.ending,
        }
        seen = {} if self.observations is None else {"observations": self.observations}
        steps = {"actions": self.actions, "rewards": self.rewards, **seen}
        states, thoughts = named("state.", self.states), named("thought.", self.thoughts)
        write_rollout(path, facts, {**steps, **states, **thoughts})

    @classmethod
    def load(cls, path: Path) -> "Rollout":
        """Read a rollout that ``save`` wrote; nothing in it can run code or name other files.

        Raises:
            RobolearnError: Unreadable, damaged, or something in it that cannot be.
        """
        facts, arrays = read_rollout(path)
        rewards = numbers_in(path, arrays, "rewards", len(arrays["rewards"]), axes=1)
        steps = len(rewards)
        if not 1 <= steps <= LONGEST or rewards.dtype != np.float64:
            raise RobolearnError(f"{path} has {steps:,} rewards of {rewards.dtype}.")
        label = facts.get("label")
        if not isinstance(label, str) or len(label) > _LONGEST_LABEL or not label.isprintable():
            raise RobolearnError(f"{path}: label must be a line of text, got {shown(label)}.")
        env = described(facts.get("env"))
        if env is None:
            raise RobolearnError(f"{path} does not say which environment it is of.")
        seen = arrays.get("observations")
        return cls(
            label=label,
            env=env,
            seed=int(number_in(path, facts, "seed", 0, 2**62)),
            fps=float(number_in(path, facts, "fps", 1e-3, 1e4)),
            actions=numbers_in(path, arrays, "actions", steps),
            rewards=rewards,
            states=states_in(path, arrays, steps),
            observations=None
            if seen is None
            else numbers_in(path, arrays, "observations", steps + 1, axes=2),
            terminated=choice_in(path, facts, "terminated", (True, False)),
            truncated=choice_in(path, facts, "truncated", (True, False)),
            success=choice_in(path, facts, "success", (True, False, None)),
            ending=choice_in(path, facts, "ending", ENDINGS),
            thoughts=thoughts_in(path, arrays, steps),
        )


def play(
    agent: Predictor,
    env: EnvConfig,
    *,
    label: str,
    seed: int = HELD_OUT,
    max_steps: int | None = None,
) -> Rollout:
    """Play one episode of an agent's best actions, its memory carried from step to step.

    Args:
        agent: Who acts.
        env: Where.
        label: What to call it.
        seed: Of the episode.
        max_steps: After which it is cut short; None for never.

    Raises:
        RobolearnError: The environment cannot be made, or no steps are asked for.
        Stopped: On request.
    """
    return play_made(lambda _: agent, env, label=label, seed=seed, max_steps=max_steps)


def play_made(
    make: Callable[[VectorEnv], Predictor],
    env: EnvConfig,
    *,
    label: str,
    seed: int = HELD_OUT,
    max_steps: int | None = None,
) -> Rollout:
    """Play one episode of a controller that is made for the very environment, as experts are.

    Args:
        make: Returns the controller of a batch of one environment.
        env: See :func:`play`.
        label: See :func:`play`.
        seed: See :func:`play`.
        max_steps: See :func:`play`.

    Raises:
        RobolearnError: The environment cannot be made, or no steps are asked for.
        Stopped: On request.
    """
    if max_steps is not None and max_steps < 1:
        raise RobolearnError(f"max_steps must be at least 1, got {max_steps}.")
    envs = replace(env, workers=0, on_nan="stop").make_vec(1, AutoresetMode.DISABLED)
    try:
        return _played(make(envs), envs, env, label, seed, max_steps or LONGEST)
    finally:
        envs.close()


def _played(
    agent: Predictor, envs: VectorEnv, env: EnvConfig, label: str, seed: int, most: int
) -> Rollout:
    base = envs.unwrapped
    native = base if isinstance(base, RoboVectorEnv) else None
    tape = Tape(envs.single_observation_space, envs.metadata, native)
    observation, _ = envs.reset(seed=seed)
    tape.begin(observation)
    state: Any = None
    for t in range(most):
        check_stop()
        told = thoughts_of(agent, observation, state)
        action, state = agent.predict(observation, state, np.array([t == 0]), deterministic=True)
        observation, reward, terminated, truncated, info = envs.step(action)
        ended = bool(terminated[0]), bool(truncated[0])
        tape.step(np.asarray(action)[0], observation, float(reward[0]), told)
        if any(ended):
            outcome = {
                name: bool(info[name][0]) for name in ("success", "collision") if name in info
            }
            return tape.rollout(label, env, seed, ended, outcome)
    return tape.rollout(label, env, seed, (False, False), {})


class Tape:
    """Records an episode as it goes on."""

    def __init__(
        self, space: gym.Space, metadata: Mapping[str, Any], native: RoboVectorEnv | None
    ) -> None:
        """Record an environment, which others step.

        Args:
            space: Of its observations.
            metadata: Its own.
            native: The batch of one that it is; None of a foreign one.
        """
        self._space, self._native = space, native
        self._fps = float(metadata.get("render_fps", 30))
        self._seen: list[np.ndarray] = []
        self._states: list[dict[str, np.ndarray]] = []
        self._actions: list[np.ndarray] = []
        self._rewards: list[float] = []
        self._thoughts: list[dict[str, np.ndarray]] = []

    def begin(self, observation: Any) -> None:
        """Note how the episode begins."""
        self._note(observation)

    def step(
        self, action: np.ndarray, observation: Any, reward: float, told: dict[str, np.ndarray]
    ) -> None:
        """Note a step.

        Args:
            action: As the environment takes it.
            observation: What it led to, or a batch of one.
            reward: For it.
            told: What was thought before it, as ``thoughts_of`` returns it.
        """
        self._actions.append(np.array(action))
        self._rewards.append(reward)
        self._thoughts.append({name: np.array(thought) for name, thought in told.items()})
        self._note(observation)

    def _note(self, observation: Any) -> None:
        if self._native is not None:
            pictured = self._native.pictured()
            self._states.append({name: rows[0].copy() for name, rows in pictured.items()})
        elif self._space.is_np_flattenable:
            self._seen.append(flatten_any(self._space, observation)[0][0])

    def rollout(
        self,
        label: str,
        env: EnvConfig,
        seed: int,
        ended: tuple[bool, bool],
        outcome: Mapping[str, bool],
    ) -> Rollout:
        """Return what was recorded.

        Args:
            label: What to call it.
            env: Where it was.
            seed: The environment was reset with.
            ended: Whether the last step terminated and truncated the episode.
            outcome: What the environment told of the end: ``success``, ``collision``.
        """
        first = self._thoughts[0] if self._thoughts else {}
        return Rollout(
            label=label,
            env=env,
            seed=seed,
            fps=self._fps,
            actions=np.array(self._actions),
            rewards=np.array(self._rewards, dtype=np.float64),
            states={
                name: _once(np.array([state[name] for state in self._states]))
                for name in (self._states[0] if self._states else ())
            },
            observations=np.array(self._seen) if self._seen else None,
            terminated=ended[0],
            truncated=ended[1],
            success=outcome.get("success"),
            ending=_ending(*ended, outcome, native=self._native is not None),
            thoughts={name: np.array([told[name] for told in self._thoughts]) for name in first},
        )


def _once(rows: np.ndarray) -> np.ndarray:
    """Return the first row alone where all are the same."""
    return rows[:1] if (rows == rows[:1]).all() else rows


def _ending(terminated: bool, truncated: bool, outcome: Mapping[str, bool], *, native: bool) -> str:
    """Return in words how an episode ended."""
    for name in _OUTCOMES:
        if outcome.get(name):
            return name
    if terminated:
        return "fell" if native else "over"
    return "time is up" if truncated else ""
