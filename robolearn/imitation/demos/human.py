"""Demonstrations by a person at the keyboard: what keys mean, and the session they steer."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import concatenate, create_empty_array

from robolearn.imitation.demos.episodes import Demonstration
from robolearn.runs.stopping import check_stop
from robolearn_envs.robots import MobileRobot
from robolearn_envs.single import RoboEnv
from robolearn_envs.vector import RoboVectorEnv

TURN = 2.0
"""How fast a robot is turned, in rad/s."""
_NUDGE = 1e-3  # of the largest command: which of two equally near choices is meant


class Phase(Enum):
    """Where a session is; the value tells the person what can be done."""

    READY = "Enter start   arrows steer   Q quit"
    PLAYING = "P pause   D discard   R redo   Q quit"
    PAUSED = "paused:   Enter go on   D discard   R redo   Q quit"
    OVER = "K keep   D discard   R redo   Q quit"
    LEFT = ""


class Press(Enum):
    """What a key that is pressed asks for."""

    START = "start"
    PAUSE = "pause"
    KEEP = "keep"
    DISCARD = "discard"
    REDO = "redo"
    QUIT = "quit"


class Order(Enum):
    """What is to be done about it."""

    NOTHING = "nothing"
    KEEP = "store the episode, then begin one with the next seed"
    NEXT = "forget the episode and begin one with the next seed"
    AGAIN = "forget the episode and begin it again, with the same seed"


class Arrow(Enum):
    """A key that steers while it is held."""

    LEFT = "left"
    RIGHT = "right"
    UP = "up"
    DOWN = "down"


_MEANING = {
    (Phase.READY, Press.START): (Phase.PLAYING, Order.NOTHING),
    (Phase.PLAYING, Press.PAUSE): (Phase.PAUSED, Order.NOTHING),
    (Phase.PAUSED, Press.PAUSE): (Phase.PLAYING, Order.NOTHING),
    (Phase.PAUSED, Press.START): (Phase.PLAYING, Order.NOTHING),
    (Phase.OVER, Press.KEEP): (Phase.READY, Order.KEEP),
    **{
        (phase, press): (Phase.READY, order)
        for phase in (Phase.PLAYING, Phase.PAUSED, Phase.OVER)
        for press, order in ((Press.DISCARD, Order.NEXT), (Press.REDO, Order.AGAIN))
    },
}


def pressed(phase: Phase, press: Press) -> tuple[Phase, Order]:
    """Return the phase that a key leads to, and what is to be done; most keys do nothing."""
    if press is Press.QUIT:
        return Phase.LEFT, Order.NOTHING
    return _MEANING.get((phase, press), (phase, Order.NOTHING))


class Steering:
    """Turns arrows that are held into actions of an environment.

    Left and right push a cart, or turn a robot that up and down drive forwards and backwards. Of
    discrete actions the nearest is taken; where no arrow is held and none asks for nothing, as
    with two forces, the last push goes on.
    """

    def __init__(self, vector: RoboVectorEnv) -> None:
        """Steer the environments of a batch of one."""
        self._vector = vector
        self._robot = vector.task.robot
        self._last = 1.0

    def action(self, held: Collection[Arrow]) -> np.ndarray:
        """Return the action for the arrows that are held. Shape of one action."""
        right = float((Arrow.RIGHT in held) - (Arrow.LEFT in held))
        forward = float((Arrow.UP in held) - (Arrow.DOWN in held))
        if isinstance(self._robot, MobileRobot):
            v, omega = (
                forward * self._robot.max_linear_velocity,
                -right * TURN,
            )  # m/s, and rad/s to the left
            command = self._robot.twist_to_ctrl(np.array([v]), np.array([omega]))
        else:
            self._last = right or self._last
            discrete = isinstance(self._vector.single_action_space, gym.spaces.Discrete)
            command = np.array([[right or (_NUDGE * self._last if discrete else 0.0)]])
        return self._vector.ctrl_to_action(np.clip(command, -1.0, 1.0))[0]


@dataclass
class Tape:
    """An episode while it is recorded."""

    env: gym.Env
    """Of robolearn."""
    seed: int
    observations: list[Any] = field(default_factory=list)
    actions: list[np.ndarray] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    ends: list[tuple[bool, bool]] = field(default_factory=list)
    states: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    success: bool | None = None

    def __post_init__(self) -> None:
        """Begin the episode."""
        observation, _ = self.env.reset(seed=self.seed)
        self._note(observation)

    def step(self, action: np.ndarray) -> None:
        """Make a step of the episode."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.actions.append(np.array(action))
        self.rewards.append(float(reward))
        self.ends.append((bool(terminated), bool(truncated)))
        if self.over and "success" in info:
            self.success = bool(info["success"])
        self._note(observation)

    def _note(self, observation: Any) -> None:
        self.observations.append(observation)
        self.states.append(simulation(self.env).qpos_qvel())

    @property
    def over(self) -> bool:
        """Whether the episode has ended."""
        return bool(self.ends) and any(self.ends[-1])

    def demonstration(self) -> Demonstration:
        """Return the episode as recorded so far."""
        space, count = self.env.observation_space, len(self.observations)
        batch = create_empty_array(space, count)
        qpos, qvel = (np.concatenate(rows) for rows in zip(*self.states, strict=True))
        terminated, truncated = np.array(self.ends, dtype=np.bool_).reshape(-1, 2).T
        return Demonstration(
            observation=concatenate(space, self.observations, batch),
            action=np.array(self.actions),
            reward=np.array(self.rewards),
            terminated=terminated,
            truncated=truncated,
            state={"qpos": qpos, "qvel": qvel},
            success=self.success,
            seed=self.seed,
        )


