"""The live line of a training run: drawn on a terminal, elsewhere silent or plain text."""

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


class ProgressLine:
    """Shows steps, steps per second, return and the time left."""

    def __init__(self, label: str, total: int, *, plain: bool = False) -> None:
        """Prepare a line for ``total`` steps.

        Args:
            label: Its first word.
            total: Steps in all.
            plain: Where nothing can be drawn, print a line of text at each tenth of them.
        """
        console = Console(stderr=True)
        drawn = console.is_terminal or console.is_jupyter
        self._label, self._total = label, total
        self._tenths = 0 if plain and not drawn else None  # printed so far
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f} steps"),
            TextColumn("{task.fields[rate]}"),
            TextColumn("{task.fields[score]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not drawn,
        )
        self._task = self._progress.add_task(label, total=total, rate="", score="")

    def update(self, steps: int, rate: float, mean_return: float | None) -> None:
        """Redraw.

        Args:
            steps: Environment steps made.
            rate: Steps per second.
            mean_return: Of the latest episodes, None before any ended.
        """
        score = "" if mean_return is None else f"return {mean_return:.1f}"
        self._progress.update(self._task, completed=steps, rate=f"{rate:,.0f}/s", score=score)
        tenths = 10 * steps // max(self._total, 1)
        if self._tenths is not None and tenths > self._tenths:
            self._tenths = tenths
            text = f"{steps:,}/{self._total:,} steps, {rate:,.0f}/s"
            print(f"{self._label}: {text}{score and ', '}{score}", file=sys.stderr)

    def __enter__(self) -> Self:
        """Begin drawing."""
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop drawing."""
        self._progress.stop()
