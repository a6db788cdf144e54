"""Several frames in a grid of panes, each under a bar with its title."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from robolearn.errors import RobolearnError
from robolearn.video.caption import font, truncate_text

_BAR_COLOR = (18, 24, 33)
_TEXT_COLOR = (240, 244, 250)
_GAP = 4  # pixels between panes
MAX_PANES = 64


class FrameGrid:
    """A grid of panes of one size; panes of even size make a picture of even size."""

    def __init__(self, titles: Sequence[str], columns: int, pane: tuple[int, ...]) -> None:
        """Draw the background.

        Args:
            titles: One for each pane; if all are empty there are no bars.
            columns: Panes in a row.
            pane: Shape of a pane's frame, (height, width, 3).

        Raises:
            ValueError: No panes, or too many.
        """
        if not 1 <= len(titles) <= MAX_PANES:
            raise ValueError(f"A picture has 1 to {MAX_PANES} panes, got {len(titles)}.")
        self._height, self._width, _ = self._pane = pane
        self._columns = min(columns, len(titles))
        self._bar = 2 * max(11, self._height // 36) if any(titles) else 0
        rows = math.ceil(len(titles) / self._columns)
        size = (
            self._columns * (self._width + _GAP) - _GAP,
            rows * (self._height + self._bar + _GAP) - _GAP,
        )
        image = Image.new("RGB", size, _BAR_COLOR)
        canvas = ImageDraw.Draw(image)
        letters = font(max(9, round(0.58 * self._bar)))
        for k, title in enumerate(titles):
            top, left = self._corner(k)
            center = (left + self._width / 2, top - self._bar / 2)
            text = truncate_text(title, letters, self._width - 8)
            canvas.text(center, text, fill=_TEXT_COLOR, font=letters, anchor="mm")
        self._background = np.array(image)

    def _corner(self, pane: int) -> tuple[int, int]:
        """Return a pane's upper left corner, in pixels from the top and from the left."""
        row, column = divmod(pane, self._columns)
        top = row * (self._height + self._bar + _GAP) + self._bar
        return top, column * (self._width + _GAP)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the whole picture, (height, width, 3)."""
        height, width, _ = self._background.shape
        return height, width, 3

    def compose(self, frames: Sequence[np.ndarray]) -> np.ndarray:
        """Return a picture of all panes.

        Args:
            frames: One for each pane. Shape (height, width, 3), uint8.

        Raises:
            RobolearnError: A frame of another shape.
        """
        picture = self._background.copy()
        for k, frame in enumerate(frames):
            if frame.shape != self._pane:
                raise RobolearnError(
                    f"Panes must have one size, got {self._pane[:2]} and {frame.shape[:2]}."
                )
            top, left = self._corner(k)
            picture[top : top + self._height, left : left + self._width] = frame
        return picture
