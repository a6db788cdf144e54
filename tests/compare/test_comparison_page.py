"""The page of a comparison: it opens offline, nothing in it can break it, and it agrees."""

import csv
import re

import pytest
from browsing import PHONE, column, console_errors, plays, sideways, sort_by
from selenium.webdriver.common.by import By
from small_cells import cell, cells

from robolearn.compare.films import Clip
from robolearn.compare.page import REPORT, facts, find, page
from robolearn.compare.report import HEADINGS

SCRIPT = "\"'><script>alert(1)</script>"
SITTING = {"versions": {"torch": "2"}, "command": "robolearn compare", "hardware": "a", "git": "b"}

UNSHOWN = ("SPL", "hyper-parameters")
"""Columns of Markdown the page has not: one is empty, the other a list of its own."""


@pytest.fixture
def opened(compared, open_page):
    return open_page(compared.out / "report.html")


def table_of(driver):
    return driver.find_element(By.CSS_SELECTOR, "table.sortable")


def test_the_page_opens_without_a_complaint_and_says_what_was_found(opened, compared):
    assert console_errors(opened) == []
    assert opened.title == "Comparison: robolearn/CartPoleBalance-v0, 512 steps"
    findings = opened.find_element(By.CSS_SELECTOR, ".findings").text
    assert findings == "\n".join(each["words"] for each in compared.told["pairs"])
    assert len(opened.find_elements(By.CSS_SELECTOR, "svg.plot")) == 4


def test_its_table_sorts_by_number_whatever_stands_beside_it(opened, compared):
    table = table_of(opened)
    returns = [float(each.split()[0]) for each in sort_by(opened, table, "IQM of return")]
    assert returns == sorted(returns)
    assert len(returns) == 4
    rates = [int(each.replace(",", "")) for each in sort_by(opened, table, "steps/s", key=True)]
    assert rates == sorted(rates)


def test_pairs_are_told_with_their_figures(opened, compared):
    table = opened.find_elements(By.CSS_SELECTOR, "table.sortable")[1]
    (pair,) = compared.told["pairs"]
    assert column(table, "agent") == ["ppo"]
    assert column(table, "beside") == ["sb3-ppo"]
    assert column(table, "p") == [f"{pair['p']:.3f}"]
    assert column(table, "training time") == [f"{pair['time']:.2f}\N{MULTIPLICATION SIGN}"]
    assert column(table, "claim") == ["too few seeds"]
    (gap,) = column(table, "more return, paired seeds")
    assert gap.split()[0] == f"{pair['difference']['mean']:+.1f}"


def test_a_pair_without_a_seed_in_common_has_no_difference():
    text = page(find("Pair", [cell("ppo", 0), cell("sb3-ppo", 1)]), [], [SITTING])
    assert not re.search(r">[^<]*nan[^<]*<", text)


@pytest.mark.slow
def test_who_reached_the_bar_at_once_comes_first_and_who_never_did_last(tmp_path, open_page):
    at = {"dqn": None, "ppo": 500, "a2c": 0, "pqn": 60}
    curves = {
        name: ((0, 0.0, 90.0 if when == 0 else 0.0), (when or 700, 1.0, 90.0 if when else 1.0))
        for name, when in at.items()
    }
    made = [cell(name, curve=curve) for name, curve in curves.items()]
    (tmp_path / "page.html").write_text(page(find("Bar", made, bar=50.0), [], [SITTING]))
    driver = open_page(tmp_path / "page.html")
    ordered = sort_by(driver, table_of(driver), "steps to bar")
    assert ordered == ["0", "60", "500", "later (0 of 1)"]
    assert column(table_of(driver), "agent") == ["a2c", "pqn", "ppo", "dqn"]


def test_all_its_videos_play(opened):
    videos = opened.find_elements(By.CSS_SELECTOR, "video")
    assert len(videos) == 3
    assert [plays(opened, video) for video in videos] == [True] * 3
    assert console_errors(opened) == []


def test_a_phone_need_not_scroll_it_sideways(compared, open_page):
    driver = open_page(compared.out / "report.html", PHONE)
    assert table_of(driver).size["width"] > PHONE
    assert sideways(driver) == 0


