"""The run folder: where everything about a training run lies."""

import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robolearn.config import read_yaml, write_yaml
from robolearn.errors import RobolearnError
from robolearn.runs.meta import meta

_KEPT = 2  # step checkpoints, besides the best


@dataclass(frozen=True)
class RunFolder:
    """``config.yaml meta.json metrics.jsonl tb/ checkpoints/ videos/ eval.json``."""

    path: Path

    @classmethod
    def create(cls, path: Path, config: Any) -> "RunFolder":
        """Make a new run folder and write its config and what made it.

        Raises:
            RobolearnError: The folder already holds a run, or cannot be written.
        """
        claim_folder(path, "run")
        run = cls(path)
        run.checkpoints.mkdir()
        write_yaml(path / "config.yaml", config)
        (path / "meta.json").write_text(json.dumps(meta(), indent=2))
        return run

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Return an existing run.

        Raises:
            RobolearnError: No run there.
        """
        if not (path / "config.yaml").is_file():
            raise RobolearnError(
                f"{path} holds no run (no config.yaml in it). Make one with: "
                "robolearn train ppo --env robolearn/CartPoleBalance-v0 --run " + str(path)
            )
        return cls(path)

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def videos(self) -> Path:
        """Folder of the videos."""
        return self.path / "videos"

    def config(self) -> dict[str, Any]:
        """Return the run's configuration as plain data."""
        return read_yaml(self.path / "config.yaml")

    def checkpoint(self, steps: int) -> Path:
        """Return where the checkpoint of a number of steps goes."""
        return self.checkpoints / f"{steps:09d}"

    def point(self, name: str, checkpoint: Path) -> None:
        """Let ``last`` or ``best`` name a checkpoint, and delete those no longer needed."""
        target = self.checkpoints / name
        temporary = target.with_suffix(".tmp")
        temporary.write_text(checkpoint.name + "\n")
        os.replace(temporary, target)
        self._prune()

    def pointed(self, name: str) -> Path | None:
        """Return the checkpoint ``last`` or ``best`` names, None where there is none yet."""
        pointer = self.checkpoints / name
        if not pointer.is_file():
            return None
        target = pointer.read_text(errors="replace").strip()
        if not re.fullmatch(r"\d{9,}", target):
            raise RobolearnError(f"{pointer} must name a checkpoint folder, got {target[:40]!r}.")
        return self.checkpoints / target

    def _prune(self) -> None:
        needed = {self.pointed("best"), self.pointed("last")}
        stored = [p for p in self.checkpoints.iterdir() if re.fullmatch(r"\d{9,}", p.name)]
        for path in sorted(stored, key=lambda p: int(p.name))[:-_KEPT]:
            if path not in needed:
                shutil.rmtree(path)

    def write_evaluation(self, figures: dict[str, Any]) -> None:
        """Write the final evaluation."""
        (self.path / "eval.json").write_text(json.dumps(figures, indent=2))


def claim_folder(path: Path, kind: str) -> None:
    """Make a folder for new results.

    Raises:
        RobolearnError: Something is in it already, or it cannot be made or written.
    """
    try:
        if path.is_file() or (path.is_dir() and any(path.iterdir())):
            raise RobolearnError(
                f"{path} already holds something; nothing was changed. Choose another folder for "
                f"this {kind}, or delete that one."
            )
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise RobolearnError(f"Cannot write to {path}: {error.strerror}.") from error


def find_checkpoint(path: Path) -> Path:
    """Return the checkpoint a user means by a run folder (its best, else its last) or its own.

    Raises:
        RobolearnError: Neither a run with a checkpoint nor a checkpoint.
    """
    if (path / "manifest.json").is_file():
        return path
    run = RunFolder.open(path)
    found = run.pointed("best") or run.pointed("last")
    if found is None:
        raise RobolearnError(f"{path} has no checkpoint yet.")
    return found
