"""What every page can do, in a browser: tables sort, videos play, phones need not scroll."""

import pytest
from browsing import PHONE, column, console_errors, make_video, plays, sideways, sort_by
from jinja2 import ChoiceLoader, DictLoader, PackageLoader
from matplotlib.figure import Figure
from selenium.webdriver.common.by import By

from robolearn.pages import page as pages
from robolearn.pages.page import data_uri, render_page, svg

PAGE = """{% extends "base.html.jinja" %}
{% from "parts.html.jinja" import film %}
{% block title %}Trial{% endblock %}
{% block content %}
<h1>Trial</h1>
<div class="scroll"><table class="sortable">
<thead><tr><th>agent</th><th class="number">return</th><th>seeds</th></tr></thead>
<tbody>
{% for name, shown, number in rows %}
<tr><td>{{ name }}</td><td class="number"{% if number is not none %} data-value="{{ number }}"\
{% endif %}>{{ shown }}</td><td>{{ wide }}</td></tr>
{% endfor %}
</tbody></table></div>
{{ plot }}
{% for source in videos %}{{ film(source, "a trial") }}{% endfor %}
{% endblock %}
"""
ROWS = [("b", "1,200", 1200), ("A", "-", None), ("c2", "-3.5 ± 1", -3.5), ("c10", "90", 90)]


@pytest.fixture
def trial(tmp_path, monkeypatch, open_page):
    """Open a page of a table, a plot and videos."""
    loader = ChoiceLoader([DictLoader({"trial": PAGE}), PackageLoader("robolearn.pages")])
    monkeypatch.setattr(pages, "PackageLoader", lambda package: loader)

    def show(videos=(), width=1200):
        figure = Figure()
        figure.add_subplot().plot([1, 2])
        wide = {"wide": "0 1 2 3 4 5 6 7 8 9".replace(" ", "\N{NO-BREAK SPACE}" * 9)}
        text = render_page("trial", rows=ROWS, videos=videos, plot=svg(figure, "plot"), **wide)
        (tmp_path / "page.html").write_text(text)
        return open_page(tmp_path / "page.html", width)

    return show


def test_numbers_sort_as_numbers_and_what_is_none_comes_last_either_way(trial):
    driver = trial()
    table = driver.find_element(By.CSS_SELECTOR, "table")
    assert column(table, "return") == ["1,200", "-", "-3.5 ± 1", "90"]
    assert sort_by(driver, table, "return") == ["-3.5 ± 1", "90", "1,200", "-"]
    assert sort_by(driver, table, "return", key=True) == ["1,200", "90", "-3.5 ± 1", "-"]
    assert column(table, "agent") == ["b", "c10", "c2", "A"]


def test_text_sorts_as_people_do_and_the_heading_tells_which_way(trial):
    driver = trial()
    table = driver.find_element(By.CSS_SELECTOR, "table")
    assert sort_by(driver, table, "agent", key=True) == ["A", "b", "c2", "c10"]
    heads = table.find_elements(By.CSS_SELECTOR, "th")
    assert [each.get_attribute("aria-sort") for each in heads] == ["ascending", None, None]
    sort_by(driver, table, "agent")
    assert heads[0].get_attribute("aria-sort") == "descending"
    sort_by(driver, table, "return")
    assert [each.get_attribute("aria-sort") for each in heads] == [None, "ascending", None]


@pytest.mark.parametrize("suffix", ["mp4", "webm"])
def test_videos_inside_a_page_play(trial, tmp_path, suffix):
    driver = trial([data_uri(make_video(tmp_path / f"a.{suffix}"))])
    assert plays(driver, driver.find_element(By.CSS_SELECTOR, "video"))
    assert console_errors(driver) == []


def test_a_damaged_video_is_seen_not_to_play(trial, tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    driver = trial([data_uri(tmp_path / "a.mp4")])
    assert not plays(driver, driver.find_element(By.CSS_SELECTOR, "video"))


def test_a_page_loads_no_video_beside_it_and_says_so(trial, tmp_path):
    make_video(tmp_path / "a.mp4")
    driver = trial(["a.mp4"])
    assert not plays(driver, driver.find_element(By.CSS_SELECTOR, "video"))
    assert any("Content Security Policy" in each for each in console_errors(driver))


def test_a_wide_table_scrolls_on_a_phone_and_the_page_does_not(trial):
    driver = trial(width=PHONE)
    table = driver.find_element(By.CSS_SELECTOR, "table")
    assert table.size["width"] > PHONE
    assert sideways(driver) == 0
