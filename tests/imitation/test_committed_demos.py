"""The sets in ``demos/``: as they were recorded, small, sound, and open to plain Minari."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from robolearn.imitation.demos.raw import lint_file
from robolearn.imitation.demos.storage import find_set, read_demos

DEMOS = Path(__file__).parents[2] / "demos"
SETS = sorted(path.name for path in DEMOS.iterdir() if path.is_dir())

PLAIN = """
import json, sys
import minari

told = {}
for name in minari.list_local_datasets():
    dataset = minari.load_dataset(name)
    totals = [float(episode.rewards.sum()) for episode in dataset.iterate_episodes()]
    told[name] = [dataset.total_episodes, dataset.total_steps, sum(totals) / len(totals)]
assert "robolearn" not in sys.modules
print(json.dumps(told))
"""


def test_three_problems_are_shown_in_three_tiers():
    problems, tiers = ("balance", "navigation", "swingup"), ("expert", "noisy", "poor")
    assert [f"{problem}-{tier}-v0" for problem in problems for tier in tiers] == SETS


def test_plain_minari_opens_all_of_them_and_finds_what_the_cards_say():
    where = {**os.environ, "MINARI_DATASETS_PATH": str(DEMOS)}
    done = subprocess.run(
        [sys.executable, "-c", PLAIN], env=where, capture_output=True, text=True, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert sorted(told) == SETS
    for name, (episodes, steps, mean) in told.items():
        card = find_set(DEMOS / name).card
        assert (episodes, steps) == (card.episodes, card.steps)
        assert mean == pytest.approx(card.mean_return)


def test_together_they_are_small():
    assert sum(path.stat().st_size for path in DEMOS.rglob("*")) < 5 * 2**20


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_nothing_is_wrong_with_them(name):
    assert lint_file(DEMOS / name).sound


@pytest.mark.parametrize("problem", ["balance", "navigation", "swingup"])
def test_the_tiers_are_as_good_as_they_are_called(problem):
    expert, noisy, poor = (
        read_demos(DEMOS / f"{problem}-{tier}-v0").returns.mean()
        for tier in ("expert", "noisy", "poor")
    )
    assert expert >= noisy > 2 * poor
