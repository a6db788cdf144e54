"""Text on top of a frame."""

import functools
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_INK = (255, 255, 255, 255)
_SHADE = (18, 24, 33, 165)


@functools.cache
def font(size: int) -> Font:
    """Return Pillow's own font, so that videos look the same on every machine."""
    return ImageFont.load_default(size=size)


def shortened(words: str, size: Font, width: float) -> str:
    """Return a line of words, with an ellipsis for what is beyond a width in pixels."""
    if size.getlength(words) <= width:
        return words
    while words and size.getlength(f"{words}...") > width:
        words = words[:-1]
    return f"{words.rstrip()}..." if words else ""


def draw(frame: np.ndarray, lines: Sequence[str], left: int = 0) -> np.ndarray:
    """Return a copy of a frame with a small translucent caption in its upper left corner.

    Args:
        frame: Shape (height, width, 3), uint8.
        lines: Lines of text; none leaves the frame as it is.
        left: The corner's distance from the left edge, in pixels.

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
    # In jumps, or the box would twitch with every digit.
    right += 2 * size - (right - left) % (2 * size)
    box = (left + 0.6 * size, 0.6 * size, right, bottom + 0.6 * size)
    canvas.rounded_rectangle(box, radius=size // 3, fill=_SHADE)
    canvas.multiline_text(corner, text, fill=_INK, font=font(size))
    return np.array(image)
