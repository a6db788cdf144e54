"""Pages from templates, and what is put into them: plots and videos, all in one file."""

import base64
import hashlib
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure

from robolearn.errors import RobolearnError
from robolearn.files import read_bytes

_LARGEST_FILE = 64 * 2**20  # bytes of a video; a page with one holds a third more
_KINDS = {
    ".gif": "image/gif",
    ".mp4": "video/mp4",
    ".png": "image/png",
    ".webm": "video/webm",
}
_SVG = "http://www.w3.org/2000/svg"
_XLINK = "{http://www.w3.org/1999/xlink}href"
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_LINES = "stroke-linejoin:round;stroke-linecap:butt"  # what Matplotlib says of every element

ElementTree.register_namespace("", _SVG)


def render_page(template: str, **context: Any) -> str:
    """Return a page.

    Args:
        template: File in ``robolearn/pages/templates``; most extend ``base.html.jinja``.
        context: What the template names. Text is escaped; only ``Markup`` is put in as it is.

    Raises:
        jinja2.UndefinedError: The template names something else.
    """
    pages = Environment(
        loader=PackageLoader("robolearn.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = pages.get_template(template).render(context) + "\n"
    return text.encode(errors="replace").decode()  # half a surrogate pair is no text


def svg(figure: Figure, label: str) -> Markup:
    """Return a figure as an SVG element, as wide as where it is put.

    The same figure makes the same text. Letters are drawn, so that they look the same everywhere.

    Args:
        figure: Is not changed.
        label: What it shows, for who cannot see it.
    """
    drawn = io.StringIO()
    with rc_context({"svg.hashsalt": "robolearn", "svg.fonttype": "path"}), _any_letters():
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    text = _NOT_XML.sub("", drawn.getvalue())
    root = ElementTree.fromstring(text)
    for parent in list(root.iter()):
        for child in [c for c in parent if c.tag in (f"{{{_SVG}}}style", f"{{{_SVG}}}metadata")]:
            parent.remove(child)
    _rename(root, "g" + hashlib.sha256(f"{label}\0{text}".encode(errors="replace")).hexdigest()[:8])
    root.attrib = {
        "viewBox": root.attrib["viewBox"],
        "class": "plot",
        "role": "img",
        "aria-label": _NOT_XML.sub("", label),
        "style": f"width:100%;height:auto;{_LINES}",
    }
    return Markup(ElementTree.tostring(root, encoding="unicode"))


@contextmanager
def _any_letters() -> Iterator[None]:
    """Let letters the font has not be drawn as boxes without a word."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        yield


def _rename(root: ElementTree.Element, prefix: str) -> None:
    """Let what refers to one another in a figure have names no other figure on the page has."""
    for element in root.iter():
        link = element.attrib.pop(_XLINK, None)
        if link is not None:
            element.set("href", f"#{prefix}-{link.removeprefix('#')}")
        for name, value in element.attrib.items():
            if name == "id":
                element.set(name, f"{prefix}-{value}")
            elif "url(#" in value:
                element.set(name, _REFERENCE.sub(rf"url(#{prefix}-\1)", value))


def data_uri(path: Path) -> str:
    """Return a video or picture as an address that holds all of it.

    Raises:
        RobolearnError: Unreadable, larger than 64 MiB, or of another kind.
    """
    kind = _KINDS.get(path.suffix.lower())
    if kind is None:
        raise RobolearnError(f"Pages hold {', '.join(_KINDS)} files, got {path}.")
    content = base64.b64encode(read_bytes(path, _LARGEST_FILE)).decode()
    return f"data:{kind};base64,{content}"
