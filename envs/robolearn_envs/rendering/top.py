"""The top view: the arena as a map, north up, with what the robot knows and has done."""

import functools
import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from robolearn_envs import scene_style as stage
from robolearn_envs.maps.generate import GOAL_TOLERANCE
from robolearn_envs.maps.grid import ARENA_HALF_SIZE
from robolearn_envs.rendering.scene_state import NavSceneState
from robolearn_envs.sensors import DepthCamera, Lidar, Sensor
from robolearn_envs.sensors.raycast import raycast_2d

EXTENT = 5.2
"""Half of the picture's side in m; its middle is the arena's."""

_OVERSAMPLE = 2
_GRID = 1.0  # m
_SMALLEST = 160  # pixels; smaller pictures have no room for words
_COMFORTABLE = 1.0  # m of clearance that are drawn all green

Color: TypeAlias = tuple[int, int, int, int]
Point: TypeAlias = tuple[float, float]


def _color(words: str, alpha: float = 1.0) -> Color:
    """Return one of the stage's colors for Pillow."""
    red, green, blue, _ = (round(255 * float(word)) for word in words.split())
    return red, green, blue, round(255 * alpha)


_WHITE: Color = (255, 255, 255, 255)
_FLOOR: Color = (246, 248, 251, 255)
_LINES: Color = (224, 229, 236, 255)
_WALL = _color(stage.POST)
_OUTLINE = _color(stage.RAIL)
_PATH = _color(stage.CART)
_SENSED: Color = (20, 150, 190, 255)
_HAZE: Color = (*_SENSED[:3], 26)
_BAD, _GOOD = np.array([214, 48, 40]), np.array([24, 150, 80])

_ROUND = np.linspace(0, 2 * math.pi, 360, endpoint=False)[None]
_CIRCLE = np.cos(_ROUND), np.sin(_ROUND)
"""x and y of directions fine enough to show what a lidar could see. Shapes (1, 360)."""


class TopView:
    """Draws square pictures of arenas from above."""

    def __init__(self, side: int, sensor: Sensor | None) -> None:
        """Prepare for pictures of ``side`` x ``side`` pixels."""
        self._side, self._sensor = side, sensor
        self._ground: tuple[tuple[bytes, ...], Image.Image] | None = None

    def draw(self, scene: NavSceneState, radius: float) -> np.ndarray:
        """Return a new picture. Shape (side, side, 3), uint8.

        Args:
            scene: What to show.
            radius: Of the robot in m.
        """
        image = self._ground_of(scene).copy()
        chart = _Canvas(image)
        _draw_movers(chart, scene)
        if isinstance(self._sensor, Lidar):
            _draw_lidar(chart, scene, self._sensor)
        elif isinstance(self._sensor, DepthCamera):
            _draw_camera(chart, scene, self._sensor)
        _draw_path(chart, scene)
        _draw_robot(chart, scene, radius)
        _draw_clearance(chart, scene, radius, self._side >= _SMALLEST)
        return np.asarray(image.reduce(_OVERSAMPLE)).copy()

    def _ground_of(self, scene: NavSceneState) -> Image.Image:
        """Return a picture of what never moves, the same as last time in the same layout."""
        shown = (scene.trajectory[0], scene.goal, scene.cylinders, scene.boxes)
        key = tuple(part.tobytes() for part in shown)
        if self._ground is None or self._ground[0] != key:
            side = self._side * _OVERSAMPLE
            image = Image.new("RGB", (side, side), _FLOOR[:3])
            _draw_ground(_Canvas(image), scene)
            self._ground = key, image
        return self._ground[1]


