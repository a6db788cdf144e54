# pyright: reportAttributeAccessIssue=false
"""MuJoCo's own renderer, on an off-screen OpenGL context made with EGL.

``mujoco.Renderer`` takes its OpenGL platform from an environment variable that must be set
before mujoco is first imported; this one does not. All renderers of a thread share an OpenGL
context, which in software takes 0.4 s to make; each has a framebuffer of its own in it.
"""

import atexit
import functools
import os
import threading
import weakref
from typing import TYPE_CHECKING

import mujoco
import numpy as np

from robolearn_envs.rendering.base import Renderable, RendererUnavailable

if TYPE_CHECKING:
    from mujoco.egl import GLContext

_MOST_GEOMS = 100
_IN_SOFTWARE = ("llvmpipe", "softpipe", "swrast")
"""How Mesa's renderers that do without a graphics card name themselves."""
_open: "weakref.WeakSet[EglRenderer]" = weakref.WeakSet()
_contexts: "weakref.WeakSet[GLContext]" = weakref.WeakSet()
_here = threading.local()


class EglRenderer:
    """Draws with OpenGL on a graphics card, or in software where Mesa provides it."""

    name = "mujoco-egl"

    def __init__(self, width: int, height: int) -> None:
        """Make a renderer of pictures of ``width`` x ``height`` pixels.

        Raises:
            RendererUnavailable: There is no working EGL.
        """
        self._closed = True
        self._size = (width, height)
        self._rectangle = mujoco.MjrRect(0, 0, width, height)
        self._robot: Renderable | None = None
        self._picture: mujoco.MjrContext | None = None
        self._context, self._plain = _context_of_this_thread()
        self._closed = False
        _open.add(self)

    def render(self, robot: Renderable, qpos: np.ndarray) -> np.ndarray:
        """Return a new picture. Shape (height, width, 3), uint8."""
        self._context.make_current()
        if robot != self._robot:
            self._compile(robot)
        self._data.qpos[:] = qpos
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_camlight(self._model, self._data)
        mujoco.mjv_updateScene(
            self._model,
            self._data,
            mujoco.MjvOption(),
            None,
            self._camera,
            mujoco.mjtCatBit.mjCAT_ALL,
            self._scene,
        )
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._picture)
        mujoco.mjr_render(self._rectangle, self._scene, self._picture)
        width, height = self._size
        upside_down = np.empty((height, width, 3), dtype=np.uint8)
        mujoco.mjr_readPixels(upside_down, None, self._rectangle, self._picture)
        return upside_down[::-1].copy()

    def _compile(self, robot: Renderable) -> None:
        self._model = mujoco.MjModel.from_xml_string(robot.to_mjcf(0.01))
        self._data = mujoco.MjData(self._model)
        self._scene = mujoco.MjvScene(self._model, maxgeom=_MOST_GEOMS)
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._camera.fixedcamid = self._model.camera("side").id
        if type(robot) is not type(self._robot):
            self._upload()
        self._robot = robot

    def _upload(self) -> None:
        """Give textures and buffers to OpenGL: slow, and the same for all robots of a type."""
        if self._picture is not None:
            self._picture.free()
        screen = self._model.vis.global_
        screen.offwidth, screen.offheight = self._size
        if self._plain:  # several samples per pixel would take three times as long
            quality = self._model.vis.quality
            quality.offsamples, quality.shadowsize = 0, 0
        self._picture = mujoco.MjrContext(self._model, mujoco.mjtFontScale.mjFONTSCALE_100)

    def close(self) -> None:
        """Release the buffers."""
        if self._closed:
            return
        self._closed = True
        if self._picture is not None:
            self._context.make_current()
            self._picture.free()

    def __del__(self) -> None:
        """Release the buffers: MuJoCo would free them in whichever context is current."""
        self.close()


def _context_of_this_thread() -> tuple["GLContext", bool]:
    """Return the context that this thread has in this process, and whether it is in software.

    Raises:
        RendererUnavailable: There is no working EGL.
    """
    contexts = _here.__dict__.setdefault("contexts", {})
    process = os.getpid()
    if process not in contexts:  # that of the parent of a fork cannot be used
        context = _open_context()
        contexts[process] = context, _in_software()
        _contexts.add(context)
        _close_at_exit()
    return contexts[process]


def _open_context() -> "GLContext":
    """Return a new context, current in this thread."""
    try:
        from mujoco.egl import GLContext
        from OpenGL import error
    except (
        ImportError,
        OSError,
        AttributeError,
        TypeError,
    ) as problem:  # whatever PyOpenGL trips on
        raise RendererUnavailable(f"No EGL library ({problem}).") from problem
    try:
        context = GLContext(1, 1)  # nothing is drawn to its own surface
        context.make_current()
    except (error.Error, ImportError, RuntimeError) as problem:
        raise RendererUnavailable(f"EGL makes no context ({problem}).") from problem
    return context


def _in_software() -> bool:
    """Return whether the current context draws without a graphics card."""
    from OpenGL import GL

    told = GL.glGetString(GL.GL_RENDERER)
    return told is not None and any(name in told.decode().lower() for name in _IN_SOFTWARE)


@functools.cache
def _close_at_exit() -> None:
    """Have everything closed before EGL ends; so this must run after the first context opens."""
    atexit.register(_close_all)


def _close_all() -> None:
    for renderer in list(_open):
        renderer.close()
    for context in list(_contexts):
        context.free()
