"""The live line of a training run: drawn on a terminal, silent elsewhere."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


class ProgressLine:
    """Shows steps, steps per second, return and the time left."""

    def __init__(self, label: str, total: int) -> None:
        """Prepare a line for ``total`` steps."""
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f} steps"),
            TextColumn("{task.fields[rate]}"),
            TextColumn("{task.fields[score]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
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
