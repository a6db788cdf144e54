"""An expert for navigation: down the distance field by pure pursuit, around whatever moves."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from robolearn_envs.maps.grid import clearance, interpolate_distance
from robolearn_envs.maps.obstacles import obstacle_positions_at
from robolearn_envs.robots import MobileRobot
from robolearn_envs.tasks import PointGoal
from robolearn_envs.vector import RoboVectorEnv

AHEAD = 0.6
"""Distance of the point that is pursued in m."""
_FASTEST = 1.0  # m/s
_MAP = ("cylinders", "boxes", "time")  # what dodging needs to remember
_STRIDE = 0.1  # m, of the descent to that point
_SLOPE = 0.1  # m, half of the distance over which the field's slope is taken
_TURN = 2.0  # rad/s, the fastest turn asked for
_TIGHT = 0.6  # rad off the way at which the robot stops to turn

HORIZON = 1.5
"""How far ahead movers are foreseen, in s."""
_TICK = 0.15  # s
_MARGIN = 0.12  # m that is kept to movers and walls while dodging
_SPEEDS = (1.0, 0.6, 0.3, 0.0, -0.4)  # of the speed that is wanted
_TURNS = (-2.0, -1.2, -0.6, 0.0, 0.6, 1.2, 2.0)  # rad/s


def downhill(field: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """Return the unit directions in which a distance field falls. Shape (N, 2).

    Args:
        field: Shape (N, cells, cells), m.
        xy: Shape (N, 2), m.
    """
    dx, dy = np.array([_SLOPE, 0.0]), np.array([0.0, _SLOPE])
    slope = np.stack(
        [
            interpolate_distance(field, xy + dx) - interpolate_distance(field, xy - dx),
            interpolate_distance(field, xy + dy) - interpolate_distance(field, xy - dy),
        ],
        axis=-1,
    )
    return -slope / np.maximum(np.linalg.norm(slope, axis=-1, keepdims=True), 1e-9)


def point_ahead(field: np.ndarray, goal: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """Return the point ``AHEAD`` along the way to the goal, or the goal if it is nearer.

    Args:
        field: Shape (N, cells, cells), m.
        goal: Shape (N, 2), m.
        xy: Shape (N, 2), m.
    """
    point = xy
    for _ in range(round(AHEAD / _STRIDE)):
        near = np.linalg.norm(goal - point, axis=-1, keepdims=True) < 2 * _STRIDE
        point = np.where(near, goal, point + _STRIDE * downhill(field, point))
    return point


def pursue(
    xy: np.ndarray, heading: np.ndarray, target: np.ndarray, speed: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the speed and turning rate of pure pursuit (Coulter, 1992).

    The arc that is tangent to the heading and meets the target has curvature 2 sin(a) / d, for
    a target at distance d and angle a off the heading. Far off the heading, turn on the spot.

    Args:
        xy: Shape (N, 2), m.
        heading: Shape (N,), rad.
        target: Shape (N, 2), m.
        speed: Of the robot at most, in m/s.

    Returns:
        Forward speed in m/s and turning rate in rad/s. Shapes (N,).
    """
    away = target - xy
    distance = np.maximum(np.linalg.norm(away, axis=-1), 1e-6)
    angle = np.arctan2(away[:, 1], away[:, 0]) - heading
    angle = (angle + np.pi) % (2 * np.pi) - np.pi
    v = speed * np.clip(1 - np.abs(angle) / _TIGHT, 0.0, 1.0)
    arc = 2 * v * np.sin(angle) / distance
    return v, np.clip(arc + 3 * angle * (1 - v / speed), -_TURN, _TURN)


class PlannerExpert:
    """Drives navigation environments, whose maps and movers it knows."""

    def __init__(self, envs: RoboVectorEnv) -> None:
        """Drive these environments."""
        assert isinstance(envs.task, PointGoal)
        self._envs, self._task = envs, envs.task
        robot = envs.task.robot
        self._robot: MobileRobot = robot  # type: ignore[assignment]
        v, omega = np.meshgrid(_SPEEDS, _TURNS, indexing="ij")
        self._speed = min(_FASTEST, self._robot.max_linear_velocity)
        self._options = np.stack([self._speed * v.ravel(), omega.ravel()], axis=-1)  # (C, 2)

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, Any]:
        """Return actions for the environments as they stand; the arguments are not looked at."""
        state_of = self._envs.task_state
        maps = self._task.distance_maps
        xy, heading = self._robot.pose(self._envs.qpos_qvel()[0])
        target = point_ahead(maps, state_of["goal"], xy)
        v, omega = pursue(xy, heading, target, self._speed)
        moving = np.flatnonzero(state_of["cylinders"][..., 5].any(axis=1))
        if moving.size:
            rows = {name: state_of[name][moving] for name in _MAP}
            rows["distance_map"] = maps[moving]
            v[moving], omega[moving] = self._dodge(
                rows, xy[moving], heading[moving], v[moving], omega[moving]
            )
        return self._envs.ctrl_to_action(self._robot.twist_to_ctrl(v, omega)), state

    def _dodge(
        self,
        rows_of: Mapping[str, np.ndarray],
        xy: np.ndarray,
        heading: np.ndarray,
        v: np.ndarray,
        omega: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return a safe speed and turning rate: the wanted one, or the one that gets farthest.

        The dynamic window approach (Fox et al., 1997) with foreseen movers.
        """
        count, options = len(xy), len(self._options) + 1
        wanted = np.stack([v, omega], axis=-1)[:, None]
        tried = np.concatenate(
            [wanted, np.broadcast_to(self._options, (count, options - 1, 2))], axis=1
        ).reshape(-1, 2)
        rows = np.repeat(np.arange(count), options)
        cylinders, boxes = rows_of["cylinders"][rows], rows_of["boxes"][rows]
        place, course = xy[rows], heading[rows]
        gap, left = np.full(len(rows), np.inf), np.zeros(len(rows))
        for tick in range(1, round(HORIZON / _TICK) + 1):
            course = course + tried[:, 1] * _TICK
            forward = np.stack([np.cos(course), np.sin(course)], axis=-1)
            place = place + tried[:, :1] * _TICK * forward
            now = obstacle_positions_at(cylinders, rows_of["time"][rows] + tick * _TICK)
            gap = np.minimum(gap, clearance(place, now, boxes) - self._robot.collision_radius)
            if tick == 5:  # where to go is judged half-way: a full arc overshoots
                left = interpolate_distance(rows_of["distance_map"], place, rows)
        danger = np.clip(_MARGIN - gap, 0.0, None).reshape(count, options)
        cost = left.reshape(count, options) + 30 * danger
        cost[:, 0] -= np.where(danger[:, 0] == 0, 1e3, 0.0)
        best = tried.reshape(count, options, 2)[np.arange(count), cost.argmin(axis=1)]
        return best[:, 0], best[:, 1]
