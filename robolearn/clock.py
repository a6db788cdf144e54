"""Where the seconds of learning go."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Adds up wall time by name."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.seconds: dict[str, float] = {}
        """By name."""

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Count the time within to ``name``."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - began)

    def add(self, name: str, seconds: float) -> None:
        """Count seconds to ``name``."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds
