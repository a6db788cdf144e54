# pyright: reportAttributeAccessIssue=false
"""A pinhole camera, and what it sees where there is no robot: floor and sky.

The software renderers draw this backdrop themselves, as MuJoCo's OpenGL renderer draws it.
Pictures are drawn with ``OVERSAMPLE`` squared samples per pixel and then shrunk: smooth edges.
"""

from typing import NamedTuple

import mujoco
import numpy as np

from robolearn_envs import scene_style as stage

OVERSAMPLE = 2
"""Samples per pixel along each axis."""

_EDGE = 67.0
"""Distance in m at which MuJoCo lets an infinite floor end."""
_HAZE = 0.3
"""Part of that distance over which it fades."""


class Area(NamedTuple):
    """A rectangle of pixels, the last row and column excluded."""

    top: int
    bottom: int
    left: int
    right: int


class Camera(NamedTuple):
    """A pinhole camera and its picture's size in pixels."""

    position: np.ndarray  # m, shape (3,)
    axes: np.ndarray  # columns point right, up and backward, shape (3, 3)
    slope: float  # half the picture's height at distance 1
    width: int
    height: int
    floor: float  # m

    @classmethod
    def of(cls, model: mujoco.MjModel, data: mujoco.MjData, width: int, height: int) -> "Camera":
        """Return the camera "side" where the data have it."""
        index = model.camera("side").id
        slope = np.tan(np.radians(model.cam_fovy[index]) / 2)
        place, axes = data.cam_xpos[index].copy(), data.cam_xmat[index].reshape(3, 3).copy()
        return cls(place, axes, float(slope), width, height, float(model.geom("floor").pos[2]))

    def rays(self, area: Area) -> np.ndarray:
        """Return the unit directions of the samples in an area. Shape (rows, columns, 3)."""
        rows = np.arange(area.top * OVERSAMPLE, area.bottom * OVERSAMPLE)
        columns = np.arange(area.left * OVERSAMPLE, area.right * OVERSAMPLE)
        return self.through((rows[:, None] + 0.5) / OVERSAMPLE, (columns + 0.5) / OVERSAMPLE)

    def through(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return the unit directions through points of the picture. Shape (..., 3).

        Args:
            rows: In pixels from the upper edge. Shape (...).
            columns: In pixels from the left edge. Shape (...).
        """
        scale = 2 * self.slope / self.height  # of a pixel at distance 1
        up = ((self.height / 2 - rows) * scale)[..., None]
        right = ((columns - self.width / 2) * scale)[..., None]
        across, sideways, back = self.axes.T
        rays = right * across + up * sideways - back
        return rays / np.linalg.norm(rays, axis=-1, keepdims=True)

    def area(self, centers: np.ndarray, radii: np.ndarray) -> Area:
        """Return an area that surely holds some balls in front of the camera.

        Args:
            centers: In m. Shape (n, 3).
            radii: In m. Shape (n,).
        """
        right, up, back = ((centers - self.position) @ self.axes).T
        scale = self.height / (2 * self.slope * np.maximum(-back - radii, 0.1))  # pixels per m
        half_height, half_width = self.height / 2, self.width / 2
        return Area(
            _within(np.min(half_height - (up + radii) * scale), self.height),
            _within(np.max(half_height - (up - radii) * scale) + 1, self.height),
            _within(np.min(half_width + (right - radii) * scale), self.width),
            _within(np.max(half_width + (right + radii) * scale) + 1, self.width),
        )


def _within(pixel: float, size: int) -> int:
    return int(np.clip(np.floor(pixel), 0, size))


def shrink(samples: np.ndarray) -> np.ndarray:
    """Return the mean of each pixel's samples. Shape (H, W, 3) from (H * OVERSAMPLE, ..., 3)."""
    total = np.zeros((*np.array(samples.shape[:2]) // OVERSAMPLE, 3), dtype=np.uint16)
    for row in range(OVERSAMPLE):
        for column in range(OVERSAMPLE):
            total += samples[row::OVERSAMPLE, column::OVERSAMPLE]
    return (total // OVERSAMPLE**2).astype(np.uint8)


def light(normals: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """Return the brightness of lit surfaces (Lambert, 1760), as MuJoCo's lights add up.

    Args:
        normals: Unit normals. Shape (..., 3).
        rays: Unit directions from the camera. Shape (..., 3).
    """
    facing = np.clip(-(normals * rays).sum(axis=-1), 0, None)
    sunny = np.clip(-normals @ np.array(stage.LIGHT_DIRECTION), 0, None)
    return stage.AMBIENT + stage.HEADLIGHT * facing + stage.SUN * sunny


def backdrop(camera: Camera) -> np.ndarray:
    """Return floor and sky, every sample. Shape (H * OVERSAMPLE, W * OVERSAMPLE, 3), uint8."""
    rays = camera.rays(Area(0, camera.height, 0, camera.width))
    return to_bytes(surroundings(camera, rays.reshape(-1, 3))).reshape(rays.shape)


def to_bytes(colors: np.ndarray) -> np.ndarray:
    """Return colors in 0 ... 1 as uint8, 255 times as large."""
    return (255 * np.clip(colors, 0, 1)).astype(np.uint8)


def surroundings(camera: Camera, rays: np.ndarray) -> np.ndarray:
    """Return the colors of floor and sky, for unit directions. Shapes (n, 3)."""
    above = camera.position[2] - camera.floor
    slopes = rays[:, 2] / np.hypot(rays[:, 0], rays[:, 1])
    edge = -above / _EDGE
    color = _sky(slopes)
    near = slopes < edge
    reach = above / -rays[near, 2]
    # MuJoCo's headlight shines along the camera's axis.
    bright = (
        stage.AMBIENT + stage.HEADLIGHT * camera.axes[2, 2] - stage.SUN * stage.LIGHT_DIRECTION[2]
    )
    color[near] = bright * _floor(camera.position[:2] + reach[:, None] * rays[near, :2], reach)
    haze = np.interp(slopes, [edge / (1 - _HAZE), edge, 0], [0, 1, 0])[:, None]
    color += haze * (stage.HORIZON - color)
    return color


def _sky(slopes: np.ndarray) -> np.ndarray:
    """Return the colors of rays that rise by ``slopes`` per meter. Shape (n, 3)."""
    blue = np.clip(0.5 + 0.42 * slopes, 0, 1)[:, None]  # MuJoCo's gradient is half-way at 0
    return stage.HORIZON + blue * np.subtract(stage.SKY, stage.HORIZON)


def _floor(points: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """Return the colors of the floor in full light; far tiles are too small to tell apart.

    Args:
        points: x and y in m. Shape (n, 2).
        reach: Distance from the camera along the floor in m. Shape (n,).
    """
    tile = 1 - np.floor(points / stage.TILE).sum(axis=1) % 2
    mixed = tile + np.clip(reach / 20.0 - 0.6, 0, 1) * (0.5 - tile)
    light, dark = np.array(stage.TILES)
    return light + mixed[:, None] * (dark - light)
