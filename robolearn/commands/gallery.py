"""``robolearn gallery FOLDER``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from robolearn.commands.common import parse, print_json
from robolearn.pages.gallery import gallery_page, told
from robolearn.pages.search import Found, search
from robolearn.pages.writing import write_page
from robolearn.runs.meta import command_line


@dataclass(frozen=True, kw_only=True)
class GalleryOptions:
    """Make a page of all runs in a folder: how well they do, learning curves, videos."""

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder with runs in it or in folders below."""
    out: Path | None = None
    """The page to write; without it FOLDER/index.html."""
    overwrite: bool = False
    """Replace a file there that is no page of ours."""
    json: bool = False
    """Print one JSON object instead of words."""


def main(arguments: Sequence[str]) -> int:
    """Look for runs and write the page."""
    options = parse(GalleryOptions, arguments, "gallery")
    page = options.folder / "index.html" if options.out is None else options.out
    found = search(options.folder, page)
    text = gallery_page(found, options.folder, page, command_line())
    write_page(page, text, overwrite=options.overwrite)
    if options.json:
        print_json(told(found, page))
        return 0
    print(f"{page}: {_counted(found)}. Open it in a browser.")
    return 0


def _counted(found: Found) -> str:
    """Return how many of what there are."""
    problems = sum(bool(run.problems) for run in found.runs)
    counts = {"run": len(found.runs), "report": len(found.reports)}
    words = [f"{count} {what}{'s' * (count != 1)}" for what, count in counts.items() if count]
    return ", ".join([*words, *([f"{problems} of them damaged"] if problems else [])])