class _Canvas:
    """Draws on an image in meters; widths and sizes of words are in pixels of 480."""

    def __init__(self, image: Image.Image) -> None:
        self._draw = ImageDraw.Draw(image, "RGBA")
        self._scale = image.width / (2 * EXTENT)  # pixels per m
        self._fine = image.width / 480

    def _at(self, x: float, y: float) -> Point:
        return (x + EXTENT) * self._scale, (EXTENT - y) * self._scale

    def _width(self, width: float) -> int:
        return max(1, round(width * self._fine))

    def disc(
        self,
        middle: Sequence[float],
        radius: float,
        fill: Color | None = None,
        outline: Color | None = None,
        width: float = 1.0,
    ) -> None:
        """Draw a disc or, without ``fill``, a circle."""
        x, y = self._at(middle[0], middle[1])
        r = radius * self._scale
        box = (x - r, y - r, x + r, y + r)
        self._draw.ellipse(box, fill=fill, outline=outline, width=self._width(width))

    def dot(self, middle: Sequence[float], size: float, fill: Color) -> None:
        """Draw a disc of some pixels' radius."""
        self.disc(middle, size * self._fine / self._scale, fill=fill)

    def box(
        self,
        middle: Sequence[float],
        half: Sequence[float],
        fill: Color,
        outline: Color | None = None,
    ) -> None:
        """Draw an upright rectangle."""
        left, top = self._at(middle[0] - half[0], middle[1] + half[1])
        right, bottom = self._at(middle[0] + half[0], middle[1] - half[1])
        corners = (left, top, right, bottom)
        self._draw.rectangle(corners, fill=fill, outline=outline, width=self._width(1))

    def line(self, points: Sequence[Sequence[float]], fill: Color, width: float) -> None:
        """Draw a line through points."""
        pixels = [self._at(x, y) for x, y in points]
        self._draw.line(pixels, fill=fill, width=self._width(width), joint="curve")

    def polygon(self, points: Sequence[Sequence[float]], fill: Color) -> None:
        """Fill a polygon."""
        self._draw.polygon([self._at(x, y) for x, y in points], fill=fill)

    def label(self, middle: Sequence[float], words: str, fill: Color) -> None:
        """Write white words on a pill."""
        x, y = self._at(middle[0], middle[1])
        size = self._width(12)
        half, tall = 0.31 * size * len(words) + 0.2 * size, 0.72 * size
        box = (x - half, y - tall, x + half, y + tall)
        self._draw.rounded_rectangle(box, radius=tall, fill=fill)
        self._draw.text((x, y), words, fill=_WHITE, font=_font(size), anchor="mm")


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return Pillow's own font, so that pictures look the same on every machine."""
    return ImageFont.load_default(size=size)


def _draw_ground(chart: _Canvas, scene: NavSceneState) -> None:
    """Draw the floor with its grid, what stands on it, the goal and the start."""
    for k in np.arange(-ARENA_HALF_SIZE + _GRID, ARENA_HALF_SIZE, _GRID).tolist():
        chart.line(((k, -ARENA_HALF_SIZE), (k, ARENA_HALF_SIZE)), _LINES, 1)
        chart.line(((-ARENA_HALF_SIZE, k), (ARENA_HALF_SIZE, k)), _LINES, 1)
    for box in scene.boxes.tolist():
        chart.box(box[:2], box[2:], _color(stage.OBSTACLE), _OUTLINE)
    for x, y, radius in scene.cylinders[~scene.is_dynamic, :3].tolist():
        chart.disc((x, y), radius, _color(stage.OBSTACLE), _OUTLINE)
    far, thick = (ARENA_HALF_SIZE + EXTENT) / 2, (EXTENT - ARENA_HALF_SIZE) / 2
    for side in (-far, far):
        chart.box((side, 0), (thick, EXTENT), _WALL)
        chart.box((0, side), (EXTENT, thick), _WALL)
    for x, y, _, dx, dy, *_ in scene.cylinders[scene.is_dynamic].tolist():
        ends = (x - dx, y - dy), (x + dx, y + dy)
        chart.line(ends, _color(stage.MOVER, 0.6), 1)
        for end in ends:
            chart.dot(end, 2, _color(stage.MOVER, 0.6))
    goal = scene.goal.tolist()
    chart.disc(goal, GOAL_TOLERANCE, _color(stage.GOAL, 0.25), _color(stage.GOAL), 1.5)
    chart.disc(goal, GOAL_TOLERANCE / 3, _color(stage.GOAL))
    chart.disc(scene.trajectory[0, :2].tolist(), 0.14, _WHITE, _PATH, 1.5)


def _draw_movers(chart: _Canvas, scene: NavSceneState) -> None:
    for x, y, radius in scene.now[scene.is_dynamic].tolist():
        chart.disc((x, y), radius, _color(stage.MOVER), _color("0.70 0.36 0.08 1"))


def _draw_lidar(chart: _Canvas, scene: NavSceneState, lidar: Lidar) -> None:
    """Draw every ray as far as it goes, and a dot where it meets something."""
    xy, heading = scene.trajectory[-1:, :2], scene.trajectory[-1:, 2]
    around = scene.now[None], scene.boxes[None]
    rays = lidar.directions(heading)
    ranges = raycast_2d(xy, rays[..., 0], rays[..., 1], *around, lidar.range_max)[0]
    ends = xy + ranges[:, None] * rays[0]
    if lidar.is_round:
        between = raycast_2d(xy, *_CIRCLE, *around, lidar.range_max)[0]
        chart.polygon((xy + between[:, None] * np.concatenate(_CIRCLE).T).tolist(), _HAZE)
    else:
        chart.polygon([*xy.tolist(), *ends.tolist()], _HAZE)
    for end in ends.tolist():
        chart.line((xy[0].tolist(), end), (*_SENSED[:3], 120), 0.6)
    _draw_hits(chart, ends[ranges < lidar.range_max])


