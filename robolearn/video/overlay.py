"""A translucent panel of values and bars in a frame's corner, and a banner at the end."""

import functools
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw

from robolearn.video.caption import font
from robolearn.video.overlay_data import BarChart, OverlayData

Color: TypeAlias = tuple[int, int, int]

_BACKGROUND, _OPACITY = (16, 22, 32), 178
_TEXT: Color = (245, 248, 252)
_FAINT: Color = (168, 180, 196)
_TRACK: Color = (58, 68, 84)
_BAR: Color = (92, 158, 235)
_CHOSEN: Color = (255, 176, 66)
_GOOD, _BAD, _NEUTRAL = (24, 140, 82), (200, 52, 44), (70, 80, 96)
_BANNER_COLORS = {"success": _GOOD, "collision": _BAD, "out_of_bounds": _BAD}

_PANEL_HEIGHT, _LINE_HEIGHT = 260, 120
"""Frame heights in pixels from which on the panel, or else a single line, is drawn."""
_PANEL_WIDTH = 14.5  # in font sizes
_LINE_SPACING = 1.35  # in font sizes


class Overlay:
    """Draws values into frames of one size."""

    def __init__(self, height: int, left: int, *, compact: bool = False) -> None:
        """Prepare for frames.

        Args:
            height: Height of the frames in pixels.
            left: Free space at the upper edge begins here, in pixels from the left.
            compact: Draw a single line instead of the panel.
        """
        self._height, self._left, self._compact = height, left, compact
        self._size = max(10, round(height / 38))  # font size, pixels

    def draw(self, frame: np.ndarray, data: OverlayData) -> np.ndarray:
        """Return a copy of a frame with those values drawn that fit.

        Args:
            frame: Shape (height, width, 3), uint8.
            data: The values.
        """
        picture = frame.copy()
        if self._height >= _PANEL_HEIGHT and not self._compact:
            self._draw_panel(picture, data)
        elif self._height >= _LINE_HEIGHT:
            self._draw_line(picture, data)
        if data.end_reason:
            self._draw_banner(picture, data.end_reason)
        return picture

    def _draw_panel(self, picture: np.ndarray, data: OverlayData) -> None:
        size, chart = self._size, data.chart
        rows = [("step", str(data.step)), ("return", f"{data.episode_return:.1f}")]
        if data.value is not None:
            rows.append(("value", f"{data.value:.1f}"))
        rows.append(("engine" if " " not in data.backend else "", data.backend))
        num_bars = 0 if chart is None else len(chart.labels)
        line, pad = round(_LINE_SPACING * size), round(0.6 * size)
        height = 2 * pad + line * len(rows) + (pad + line * num_bars if num_bars else 0)
        width = round(_PANEL_WIDTH * size)
        if not _fits(picture, self._left + pad, pad, width, height):
            return
        box = _Box(picture, self._left + pad, pad, width, height, round(0.4 * size))
        y = pad + line / 2
        for name, value in rows:
            box.text(pad, y, name, _FAINT, size, "lm")
            box.text(box.width - pad, y, value, _TEXT, size, "rm")
            y += line
        if chart is not None:
            self._draw_chart(box, chart, y + pad, line, pad)
        box.paste()

    def _draw_chart(self, box: "_Box", chart: BarChart, y: float, line: int, pad: int) -> None:
        size = round(0.88 * self._size)
        label_width = max((font(size).getlength(label) for label in chart.labels), default=0)
        text_width = max((font(size).getlength(text) for text in chart.texts), default=0)
        left = pad + label_width + 0.5 * size
        right = box.width - pad - (text_width + 0.4 * size if text_width else 0)
        half = 0.28 * size
        for k, (label, length, text) in enumerate(
            zip(chart.labels, chart.lengths, chart.texts, strict=True)
        ):
            color = _CHOSEN if k == chart.chosen else _BAR
            text_color = _TEXT if k == chart.chosen or chart.chosen is None else _FAINT
            box.text(pad, y, label, text_color, size, "lm")
            box.bar(left, right, y, half, _TRACK)
            if chart.kind == "signed":
                middle = (left + right) / 2
                end = middle + float(length) * (right - left) / 2
                box.bar(min(middle, end), max(middle, end), y, half, color)
                box.bar(middle - 0.5, middle + 0.5, y, 1.8 * half, _FAINT)
            elif length > 0:
                box.bar(left, left + float(length) * (right - left), y, half, color)
            box.text(box.width - pad, y, text, text_color, size, "rm")
            y += line

    def _draw_line(self, picture: np.ndarray, data: OverlayData) -> None:
        size, pad = self._size, round(0.5 * self._size)
        text = f"{data.step}   {data.episode_return:.1f}"
        width = round(font(size).getlength("0000   0000.0")) + 2 * pad
        if not _fits(picture, self._left + pad, pad, width, size + pad):
            return
        box = _Box(picture, self._left + pad, pad, width, size + pad, pad)
        box.text(pad, (size + pad) / 2, text, _TEXT, size, "lm")
        box.paste()

    def _draw_banner(self, picture: np.ndarray, end_reason: str) -> None:
        size = max(11, round(self._height / 22))
        text = end_reason.replace("_", " ").upper()
        width = round(font(size).getlength(text) + 1.6 * size)
        height = round(1.7 * size)
        left = self._left + (picture.shape[1] - self._left - width) // 2
        top = picture.shape[0] - height - round(0.9 * size)
        if left < self._left or not _fits(picture, left, top, width, height):
            return
        color = _BANNER_COLORS.get(end_reason, _NEUTRAL)
        box = _Box(picture, left, top, width, height, height // 2, color, 225)
        box.text(width / 2, height / 2, text, _TEXT, size, "mm")
        box.paste()


def _fits(picture: np.ndarray, left: int, top: int, width: int, height: int) -> bool:
    """Return whether a box lies within a picture."""
    full_height, full_width, _ = picture.shape
    return top >= 0 and top + height <= full_height and left + width <= full_width


class _Box:
    """A shaded part of a picture with rounded corners, to draw on."""

    def __init__(
        self,
        picture: np.ndarray,
        left: int,
        top: int,
        width: int,
        height: int,
        radius: int,
        color: Color = _BACKGROUND,
        opacity: int = _OPACITY,
    ) -> None:
        self._view = picture[top : top + height, left : left + width]
        self.height, self.width, _ = self._view.shape
        self._image = Image.fromarray(self._view)
        mask = _rounded_mask(self.width, self.height, radius, opacity)
        self._image.paste(color, (0, 0, self.width, self.height), mask)
        self._canvas = ImageDraw.Draw(self._image)

    def text(self, x: float, y: float, text: str, color: Color, size: int, anchor: str) -> None:
        """Write text at a point in pixels from the box's corner, anchored as in Pillow."""
        self._canvas.text((x, y), text, fill=color, font=font(size), anchor=anchor)

    def bar(self, left: float, right: float, y: float, half: float, color: Color) -> None:
        """Draw a bar that is centered at height ``y`` and extends ``half`` pixels up and down."""
        corners = (round(left), round(y - half), max(round(right), round(left)), round(y + half))
        self._canvas.rectangle(corners, fill=color)

    def paste(self) -> None:
        """Write the box into the picture."""
        self._view[:] = np.asarray(self._image)


@functools.lru_cache(maxsize=256)
def _rounded_mask(width: int, height: int, radius: int, opacity: int) -> Image.Image:
    mask = Image.new("L", (width, height), 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, width - 1, height - 1), radius, fill=opacity)
    return mask
