"""A window on the screen, for people to watch."""

import os

import gymnasium as gym
import numpy as np


class Window:
    """Shows frames at their natural pace. Once the user has closed it, nothing is shown."""

    def __init__(self, width: int, height: int, fps: int) -> None:
        """Open the window.

        Args:
            width: Of the frames, in pixels.
            height: Of the frames, in pixels.
            fps: Frames per second; :meth:`show` waits to keep to it.

        Raises:
            RuntimeError: There is no screen.
            DependencyNotInstalled: pygame is missing.
        """
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        try:
            import pygame
        except ModuleNotFoundError as missing:
            raise gym.error.DependencyNotInstalled(
                "render_mode='human' needs pygame. Install it with: pip install pygame-ce"
            ) from missing
        self._pygame = pygame
        pygame.display.init()
        try:
            self._screen = pygame.display.set_mode((width, height))
        except pygame.error as problem:
            raise RuntimeError(
                f"render_mode='human' found no screen ({problem}). Use render_mode='rgb_array'."
            ) from problem
        pygame.display.set_caption("robolearn")
        self._clock = pygame.time.Clock()
        self._fps = fps
        self._is_open = True

    def show(self, frame: np.ndarray) -> None:
        """Show a frame and wait until the next one is due.

        Args:
            frame: Shape (height, width, 3), uint8.
        """
        if self._is_open and self._pygame.event.get(self._pygame.QUIT):
            self.close()
        if not self._is_open:
            return
        height, width, _ = frame.shape
        image = self._pygame.image.frombuffer(frame.tobytes(), (width, height), "RGB")
        self._screen.blit(image, (0, 0))
        self._pygame.display.flip()
        self._clock.tick(self._fps)

    def close(self) -> None:
        """Close the window; safe to call twice."""
        if self._is_open:
            self._is_open = False
            self._pygame.display.quit()
