"""All layouts of a level and split: built when first used, kept on disk once all are built."""

import functools
import logging
import os
import tempfile
import zipfile
import zlib
from pathlib import Path

import numpy as np

from robolearn_envs.maps.generate import LEVELS, SPLITS, STARTS_PER_LAYOUT, Layout, layout_of
from robolearn_envs.maps.grid import GRID_SIZE
from robolearn_envs.maps.obstacles import pad_obstacles

VERSION = 2
"""Of the generator: one version gives the same layouts on every machine."""
SPLIT_SIZES = {"train": 1024, "val": 128, "test": 256}
"""Layouts of each split."""

_DAMAGE = (OSError, ValueError, LookupError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What reading a damaged file may raise."""

_log = logging.getLogger(__name__)


def check_level(level: int, split: str) -> None:
    """Refuse a level or split that does not exist.

    Raises:
        ValueError: Says what there is.
    """
    whole = isinstance(level, int | np.integer) and not isinstance(level, bool)
    if not whole or not 0 <= level < len(LEVELS):
        raise ValueError(f"level must be one of 0..{len(LEVELS) - 1}, got {level!r}.")
    if not isinstance(split, str) or split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}.")


@functools.cache
def layout_dataset(level: int, split: str) -> "LayoutDataset":
    """Return the layouts of a level and split, shared by all environments of this process."""
    return LayoutDataset(level, split)


class LayoutDataset:
    """The layouts of a level and split, stacked: every array has a leading axis."""

    def __init__(self, level: int, split: str) -> None:
        """Read what an earlier process kept; else layouts are built when they are first used.

        Raises:
            ValueError: No such level or split.
        """
        check_level(level, split)
        self._level, self._split = level, split
        self.size = SPLIT_SIZES[split]
        folder = cache_folder()
        self._file = folder / f"arenas-v{VERSION}-{level}-{split}.npz" if folder else None
        kept = _read(self._file, level, split) if self._file else None
        self._built = np.full(self.size, kept is not None)
        self.layouts = kept or Layout(*(np.zeros(s) for s in _shapes(level, split)))  # type: ignore[arg-type]
        """Layouts; those not asked for by ``build`` may be missing."""
        if kept is None:
            maps = np.zeros(self.layouts.distance_map.shape, dtype=np.float32)
            self.layouts = self.layouts._replace(distance_map=maps)

    def build(self, index: np.ndarray) -> None:
        """Build the layouts that are missing of some, 10 ms each. Shape (n,), integer."""
        missing = np.unique(index[~self._built[index]])
        for one in missing.tolist():
            layout = layout_of(self._level, self._split, one)
            boxes = pad_obstacles(layout.boxes, LEVELS[self._level].boxes)
            for whole, part in zip(self.layouts, layout._replace(boxes=boxes), strict=True):
                whole[one] = part
        self._built[missing] = True
        if len(missing) and self._built.all() and self._file is not None:
            _write(self._file, self.layouts)

    def build_all(self) -> None:
        """Build all that is missing."""
        if not self._built.all():
            _log.warning(
                "Building %d layouts of level %d, once (10 ms each).",
                int((~self._built).sum()),
                self._level,
            )
            self.build(np.arange(self.size))


def cache_folder() -> Path | None:
    """Return the folder that ``ROBOLEARN_CACHE`` names, or else the user's cache folder.

    None for a user without a home directory, as a container's random user may be.
    """
    named = os.environ.get("ROBOLEARN_CACHE")
    if named:
        return Path(named)
    import platformdirs  # only layouts are cached, and cart-poles have none

    try:
        folder = Path(platformdirs.user_cache_dir("robolearn"))
    except RuntimeError:  # of platformdirs 4.14; earlier ones return a path that begins with ~
        return None
    return folder if folder.is_absolute() else None


def _shapes(level: int, split: str) -> Layout:
    """Return the shape of each array of a dataset, in the places of a layout's."""
    count, size = SPLIT_SIZES[split], LEVELS[level]
    cells, starts = (GRID_SIZE, GRID_SIZE), (STARTS_PER_LAYOUT, 2)
    shapes = (2,), (size.cylinders, 7), (size.boxes, 4), cells, starts
    return Layout(*((count, *shape) for shape in shapes))  # type: ignore[arg-type]


def _read(file: Path, level: int, split: str) -> Layout | None:
    """Return the layouts in a file, or None where there is none that is whole."""
    try:
        with file.open("rb") as source:
            arrays = np.load(source, allow_pickle=False)
            names = [_FILE_NAMES.get(name, name) for name in Layout._fields]
            kept = Layout(*(arrays[name] for name in names))
    except FileNotFoundError:
        return None
    except _DAMAGE as problem:
        _log.warning("%s is damaged (%s): its layouts are built again.", file, problem)
        return None
    if any(part.shape != shape for part, shape in zip(kept, _shapes(level, split), strict=True)):
        _log.warning("%s holds something else: its layouts are built again.", file)
        return None
    return kept


_FILE_NAMES = {"distance_map": "field"}
"""Names in the file, where they are others."""


def _write(file: Path, layouts: Layout) -> None:
    """Keep the layouts; where that cannot be, they will be built again next time."""
    named = {_FILE_NAMES.get(name, name): part for name, part in layouts._asdict().items()}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(suffix=".npz", dir=file.parent)
        try:
            with os.fdopen(descriptor, "wb") as target:
                np.savez_compressed(target, **named)
            os.replace(name, file)  # whole or not at all, whoever else is writing
        except OSError:
            os.unlink(name)
            raise
    except OSError as problem:
        _log.warning("The layouts could not be kept in %s (%s).", file, problem.strerror)