def test_it_refers_to_nothing_elsewhere(compared):
    text = (compared.out / "report.html").read_text()
    assert re.findall(r"(?:src|href|poster|action)=\"(data:|#)", text)
    assert not re.findall(r"(?:src|href|poster|action)\s*=(?!\"(?:data:|#))", text)
    assert not re.search(r"@import|url\((?!#)", text)
    assert {path.name for path in compared.out.glob("*.*")} >= set(REPORT)


def markdown_columns(path):
    lines = [line for line in path.read_text().splitlines() if line.startswith("|")]
    table = [[part.strip() for part in line.split("|")[1:-1]] for line in lines]
    return dict(zip(table[0], zip(*table[2:], strict=True), strict=True))


@pytest.mark.slow
def test_page_markdown_and_csv_agree(opened, compared):
    shown = {name: column(table_of(opened), name) for name in HEADINGS if name not in UNSHOWN}
    text = markdown_columns(compared.out / "report.md")
    assert {name: list(text[name]) for name in shown} == shown
    with (compared.out / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["agent"] for row in rows] == shown["agent"]
    assert [
        f"{float(row['iqm_return']):.1f} [{float(row['iqm_return_low']):.1f}, "
        f"{float(row['iqm_return_high']):.1f}]"
        for row in rows
    ] == shown["IQM of return"]
    assert [f"{float(row['wall_s']):.1f} s" for row in rows] == shown["training"]
    told = [
        {k: "" if v is None else str(v) for k, v in row.items()} for row in compared.told["rows"]
    ]
    assert told == rows


def hostile(tmp_path):
    """Return a page all of whose texts would break one that puts them in as they are."""
    made = [
        cell(
            f"ppo{SCRIPT}",
            seed,
            actions=SCRIPT,
            source=SCRIPT,
            hyper={SCRIPT: SCRIPT, "gamma": seed},
            details={SCRIPT: 1.0},
        )
        for seed in (0, 1)
    ]
    (tmp_path / "a.mp4").write_bytes(b"")
    sitting = dict.fromkeys(("command", "started", "hardware", "git"), SCRIPT)
    found = find(SCRIPT, [*made, *cells("sb3-ppo", [1.0, 2.0])])
    clips = [Clip(tmp_path / "a.mp4", SCRIPT)]
    return page(found, clips, [{**sitting, "versions": {SCRIPT: SCRIPT}}])


def test_text_from_anywhere_is_escaped(tmp_path):
    text = hostile(tmp_path)
    assert "<script>alert" not in text
    assert "'><" not in text
    assert text.count("&lt;script&gt;alert(1)") > 15
    assert text.count("<script>") == 1  # that sorts


@pytest.mark.slow
def test_hostile_text_does_nothing_in_a_browser(tmp_path, open_page):
    (tmp_path / "page.html").write_text(hostile(tmp_path))
    driver = open_page(tmp_path / "page.html")
    assert driver.title == SCRIPT
    assert [each for each in console_errors(driver) if "alert" in each or "Policy" in each] == []
    assert column(table_of(driver), "agent") == [f"ppo{SCRIPT}", "sb3-ppo"]


def test_settings_that_differ_are_shown_before_all_others(opened):
    tables = opened.find_elements(By.CSS_SELECTOR, "table:not(.sortable)")
    opened.execute_script("document.querySelector('details').open = true")
    differing = column(tables[0], "hyper-parameter")
    others = column(tables[1], "hyper-parameter")
    assert {"learning_rate", "n_steps", "num_envs"} <= set(differing)
    assert not set(differing) & set(others)
    at = differing.index("n_steps")
    assert column(tables[0], "ppo")[at] == "64"
    assert column(tables[0], "sb3-ppo")[at] == "32"


def test_a_single_agent_has_nothing_to_be_compared_with():
    text = page(find("Alone", [cell()]), [], [SITTING])
    assert "One agent alone: nothing to compare." in text
    assert "<h3>Different</h3>" not in text


def test_facts_leave_out_what_is_not_known():
    assert facts({**SITTING, "git": None}) == {
        "command": "robolearn compare",
        "hardware": "a",
        "versions": "torch 2",
    }
