# pyright: reportAttributeAccessIssue=false
"""Ray casting on the CPU: MuJoCo finds what each ray hits, NumPy shades it. No OpenGL at all."""

import mujoco
import numpy as np

from robolearn_envs.rendering.base import Drawable
from robolearn_envs.rendering.camera import OVERSAMPLE, Area, Camera, backdrop, light, shrink

_STILL, _MOVING, _BACKDROP = 0, 1, 2
"""Geom groups: what never moves, what does, and planes, which the backdrop has drawn already."""
_GROUPS = 6  # in MuJoCo


class SoftwareRenderer:
    """Casts rays only where something can have moved; the rest is drawn once per robot."""

    name = "software-rays"

    def __init__(self, width: int, height: int) -> None:
        """Prepare for pictures of ``width`` x ``height`` pixels."""
        self._width, self._height = width, height
        self._robot: Drawable | None = None
        self._backdrop: np.ndarray | None = None  # the same for every robot

    def render(self, robot: Drawable, qpos: np.ndarray) -> np.ndarray:
        """Return a new picture. Shape (height, width, 3), uint8."""
        if robot != self._robot:
            self._compile(robot)
        self._pose(qpos)
        picture = self._still_picture.copy()
        area = self._camera.area(
            self._data.geom_xpos[self._moving], self._model.geom_rbound[self._moving]
        )
        rows, columns = slice(area.top, area.bottom), slice(area.left, area.right)
        picture[rows, columns] = shrink(self._cast(area, _STILL, _MOVING))
        return picture

    def close(self) -> None:
        """Nothing to release."""

    def _compile(self, robot: Drawable) -> None:
        self._model = mujoco.MjModel.from_xml_string(robot.to_mjcf(0.01))
        self._data = mujoco.MjData(self._model)
        self._camera = Camera.of(self._model, self._width, self._height)
        self._moving = self._model.body_weldid[self._model.geom_bodyid] != 0
        plane = self._model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE
        self._model.geom_group = np.where(plane, _BACKDROP, np.where(self._moving, _MOVING, _STILL))
        self._pose(self._model.qpos0)
        if self._backdrop is None:
            self._backdrop = backdrop(self._camera)
        self._samples = self._backdrop
        self._samples = self._cast(Area(0, self._height, 0, self._width), _STILL)
        self._still_picture = shrink(self._samples)
        self._robot = robot

    def _pose(self, qpos: np.ndarray) -> None:
        self._data.qpos[:] = qpos
        mujoco.mj_kinematics(self._model, self._data)

    def _cast(self, area: Area, *groups: int) -> np.ndarray:
        """Return an area's samples with the geoms of some groups drawn over ``_samples``.

        Returns:
            Shape (rows * OVERSAMPLE, columns * OVERSAMPLE, 3), uint8.
        """
        rays = self._camera.rays(area)
        hit, normals = self._hits(rays.reshape(-1, 3), groups)
        rows = slice(area.top * OVERSAMPLE, area.bottom * OVERSAMPLE)
        columns = slice(area.left * OVERSAMPLE, area.right * OVERSAMPLE)
        samples = self._samples[rows, columns].copy()
        hit = hit.reshape(samples.shape[:2])
        struck = hit >= 0
        brightness = light(normals.reshape(samples.shape)[struck], rays[struck])
        colour = self._model.geom_rgba[hit[struck], :3] * brightness[:, None]
        samples[struck] = 255 * np.clip(colour, 0, 1)
        return samples

    def _hits(self, rays: np.ndarray, groups: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Return the geom each ray hits first, or -1, and the surface normal there.

        Args:
            rays: Unit directions. Shape (n, 3).
            groups: Geom groups that can be hit.

        Returns:
            Shapes (n,) and (n, 3).
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
        return geom, normal.reshape(-1, 3)
