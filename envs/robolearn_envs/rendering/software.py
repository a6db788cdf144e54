# pyright: reportAttributeAccessIssue=false
"""Ray casting on the CPU: MuJoCo finds what each ray hits, NumPy shades it. No OpenGL at all."""

import mujoco
import numpy as np

from robolearn_envs.rendering.base import Renderable
from robolearn_envs.rendering.camera import (
    OVERSAMPLE,
    Area,
    Camera,
    backdrop,
    light,
    shrink,
    surroundings,
    to_bytes,
)

_STILL, _MOVING, _GLASS, _UNSEEN = 0, 1, 2, 3
"""Geom groups: what never moves, what does, what one sees through, and what is not drawn: the
planes, which are in the backdrop already, and what MuJoCo does not draw either."""
_GROUPS = 6  # in MuJoCo
_DRAWN = 3  # groups MuJoCo draws unless told otherwise
_EDGE = 12 / 255
"""Difference in brightness between neighbors that is drawn more finely."""


class SoftwareRenderer:
    """Casts rays only where something can have moved; the rest is drawn once per robot.

    Where the camera itself can move, all of a picture is drawn anew.
    """

    name = "software-rays"

    def __init__(self, width: int, height: int) -> None:
        """Prepare for pictures of ``width`` x ``height`` pixels."""
        self._width, self._height = width, height
        self._robot: Renderable | None = None
        self._backdrop: np.ndarray | None = None  # the same for every robot

    def render(self, robot: Renderable, qpos: np.ndarray) -> np.ndarray:
        """Return a new picture. Shape (height, width, 3), uint8."""
        if robot != self._robot:
            self._compile(robot)
        self._pose(qpos)
        return self._anew() if self._tracks else self._changed()

    def close(self) -> None:
        """Nothing to release."""

    def _compile(self, robot: Renderable) -> None:
        self._model = model = mujoco.MjModel.from_xml_string(robot.to_mjcf(0.01))
        self._data = mujoco.MjData(model)
        self._moving = model.body_weldid[model.geom_bodyid] != 0
        unseen = (model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE) | (model.geom_group >= _DRAWN)
        glass = model.geom_rgba[:, 3] < 1
        model.geom_group = np.where(self._moving, _MOVING, _STILL)
        model.geom_group[glass] = _GLASS
        model.geom_group[unseen] = _UNSEEN
        self._tracks = bool(model.body_weldid[model.cam_bodyid[model.camera("side").id]])
        self._pose(model.qpos0)
        if not self._tracks:
            self._draw_still()
        self._robot = robot

    def _pose(self, qpos: np.ndarray) -> None:
        self._data.qpos[:] = qpos
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_camlight(self._model, self._data)
        self._camera = Camera.of(self._model, self._data, self._width, self._height)

    def _draw_still(self) -> None:
        """Draw what never moves."""
        if self._backdrop is None:
            self._backdrop = backdrop(self._camera)
        self._samples = self._backdrop
        self._samples = self._cast(Area(0, self._height, 0, self._width), _STILL)
        self._still_picture = shrink(self._samples)

    def _changed(self) -> np.ndarray:
        """Return the picture with what moves drawn over what does not."""
        picture = self._still_picture.copy()
        area = self._camera.area(
            self._data.geom_xpos[self._moving], self._model.geom_rbound[self._moving]
        )
        rows, columns = slice(area.top, area.bottom), slice(area.left, area.right)
        picture[rows, columns] = shrink(self._cast(area, _STILL, _MOVING))
        return picture

    def _cast(self, area: Area, *groups: int) -> np.ndarray:
        """Return an area's samples with the geoms of some groups drawn over ``_samples``.

        Returns:
            Shape (rows * OVERSAMPLE, columns * OVERSAMPLE, 3), uint8.
        """
        rows = slice(area.top * OVERSAMPLE, area.bottom * OVERSAMPLE)
        columns = slice(area.left * OVERSAMPLE, area.right * OVERSAMPLE)
        samples = self._samples[rows, columns].copy()
        rays = self._camera.rays(area).reshape(-1, 3)
        geom, _, normals = self._hits(rays, groups)
        struck = geom >= 0
        colors = self._shaded(geom[struck], normals[struck], rays[struck])
        samples.reshape(-1, 3)[struck] = to_bytes(colors)
        return samples

    def _anew(self) -> np.ndarray:
        """Return a picture with one ray through each pixel, and more where it is not smooth."""
        rows, columns = np.indices((self._height, self._width)) + 0.5
        picture = self._seen(rows, columns)
        at = np.nonzero(_edges(picture))
        fine = np.zeros((len(at[0]), 3))
        parts = (np.arange(OVERSAMPLE) + 0.5) / OVERSAMPLE
        for part_row in parts:
            for part_column in parts:
                fine += self._seen(at[0] + part_row, at[1] + part_column)
        picture[at] = fine / OVERSAMPLE**2
        return to_bytes(picture)

    def _seen(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return the colors at points of the picture, in pixels. Shape (..., 3), 0 ... 1."""
        rays = self._camera.through(rows, columns).reshape(-1, 3)
        geom, distance, normals = self._hits(rays, (_STILL, _MOVING))
        struck = geom >= 0
        colors = np.empty((len(rays), 3))
        colors[struck] = self._shaded(geom[struck], normals[struck], rays[struck])
        colors[~struck] = surroundings(self._camera, rays[~struck])
        self._glaze(colors, rays, np.where(struck, distance, np.inf))
        return np.clip(colors, 0, 1).reshape(*rows.shape, 3)

    def _glaze(self, colors: np.ndarray, rays: np.ndarray, behind: np.ndarray) -> None:
        """Draw the nearest thing one sees through over what is ``behind`` it, in m."""
        at = np.flatnonzero(self._near_glass(rays))
        geom, distance, normals = self._hits(rays[at], (_GLASS,))
        tinted = (geom >= 0) & (distance < behind[at])
        at, geom = at[tinted], geom[tinted]
        tint = self._shaded(geom, normals[tinted], rays[at])
        colors[at] += self._model.geom_rgba[geom, 3:] * (tint - colors[at])

    def _near_glass(self, rays: np.ndarray) -> np.ndarray:
        """Return which rays pass the balls around things one sees through. Shape (n,), bool."""
        near = np.zeros(len(rays), dtype=np.bool_)
        for geom in np.flatnonzero(self._model.geom_group == _GLASS).tolist():
            towards = self._data.geom_xpos[geom] - self._camera.position
            radius = self._model.geom_rbound[geom]
            tangent = np.sqrt(max(0.0, towards @ towards - radius**2))  # to the ball, m
            near |= rays @ towards >= tangent
        return near

    def _shaded(self, geom: np.ndarray, normals: np.ndarray, rays: np.ndarray) -> np.ndarray:
        """Return the colors of lit surfaces. Shape (n, 3)."""
        return self._model.geom_rgba[geom, :3] * light(normals, rays)[:, None]

    def _hits(
        self, rays: np.ndarray, groups: tuple[int, ...]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the geom each ray hits first, or -1, how far away, and the normal there.

        Args:
            rays: Unit directions. Shape (n, 3).
            groups: Geom groups that can be hit.

        Returns:
            Shapes (n,), (n,) in m and (n, 3).
        """
        count = len(rays)
        geom, distance, normal = np.empty(count, np.int32), np.empty(count), np.empty(3 * count)
        if count:
            mujoco.mj_multiRay(
                self._model,
                self._data,
                self._camera.position,
                rays.ravel(),
                np.isin(np.arange(_GROUPS), groups).astype(np.uint8),
                True,  # static geoms too
                -1,  # no body excluded
                geom,
                distance,
                normal,
                count,
                mujoco.mjMAXVAL,
            )
        return geom, distance, normal.reshape(-1, 3)


def _edges(picture: np.ndarray) -> np.ndarray:
    """Return the pixels that differ much from a neighbor. Shape (H, W), bool."""
    found = np.zeros(picture.shape[:2], dtype=np.bool_)
    for channel in np.moveaxis(picture, -1, 0):
        steep = np.abs(np.diff(channel, axis=0)) > _EDGE
        found[:-1] |= steep
        found[1:] |= steep
        steep = np.abs(np.diff(channel, axis=1)) > _EDGE
        found[:, :-1] |= steep
        found[:, 1:] |= steep
    return found
