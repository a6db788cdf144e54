"""The chase view: the arena in 3D, and a camera behind and above the robot."""

import math
from dataclasses import dataclass

import numpy as np

from robolearn_envs.maps.generate import GOAL_TOLERANCE
from robolearn_envs.maps.grid import ARENA_HALF_SIZE
from robolearn_envs.maps.obstacles import HEIGHT
from robolearn_envs.rendering.scene_state import NavSceneState
from robolearn_envs.robots import Robot
from robolearn_envs.scene_style import ARENA_WORLD, BEAM, GOAL, MOVER, OBSTACLE, POST, WALL
from robolearn_envs.sensors.raycast import raycast_2d

_LOWEST, _HIGHEST = math.radians(32), math.radians(74)
"""Of the camera above the robot, as the robot sees it."""
_NEAR, _FAR = 2.6, 3.4
"""From the robot to the camera where it is lowest and highest in m."""
_DOWN = math.radians(12), math.radians(18)
"""The robot is seen this far below the picture's middle there; the lower edge is at 25 degrees."""
_MIDDLE = 0.15
"""Height of the robot's middle, more or less, in m."""
_FADE = 0.65
"""Weight of a step in the camera's heading and height against the step after it."""
_REMEMBERED = 10
"""Steps that still count."""
_FAN = np.linspace(-0.8, 0.8, 17)
"""Directions in which the camera's way to the robot could be blocked, against straight, rad."""
_BLOCKS = np.cos(_FAN * (math.pi / 2 / 0.9)) ** 2
"""How far an obstacle in these directions matters. Shape (17,)."""


@dataclass(frozen=True, kw_only=True)
class ArenaScene:
    """A robot in an arena, and a camera that can be put anywhere.

    Positions are x and y of each mover (m); x, y, z (m), heading and pitch (rad, positive looks
    down) of the camera; and the robot's own.
    """

    robot: Robot
    """Who drives."""
    goal: tuple[float, float]
    """m."""
    posts: tuple[tuple[float, float, float], ...]
    """x, y and radius of the cylinders that stand still, m."""
    movers: tuple[float, ...]
    """Radii of those that do not, m."""
    boxes: tuple[tuple[float, float, float, float], ...]
    """x, y and half extents, m."""

    @classmethod
    def of(cls, robot: Robot, scene: NavSceneState) -> "ArenaScene":
        """Return the scene around a robot; it is the same for a whole episode."""
        moves, cylinders = scene.is_dynamic, scene.cylinders
        return cls(
            robot=robot,
            goal=tuple(scene.goal.tolist()),
            posts=tuple(map(tuple, cylinders[~moves, :3].tolist())),
            movers=tuple(cylinders[moves, 2].tolist()),
            boxes=tuple(map(tuple, scene.boxes.tolist())),
        )

    def to_mjcf(self, timestep: float) -> str:
        """Return the MuJoCo model, with the camera "side"."""
        world = ARENA_WORLD + self._walls() + self._obstacles() + self._flag() + _CAMERA
        return self.robot.to_mjcf(timestep, world)

    def _walls(self) -> str:
        middle, far, thick = ARENA_HALF_SIZE + 0.1, ARENA_HALF_SIZE + 0.2, 0.1
        walls = [(x, 0, thick, far) for x in (-middle, middle)]
        walls += [(0, y, far, thick) for y in (-middle, middle)]
        return "".join(_box(*wall, WALL) for wall in walls)

    def _obstacles(self) -> str:
        parts = [_box(*box, OBSTACLE) for box in self.boxes]
        parts += [_cylinder(x, y, radius, OBSTACLE) for x, y, radius in self.posts]
        parts += [
            f"""\
    <body name="mover{k}">
      <inertial pos="0 0 0" mass="1" diaginertia="1 1 1"/>
      <joint type="slide" axis="1 0 0"/>
      <joint type="slide" axis="0 1 0"/>
  {_cylinder(0, 0, radius, MOVER)}    </body>
"""
            for k, radius in enumerate(self.movers)
        ]
        return "".join(parts)

    def _flag(self) -> str:
        """Return a disc as wide as the goal, a beam of light on it and a flag in its middle."""
        x, y = self.goal
        tall = 1.5 * HEIGHT
        return f"""\
    <geom type="cylinder" pos="{x} {y} 0.004" size="{GOAL_TOLERANCE} 0.004" rgba="{GOAL}"/>
    <geom type="cylinder" pos="{x} {y} {0.5 * HEIGHT}" size="{GOAL_TOLERANCE} {0.5 * HEIGHT}" rgba="{BEAM}"/>
    <geom type="cylinder" pos="{x} {y} {tall / 2}" size="0.02 {tall / 2}" rgba="{POST}"/>
    <geom type="box" pos="{x + 0.16} {y} {tall - 0.11}" size="0.16 0.012 0.1" rgba="{GOAL}"/>
"""  # noqa: E501


