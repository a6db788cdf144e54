"""Pages as files: whose they are, and writing them whole."""

import html
import os
import re
from pathlib import Path

from robolearn.errors import RobolearnError
from robolearn.files import open_regular

_HEAD = 4096  # bytes in which a page says what made it
_OURS = b'<meta name="generator" content="robolearn">'
_TITLE = re.compile(r"<title>([^<]*)</title>")


def is_ours(page: Path) -> bool:
    """Return whether a file is a page that robolearn made."""
    return _OURS in _head(page)


def title_of(page: Path) -> str:
    """Return the title of a page, its file's name if it has none."""
    found = _TITLE.search(_head(page).decode(errors="replace"))
    return html.unescape(found[1]).strip() if found else page.name


def _head(page: Path) -> bytes:
    try:
        with open_regular(page) as (file, _):
            return file.read(_HEAD)
    except (OSError, RobolearnError):
        return b""


def check_place(page: Path, *, overwrite: bool = False) -> None:
    """Make sure that a page can be written without losing something else.

    Raises:
        RobolearnError: There is a file that is no page of ours, or no folder to write to.
    """
    if page.is_dir() or not page.parent.is_dir():
        raise RobolearnError(f"Cannot write the page {page}: expected a file in a folder there is.")
    if os.path.lexists(page) and not overwrite and not is_ours(page):
        raise RobolearnError(
            f"{page} was not made by robolearn and is left as it is. "
            "Give --overwrite to replace it, or another file."
        )


def write_page(page: Path, text: str, *, overwrite: bool = False) -> None:
    """Write a page, whole or not at all; links in the folder are not written through.

    Args:
        page: Where to; a page of ours is replaced.
        text: HTML.
        overwrite: Whether any other file may be replaced as well.

    Raises:
        RobolearnError: As ``check_place``.
        OSError: Disk full, or not writable.
    """
    check_place(page, overwrite=overwrite)
    temporary = page.with_name(f".{page.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        with temporary.open("x", encoding="utf-8") as file:  # never through a link: x makes it
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, page)
    finally:
        temporary.unlink(missing_ok=True)