def _draw_camera(chart: _Canvas, scene: NavSceneState, camera: DepthCamera) -> None:
    """Draw what each column of the depth image sees, and a dot where it meets something."""
    xy, heading = scene.trajectory[-1:, :2], scene.trajectory[-1:, 2]
    rays = camera.column_directions(heading)
    around = scene.now[None], scene.boxes[None]
    depths = raycast_2d(xy, rays[..., 0], rays[..., 1], *around, camera.range_max)[0]
    ends = xy + depths[:, None] * rays[0]
    chart.polygon([*xy.tolist(), *ends.tolist()], _HAZE)
    for end in ends[[0, -1]].tolist():
        chart.line((xy[0].tolist(), end), (*_SENSED[:3], 150), 1)
    _draw_hits(chart, ends[depths < camera.range_max])


def _draw_hits(chart: _Canvas, points: np.ndarray) -> None:
    for point in points.tolist():
        chart.dot(point, 1.8, _SENSED)


def _draw_path(chart: _Canvas, scene: NavSceneState) -> None:
    path = scene.trajectory[:, :2].tolist()
    if len(path) > 1:
        chart.line(path, (*_PATH[:3], 200), 2.2)


def _draw_robot(chart: _Canvas, scene: NavSceneState, radius: float) -> None:
    x, y, heading = scene.trajectory[-1].tolist()
    ahead = np.array([math.cos(heading), math.sin(heading)])
    nose, rim = ([x, y] + reach * radius * ahead for reach in (1.7, 0.95))
    aside = 0.6 * radius * np.array([-ahead[1], ahead[0]])
    chart.polygon([nose.tolist(), (rim + aside).tolist(), (rim - aside).tolist()], _PATH)
    chart.disc((x, y), radius, _PATH, _WHITE, 1)
    chart.line(((x, y), rim.tolist()), _WHITE, 2.2)


def _draw_clearance(chart: _Canvas, scene: NavSceneState, radius: float, words: bool) -> None:
    """Draw a line from the robot's rim to the nearest surface, with its length."""
    xy = scene.trajectory[-1, :2]
    nearest = nearest_surface(xy, scene.now, scene.boxes)
    away = float(np.linalg.norm(nearest - xy))
    gap = max(0.0, away - radius)
    mixed = _BAD + (_GOOD - _BAD) * min(1.0, gap / _COMFORTABLE)
    red, green, blue = mixed.round().astype(int).tolist()
    color = red, green, blue, 255
    if gap > 0:
        rim = xy + (nearest - xy) * (radius / away)
        chart.line((rim.tolist(), nearest.tolist()), color, 2.2)
        chart.dot(nearest.tolist(), 2.6, color)
    if words:
        x, y = np.clip(xy, 0.6 - ARENA_HALF_SIZE, ARENA_HALF_SIZE - 0.6).tolist()
        up = 1 if nearest[1] <= xy[1] else -1
        chart.label((x, y + up * 0.5), f"{gap:.2f} m", color)


def nearest_surface(xy: np.ndarray, cylinders: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return the point of walls and obstacles that is nearest to a point outside them.

    Args:
        xy: Shape (2,), m.
        cylinders: x, y, radius. Shape (K, 3), m.
        boxes: x, y and half extents. Shape (B, 4), m.

    Returns:
        Shape (2,), m.
    """
    walls = np.array(
        [
            [-ARENA_HALF_SIZE, xy[1]],
            [ARENA_HALF_SIZE, xy[1]],
            [xy[0], -ARENA_HALF_SIZE],
            [xy[0], ARENA_HALF_SIZE],
        ]
    )
    towards = xy - cylinders[:, :2]
    far = np.linalg.norm(towards, axis=1, keepdims=True)
    rims = cylinders[:, :2] + towards * (cylinders[:, 2:] / np.maximum(far, 1e-9))
    faces = np.clip(xy, boxes[:, :2] - boxes[:, 2:], boxes[:, :2] + boxes[:, 2:])
    points = np.concatenate([walls, rims, faces])
    return points[np.linalg.norm(points - xy, axis=1).argmin()]
