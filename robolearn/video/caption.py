"""Text on top of a frame."""

import functools
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_TEXT_COLOR = (255, 255, 255, 255)
_BACKGROUND_COLOR = (18, 24, 33, 165)


@functools.cache
def font(size: int) -> Font:
    """Return the font that comes with Pillow, so that videos look the same on every machine."""
    return ImageFont.load_default(size=size)


def truncate_text(text: str, letters: Font, width: float) -> str:
    """Return a line of text, cut off with an ellipsis if it is wider than ``width`` pixels."""
    if letters.getlength(text) <= width:
        return text
    while text and letters.getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text.rstrip()}..." if text else ""


def draw_caption(frame: np.ndarray, lines: Sequence[str], left: int = 0) -> np.ndarray:
    """Return a copy of a frame with a small translucent caption in its upper left corner.

    Args:
        frame: Shape (height, width, 3), uint8.
        lines: Lines of text; without any the copy is unchanged.
        left: Distance of the corner from the left edge, in pixels.

    Returns:
        Shape (height, width, 3), uint8.
    """
    image = Image.fromarray(frame)
    if not lines:
        return np.array(image)
    size = max(12, frame.shape[0] // 28)  # pixels
    canvas = ImageDraw.Draw(image, "RGBA")
    text, corner = "\n".join(lines), (left + 1.2 * size, 1.0 * size)
    _, _, right, bottom = canvas.multiline_textbbox(corner, text, font(size))
    # In steps, so that the box does not change its width with every digit.
    right += 2 * size - (right - left) % (2 * size)
    box = (left + 0.6 * size, 0.6 * size, right, bottom + 0.6 * size)
    canvas.rounded_rectangle(box, radius=size // 3, fill=_BACKGROUND_COLOR)
    canvas.multiline_text(corner, text, fill=_TEXT_COLOR, font=font(size))
    return np.array(image)
