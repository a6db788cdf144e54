"""A comparison as a table."""

import csv
import json

import numpy as np
import pytest
from rich.console import Console

from robolearn.compare.report import flat, markdown, notes, summarise, terminal_table, write_report
from robolearn.compare.runner import Cell


def cell(agent, seed, **figures):
    told = {
        "actions": "discrete",
        "steps": 1000,
        "wall_s": 2.0,
        "steps_per_s": 500.0,
        "episodes": 4,
        "mean_return": 100.0,
        "std_return": 0.0,
        "min_return": 0.0,
        "max_return": 0.0,
        "mean_length": 0.0,
        "success_rate": None,
        "details": {},
        "source": "nowhere",
    }
    return Cell(agent=agent, seed=seed, **(told | figures))


@pytest.fixture
def rows():
    """Two agents with three seeds each, interleaved; the second one says nothing of success."""
    cells = []
    ours = [
        (10.0, 0.0, 8.0, 125.0, {"spl": 0.0}),
        (40.0, 1.0, 1.0, 1000.0, {"spl": 0.9}),
        (40.0, 0.5, 2.0, 500.0, {"spl": 0.3}),
    ]
    names = ("mean_return", "success_rate", "wall_s", "steps_per_s", "details")
    for seed, figures in enumerate(ours):
        cells.append(cell("ppo", seed, **dict(zip(names, figures, strict=True))))
        cells.append(cell("sb3-ppo", seed, actions="continuous", source="[zoo] ppo"))
    return summarise(cells, np.random.default_rng(0))


@pytest.fixture
def one_seed():
    return summarise([cell("dqn", 0, success_rate=0.25)], np.random.default_rng(0))


def test_a_row_sums_up_an_agents_seeds(rows):
    ours, theirs = rows
    assert (ours.agent, ours.seeds, theirs.agent, theirs.seeds) == ("ppo", 3, "sb3-ppo", 3)
    assert ours.mean_return.mean == pytest.approx(30.0)
    assert ours.iqm_return == pytest.approx(30.0)  # a quarter of three seeds is none
    # All three resampled seeds are the first one in 1 of 27 cases, 3.7 % > 2.5 %; likewise all
    # are among the other two in 8 of 27.
    assert ours.mean_return[1:] == (10.0, 40.0)
    assert ours.success.mean == pytest.approx(0.5)
    assert (ours.wall_s, ours.steps_per_s) == (2.0, 500.0)  # medians
    assert theirs.success is None
    assert ours.spl.mean == pytest.approx(0.4)
    assert theirs.spl is None


def test_the_csv_has_one_line_per_agent(rows, tmp_path):
    write_report(rows, tmp_path, {})
    with (tmp_path / "table.csv").open() as file:
        ours, theirs = csv.DictReader(file)
    assert (ours["agent"], ours["seeds"], ours["mean_return_low"]) == ("ppo", "3", "10.0")
    assert (ours["iqm_return"], ours["wall_s"]) == ("30.0", "2.0")
    assert (theirs["source"], theirs["success"], theirs["success_low"]) == ("[zoo] ppo", "", "")


def test_the_markdown_has_the_table_and_what_it_was_made_with(rows, tmp_path):
    write_report(rows, tmp_path, {"command": "robolearn compare ppo sb3-ppo", "torch": "2.13"})
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert lines[0].startswith("| agent | actions | seeds | return | IQM | success | SPL |")
    assert lines[1].count("|") == lines[0].count("|")
    assert lines[2] == (
        "| ppo | discrete | 3 | 30.0 [10.0, 40.0] | 30.0 | 50% [0%, 100%] "
        "| 0.40 [0.00, 0.90] | 1,000 | 2.0 s | 500 | nowhere |"
    )
    assert lines[3].startswith(
        "| sb3-ppo | continuous | 3 | 100.0 [100.0, 100.0] | 100.0 | \N{EN DASH} | \N{EN DASH} |"
    )
    assert "- command: robolearn compare ppo sb3-ppo" in lines
    assert lines[-1] == "- torch: 2.13"


def test_80_columns_of_terminal_show_the_figures_and_what_is_behind_them(rows):
    console = Console(width=80)
    with console.capture() as captured:
        console.print(terminal_table(rows, "CartPole"))
    shown = captured.get()
    assert "30.0 [10.0, 40.0]" in shown
    assert "50% [0%, 100%]" in shown
    assert "2.0 s" in shown
    assert "sb3-ppo: 3 x 1,000 steps, continuous actions, [zoo] ppo." in shown
    assert "[95 % percentile bootstrap interval]" in shown
    assert "\N{HORIZONTAL ELLIPSIS}" not in shown  # rich's sign for what it cut off


def test_one_seed_is_said_to_have_no_interval(one_seed):
    assert notes(one_seed) == ["One seed: no interval."]
    assert "| 100.0 \N{EN DASH} | 100.0 | 25% \N{EN DASH} |" in markdown(one_seed, {})


def test_few_seeds_and_unlike_actions_are_pointed_out(rows):
    said = notes(rows)
    assert "Intervals of fewer than ten seeds are too short." in said
    assert "Not all act alike: ppo with discrete actions." in said


def test_many_like_seeds_leave_only_the_explanation():
    cells = [cell("ppo", seed) for seed in range(10)]
    assert len(notes(summarise(cells, np.random.default_rng(0)))) == 1


def test_a_row_can_be_written_as_json(one_seed):
    told = json.loads(json.dumps(flat(one_seed[0])))
    assert told["mean_return"] == 100.0
    assert told["mean_return_low"] is None
    assert told["success"] == 0.25
