"""Metrics of a run: one JSON object a line, and TensorBoard beside it."""

import json
from pathlib import Path
from types import TracebackType
from typing import Self

from torch.utils.tensorboard import SummaryWriter


class MetricsLog:
    """Appends figures to ``metrics.jsonl`` and ``tb/`` of a run folder."""

    def __init__(self, folder: Path) -> None:
        """Open the files."""
        self._file = (folder / "metrics.jsonl").open("a", encoding="utf-8", buffering=1)
        self._board = SummaryWriter(str(folder / "tb"), flush_secs=10)

    def write(self, steps: int, figures: dict[str, float | None]) -> None:
        """Log figures that belong to a number of environment steps; None is left out."""
        known = {name: figure for name, figure in figures.items() if figure is not None}
        self._file.write(json.dumps({"steps": steps, **known}) + "\n")
        for name, figure in known.items():
            self._board.add_scalar(name, figure, steps)

    def __enter__(self) -> Self:
        """Return the log."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the files."""
        self._file.close()
        self._board.close()
