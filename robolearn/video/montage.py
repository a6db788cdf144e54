"""Several frames as one."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from robolearn.video.overlay import font

_BAR = (18, 24, 33)
_INK = (240, 244, 250)
_GAP = 4  # pixels between panes


def side_by_side(frames: Sequence[np.ndarray], labels: Sequence[str]) -> np.ndarray:
    """Return frames next to each other, each under a bar with its label.

    Even frames make an even picture, as video needs it.

    Args:
        frames: All of one shape (height, width, 3), uint8.
        labels: One for each frame.

    Returns:
        Shape (height + bar, sum of widths + gaps, 3), uint8.

    Raises:
        ValueError: No frames, not one label for each, or frames of different shapes.
    """
    if not frames or len(frames) != len(labels):
        raise ValueError(f"Every frame needs a label, got {len(frames)} and {len(labels)}.")
    shapes = {frame.shape for frame in frames}
    if len(shapes) > 1:
        raise ValueError(f"Frames side by side must have one shape, got {sorted(shapes)}.")
    height, width, _ = frames[0].shape
    bar = 2 * max(12, height // 30)
    full = (len(frames) * (width + _GAP) - _GAP, height + bar)
    image = Image.new("RGB", full, _BAR)
    canvas = ImageDraw.Draw(image)
    for pane, (frame, label) in enumerate(zip(frames, labels, strict=True)):
        left = pane * (width + _GAP)
        image.paste(Image.fromarray(frame), (left, bar))
        middle = (left + width / 2, bar / 2)
        canvas.text(middle, label, fill=_INK, font=font(round(0.6 * bar)), anchor="mm")
    return np.array(image)
