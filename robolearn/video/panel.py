"""A small translucent panel of figures and bars in a frame's corner, and a banner at the end."""

import functools
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw

from robolearn.video.overlay import font
from robolearn.video.readings import Bars, Reading

Color: TypeAlias = tuple[int, int, int]

_SHADE, _OPACITY = (16, 22, 32), 178
_INK: Color = (245, 248, 252)
_FAINT: Color = (168, 180, 196)
_TRACK: Color = (58, 68, 84)
_BAR: Color = (92, 158, 235)
_CHOSEN: Color = (255, 176, 66)
_GOOD, _BAD, _NEUTRAL = (24, 140, 82), (200, 52, 44), (70, 80, 96)
_BANNERS = {"success": _GOOD, "collision": _BAD, "fell": _BAD}

_FULL, _BRIEF = 260, 120
"""Height in pixels below which a pane shows a line only, and below which nothing but the end."""
_WIDE = 14.5  # sizes of letters, of the panel
_LINE = 1.35  # of a line


class Panel:
    """Draws readings into frames of one size."""

    def __init__(self, height: int, left: int, *, brief: bool = False) -> None:
        """Prepare for frames.

        Args:
            height: Of the frames in pixels.
            left: Where there is room at the upper edge, in pixels from the left.
            brief: There is little room: a line will have to do.
        """
        self._height, self._left, self._brief = height, left, brief
        self._size = max(10, round(height / 38))  # of letters, pixels

    def draw(self, frame: np.ndarray, reading: Reading) -> np.ndarray:
        """Return a copy of a frame with what there is to tell, as far as there is room.

        Args:
            frame: Shape (height, width, 3), uint8.
            reading: What there is to tell.
        """
        picture = frame.copy()
        if self._height >= _FULL and not self._brief:
            self._draw_panel(picture, reading)
        elif self._height >= _BRIEF:
            self._draw_line(picture, reading)
        if reading.ending:
            self._draw_banner(picture, reading.ending)
        return picture

    def _draw_panel(self, picture: np.ndarray, reading: Reading) -> None:
        size, bars = self._size, reading.bars
        facts = [("step", str(reading.step)), ("return", f"{reading.total:.1f}")]
        if reading.value is not None:
            facts.append(("value", f"{reading.value:.1f}"))
        facts.append(("engine" if " " not in reading.place else "", reading.place))
        count = 0 if bars is None else len(bars.labels)
        line, pad = round(_LINE * size), round(0.6 * size)
        tall = 2 * pad + line * len(facts) + (pad + line * count if count else 0)
        wide = round(_WIDE * size)
        if not _fits(picture, self._left + pad, pad, wide, tall):
            return
        box = _Box(picture, self._left + pad, pad, wide, tall, round(0.4 * size))
        y = pad + line / 2
        for name, words in facts:
            box.text(pad, y, name, _FAINT, size, "lm")
            box.text(box.width - pad, y, words, _INK, size, "rm")
            y += line
        if bars is not None:
            self._draw_bars(box, bars, y + pad, line, pad)
        box.put()

    def _draw_bars(self, box: "_Box", bars: Bars, y: float, line: int, pad: int) -> None:
        size = round(0.88 * self._size)
        longest = max((font(size).getlength(label) for label in bars.labels), default=0)
        words = max((font(size).getlength(word) for word in bars.words), default=0)
        left = pad + longest + 0.5 * size
        right = box.width - pad - (words + 0.4 * size if words else 0)
        half = 0.28 * size
        for k, (label, length, word) in enumerate(
            zip(bars.labels, bars.lengths, bars.words, strict=True)
        ):
            color = _CHOSEN if k == bars.chosen else _BAR
            ink = _INK if k == bars.chosen or bars.chosen is None else _FAINT
            box.text(pad, y, label, ink, size, "lm")
            box.bar(left, right, y, half, _TRACK)
            if bars.kind == "signed":
                middle = (left + right) / 2
                end = middle + float(length) * (right - left) / 2
                box.bar(min(middle, end), max(middle, end), y, half, color)
                box.bar(middle - 0.5, middle + 0.5, y, 1.8 * half, _FAINT)
            elif length > 0:
                box.bar(left, left + float(length) * (right - left), y, half, color)
            box.text(box.width - pad, y, word, ink, size, "rm")
            y += line

    def _draw_line(self, picture: np.ndarray, reading: Reading) -> None:
        size, pad = self._size, round(0.5 * self._size)
        words = f"{reading.step}   {reading.total:.1f}"
        wide = round(font(size).getlength("0000   0000.0")) + 2 * pad
        if not _fits(picture, self._left + pad, pad, wide, size + pad):
            return
        box = _Box(picture, self._left + pad, pad, wide, size + pad, pad)
        box.text(pad, (size + pad) / 2, words, _INK, size, "lm")
        box.put()

    def _draw_banner(self, picture: np.ndarray, ending: str) -> None:
        size = max(11, round(self._height / 22))
        words = ending.upper()
        wide = round(font(size).getlength(words) + 1.6 * size)
        tall = round(1.7 * size)
        left = self._left + (picture.shape[1] - self._left - wide) // 2
        top = picture.shape[0] - tall - round(0.9 * size)
        if left < self._left or not _fits(picture, left, top, wide, tall):
            return
        box = _Box(picture, left, top, wide, tall, tall // 2, _BANNERS.get(ending, _NEUTRAL), 225)
        box.text(wide / 2, tall / 2, words, _INK, size, "mm")
        box.put()


def _fits(picture: np.ndarray, left: int, top: int, wide: int, tall: int) -> bool:
    """Return whether a box would lie within a picture."""
    height, width, _ = picture.shape
    return top >= 0 and top + tall <= height and left + wide <= width


class _Box:
    """A shaded part of a picture that can be drawn on, with rounded corners."""

    def __init__(
        self,
        picture: np.ndarray,
        left: int,
        top: int,
        wide: int,
        tall: int,
        radius: int,
        shade: Color = _SHADE,
        opacity: int = _OPACITY,
    ) -> None:
        self._part = picture[top : top + tall, left : left + wide]  # a view
        self.height, self.width, _ = self._part.shape
        self._image = Image.fromarray(self._part)
        mask = _rounded(self.width, self.height, radius, opacity)
        self._image.paste(shade, (0, 0, self.width, self.height), mask)
        self._canvas = ImageDraw.Draw(self._image)

    def text(self, x: float, y: float, words: str, color: Color, size: int, anchor: str) -> None:
        """Write words, anchored as Pillow does, in pixels from the box's corner."""
        self._canvas.text((x, y), words, fill=color, font=font(size), anchor=anchor)

    def bar(self, left: float, right: float, y: float, half: float, color: Color) -> None:
        """Draw a bar around a height."""
        corners = (round(left), round(y - half), max(round(right), round(left)), round(y + half))
        self._canvas.rectangle(corners, fill=color)

    def put(self) -> None:
        """Put the box into the picture."""
        self._part[:] = np.asarray(self._image)


@functools.lru_cache(maxsize=256)
def _rounded(wide: int, tall: int, radius: int, opacity: int) -> Image.Image:
    """Return a rectangle's mask."""
    mask = Image.new("L", (wide, tall), 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, wide - 1, tall - 1), radius, fill=opacity)
    return mask
