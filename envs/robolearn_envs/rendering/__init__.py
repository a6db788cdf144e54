"""Pictures of robots, with or without OpenGL."""

from robolearn_envs.rendering.base import Renderable, Renderer, RendererUnavailable
from robolearn_envs.rendering.factory import RENDERERS, egl_error, make_renderer, set_egl_error
from robolearn_envs.rendering.frames import FrameRenderer, make_frame_renderer
from robolearn_envs.rendering.window import Window

__all__ = [
    "RENDERERS",
    "FrameRenderer",
    "Renderable",
    "Renderer",
    "RendererUnavailable",
    "Window",
    "egl_error",
    "make_frame_renderer",
    "make_renderer",
    "set_egl_error",
]
