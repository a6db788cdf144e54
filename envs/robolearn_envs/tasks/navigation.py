"""Three navigation problems: reach a goal among obstacles by lidar, by depth camera, on wheels."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import gymnasium as gym
import numpy as np

from robolearn_envs import sensors
from robolearn_envs.arenas.deck import Deck, Hand
from robolearn_envs.arenas.grid import CELL, WIDEST, clearance
from robolearn_envs.arenas.layouts import ARRIVED, at_time
from robolearn_envs.arrays import Array, namespace
from robolearn_envs.engines.base import Engine, Rows
from robolearn_envs.names import did_you_mean
from robolearn_envs.robots import DiscRobot, MobileRobot, Rover, adjusted
from robolearn_envs.tasks.base import (
    ActionKind,
    Memory,
    Noise,
    Observation,
    Picture,
    Quantity,
    Start,
)
from robolearn_envs.tasks.quantities import AWAY, DEPTH, GOAL, RANGES, TWIST, WHEELS

if TYPE_CHECKING:
    from robolearn_envs.arenas.torch_deck import TorchDeck

SUCCESS, COLLISION, TIME = 10.0, -5.0, -0.01
"""Rewards for reaching the goal, for touching anything, and for every step."""
FASTEST = 2.0
"""Speed of the fastest robot that is allowed, in m/s."""
RANGE_NOISE = 0.1
"""Standard deviation of a disturbed reading in m, at ``randomize=1``."""
DROPOUT = 0.1
"""Part of the readings that get lost and read ``REACH``, at ``randomize=1``."""

_GOAL_LOW = (0.0, -1.0, -1.0, -2.0, -20.0)
_GOAL_HIGH = (1.5, 1.0, 1.0, 2.0, 20.0)


class _Navigation(ABC):
    """Reach the goal, touch nothing; sensors, robot and observation are up to the leaves."""

    commanded: ClassVar[tuple[Quantity, ...]]
    options: ClassVar[tuple[str, ...]] = ("level", "split", "curriculum", "robot")
    reset_options: ClassVar[Mapping[str, str]] = {
        "layout": "a layout of your own (see below), as a mapping or as JSON text",
        "layout_index": "which layout of the level's and split's bank, counted from 0",
        "start": "[x, y, heading] in m and rad, instead of a start of the layout",
    }
    outcomes: ClassVar[Mapping[str, str]] = {
        "success": "the robot's middle came within ``ARRIVED`` m of the goal, touching nothing",
        "collision": "touched an obstacle or a wall, or fell over",
        "timeout": "neither: ``max_steps`` steps were over",
        "path_length": "way driven, in m",
        "shortest_path": "shortest way from the start to the goal past what stands still, in m",
        "spl": "success weighted by path length (Anderson et al., 2018): "
        "`success * shortest_path / max(path_length, shortest_path)`",
        "soft_spl": "the same with the part of the way that was covered instead of success "
        "(Habitat's): `max(0, 1 - left / shortest_path) * shortest_path / "
        "max(path_length, shortest_path)`, where `left` is the shortest way left at the end in m",
        "min_clearance": "smallest gap between the robot and anything in the episode, in m",
        "level": "of the environment, or with a curriculum of the episode; layouts of your own do "
        "not change it",
    }
    carried: ClassVar[tuple[str, ...]] = ("level",)
    max_steps: ClassVar[int] = 300
    default_action: ClassVar[ActionKind] = "continuous"
    start_draws: ClassVar[int] = 8
    timestep: ClassVar[float]
    """Physics step in s."""
    substeps: ClassVar[int]
    """Physics steps in an environment step."""
    sensor_draws: ClassVar[int]
    """Three for each reading of the sensor."""
    readings: ClassVar[str]
    """Name of the observation's part that a sensor gives; "" where all is one vector."""

    def __init__(
        self,
        *,
        level: int = 2,
        split: str = "train",
        curriculum: bool = False,
        robot: Mapping[str, float] | None = None,
    ) -> None:
        """Set up the task.

        Args:
            level: 0 empty, 1 four cylinders, 2 eight, 3 twelve of which four move, 4 walls.
            split: Which layouts: 'train', 'val' or 'test'.
            curriculum: Each environment begins at level 0, goes up a level after a success and
                down after a failure, and ends up between 0 and ``level`` (Rudin et al., 2022).
            robot: Fields of the robot to change, by name, such as {"mass": 6.0}.

        Raises:
            ValueError: No such level, split or field, or a robot too wide for the layouts.
        """
        if not isinstance(curriculum, bool):
            raise ValueError(f"curriculum must be True or False, got {curriculum!r}.")
        self._deck: Deck | TorchDeck = Deck(level, split, climbs=curriculum)
        self.robot = adjusted(self._nominal_robot(), robot)
        if self.robot.radius > WIDEST:
            raise ValueError(
                f"The layouts are made for robots of a radius up to {WIDEST} m, "
                f"got {self.robot.radius}."
            )
        if self.robot.top_speed > FASTEST:
            raise ValueError(
                f"Collisions are looked for at each step, which robots of up to {FASTEST} m/s "
                f"cannot jump over, got one of {self.robot.top_speed:.3g} m/s."
            )
        self._top, self._split, self._climbs = level, split, curriculum

    @staticmethod
    @abstractmethod
    def _nominal_robot() -> MobileRobot:
        """Return the robot as it is where nothing is changed."""

    def to(self, device: Any) -> None:
        """Deal layouts on a torch device from now on."""
        from robolearn_envs.arenas.torch_deck import TorchDeck  # who has no tensors needs no torch

        self._deck = TorchDeck(self._top, self._split, climbs=self._climbs, device=device)

    def start(self, draws: Array, before: Memory | None, wishes: Mapping[str, Any]) -> Start:
        """Return episodes that begin at rest, in a random layout of the level and split.

        A layout has ``layouts.STARTS`` starts, from which the shortest way to the goal is
        ``layouts.NEAR`` to ``layouts.FAR`` m. The robot begins at a random one of them, up to half
        a cell of ``CELL`` m off in x and y, under a heading uniform in [-pi, pi).

        Args:
            draws: Uniform in (0, 1). Shape (n, start_draws).
            before: The last episodes, whose success decides on the next level in a curriculum.
            wishes: Some of ``reset_options``.

        Raises:
            ValueError: A wish that cannot be granted.
        """
        for wish in wishes:
            if wish not in self.reset_options:
                raise ValueError(did_you_mean("option of reset", str(wish), self.reset_options))
        level = self._next_level(draws[:, 0], before)
        hand = self._deck.deal(level, draws[:, :2], wishes)
        xy = hand.xy + CELL * (draws[:, 2:4] - 0.5)
        heading = 2 * math.pi * draws[:, 4] - math.pi
        if hand.start is not None:
            xy, heading = np.tile(hand.start[:2], (len(draws), 1)), 0 * heading + hand.start[2]
        qpos, qvel = self.robot.at_rest(xy, heading)
        return Start(qpos, qvel, self._fresh(hand, level, xy, draws[:, 5]))

    def _next_level(self, draw: Array, before: Memory | None) -> Array:
        """Return the level of the next episode of each environment that drew. (n,), int64."""
        xp = namespace(draw)
        lowest = xp.zeros_like(draw, dtype=xp.int64)
        if not self._climbs:
            return lowest + self._top
        if before is None:
            return lowest
        step = xp.where(before["success"], 1, -1)
        return xp.clip(before["level"] + step, 0, self._top)

    def _fresh(self, hand: Hand, level: Array, xy: Array, draw: Array) -> Memory:
        """Return the memory of episodes that begin."""
        xp = namespace(xy)
        zero = xp.zeros_like(draw)
        distance = self._deck.distance(hand.field, xy)
        now = at_time(hand.cylinders, zero)
        gap = clearance(xy, now, hand.boxes) - self.robot.radius
        unread = xp.broadcast_to(zero[:, None] - 1, (len(xy), self.sensor_draws // 3))
        return {
            "level": level,
            "goal": hand.goal,
            "cylinders": hand.cylinders,
            "now": now,
            "boxes": hand.boxes,
            "field": hand.field,
            "time": zero,
            "xy": xy,
            "distance": distance,
            "progress": zero,
            "shortest_path": distance,
            "path_length": zero,
            "gap": gap,
            "min_clearance": gap,
            "tipped": xp.zeros_like(draw, dtype=xp.bool),
            "late": draw,
            "read": unread,
            "last": unread,
        }

    def furnish(self, engine: Engine, ids: Rows, memory: Memory) -> None:
        """Put the obstacles where they stand when an episode begins."""
        engine.furnish(ids, memory["now"], memory["boxes"])

    def force(self, qpos: Array, qvel: Array, command: Array) -> Array:
        """Return the forces of the robot's servos (see there), N and N m."""
        return self.robot.servo(qpos, qvel, command, self.timestep)

    def advance(self, engine: Engine, qpos: Array, qvel: Array, memory: Memory) -> Memory:
        """Return what the step changed; movers have moved on."""
        xp = namespace(qpos)
        xy, _ = self.robot.pose(qpos)
        time = memory["time"] + self.timestep * self.substeps
        changed: dict[str, Array] = {"time": time, "xy": xy + 0.0, "last": memory["read"] + 0.0}
        now = memory["now"]
        if self._deck.moving:
            now = changed["now"] = at_time(memory["cylinders"], time)
            engine.move(now)
        distance = self._deck.distance(memory["field"], xy)
        gap = clearance(xy, now, memory["boxes"]) - self.robot.radius
        went = xy - memory["xy"]
        return changed | {
            "distance": distance,
            "progress": memory["distance"] - distance,
            "path_length": memory["path_length"] + xp.sqrt(xp.sum(went * went, axis=-1)),
            "gap": gap,
            "min_clearance": xp.minimum(memory["min_clearance"], gap),
            "tipped": self.robot.tipped(qpos),
        }

    @abstractmethod
    def observe(
        self, engine: Engine, ids: Rows, qpos: Array, qvel: Array, memory: Memory
    ) -> Observation:
        """Return observations of environments ``ids``."""

    def _goal_and_speed(self, qpos: Array, qvel: Array, memory: Memory) -> Array:
        """Return goal distance / 10, cos and sin of its bearing, v, omega. Shape (n, 5)."""
        xp = namespace(qpos)
        xy, heading = self.robot.pose(qpos)
        away = memory["goal"] - xy
        distance = xp.sqrt(xp.sum(away * away, axis=-1))
        bearing = xp.atan2(away[:, 1], away[:, 0]) - heading
        v, omega = self.robot.twist(qpos, qvel)
        return xp.stack([distance / AWAY, xp.cos(bearing), xp.sin(bearing), v, omega], axis=-1)

    def mirrored_command(self, command: Array) -> Array:
        """Return the same speeds, turning the other way. Shape (N, 2)."""
        xp = namespace(command)
        if self.commanded is WHEELS:
            return xp.flip(command, axis=-1)
        return xp.stack([command[:, 0], -command[:, 1]], axis=-1)

    def disturb(
        self, observation: Observation, memory: Memory, noise: Noise
    ) -> tuple[Observation, Memory]:
        """Return readings with noise, some lost and, in some episodes, one step late.

        At strength r: normal noise of standard deviation r * ``RANGE_NOISE`` m, a part
        r * ``DROPOUT`` of the readings lost (they read ``sensors.REACH`` m), and in a part r of the
        episodes the readings of the step before.
        """
        whole = observation[self.readings] if isinstance(observation, dict) else observation
        xp = namespace(whole)
        count = self.sensor_draws // 3
        exact = xp.reshape(whole, (whole.shape[0], -1))[:, :count]
        first, second, third = (noise.draws[:, k * count : (k + 1) * count] for k in range(3))
        normal = xp.sqrt(-2 * xp.log(first)) * xp.cos(2 * math.pi * second)  # Box & Muller, 1958
        read = exact + (noise.strength * RANGE_NOISE / sensors.REACH) * normal
        read = xp.clip(read, 0.0, 1.0)
        read = xp.where(third < noise.strength * DROPOUT, 1.0, read)
        last = memory["last"]
        late = (memory["late"] < noise.strength)[:, None] & (last >= 0)
        seen = xp.where(late, last, read)
        if isinstance(observation, dict):
            given = {**observation, self.readings: xp.reshape(seen, whole.shape)}
        else:
            given = xp.concat([seen, whole[:, count:]], axis=-1)
        return given, {"read": read}

    def reward(self, qpos: Array, qvel: Array, command: Array, memory: Memory) -> Array:
        """Return `progress`, ``TIME`` for the step, and more where it ends the episode.

        * `progress` is by how many m the shortest way to the goal became shorter, past all that
          stands still (movers are not looked at).
        * ``SUCCESS`` on arriving at the goal.
        * ``COLLISION`` for touching anything or falling over.
        """
        xp = namespace(qpos)
        ended = xp.where(self._collided(memory), COLLISION, 0.0)
        return memory["progress"] + TIME + xp.where(self._arrived(memory), SUCCESS, ended)

    def terminated(self, qpos: Array, qvel: Array, memory: Memory) -> Array:
        """Return whether the robot has arrived, has touched something or has fallen over.

        It arrives where its middle comes within ``ARRIVED`` m of the goal.
        """
        return self._arrived(memory) | self._collided(memory)

    def _collided(self, memory: Memory) -> Array:
        return (memory["gap"] <= 0) | memory["tipped"]

    def _arrived(self, memory: Memory) -> Array:
        xp = namespace(memory["xy"])
        away = memory["goal"] - memory["xy"]
        near = xp.sum(away * away, axis=-1) < ARRIVED * ARRIVED
        return near & ~self._collided(memory)

    def outcome(self, memory: Memory, terminated: Array) -> dict[str, Array]:
        """Return the measures of episodes that end now, as ``outcomes`` defines them."""
        xp = namespace(memory["xy"])
        success = self._arrived(memory)
        shortest, path = memory["shortest_path"], memory["path_length"]
        efficiency = shortest / xp.maximum(path, shortest)
        covered = xp.clip(1 - memory["distance"] / shortest, 0.0, 1.0)
        return {
            "success": success,
            "collision": self._collided(memory),
            "timeout": ~terminated,
            "path_length": path,
            "shortest_path": shortest,
            "spl": xp.where(success, efficiency, 0.0),
            "soft_spl": covered * efficiency,
            "min_clearance": memory["min_clearance"],
            "level": memory["level"],
        }


def _mirrored_goal(goal: Array) -> Array:
    """Return goal distance, cos and sin of its bearing, v and omega in a mirror. Shape (n, 5)."""
    xp = namespace(goal)
    return goal * xp.asarray([1.0, 1.0, -1.0, 1.0, -1.0], dtype=goal.dtype)


class _LidarNavigation(_Navigation):
    """Navigation by lidar."""

    readings: ClassVar[str] = ""
    observed: ClassVar[tuple[Quantity, ...]] = (RANGES, *GOAL)
    sensor_draws: ClassVar[int] = 3 * sensors.RAYS
    picture: ClassVar[Picture] = "lidar"

    @property
    def observation_space(self) -> gym.spaces.Box:
        """Ranges / 5 m (36), goal distance / 10 m, cos and sin of its bearing, v, omega."""
        low = np.array([0.0] * sensors.RAYS + list(_GOAL_LOW), dtype=np.float32)
        high = np.array([1.0] * sensors.RAYS + list(_GOAL_HIGH), dtype=np.float32)
        return gym.spaces.Box(low, high)

    def observe(
        self, engine: Engine, ids: Rows, qpos: Array, qvel: Array, memory: Memory
    ) -> Observation:
        """Return ranges, goal and speeds. Shape (n, 41)."""
        xp = namespace(qpos)
        ranges = engine.scan(ids, *self.robot.pose(qpos))
        parts = [ranges / sensors.REACH, self._goal_and_speed(qpos, qvel, memory)]
        return xp.concat(parts, axis=-1)

    def mirrored(self, observation: Observation) -> Observation:
        """Return ranges the other way round, the goal on the other side. Shape (n, 41)."""
        assert not isinstance(observation, dict)
        xp = namespace(observation)
        ahead, around = observation[:, :1], observation[:, 1 : sensors.RAYS]
        goal = _mirrored_goal(observation[:, sensors.RAYS :])
        return xp.concat([ahead, xp.flip(around, axis=-1), goal], axis=-1)


class NavLidar(_LidarNavigation):
    """Drive a disc to a goal among obstacles by a 36-ray lidar.

    The arena is square and walled. Obstacles end the episode and are never felt: touching is a
    matter of geometry, the same on every engine.
    """

    commanded: ClassVar[tuple[Quantity, ...]] = TWIST
    engines: ClassVar[tuple[str, ...]] = ("mujoco", "bullet", "analytic")
    device_engines: ClassVar[tuple[str, ...]] = ("torch", "warp")
    timestep: ClassVar[float] = 0.02  # s
    substeps: ClassVar[int] = 5
    choices: tuple[tuple[float, ...], ...] = (
        (1.0, 0.0),
        (0.6, 0.6),
        (0.6, -0.6),
        (0.0, 0.8),
        (0.0, -0.8),
    )

    @staticmethod
    def _nominal_robot() -> DiscRobot:
        return DiscRobot()


class NavDepth(_Navigation):
    """Drive a disc to a goal among obstacles by a 64 x 64 depth camera that looks ahead.

    As NavLidar otherwise. The observation is a Dict of "depth" and "goal".
    """

    observed: ClassVar[tuple[Quantity, ...]] = (DEPTH, *GOAL)
    commanded: ClassVar[tuple[Quantity, ...]] = TWIST
    readings: ClassVar[str] = "depth"
    engines: ClassVar[tuple[str, ...]] = ("mujoco", "bullet", "analytic")
    device_engines: ClassVar[tuple[str, ...]] = ("torch", "warp")
    timestep: ClassVar[float] = 0.02  # s
    substeps: ClassVar[int] = 5
    choices: tuple[tuple[float, ...], ...] = NavLidar.choices
    sensor_draws: ClassVar[int] = 3 * sensors.PIXELS**2
    picture: ClassVar[Picture] = "camera"

    @staticmethod
    def _nominal_robot() -> DiscRobot:
        return DiscRobot()

    @property
    def observation_space(self) -> gym.spaces.Dict:
        """Depth / 5 m; goal distance / 10 m, cos and sin of its bearing, v, omega."""
        image = gym.spaces.Box(0.0, 1.0, (sensors.PIXELS, sensors.PIXELS), np.float32)
        low, high = (np.array(b, dtype=np.float32) for b in (_GOAL_LOW, _GOAL_HIGH))
        return gym.spaces.Dict({"depth": image, "goal": gym.spaces.Box(low, high)})

    def observe(
        self, engine: Engine, ids: Rows, qpos: Array, qvel: Array, memory: Memory
    ) -> Observation:
        """Return "depth", shape (n, 64, 64), and "goal", shape (n, 5)."""
        image = engine.depth(ids, *self.robot.pose(qpos)) / sensors.REACH
        return {"depth": image, "goal": self._goal_and_speed(qpos, qvel, memory)}

    def mirrored(self, observation: Observation) -> Observation:
        """Return the image turned left for right, the goal on the other side."""
        assert isinstance(observation, dict)
        depth, goal = observation["depth"], observation["goal"]
        return {"depth": namespace(depth).flip(depth, axis=-1), "goal": _mirrored_goal(goal)}


class NavRover(_LidarNavigation):
    """Drive a rover with two real wheels to a goal among obstacles by a 36-ray lidar.

    As NavLidar, but actions are the speeds of the left and the right wheel, and falling over
    counts as a collision. Its wheels roll by friction, which engines compute in different ways:
    they agree closely, not to rounding.
    """

    commanded: ClassVar[tuple[Quantity, ...]] = WHEELS
    engines: ClassVar[tuple[str, ...]] = ("mujoco", "bullet")
    device_engines: ClassVar[tuple[str, ...]] = ("warp",)
    timestep: ClassVar[float] = 0.01  # s
    substeps: ClassVar[int] = 10
    choices: tuple[tuple[float, ...], ...] = (
        (1.0, 1.0),
        (0.4, 0.8),
        (0.8, 0.4),
        (-0.2, 0.2),
        (0.2, -0.2),
    )

    @staticmethod
    def _nominal_robot() -> Rover:
        return Rover()