_CAMERA = """\
    <body name="camera">
      <inertial pos="0 0 0" mass="1" diaginertia="1 1 1"/>
      <joint type="slide" axis="1 0 0"/>
      <joint type="slide" axis="0 1 0"/>
      <joint type="slide" axis="0 0 1"/>
      <joint type="hinge" axis="0 0 1"/>
      <joint type="hinge" axis="0 1 0"/>
      <camera name="side" xyaxes="0 -1 0 0 0 1" fovy="50"/>
    </body>
"""


def _box(x: float, y: float, half_x: float, half_y: float, color: str) -> str:
    middle = HEIGHT / 2
    return (
        f'    <geom type="box" pos="{x} {y} {middle}" size="{half_x} {half_y} {middle}" '
        f'rgba="{color}"/>\n'
    )


def _cylinder(x: float, y: float, radius: float, color: str) -> str:
    middle = HEIGHT / 2
    return (
        f'    <geom type="cylinder" pos="{x} {y} {middle}" size="{radius} {middle}" '
        f'rgba="{color}"/>\n'
    )


def scene_positions(scene: NavSceneState, qpos: np.ndarray) -> np.ndarray:
    """Return the positions of an :class:`ArenaScene`.

    Args:
        scene: The moment to show.
        qpos: The robot's own. Shape (positions,).
    """
    movers = scene.now[scene.is_dynamic, :2].ravel()
    return np.concatenate([movers, camera_pose(scene), qpos])


def camera_pose(scene: NavSceneState) -> np.ndarray:
    """Return x, y, z (m), heading and pitch (rad) of a camera that follows the robot.

    Heading and height are means over the last steps, so that the camera swings round smoothly;
    it does not pitch with a rover. It rises as far as it takes to see over what stands behind.
    """
    trail = scene.trajectory[-_REMEMBERED:]
    weight = _FADE ** np.arange(len(trail))[::-1]
    weight /= weight.sum()
    heading = math.atan2(weight @ np.sin(trail[:, 2]), weight @ np.cos(trail[:, 2]))
    above = float(weight @ _elevation(trail, scene.now, scene.boxes))
    distance = np.interp(above, (_LOWEST, _HIGHEST), (_NEAR, _FAR))
    down = np.interp(above, (_LOWEST, _HIGHEST), _DOWN)
    ahead = np.array([math.cos(heading), math.sin(heading)])
    x, y = trail[-1, :2] - distance * math.cos(above) * ahead
    return np.array([x, y, _MIDDLE + distance * math.sin(above), heading, above - down])


def _elevation(poses: np.ndarray, cylinders: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return how high above some poses a camera sees over what stands behind.

    Args:
        poses: Shape (T, 3).
        cylinders: x, y, radius. Shape (K, 3), m.
        boxes: Shape (B, 4), m.

    Returns:
        Angle above the horizontal, shape (T,), rad.
    """
    backward = poses[:, 2:] + math.pi + _FAN
    free = raycast_2d(
        poses[:, :2],
        np.cos(backward),
        np.sin(backward),
        np.repeat(cylinders[None], len(poses), axis=0),
        np.repeat(boxes[None], len(poses), axis=0),
        _NEAR,
    )
    steepest = (HEIGHT * _BLOCKS / np.maximum(free, 0.1)).max(axis=1)
    return np.clip(np.arctan(steepest), _LOWEST, _HIGHEST)
