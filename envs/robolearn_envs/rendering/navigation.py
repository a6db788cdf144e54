"""Frames of navigation: the top view, the chase view, or both next to each other."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from robolearn_envs.arrays import Array
from robolearn_envs.core.backend import EnvIndex
from robolearn_envs.rendering.base import Renderer
from robolearn_envs.rendering.chase import ArenaScene, scene_positions
from robolearn_envs.rendering.factory import make_renderer
from robolearn_envs.rendering.scene_state import NavSceneState
from robolearn_envs.tasks.base import Task

if TYPE_CHECKING:
    from robolearn_envs.rendering.top import TopView

SIZES = {"both": (960, 480), "top": (480, 480), "chase": (640, 480)}
"""Usual width and height of each view in pixels."""

_MARGIN = (232, 236, 242)
"""Color beside a square map in a frame that is not square."""


class NavViewRenderer:
    """Draws robots among obstacles, and remembers which way each has come."""

    def __init__(self, task: Task, num_envs: int, view: str, size: tuple[int, int]) -> None:
        """Prepare for N environments.

        Args:
            task: Of the environments; the map shows what its first sensor sees.
            num_envs: N.
            view: One of ``SIZES``.
            size: Width and height of the frames in pixels.
        """
        self._robot: Any = task.robot
        self._sensor = task.sensors[0] if task.sensors else None
        self._trajectories: list[list[np.ndarray]] = [[] for _ in range(num_envs)]
        self.size = width, height = size
        map_width = {"both": min(height, 2 * width // 3), "top": width, "chase": 0}[view]
        self._panes = map_width, width - map_width
        self._top: TopView | None = None
        self._renderer: Renderer | None = None

    @property
    def caption_x(self) -> int:
        """Where a caption covers sky, if there is any, rather than the map."""
        return self._panes[0] if self._panes[1] else 0

    @property
    def name(self) -> str | None:
        """What draws the frames; None until there is one."""
        if not self._panes[1]:
            return "pillow"
        return None if self._renderer is None else self._renderer.name

    def reset(self, rows: EnvIndex, qpos: Array) -> None:
        """Forget the trajectories of environments ``rows``, which begin an episode.

        Args:
            rows: Which.
            qpos: Positions of all robots. Shape (N, positions).
        """
        for index, pose in zip(rows.tolist(), self._poses(qpos[rows]), strict=True):
            self._trajectories[index] = [pose]

    def update(self, qpos: Array) -> None:
        """Remember where all robots are after a step. Shape (N, positions)."""
        for trajectory, pose in zip(self._trajectories, self._poses(qpos), strict=True):
            trajectory.append(pose)

    def _poses(self, qpos: Array) -> np.ndarray:
        xy, heading = self._robot.pose(qpos)
        return np.concatenate([xy, heading[:, None]], axis=-1)

    def render(
        self, index: int, robot: Any, qpos: np.ndarray, task_state: Mapping[str, Array]
    ) -> np.ndarray:
        """Return a new picture of environment ``index``. Shape (height, width, 3), uint8.

        Args:
            index: Which.
            robot: It as it is in this episode.
            qpos: Its positions. Shape (positions,).
            task_state: What the task keeps of all environments. Shapes (N, ...).
        """
        scene = NavSceneState.of(task_state, index, np.array(self._trajectories[index]))
        panes = []
        if self._panes[0]:
            panes.append(self._padded(self._map().draw(scene, robot.collision_radius)))
        if self._panes[1]:
            if self._renderer is None:
                self._renderer = make_renderer(self._panes[1], self.size[1])
            arena = ArenaScene.of(robot, scene)
            panes.append(self._renderer.render(arena, scene_positions(scene, qpos)))
        return np.concatenate(panes, axis=1)

    def _map(self) -> "TopView":
        """Return what draws maps, made for the first of them."""
        if self._top is None:
            from robolearn_envs.rendering.top import TopView  # needs Pillow

            self._top = TopView(min(self._panes[0], self.size[1]), self._sensor)
        return self._top

    def _padded(self, square: np.ndarray) -> np.ndarray:
        """Return a square map in the middle of its pane."""
        side, width = len(square), self._panes[0]
        if (side, side) == (self.size[1], width):
            return square
        pane = np.full((self.size[1], width, 3), _MARGIN, dtype=np.uint8)
        top, left = (self.size[1] - side) // 2, (width - side) // 2
        pane[top : top + side, left : left + side] = square
        return pane

    def close(self) -> None:
        """Release the renderer; safe to call twice."""
        if self._renderer is not None:
            self._renderer.close()