def simulation(env: gym.Env) -> RoboVectorEnv:
    """Return the batch of one behind an environment of robolearn.

    Raises:
        ValueError: Another environment.
    """
    base = env.unwrapped
    if not isinstance(base, RoboEnv):
        name = base.spec.id if base.spec else str(base)
        raise ValueError(
            f"Only robolearn environments can be steered by hand, got {name}. "
            "`robolearn list` shows them."
        )
    return base.vector_env


class Seat(Protocol):
    """What a person sees and presses."""

    def show(self, frame: np.ndarray, lines: list[str]) -> None:
        """Show a frame, uint8 of shape (height, width, 3), and wait until the next one is due."""
        ...

    def presses(self) -> list[Press]:
        """Return what was asked for since the last call, in order."""
        ...

    @property
    def held(self) -> Collection[Arrow]:
        """The arrows that are held now."""
        ...


def play(
    env: gym.Env,
    seat: Seat,
    keep: Callable[[Demonstration], None],
    *,
    seed: int,
    episodes: int | None = None,
) -> int:
    """Let a person play episodes, in real time, and hand on those they keep.

    Args:
        env: Of robolearn, made with ``render_mode="rgb_array"``; stays open.
        seat: Where the person sits.
        keep: Stores an episode.
        seed: Of the first episode; those that follow have the next ones.
        episodes: How many to keep; None for as many as the person likes.

    Returns:
        How many were kept.

    Raises:
        ValueError: Not an environment of robolearn.
    """
    steering, phase, kept = Steering(simulation(env)), Phase.READY, 0
    tape = Tape(env, seed)
    while phase is not Phase.LEFT and kept != episodes:
        check_stop()
        seat.show(np.asarray(env.render()), status(tape, phase, kept))
        for press in seat.presses():
            phase, order = pressed(phase, press)
            if order is Order.KEEP:
                keep(tape.demonstration())
                kept += 1
            if order is not Order.NOTHING:
                tape = Tape(env, tape.seed + (order is not Order.AGAIN))
        if phase is Phase.PLAYING:
            tape.step(steering.action(seat.held))
            phase = Phase.OVER if tape.over else phase
    return kept


def status(tape: Tape, phase: Phase, kept: int) -> list[str]:
    """Return what the person is told: two lines, short enough for half of a wide frame."""
    total, steps = sum(tape.rewards), len(tape.rewards)
    ended = ""
    if phase is Phase.OVER:
        ended = {True: "success:   ", False: "no success:   ", None: "over:   "}[tape.success]
    return [
        f"episode {tape.seed}   step {steps}   return {total:.1f}   kept {kept}",
        f"{ended}{phase.value}",
    ]
