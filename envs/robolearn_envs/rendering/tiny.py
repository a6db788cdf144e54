# pyright: reportMissingModuleSource=false, reportAttributeAccessIssue=false
"""Bullet's software renderer, TinyRenderer, in front of the backdrop it cannot draw itself."""

import mujoco
import numpy as np

from robolearn_envs import stage
from robolearn_envs.engines.bullet_world import BulletClients, load_urdf, pybullet
from robolearn_envs.rendering.base import Drawable
from robolearn_envs.rendering.camera import OVERSAMPLE, Camera, backdrop, shrink
from robolearn_envs.robots import CartPole

_NEAR, _FAR = 0.4, 100.0  # m


class TinyRenderer:
    """Draws the robot's URDF, in a physics client of its own."""

    name = "bullet-tiny"

    def __init__(self, width: int, height: int) -> None:
        """Prepare for pictures of ``width`` x ``height`` pixels."""
        self._width, self._height = width, height
        self._robot: Drawable | None = None
        self._backdrop: np.ndarray | None = None  # the same for every robot
        self._clients = BulletClients(self, 1)
        self._client = self._clients.ids[0]

    def render(self, robot: Drawable, qpos: np.ndarray) -> np.ndarray:
        """Return a new picture. Shape (height, width, 3), uint8.

        Raises:
            ValueError: The robot has no URDF.
        """
        if robot != self._robot:
            self._load(robot)
        for joint, position in enumerate(qpos):
            pybullet.resetJointState(self._body, joint, position, physicsClientId=self._client)
        width, height = self._width * OVERSAMPLE, self._height * OVERSAMPLE
        _, _, color, _, body = pybullet.getCameraImage(
            width,
            height,
            self._view,
            self._projection,
            lightDirection=[-10 * x for x in stage.SUNBEAM],
            lightAmbientCoeff=stage.AMBIENT + stage.HEADLIGHT / 2,
            lightDiffuseCoeff=stage.SUN + stage.HEADLIGHT / 2,
            lightSpecularCoeff=0,
            shadow=0,
            renderer=pybullet.ER_TINY_RENDERER,
            physicsClientId=self._client,
        )
        assert self._backdrop is not None
        samples = self._backdrop.copy()
        # A Bullet built without NumPy returns flat tuples.
        drawn = np.reshape(body, (height, width)) >= 0
        samples[drawn] = np.reshape(color, (height, width, 4))[drawn, :3]
        return shrink(samples)

    def _load(self, robot: Drawable) -> None:
        if not isinstance(robot, CartPole):
            raise ValueError(
                f"{self.name} draws robots with a URDF, which {type(robot).__name__} has not. "
                "Use software-rays."
            )
        pybullet.resetSimulation(physicsClientId=self._client)
        self._body = load_urdf(robot.to_urdf(), self._client)
        model = mujoco.MjModel.from_xml_string(robot.to_mjcf(0.01))
        data = mujoco.MjData(model)
        mujoco.mj_kinematics(model, data)
        mujoco.mj_camlight(model, data)
        camera = Camera.of(model, data, self._width, self._height)
        _, up, back = camera.axes.T
        self._view = pybullet.computeViewMatrix(camera.position, camera.position - back, up)
        top = _NEAR * camera.slope
        right = top * self._width / self._height
        self._projection = pybullet.computeProjectionMatrix(-right, right, -top, top, _NEAR, _FAR)
        if self._backdrop is None:
            self._backdrop = backdrop(camera)
        self._robot = robot

    def close(self) -> None:
        """Disconnect from the physics client."""
        self._clients.close()
