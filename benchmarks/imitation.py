"""What demonstrations buy: every row of the imitation table, by seed.

    python -m benchmarks.imitation --out benchmarks/results/imitation
    python -m benchmarks.imitation --only bc dqfd --out benchmarks/results/imitation

Sections are measured one by one (all: about an hour on two cores) and kept as they end: of those
not asked for, what the results file holds stays. Sets of demonstrations are recorded anew for each
seed, so that intervals tell of experts' episodes too.
"""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import tyro

from benchmarks.imitation_rows import SECTIONS
from benchmarks.results import Table, keep_results
from robolearn.compare.statistics import estimate, interquartile_mean


@dataclass(frozen=True, kw_only=True)
class Options:
    """Measure what demonstrations buy."""

    only: tuple[str, ...] = ()
    """Sections; none for all."""
    seeds: int = 5
    """Of each row."""
    out: Path | None = None
    """Where to keep table and figures, without suffix."""


def main(options: Options) -> None:
    for name in options.only or SECTIONS:
        start = time.perf_counter()
        with TemporaryDirectory() as folder:
            rows = SECTIONS[name](range(options.seeds), Path(folder))
        seconds = time.perf_counter() - start
        sections = known(options.out)  # as they are now: others may be measured meanwhile
        sections[name] = {"rows": rows, "seconds": round(seconds, 1), "seeds": options.seeds}
        names = dict.fromkeys([*SECTIONS, *sections])
        ordered = {each: sections[each] for each in names if each in sections}
        keep_results(options.out, table(ordered), {"sections": ordered})
        print(table({name: sections[name]}), flush=True)


def known(out: Path | None) -> dict[str, Any]:
    """Return the sections that were measured before."""
    if out is None or not out.with_suffix(".json").is_file():
        return {}
    return dict(json.loads(out.with_suffix(".json").read_text())["sections"])


def table(sections: Mapping[str, Any]) -> Table:
    """Return all rows: the interquartile mean over seeds, the mean's interval, and every seed."""
    made = Table("what", "asked", "IQM", "mean and 95 % interval", "by seed")
    for section in sections.values():
        for row in section["rows"]:
            made.add(row["what"], row["asked"], *figures(row["values"]))
    return made


def figures(values: list[float]) -> tuple[str, str, str]:
    """Return interquartile mean, mean with its bootstrap interval, and all values in words.

    Of steps that were never reached by some, the median takes the place of means.
    """
    every = " ".join(_plain(value) for value in values)
    if math.inf in values:
        return f"median {_plain(median(values))}", "-", every
    found = estimate(values, np.random.default_rng(0))
    interval = "" if found.low is None else f" [{_plain(found.low)}, {_plain(found.high or 0.0)}]"
    return _plain(interquartile_mean(values)), f"{_plain(found.mean)}{interval}", every


def _plain(value: float) -> str:
    if math.isinf(value):
        return "never"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


if __name__ == "__main__":
    main(tyro.cli(Options))
