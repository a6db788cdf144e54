"""Several frames as one: panes in rows, each under a bar with its label."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from robolearn.video.overlay import font, shortened

_BAR = (18, 24, 33)
_INK = (240, 244, 250)
_GAP = 4  # pixels between panes
MOST_PANES = 64


class Sheet:
    """The ground on which panes of one size are laid; even panes make an even picture."""

    def __init__(self, labels: Sequence[str], columns: int, pane: tuple[int, int, int]) -> None:
        """Draw the ground.

        Args:
            labels: One for each pane; where all are empty there are no bars.
            columns: Panes in a row.
            pane: Shape of a pane's frame, (height, width, 3).

        Raises:
            ValueError: No panes, or too many.
        """
        if not 1 <= len(labels) <= MOST_PANES:
            raise ValueError(f"A picture has 1 to {MOST_PANES} panes, got {len(labels)}.")
        self._height, self._width, _ = self._pane = pane
        self._columns = min(columns, len(labels))
        self._bar = 2 * max(11, self._height // 36) if any(labels) else 0
        rows = math.ceil(len(labels) / self._columns)
        full = (
            self._columns * (self._width + _GAP) - _GAP,
            rows * (self._height + self._bar + _GAP) - _GAP,
        )
        image = Image.new("RGB", full, _BAR)
        canvas = ImageDraw.Draw(image)
        size = font(max(9, round(0.58 * self._bar)))
        for k, label in enumerate(labels):
            top, left = self._corner(k)
            middle = (left + self._width / 2, top - self._bar / 2)
            words = shortened(label, size, self._width - 8)
            canvas.text(middle, words, fill=_INK, font=size, anchor="mm")
        self._ground = np.array(image)

    def _corner(self, pane: int) -> tuple[int, int]:
        """Return a pane's upper left corner, in pixels from the top and from the left."""
        row, column = divmod(pane, self._columns)
        top = row * (self._height + self._bar + _GAP) + self._bar
        return top, column * (self._width + _GAP)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the whole picture, (height, width, 3)."""
        height, width, _ = self._ground.shape
        return height, width, 3

    def lay(self, frames: Sequence[np.ndarray]) -> np.ndarray:
        """Return a picture of all panes.

        Args:
            frames: One for each pane. Shape (height, width, 3), uint8.

        Raises:
            ValueError: A frame of another shape.
        """
        picture = self._ground.copy()
        for k, frame in enumerate(frames):
            if frame.shape != self._pane:
                raise ValueError(
                    f"Frames side by side must have one shape, got {self._pane} and {frame.shape}."
                )
            top, left = self._corner(k)
            picture[top : top + self._height, left : left + self._width] = frame
        return picture
