"""Reaching a goal among obstacles: by lidar, by depth camera, on wheels."""

import math
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from robolearn_envs.arrays import Array, namespace
from robolearn_envs.core.backend import ALL, EnvIndex
from robolearn_envs.core.sim import Sim
from robolearn_envs.engines.base import Engine
from robolearn_envs.fields import Field
from robolearn_envs.maps.generate import GOAL_TOLERANCE
from robolearn_envs.maps.grid import ARENA_HALF_SIZE, MAX_ROBOT_RADIUS, RESOLUTION, clearance
from robolearn_envs.maps.obstacles import obstacle_positions_at, swept_clearance
from robolearn_envs.maps.sampler import DeviceLayoutSampler, LayoutSampler
from robolearn_envs.robots import DiffDriveRobot, MobileRobot, Robot, UnicycleRobot
from robolearn_envs.sensors import DepthCamera, Lidar, Sensor
from robolearn_envs.sensors.base import configured
from robolearn_envs.tasks.base import InitialState, Observation, SceneType, Task, TaskState

SUCCESS_REWARD, COLLISION_PENALTY, STEP_PENALTY = 10.0, -5.0, -0.01
"""Rewards for reaching the goal, for touching anything, and for every step."""
GOAL_DISTANCE_SCALE = 10.0
"""What 1 stands for in the observed distance to the goal, in m."""

_GOAL_FIELDS = (
    Field(
        "goal distance",
        "m",
        "from the robot's middle, in a straight line",
        low=0.0,
        high=1.5,
        scale=GOAL_DISTANCE_SCALE,
    ),
    Field("cos(goal bearing)", "", "1 where the goal is straight ahead"),
    Field("sin(goal bearing)", "", "positive where the goal is to the left"),
    Field("v", "m/s", "forward speed", low=-2.0, high=2.0),
    Field("omega", "rad/s", "turning rate, positive anticlockwise", low=-20.0, high=20.0),
)
_GOAL_MIRROR = (1.0, 1.0, -1.0, 1.0, -1.0)


