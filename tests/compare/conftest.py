"""One small comparison for all tests that look at what a comparison leaves behind."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from small_cells import short_episodes

from robolearn.cli import main
from robolearn.commands.compare import Board
from robolearn.compare import films
from robolearn.compare.cell import Cell
from robolearn.compare.runner import read_cells


class Compared(NamedTuple):
    out: Path
    code: int
    told: dict[str, Any]
    """What the command printed."""
    cells: list[Cell]
    on_disk: list[list[str]]
    """Lines of the file of cells when each cell was announced."""
    films: dict[str, Any]
    """Rollouts and recording of each video."""


@pytest.fixture(scope="session")
def compared(tmp_path_factory):
    """What the command makes of two agents of ours and one of SB3's, with two seeds each."""
    out = tmp_path_factory.mktemp("compared") / "out"
    on_disk, filmed = [], {}
    hear, render = Board.hear, films.render_video

    def heard(board, report):
        if isinstance(report, Cell):
            on_disk.append((out / "cells.jsonl").read_text().splitlines())
        hear(board, report)

    def watched(rollouts, path, **how):
        filmed[path.stem] = (rollouts, render(rollouts, path, num_workers=1, **how))
        return filmed[path.stem][1]

    command = ["compare", "ppo", "sb3-ppo", "dqn", "--engine", "analytic", "--steps", "512"]
    said = io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(said),
        short_episodes(),
    ):
        patch.setattr(Board, "hear", heard)
        patch.setattr(films, "render_video", watched)
        patch.setattr(films, "PANE", (96, 72))  # as large ones take longer to draw
        few = ["--seeds", "2", "--episodes", "3", "--device", "cpu", "--threshold", "12.5"]
        code = main([*command, *few, "--out", str(out), "--json"])
    return Compared(out, code, json.loads(said.getvalue()), read_cells(out), on_disk, filmed)
