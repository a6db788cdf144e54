"""The window and keyboard of a person who demonstrates."""

import os
import sys

import numpy as np

from robolearn.errors import RobolearnError
from robolearn.imitation.demos.human import Arrow, Press
from robolearn.video.caption import draw_caption

_BLIND = {"dummy", "offscreen"}
"""Drivers that draw where nobody looks; SDL takes the latter by itself where there is no screen."""
_SCREENS = ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")
"""Variables of which one names the screen on Linux."""
_PRESSES = {
    "return": Press.START,
    "enter": Press.START,
    "space": Press.START,
    "p": Press.PAUSE,
    "k": Press.KEEP,
    "d": Press.DISCARD,
    "r": Press.REDO,
    "q": Press.QUIT,
    "escape": Press.QUIT,
}
"""By pygame's names of keys."""
_ARROWS = {arrow.value: arrow for arrow in Arrow}


class HumanWindow:
    """A ``Seat`` in a window on the screen."""

    def __init__(self, width: int, height: int, *, fps: int, left: int = 0) -> None:
        """Open the window.

        Args:
            width: Of the frames, in pixels.
            height: Of the frames, in pixels.
            fps: Frames per second; :meth:`show` waits to keep to it.
            left: Where frames have room for words at their upper edge, in pixels from the left.

        Raises:
            RobolearnError: There is no screen.
        """
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        import pygame

        self._pygame, self._fps, self._left = pygame, fps, left
        try:
            if sys.platform == "linux" and not any(map(os.environ.get, _SCREENS)):
                raise pygame.error("DISPLAY is not set")  # SDL would grumble, then go on unseen
            pygame.display.init()
            driver = pygame.display.get_driver()
            if driver in _BLIND and os.environ.get("SDL_VIDEODRIVER") != driver:
                raise pygame.error(f"SDL found only '{driver}'")
            self._screen = pygame.display.set_mode((width, height))
        except pygame.error as problem:
            pygame.display.quit()
            raise RobolearnError(
                f"There is no screen to play on ({problem}). Run this on a machine with one, "
                "or over `ssh -X`."
            ) from problem
        pygame.display.set_caption("robolearn: demonstrate")
        self._clock = pygame.time.Clock()
        self._keys = {pygame.key.key_code(name): name for name in (*_PRESSES, *_ARROWS)}
        self._held: set[Arrow] = set()
        self._tapped: set[Arrow] = set()  # went down since, held or not

    def show(self, frame: np.ndarray, lines: list[str]) -> None:
        """Show a frame with words on it and wait until the next one is due.

        Args:
            frame: Shape (height, width, 3), uint8.
            lines: Lines of text.
        """
        height, width, _ = frame.shape
        told = draw_caption(frame, lines, self._left)
        image = self._pygame.image.frombuffer(told.tobytes(), (width, height), "RGB")
        self._screen.blit(image, (0, 0))
        self._pygame.display.flip()
        self._clock.tick(self._fps)

    def presses(self) -> list[Press]:
        """Return what was asked for since the last call, in order, and note which arrows are held.

        Arrows count as released when the window is left: their release is not seen from there.
        """
        pygame, asked = self._pygame, []
        self._tapped.clear()
        for event in pygame.event.get():
            if event.type == pygame.QUIT:
                asked.append(Press.QUIT)
            elif event.type == pygame.WINDOWFOCUSLOST:
                self._held.clear()
            elif event.type in (pygame.KEYDOWN, pygame.KEYUP):
                name = self._keys.get(event.key, "")
                down = event.type == pygame.KEYDOWN
                if down and name in _PRESSES:
                    asked.append(_PRESSES[name])
                elif down and name in _ARROWS:
                    self._held.add(_ARROWS[name])
                    self._tapped.add(_ARROWS[name])
                elif name in _ARROWS:
                    self._held.discard(_ARROWS[name])
        return asked

    @property
    def held(self) -> frozenset[Arrow]:
        """The arrows that were held, however briefly, up to the last call of ``presses``."""
        return frozenset(self._held | self._tapped)

    def close(self) -> None:
        """Close the window; safe to call twice."""
        self._pygame.display.quit()
