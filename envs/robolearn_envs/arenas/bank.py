"""Banks of layouts, built once and kept in the user's cache folder."""

import functools
import logging
import os
import tempfile
import zipfile
import zlib
from pathlib import Path

import numpy as np

from robolearn_envs.arenas.grid import CELLS
from robolearn_envs.arenas.layouts import LEVELS, SPLITS, STARTS, Layout, generate, parked

VERSION = 2
"""Of the generator: one version gives the same layouts on every machine."""
SIZES = {"train": 1024, "val": 128, "test": 256}
"""Layouts in each split's bank."""

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
def bank(level: int, split: str) -> Layout:
    """Return all layouts of a level and split, stacked: every field has a leading axis.

    Raises:
        ValueError: No such level or split.
    """
    check_level(level, split)
    folder = _folder()
    file = folder / f"arenas-v{VERSION}-{level}-{split}.npz" if folder else None
    kept = _read(file, level, split) if file else None
    if kept is not None:
        return kept
    _log.warning("Building %d layouts of level %d, once (10 ms each).", SIZES[split], level)
    drawn = list(generate(level, split, SIZES[split]))
    size = LEVELS[level]
    drawn = [one._replace(boxes=parked(one.boxes, size.boxes)) for one in drawn]
    stacked = Layout(*(np.stack(part) for part in zip(*drawn, strict=True)))
    if file:
        _write(file, stacked)
    else:
        _log.warning("The layouts are not cached: no home directory. Set ROBOLEARN_CACHE.")
    return stacked


def _folder() -> Path | None:
    """Return the folder that ``ROBOLEARN_CACHE`` names, or else the user's cache folder.

    None for a user without a home directory, as a container's random user may be.
    """
    named = os.environ.get("ROBOLEARN_CACHE")
    if named:
        return Path(named)
    import platformdirs  # only banks are cached, and cart-poles have none

    try:
        folder = Path(platformdirs.user_cache_dir("robolearn"))
    except RuntimeError:  # of platformdirs 4.14; earlier ones return a path that begins with ~
        return None
    return folder if folder.is_absolute() else None


def _shapes(level: int, split: str) -> Layout:
    """Return the shape of each array of a bank, in the places of a layout's."""
    count, size = SIZES[split], LEVELS[level]
    shapes = (2,), (size.cylinders, 7), (size.boxes, 4), (CELLS, CELLS), (STARTS, 2)
    return Layout(*((count, *shape) for shape in shapes))  # type: ignore[arg-type]


def _read(file: Path, level: int, split: str) -> Layout | None:
    """Return the bank in a file, or None where there is none that is whole."""
    try:
        with file.open("rb") as source:
            arrays = np.load(source, allow_pickle=False)
            kept = Layout(*(arrays[name] for name in Layout._fields))
    except FileNotFoundError:
        return None
    except _DAMAGE as problem:
        _log.warning("%s is damaged (%s) and built anew.", file, problem)
        return None
    if any(part.shape != shape for part, shape in zip(kept, _shapes(level, split), strict=True)):
        _log.warning("%s holds something else and is built anew.", file)
        return None
    return kept


def _write(file: Path, layouts: Layout) -> None:
    """Keep a bank; where that cannot be, it will be built again next time."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(suffix=".npz", dir=file.parent)
        try:
            with os.fdopen(descriptor, "wb") as target:
                np.savez_compressed(target, **layouts._asdict())
            os.replace(name, file)  # whole or not at all, whoever else is writing
        except OSError:
            os.unlink(name)
            raise
    except OSError as problem:
        _log.warning("The layouts could not be kept in %s (%s).", file, problem.strerror)
