"""The best renderer that works on this machine."""

import logging
import subprocess
import sys

from robolearn_envs.names import pick
from robolearn_envs.rendering.base import Renderer, RendererUnavailable

RENDERERS = {
    "mujoco-egl": "OpenGL without a screen; fastest on a graphics card",
    "software-rays": "ray casting on the CPU; needs nothing",
}
"""Names and descriptions of the renderers."""

_PROBE = """
import mujoco
from mujoco.egl import GLContext
context = GLContext(16, 16)
context.make_current()
picture = mujoco.MjrContext(mujoco.MjModel.from_xml_string("<mujoco/>"), 100)
picture.free()
context.free()
"""
_PROBE_TIMEOUT = 30.0  # s; a working EGL takes half of one

_log = logging.getLogger(__name__)
_found: list[str | None] = []  # what egl_error() returns, once it is known


def egl_error() -> str | None:
    """Return why EGL does not work here, or None if it does.

    Tried once, in another process: a bad OpenGL installation can take its process with it.
    """
    if not _found:
        _found.append(_probed())
    return _found[0]


def set_egl_error(problem: str | None) -> None:
    """Let ``egl_error`` return what it did in another process of this machine, untried."""
    _found[:] = [problem]


def _probed() -> str | None:
    try:
        probe = subprocess.run(
            [sys.executable, "-P", "-c", _PROBE],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PROBE_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"EGL did not answer within {_PROBE_TIMEOUT:.0f} s."
    if probe.returncode == 0:
        return None
    last = probe.stderr.strip().splitlines()[-1:] or [f"exit status {probe.returncode}"]
    return f"EGL does not work here ({last[0]})."


def make_renderer(width: int, height: int, prefer: str | None = None) -> Renderer:
    """Return a renderer: MuJoCo's on EGL, or where there is no EGL one that needs no OpenGL.

    Args:
        width: Of the pictures, in pixels.
        height: Of the pictures, in pixels.
        prefer: Name of the only renderer that will do, one of ``RENDERERS``.

    Raises:
        ValueError: A bad size, or ``prefer`` is unknown or does not work on this machine.
    """
    if width < 1 or height < 1:
        raise ValueError(f"A picture needs positive width and height, got {width} x {height}.")
    if prefer is not None:
        pick("renderer", prefer, RENDERERS)
    try:
        renderer = _make(prefer or "mujoco-egl", width, height)
    except RendererUnavailable as problem:
        if prefer is not None:
            raise ValueError(f"Renderer '{prefer}' is unavailable. {problem}") from problem
        _log.info("%s", problem)
        renderer = _make("software-rays", width, height)
    _log.info("Rendering with %s.", renderer.name)
    return renderer


def _make(name: str, width: int, height: int) -> Renderer:
    if name == "software-rays":
        from robolearn_envs.rendering.software import SoftwareRenderer  # needs MuJoCo

        return SoftwareRenderer(width, height)
    if problem := egl_error():
        raise RendererUnavailable(problem)
    from robolearn_envs.rendering.egl import EglRenderer  # needs MuJoCo

    return EglRenderer(width, height)
