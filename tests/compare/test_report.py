"""A comparison as a table: in the terminal, as Markdown, as CSV and as JSON."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console
from small_cells import cell, cells

from robolearn.compare.page import find, write_report
from robolearn.compare.report import (
    HEADINGS,
    NONE,
    flat,
    flat_verdict,
    markdown,
    notes,
    table_csv,
    terminal_table,
    texts,
)
from robolearn.compare.summary import summarize, verdicts


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def rows(rng):
    """Two agents with three seeds each; the second one tells of no success and no path."""
    told = {"success_rate": 0.5, "details": {"spl": 0.25}}
    ours = cells("ppo", [10.0, 40.0, 40.0], **told)
    theirs = cells("sb3-ppo", [70.0, 70.0, 70.0], actions="continuous", source="a|b\n[zoo] ppo")
    return summarize(ours + theirs, 100.0, rng)


def test_a_row_as_people_read_it(rows):
    assert dict(zip(HEADINGS, texts(rows[0]), strict=True)) == {
        "agent": "ppo",
        "actions": "discrete",
        "seeds": "3",
        "IQM of return": "30.0 [10.0, 40.0]",
        "success": "50% [50%, 50%]",
        "SPL": "0.25 [0.25, 0.25]",
        "steps": "1,000",
        "steps to bar": "1,000",
        "s to bar": "2.0",
        "training": "2.0 s",
        "steps/s": "500",
        "hyper-parameters": "nowhere",
    }


def test_runs_that_did_not_reach_the_bar_are_counted(rng):
    flat_curve = ((0, 0.0, 10.0), (1000, 2.0, 99.0))
    both = [cell("ppo", 0), cell("ppo", 1), cell("ppo", 2, curve=flat_curve)]
    (row,) = summarize(both, 100.0, rng)
    shown = dict(zip(HEADINGS, texts(row), strict=True))
    assert (shown["steps to bar"], shown["s to bar"]) == ("1,000 (2 of 3)", "2.0 (2 of 3)")
    (row,) = summarize(both[1:], 100.0, rng)
    assert dict(zip(HEADINGS, texts(row), strict=True))["steps to bar"] == "later (1 of 2)"


def split_line(line):
    """Return the cells of a line of a table in Markdown."""
    return [part.strip().replace("\\|", "|") for part in line.replace("\\|", "\0").split("|")][1:-1]


def test_markdown_holds_every_cell_in_its_column_whatever_is_in_it(rows):
    text = markdown(rows, [], ["One.", "Two."], [("command", "a"), ("command", "b")])
    lines = text.splitlines()
    assert [line.replace("\\|", "").count("|") for line in lines[:4]] == [13] * 4
    assert lines[3].endswith("| a\\|b [zoo] ppo |")
    assert lines[2].startswith("| ppo | discrete | 3 | 30.0 [10.0, 40.0] | 50% [50%, 50%] |")
    assert f"| 70.0 [70.0, 70.0] | {NONE} | {NONE} | 1,000 |" in lines[3]
    assert "One. Two." in lines
    assert lines[-2:] == ["- command: a", "- command: b"]


def test_csv_has_one_line_per_agent_and_nothing_where_there_is_no_figure(rows):
    ours, theirs = csv.DictReader(io.StringIO(table_csv(rows)))
    assert list(ours) == [
        *("agent", "actions", "seeds", "mean_return"),
        *("iqm_return", "iqm_return_low", "iqm_return_high"),
        *("success", "success_low", "success_high", "spl", "spl_low", "spl_high"),
        *("steps", "reached", "steps_to_bar", "seconds_to_bar", "wall_s", "steps_per_s"),
        *("env_share", "act_share", "update_share", "source"),
    ]
    assert (ours["agent"], ours["iqm_return"], ours["iqm_return_low"]) == ("ppo", "30.0", "10.0")
    assert (ours["success"], ours["reached"], ours["steps_to_bar"]) == ("0.5", "3", "1000.0")
    assert (theirs["success"], theirs["success_low"], theirs["spl"]) == ("", "", "")
    assert theirs["source"] == "a|b\n[zoo] ppo"


def printed(table):
    console = Console(width=80)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def test_80_columns_show_the_longest_names_and_figures_whole(rng):
    wide = [-1500.0, -1100.5, -1234.5, -1111.5]
    long = {"success_rate": 1.0, "wall_s": 1234.5, "steps_per_s": 123456.0}
    rows = summarize(
        [*cells("sb3-dqn-batch", wide, **long), *cells("sb3-ppo-batch", wide, **long)], 0.0, rng
    )
    shown = printed(terminal_table(rows, "A title", []))
    assert "\N{HORIZONTAL ELLIPSIS}" not in shown  # rich's sign for what it cut off
    assert max(map(len, shown.splitlines())) <= 80
    for text in ("sb3-dqn-batch", texts(rows[0])[3], "100% [100%, 100%]", "1234.5 s", "123,456"):
        assert text in shown


def test_what_the_terminal_has_no_column_for_is_told_beneath(rows):
    told = notes(rows, 100.0)
    shown = " ".join(printed(terminal_table(rows, "[red]title", told)).split())
    assert "[red]title" in shown
    assert "sb3-ppo: 3 x 1,000 steps, continuous actions, a|b [zoo] ppo." in shown
    assert all(note in shown for note in told)


def test_rows_and_verdicts_are_json(rng):
    both = cells("ppo", [1.0, 2.0]) + cells("sb3-ppo", [3.0, 5.0])
    (row, _), (verdict,) = summarize(both, 1e6, rng), verdicts(both, rng)
    told = json.loads(json.dumps(flat(row), allow_nan=False))
    assert (told["mean_return"], told["success"], told["steps_to_bar"]) == (1.5, None, None)
    said = json.loads(json.dumps(flat_verdict(verdict), allow_nan=False))
    assert (said["ours"], said["theirs"], said["claimed"]) == ("ppo", "sb3-ppo", False)
    assert said["difference"]["mean"] == -2.5
    assert said["words"].startswith("ppo returns 1.5")


def test_what_is_not_known_of_a_pair_is_null_in_json(rng):
    (verdict,) = verdicts([cell("ppo", 0), cell("sb3-ppo", 1)], rng)
    said = json.loads(json.dumps(flat_verdict(verdict), allow_nan=False))
    assert (said["difference"]["mean"], said["time"]) == (None, None)


SITTING = {"versions": {"python": "3.11"}, "command": "robolearn compare", "git": None}


def test_a_report_tells_of_every_sitting_once(tmp_path):
    found = find("A title", cells("ppo", [1.0, 2.0]))
    again = {**SITTING, "command": "robolearn compare --seeds 9"}
    write_report(found, tmp_path, [], [SITTING, again, SITTING])
    text = (tmp_path / "report.md").read_text()
    assert text.startswith("# A title\n\n| agent |")
    made = [line for line in text.splitlines() if line.startswith("- ")]
    assert made == [
        "- command: robolearn compare",
        "- versions: python 3.11",
        "- command: robolearn compare --seeds 9",
    ]


def test_a_threshold_asked_for_takes_the_place_of_the_usual_one():
    made = cells("ppo", [1.0, 2.0])
    assert find("A title", made).bar == pytest.approx(91.0)  # 10 + 0.9 * (100 - 10)
    asked = find("A title", made, bar=-3.5)
    assert asked.bar == -3.5
    assert asked.rows[0].to_steps == (2, 2, 0.0)  # reached before anything was learned
    assert "The bar is a return of -3.5" in " ".join(asked.notes)


def test_cells_of_agents_that_end_at_different_steps_can_be_reported():
    longer = ((0, 0.0, 1.0), (500, 1.0, 2.0), (1100, 3.0, 4.0))
    made = [cell("sb3-dqn", 0), replace(cell("sb3-dqn", 1, curve=longer), steps=1100), cell("dqn")]
    assert len(find("A title", made).rows) == 2