class PointGoal(Task):
    """Reach the goal, touch nothing (Anderson et al., 2018, "PointGoal").

    The arena is square and walled. Touching ends the episode and is never felt: it is a matter of
    geometry, the same on every engine. A subclass names robot and sensors; the observation is the
    flat readings of all sensors and then the goal, or a Dict where ``scene_type`` is "nav_depth".
    """

    robot: Any
    sensors: tuple[Sensor, ...] = (Lidar(),)
    engines: tuple[str, ...] = ()
    timestep: float = 0.02  # s
    frame_skip: int = 5
    max_episode_steps: int = 300
    scene_type: SceneType = "nav_lidar"
    reset_options: Mapping[str, str] = {
        "layout": "a layout of your own (see below), as a mapping or as JSON text",
        "layout_id": "which layout of the level's and split's dataset, counted from 0",
        "start": "[x, y, heading] in m and rad, instead of a start of the layout",
    }
    metric_docs: Mapping[str, str] = {
        "success": "the robot's middle came within ``GOAL_TOLERANCE`` m of the goal, touching "
        "nothing",
        "collision": "touched an obstacle or a wall, or fell over",
        "path_length": "way driven, in m",
        "geodesic_distance": "shortest way from the start to the circle of success around the "
        "goal, past what stands still, in m",
        "spl": "success weighted by path length (Anderson et al., 2018): "
        "`success * geodesic_distance / max(path_length, geodesic_distance)`",
        "soft_spl": "the same with the part of the way that was covered instead of success "
        "(Habitat's): `max(0, 1 - left / geodesic_distance) * geodesic_distance / "
        "max(path_length, geodesic_distance)`, where `left` is the shortest way left at the end",
        "min_obstacle_distance": "smallest gap between the robot and anything, in m: at the ends "
        "of steps, and on the way where it is smaller than the step is long",
        "level": "of the environment, or with a curriculum of the episode; layouts of your own do "
        "not change it",
    }
    carry_over: tuple[str, ...] = ("level",)

    def __init__(
        self,
        *,
        level: int = 2,
        split: str = "train",
        curriculum: bool = False,
        robot: Robot | Mapping[str, float] | None = None,
        lidar: Lidar | Mapping[str, float] | None = None,
        sensors: tuple[Sensor, ...] | None = None,
    ) -> None:
        """Set up the task.

        Args:
            level: 0 empty, 1 four cylinders, 2 eight, 3 twelve of which four move, 4 walls.
            split: Which layouts: 'train', 'val' or 'test'.
            curriculum: Each environment begins at level 0, goes up a level after a success and
                down after a failure, and ends up between 0 and ``level`` (Rudin et al., 2022).
            robot: Another robot, or fields of the robot to change, such as {"mass": 6.0}.
            lidar: Another lidar, or fields of the lidar to change, such as {"num_rays": 180}.
            sensors: Sensors instead of the usual ones.

        Raises:
            ValueError: No such level, split or field, or a robot too wide for the layouts.
        """
        if not isinstance(curriculum, bool):
            raise ValueError(f"curriculum must be True or False, got {curriculum!r}.")
        super().__init__(robot)
        if sensors is not None:
            self.sensors = tuple(sensors)
        if lidar is not None:
            if not isinstance(self.sensors[0], Lidar):
                raise ValueError(f"{type(self).__name__} has no lidar to change.")
            self.sensors = (configured(self.sensors[0], lidar), *self.sensors[1:])
        self._sampler: LayoutSampler | DeviceLayoutSampler = LayoutSampler(
            level, split, curriculum=curriculum
        )
        if not isinstance(self.robot, MobileRobot):
            raise ValueError(
                f"{type(self).__name__} needs a robot that drives, got a "
                f"{type(self.robot).__name__}: base it on robolearn_envs.robots.MobileRobot."
            )
        if self.robot.collision_radius > MAX_ROBOT_RADIUS:
            raise ValueError(
                f"The layouts are made for robots of a radius up to {MAX_ROBOT_RADIUS} m, "
                f"got {self.robot.collision_radius:.3g}."
            )
        self._level, self._split, self._curriculum = level, split, curriculum
        self._moving = False
        readings = tuple(
            Field(
                s.name,
                "m" if isinstance(s, Lidar | DepthCamera) else "",
                (s.__doc__ or "").split("\n")[0],
                float(s.space.low.min()),
                float(s.space.high.max()),
                s.scale,
                s.size,
            )
            for s in self.sensors
        )
        self.observation_fields = (*readings, *_GOAL_FIELDS)

    def set_device(self, device: Any) -> None:
        """Sample layouts on a torch device from now on."""
        from robolearn_envs.core.torch_backend import TorchBackend  # who has no tensors needs none

        self._sampler = DeviceLayoutSampler(
            self._level, self._split, curriculum=self._curriculum, backend=TorchBackend(device)
        )

    @property
    def distance_maps(self) -> np.ndarray:
        """Shortest way to the goal from everywhere, of all environments on the host.

        Shape (N, GRID_SIZE, GRID_SIZE), m; live, do not write.
        """
        assert isinstance(self._sampler, LayoutSampler)
        assert self._sampler.maps is not None
        return self._sampler.maps

    @property
    def is_dict(self) -> bool:
        """Whether an observation is a Dict of the readings and "goal"."""
        return self.scene_type == "nav_depth"

    @property
    def observation_space(self) -> gym.Space:
        """Readings of the sensors; goal distance / 10 m, cos and sin of its bearing, v, omega."""
        goal = gym.spaces.Box(
            np.array([field.low for field in _GOAL_FIELDS], dtype=np.float32),
            np.array([field.high for field in _GOAL_FIELDS], dtype=np.float32),
        )
        if self.is_dict:
            parts: dict[str, gym.Space] = {s.name: s.space for s in self.sensors}
            return gym.spaces.Dict({**parts, "goal": goal})
        low = np.concatenate([*(s.space.low.ravel() for s in self.sensors), goal.low])
        high = np.concatenate([*(s.space.high.ravel() for s in self.sensors), goal.high])
        return gym.spaces.Box(low, high)

    def begin(
        self, draws: Array, previous: TaskState | None, options: Mapping[str, Any]
    ) -> InitialState:
        """Return episodes that begin at rest, in a random layout of the level and split.

        A layout has ``STARTS_PER_LAYOUT`` starts, from which the shortest way to the goal is
        ``MIN_START_DISTANCE`` to ``MAX_START_DISTANCE`` m. The robot begins at a random one of
        them, up to half a cell of ``RESOLUTION`` m off in x and y, under a heading uniform in
        [-pi, pi).
        """
        xp = namespace(draws)
        level = self._next_level(draws[:, 0], previous)
        layout = self._sampler.sample(level, draws[:, :2], options)
        xy = layout.xy + RESOLUTION * (draws[:, 2:4] - 0.5)
        heading = 2 * math.pi * draws[:, 4] - math.pi
        if layout.start is not None:
            xy, heading = np.tile(layout.start[:2], (len(draws), 1)), 0 * heading + layout.start[2]
        zero = xp.zeros_like(draws[:, 5])
        none = xp.zeros_like(zero, dtype=xp.bool)
        distance = layout.distance(xy)
        positions = obstacle_positions_at(layout.cylinders, zero)
        gap = clearance(xy, positions, layout.boxes) - self.robot.collision_radius
        state = {
            "level": level,
            "layout_id": layout.layout_id,
            "goal": layout.goal,
            "cylinders": layout.cylinders,
            "obstacle_positions": positions,
            "boxes": layout.boxes,
            "time": zero,
            "xy": xy,
            "distance": distance,
            "progress": zero,
            "geodesic_distance": distance,
            "path_length": zero,
            "clearance": gap,
            "min_obstacle_distance": gap,
            "tipped_over": none,
            "collided": none,
            "arrived": none,
        }
        qpos, qvel = self.robot.rest_state(xy, heading)
        return InitialState(qpos, qvel, state)

    def _next_level(self, draw: Array, previous: TaskState | None) -> Array:
        """Return the level of the next episode of each environment that drew. (n,), int64."""
        xp = namespace(draw)
        lowest = xp.zeros_like(draw, dtype=xp.int64)
        if not self._curriculum:
            return lowest + self._level
        if previous is None:
            return lowest
        step = xp.where(previous["success"], 1, -1)
        return xp.clip(previous["level"] + step, 0, self._level)

    def set_obstacles(self, engine: Engine, rows: EnvIndex, state: TaskState) -> None:
        """Put the obstacles where they are, and keep the distance maps of their layouts."""
        if isinstance(self._sampler, LayoutSampler):
            moves = bool(state["cylinders"][..., 5].any())
            self._moving = moves or (self._moving and not isinstance(rows, slice))
            self._sampler.keep_maps(rows, len(engine.qpos), state)
            engine.set_obstacles(rows, state["obstacle_positions"], state["boxes"])
        else:  # all of them, in storage of its own
            self._moving = True
            engine.set_obstacles(ALL, state["obstacle_positions"], state["boxes"])

    def after_step(self, sim: Sim, state: TaskState) -> dict[str, Array]:
        """Return what the step changed; dynamic obstacles have moved on."""
        xp = sim.xp
        xy, _ = self.robot.pose(sim.qpos)
        time = state["time"] + sim.control_timestep
        changed: dict[str, Array] = {"time": time, "xy": xy + 0.0}
        before = positions = state["obstacle_positions"]
        if self._moving:
            positions = obstacle_positions_at(state["cylinders"], time)
            changed["obstacle_positions"] = positions
            sim.engine.set_obstacle_positions(positions)
        distance = self._sampler.distance(state["layout_id"], state["level"], xy)
        path = xy - state["xy"]
        driven = xp.sqrt(xp.sum(path * path, axis=-1))
        gap = self._clearance(state, xy, driven, before, positions)
        tipped_over = self.robot.has_tipped_over(sim.qpos)
        collided = (gap <= 0) | tipped_over
        away = state["goal"] - xy
        near = xp.sum(away * away, axis=-1) < GOAL_TOLERANCE * GOAL_TOLERANCE
        return changed | {
            "distance": distance,
            "progress": state["distance"] - distance,
            "path_length": state["path_length"] + driven,
            "clearance": gap,
            "min_obstacle_distance": xp.minimum(state["min_obstacle_distance"], gap),
            "tipped_over": tipped_over,
            "collided": collided,
            "arrived": near & ~collided,
        }

    def _clearance(
        self, state: TaskState, xy: Array, driven: Array, before: Array, positions: Array
    ) -> Array:
        """Return the gap between each robot and anything, on its way where that may be smaller.

        Args:
            state: Of the episodes.
            xy: Where the robots are. Shape (N, 2), m.
            driven: How far they drove in this step. Shape (N,), m.
            before: Obstacles before the step. Shape (N, K, 3), m.
            positions: Obstacles after it. Shape (N, K, 3), m.
        """
        xp, boxes = namespace(xy), state["boxes"]
        gap = clearance(xy, positions, boxes) - self.robot.collision_radius
        moved = driven
        if self._moving and positions.shape[1]:
            shift = (positions - before)[..., :2]
            moved = moved + xp.max(xp.sqrt(xp.sum(shift * shift, axis=-1)), axis=-1)
        close = gap < moved  # else nothing can have been touched on the way
        if isinstance(self._sampler, LayoutSampler):
            rows = np.flatnonzero(close)
            if rows.size:
                swept = swept_clearance(
                    state["xy"][rows],
                    xy[rows],
                    before[rows],
                    positions[rows],
                    boxes[rows],
                    ARENA_HALF_SIZE,
                )
                gap[rows] = swept - self.robot.collision_radius
            return gap
        swept = swept_clearance(state["xy"], xy, before, positions, boxes, ARENA_HALF_SIZE)
        return xp.where(close, swept - self.robot.collision_radius, gap)

    def observe(self, sim: Sim, state: TaskState) -> Observation:
        """Return the readings of the sensors, the goal and the speeds."""
        xp = sim.xp
        goal = self._goal_and_twist(sim, state)
        if self.is_dict:
            return {**sim.sensors, "goal": goal}
        flat = [xp.reshape(part, (part.shape[0], -1)) for part in sim.sensors.values()]
        return xp.concat([*flat, goal], axis=-1)

    def _goal_and_twist(self, sim: Sim, state: TaskState) -> Array:
        """Return goal distance / 10, cos and sin of its bearing, v, omega. Shape (n, 5)."""
        xp = sim.xp
        xy, heading = self.robot.pose(sim.qpos)
        away = state["goal"] - xy
        distance = xp.sqrt(xp.sum(away * away, axis=-1))
        bearing = xp.atan2(away[:, 1], away[:, 0]) - heading
        v, omega = self.robot.twist(sim.qpos, sim.qvel)
        scaled = distance / GOAL_DISTANCE_SCALE
        return xp.stack([scaled, xp.cos(bearing), xp.sin(bearing), v, omega], axis=-1)

    def reward(self, sim: Sim, ctrl: Array, state: TaskState) -> dict[str, Array]:
        """Return the terms of the reward; all but the first two only where they end the episode.

        * `progress` is by how many m the shortest way to the goal became shorter, past all that
          stands still (dynamic obstacles are left out).
        * `step` is ``STEP_PENALTY``.
        * `success` is ``SUCCESS_REWARD`` on arriving at the goal.
        * `collision` is ``COLLISION_PENALTY`` for touching anything or falling over.
        """
        xp = sim.xp
        progress = state["progress"]
        return {
            "progress": progress,
            "step": xp.zeros_like(progress) + STEP_PENALTY,
            "success": xp.where(state["arrived"], SUCCESS_REWARD, 0.0),
            "collision": xp.where(state["collided"], COLLISION_PENALTY, 0.0),
        }

    def terminated(self, sim: Sim, state: TaskState) -> Array:
        """Return whether the robot has arrived, has touched something or has fallen over.

        It arrives where its middle comes within ``GOAL_TOLERANCE`` m of the goal.
        """
        return state["arrived"] | state["collided"]

    def metrics(self, sim: Sim, state: TaskState) -> dict[str, Array]:
        """Return the measures of episodes, as ``metric_docs`` defines them."""
        xp = sim.xp
        success = state["arrived"]
        path = state["path_length"]
        shortest = state["geodesic_distance"] - GOAL_TOLERANCE  # 1.7 m or more
        left = xp.clip(state["distance"] - GOAL_TOLERANCE, 0.0, None)
        efficiency = shortest / xp.maximum(path, shortest)
        covered = xp.clip(1 - left / shortest, 0.0, 1.0)
        return {
            "success": success,
            "collision": state["collided"],
            "path_length": path,
            "geodesic_distance": shortest,
            "spl": xp.where(success, efficiency, 0.0),
            "soft_spl": covered * efficiency,
            "min_obstacle_distance": state["min_obstacle_distance"],
            "level": state["level"],
        }

    def mirror_observation(self, observation: Observation) -> Observation:
        """Return readings the other way round, the goal on the other side."""
        if isinstance(observation, dict):
            readings = {s.name: s.mirror(observation[s.name]) for s in self.sensors}
            return {**readings, "goal": _mirrored_goal(observation["goal"])}
        xp = namespace(observation)
        parts, first = [], 0
        for sensor in self.sensors:
            last, first = first, first + sensor.size
            parts.append(sensor.mirror(observation[:, last:first]))
        return xp.concat([*parts, _mirrored_goal(observation[:, first:])], axis=-1)

    def mirror_ctrl(self, ctrl: Array) -> Array:
        """Return what drives the same way, turning the other way. Shape (N, num_ctrl)."""
        return self.robot.mirror_ctrl(ctrl)


