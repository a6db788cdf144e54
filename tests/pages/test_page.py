"""Pages: what is put into them is escaped, named once, and needs nothing from elsewhere."""

import re
from xml.etree import ElementTree

import pytest
from jinja2 import DictLoader, UndefinedError
from matplotlib.figure import Figure

from robolearn.errors import RobolearnError
from robolearn.pages import page as pages
from robolearn.pages.page import data_uri, render_page, svg

SCRIPT = "\"'><script>alert(1)</script>"


def figure(title="returns"):
    made = Figure()
    axes = made.add_subplot()
    axes.plot([1, 2, 3], "o-", label=title)
    axes.set_title(title)
    axes.legend()
    return made


def names(text):
    return re.findall(r'\bid="([^"]+)"', text)


def test_the_same_figure_makes_the_same_text():
    assert svg(figure(), "curve") == svg(figure(), "curve")


def test_text_of_figures_and_their_labels_is_escaped():
    drawn = svg(figure(f"</svg>{SCRIPT}-->"), SCRIPT)
    root = ElementTree.fromstring(drawn)
    assert root.get("aria-label") == SCRIPT
    assert root.get("role") == "img"
    assert "<script" not in drawn
    assert drawn.count("</svg>") == 1


def test_letters_no_font_or_markup_has_are_drawn_all_the_same():
    drawn = svg(figure("\N{CJK UNIFIED IDEOGRAPH-4E2D}\x01\x1b"), "curve\x00\ud800")
    assert ElementTree.fromstring(drawn).get("aria-label") == "curve"


def test_figures_of_one_page_share_no_names_and_refer_to_their_own():
    one, other = svg(figure(), "one"), svg(figure(), "other")
    assert not set(names(one)) & set(names(other))
    assert len(names(one)) == len(set(names(one)))
    referred = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', one))
    assert referred
    assert {a or b for a, b in referred} <= set(names(one))


def test_a_figure_stretches_to_where_it_is_put_and_styles_nothing_else():
    root = ElementTree.fromstring(svg(figure(), "curve"))
    assert root.get("width") is None
    assert root.get("viewBox") == "0 0 460.8 345.6"  # 6.4 in by 4.8 in at 72 points an inch
    assert not [e for e in root.iter() if e.tag.endswith(("style", "metadata"))]


def test_text_on_pages_is_escaped():
    page = render_page("base.html.jinja", made=SCRIPT)
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_what_a_template_names_and_nobody_gives_is_an_error(monkeypatch):
    loader = DictLoader({"needy.html.jinja": "{{ source }}"})
    monkeypatch.setattr(pages, "PackageLoader", lambda package: loader)
    with pytest.raises(UndefinedError, match="source"):
        render_page("needy.html.jinja")


def test_pages_load_nothing_from_elsewhere():
    page = render_page("base.html.jinja")
    assert not re.search(r"https?://|src=|@import|url\(", page)
    assert "default-src 'none'" in page


@pytest.mark.parametrize(
    ("name", "kind"), [("a.mp4", "video/mp4"), ("a.WEBM", "video/webm"), ("a.png", "image/png")]
)
def test_a_file_becomes_an_address_that_holds_it(tmp_path, name, kind):
    (tmp_path / name).write_bytes(b"\x00\xff")
    assert data_uri(tmp_path / name) == f"data:{kind};base64,AP8="  # 0000 0000 1111 1111


def test_files_of_other_kinds_are_refused(tmp_path):
    with pytest.raises(RobolearnError, match=r"got .*a\.html"):
        data_uri(tmp_path / "a.html")
