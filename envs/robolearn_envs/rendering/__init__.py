"""Pictures of robots, with or without OpenGL."""

from robolearn_envs.rendering.base import Drawable, Renderer, RendererUnavailable
from robolearn_envs.rendering.choose import RENDERERS, believe_egl, egl_problem, make_renderer
from robolearn_envs.rendering.pictures import Pictures, make_pictures
from robolearn_envs.rendering.window import Window

__all__ = [
    "RENDERERS",
    "Drawable",
    "Pictures",
    "Renderer",
    "RendererUnavailable",
    "Window",
    "believe_egl",
    "egl_problem",
    "make_pictures",
    "make_renderer",
]