def _mirrored_goal(goal: Array) -> Array:
    """Return goal distance, cos and sin of its bearing, v and omega in a mirror. Shape (n, 5)."""
    return goal * namespace(goal).asarray(_GOAL_MIRROR, dtype=goal.dtype)


class NavLidar(PointGoal):
    """Drive a disc to a goal among obstacles by a 36-ray lidar."""

    robot = UnicycleRobot()
    engines = ("mujoco", "bullet", "analytic", "torch", "warp")
    discrete_actions = ((1.0, 0.0), (0.6, 0.6), (0.6, -0.6), (0.0, 0.8), (0.0, -0.8))


class NavDepth(PointGoal):
    """Drive a disc to a goal among obstacles by a 64 x 64 depth camera that looks ahead.

    As NavLidar otherwise. The observation is a Dict of "depth" and "goal".
    """

    robot = UnicycleRobot()
    sensors: tuple[Sensor, ...] = (DepthCamera(),)
    engines = ("mujoco", "bullet", "analytic", "torch", "warp")
    scene_type: SceneType = "nav_depth"
    discrete_actions = NavLidar.discrete_actions


class NavRover(PointGoal):
    """Drive a rover on two wheels by a 36-ray lidar to a goal among obstacles that are never felt.

    Touching an obstacle ends the episode. As NavLidar, but actions are the speeds of the left and
    the right wheel, and falling over counts as a collision. Its wheels roll by friction, which
    engines compute in different ways: they agree closely, not to rounding.
    """

    robot = DiffDriveRobot()
    engines = ("mujoco", "bullet", "warp")
    timestep = 0.01  # s
    frame_skip = 10
    discrete_actions = ((1.0, 1.0), (0.4, 0.8), (0.8, 0.4), (-0.2, 0.2), (0.2, -0.2))
