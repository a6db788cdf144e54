"""Robots in arenas, and slow oracles of what is around them, in plain Python from the data sheet.

The oracles share no code with the environments: distances are written out shape by shape, and
rays march along in steps no longer than the distance to the nearest surface, which cannot miss.
"""

import functools
import math
from typing import NamedTuple

import numpy as np

from robolearn_envs.arrays import namespace
from robolearn_envs.core.sim import Sim
from robolearn_envs.maps.generate import generate
from robolearn_envs.robots import UnicycleRobot
from robolearn_envs.sensors import DepthCamera, Lidar
from robolearn_envs.sensors.raycast import raycast

LIDAR, CAMERA = Lidar(), DepthCamera()
TALL, EYE = 1.0, 0.3  # m, height of all that stands, and of the camera
REACH = 5.0  # m


class Scene(NamedTuple):
    """A robot among obstacles, as a batch of one."""

    xy: np.ndarray  # (1, 2)
    heading: np.ndarray  # (1,)
    cylinders: np.ndarray  # (1, K, 3)
    boxes: np.ndarray  # (1, B, 4)


class ClosedForm(NamedTuple):
    """Rays in closed form, where sensors expect an engine."""

    cylinders: np.ndarray  # (N, K, 3)
    boxes: np.ndarray  # (N, B, 4)

    def raycast(self, rows, origin, direction, max_distance):
        return raycast(origin, direction, self.cylinders, self.boxes, max_distance)


def sim_at(engine, rows, xy, heading):
    """Return what sensors read where robots stand at ``xy`` under a heading."""
    qpos = namespace(xy).concat([xy, heading[:, None]], axis=-1)
    return Sim(engine, rows, UnicycleRobot(), qpos, 0 * qpos, {}, {}, {}, 0.1)


def lidar_ranges(engine, rows, xy, heading):
    """Return the ranges of robots' lidars. Shape (n, 36), m."""
    return REACH * LIDAR.read(sim_at(engine, rows, xy, heading))


def depth_image(engine, rows, xy, heading):
    """Return what robots' cameras see. Shape (n, 64, 64), m."""
    return REACH * CAMERA.read(sim_at(engine, rows, xy, heading))


def cast_image(engine, rows, xy, heading):
    """Return what cameras see by a ray in 3D for each pixel. Shape (n, 64, 64), m."""
    slopes = (2 * np.arange(64) - 63) / 64  # of the pixels' middles, at a distance of 1
    down, right = (part.ravel() for part in np.meshgrid(slopes, slopes, indexing="ij"))
    cos, sin = np.cos(heading)[:, None], np.sin(heading)[:, None]
    rays = np.stack([cos + right * sin, sin - right * cos, 0 * cos - down], axis=-1)
    origin = np.concatenate([xy, np.full((len(xy), 1), EYE)], axis=-1)
    return engine.raycast(rows, origin, rays, REACH).reshape(-1, 64, 64)


def closed_form_lidar(xy, heading, cylinders, boxes):
    """Return ranges in closed form. Shape (N, 36), m."""
    return lidar_ranges(ClosedForm(cylinders, boxes), slice(None), xy, heading)


def closed_form_depth(xy, heading, cylinders, boxes):
    """Return images in closed form. Shape (N, 64, 64), m."""
    return depth_image(ClosedForm(cylinders, boxes), slice(None), xy, heading)


def put_robot(env, row, pose):
    """Put a disc somewhere, at rest; it has not come there by any way that things could be in."""
    env._engine.reset(np.array([row]), np.array([pose], dtype=float), np.zeros((1, 3)), None)
    env.task_state["xy"][row] = pose[:2]


@functools.cache
def layouts(level, split="test", count=25):
    """Return the first layouts of a level and split."""
    return tuple(generate(level, split, count))


def at_time(cylinders, time):
    """Return x, y and radius of a layout's cylinders at a time. Shape (K, 3)."""
    rows = [
        (x + dx * math.sin(omega * time + phase), y + dy * math.sin(omega * time + phase), radius)
        for x, y, radius, dx, dy, omega, phase in cylinders.tolist()
    ]
    return np.array(rows).reshape(-1, 3)


def gap(x, y, cylinders, boxes):
    """Return the distance of a point from the nearest surface, negative inside something."""
    nearest = min(5 - x, 5 + x, 5 - y, 5 + y)
    for cx, cy, radius in cylinders:
        nearest = min(nearest, math.hypot(x - cx, y - cy) - radius)
    for bx, by, half_x, half_y in boxes:
        nearest = min(nearest, outside_box(x - bx, y - by, half_x, half_y))
    return nearest


def outside_box(x, y, half_x, half_y):
    """Return the distance of a point from a box about the origin, negative inside."""
    beyond_x, beyond_y = abs(x) - half_x, abs(y) - half_y
    if beyond_x > 0 and beyond_y > 0:
        return math.hypot(beyond_x, beyond_y)  # the corner is nearest
    return max(beyond_x, beyond_y)


def march(scene, angle):
    """Return how far a lidar ray goes in the direction of ``angle`` to the heading."""
    x, y = scene.xy[0].tolist()
    direction = scene.heading[0] + angle
    cos, sin = math.cos(direction), math.sin(direction)
    cylinders, boxes = scene.cylinders[0].tolist(), scene.boxes[0].tolist()
    gone = 0.0
    while gone < REACH:
        free = gap(x + gone * cos, y + gone * sin, cylinders, boxes)
        if free < 1e-10:
            return gone
        gone += free
    return REACH


def solid_gap(x, y, z, cylinders, boxes):
    """Return a lower bound of the distance from the nearest surface, floor included."""
    nearest = z
    flat = [gap(x, y, [one], []) for one in cylinders] + [gap(x, y, [], [one]) for one in boxes]
    flat += [5 - abs(x), 5 - abs(y)]
    for aside in flat:
        above = z - TALL
        nearest = min(
            nearest, math.hypot(above, aside) if min(above, aside) > 0 else max(above, aside)
        )
    return nearest


def march_pixel(scene, right, down):
    """Return the depth in a direction 1 m ahead, ``right`` m right and ``down`` m down of it."""
    x, y = scene.xy[0].tolist()
    cos, sin = math.cos(scene.heading[0]), math.sin(scene.heading[0])
    length = math.sqrt(1 + right * right + down * down)
    step_x, step_y, step_z = cos + right * sin, sin - right * cos, -down
    cylinders, boxes = scene.cylinders[0].tolist(), scene.boxes[0].tolist()
    depth = 0.0
    while depth < REACH:
        point = (x + depth * step_x, y + depth * step_y, EYE + depth * step_z)
        free = solid_gap(*point, cylinders, boxes)
        if free < 1e-9:
            return depth
        depth += free / length
    return REACH


def random_scenes(levels, count, seed):
    """Return robots 0.2 m or more from everything, in arenas of the levels in turn."""
    rng = np.random.default_rng(seed)
    scenes = []
    for k in range(count):
        layout = layouts(levels[k % len(levels)])[k // len(levels)]
        cylinders = at_time(layout.cylinders, rng.uniform(0, 30))
        place = rng.uniform(-4.8, 4.8, 2)
        while gap(*place, cylinders.tolist(), layout.boxes.tolist()) < 0.2:
            place = rng.uniform(-4.8, 4.8, 2)
        heading = rng.uniform(-math.pi, math.pi, 1)
        scenes.append(Scene(place[None], heading, cylinders[None], layout.boxes[None]))
    return scenes
