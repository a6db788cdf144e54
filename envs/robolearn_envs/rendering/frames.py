"""Frames of a task's environments, by the kind of scene the task names."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from robolearn_envs.arrays import Array
from robolearn_envs.core.backend import EnvIndex
from robolearn_envs.names import pick
from robolearn_envs.rendering.base import MarkedRobot, Renderer
from robolearn_envs.rendering.factory import make_renderer
from robolearn_envs.rendering.navigation import SIZES, NavViewRenderer
from robolearn_envs.tasks.base import SceneType, Task

_SIDE = (640, 480)
"""Usual width and height of a side view in pixels."""
_USUAL_VIEW = "both"


def usual_size(kind: SceneType, view: str | None) -> tuple[int, int]:
    """Return the usual width and height of frames in pixels.

    Args:
        kind: How the task is drawn.
        view: Of navigation; None for the usual.

    Raises:
        ValueError: No such view.
    """
    return _SIDE if kind == "side" else pick("view", view or _USUAL_VIEW, SIZES)


def make_frame_renderer(
    task: Task,
    num_envs: int,
    *,
    view: str | None,
    width: int | None,
    height: int | None,
) -> "FrameRenderer":
    """Return what draws the frames of N environments; nothing slow is done yet.

    Args:
        task: Of the environments.
        num_envs: N.
        view: Of navigation 'both', 'top' or 'chase'; None for the usual.
        width: Of the frames in pixels; None for the usual.
        height: Of the frames in pixels; None for the usual.

    Raises:
        ValueError: No such view, or a bad size.
    """
    kind = task.scene_type
    if kind != "side":
        view = _USUAL_VIEW if view is None else view
    elif view is not None:
        raise ValueError(f"Only navigation has views to choose from, got view={view!r}.")
    usual = usual_size(kind, view)
    size = usual[0] if width is None else width, usual[1] if height is None else height
    if min(size) < 1 or (view == "both" and size[0] < 2):
        raise ValueError(f"A picture needs positive width and height, got {size[0]} x {size[1]}.")
    if kind == "side":
        return SideViewRenderer(task, size)
    assert view is not None
    return NavViewRenderer(task, num_envs, view, size)


class FrameRenderer(Protocol):
    """Frames of N environments."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        ...

    @property
    def caption_x(self) -> int:
        """Where there is room for a caption at the upper edge, in pixels from the left."""
        ...

    @property
    def name(self) -> str | None:
        """What draws them; None until there is one."""
        ...

    def reset(self, rows: EnvIndex, qpos: Array) -> None:
        """Note that environments ``rows`` begin an episode; positions of all, shape (N, ...)."""
        ...

    def update(self, qpos: Array) -> None:
        """Note where all are after a step. Shape (N, positions)."""
        ...

    def render(
        self, index: int, robot: Any, qpos: np.ndarray, task_state: Mapping[str, Array]
    ) -> np.ndarray:
        """Return a new picture of environment ``index``. Shape (height, width, 3), uint8.

        Args:
            index: Which.
            robot: Its robot as it is in this episode.
            qpos: Its positions. Shape (positions,).
            task_state: What the task keeps of all environments. Shapes (N, ...).
        """
        ...

    def close(self) -> None:
        """Release what draws; safe to call twice."""
        ...


class SideViewRenderer:
    """Robots as a camera beside them sees them."""

    caption_x = 0

    def __init__(self, task: Task, size: tuple[int, int]) -> None:
        """Prepare for frames of ``size``, width and height in pixels."""
        self._task, self.size = task, size
        self._renderer: Renderer | None = None

    @property
    def name(self) -> str | None:
        """What draws the frames; None until there is one."""
        return None if self._renderer is None else self._renderer.name

    def reset(self, rows: EnvIndex, qpos: Array) -> None:
        """Nothing to note."""

    def update(self, qpos: Array) -> None:
        """Nothing to note."""

    def render(
        self, index: int, robot: Any, qpos: np.ndarray, task_state: Mapping[str, Array]
    ) -> np.ndarray:
        """Return a new picture. Shape (height, width, 3), uint8."""
        if self._renderer is None:
            self._renderer = make_renderer(*self.size)
        if markers := tuple(self._task.markers(task_state, index)):
            robot = MarkedRobot(robot, markers)
        return self._renderer.render(robot, qpos)

    def close(self) -> None:
        """Release the renderer."""
        if self._renderer is not None:
            self._renderer.close()
