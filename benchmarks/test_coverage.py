"""Which part of the statements that all tests cover the quick tests cover.

``python -m benchmarks.test_coverage`` runs the quick and the slow tests under coverage.py, child
processes included, and prints both numbers of statements. It takes about 25 minutes on 2 cores.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from coverage import CoverageData
from coverage.exceptions import DataError

ROOT = Path(__file__).parents[1]


def covered(marks: str, folder: Path) -> set[tuple[str, int]]:
    """Run the tests with these marks, and return the covered lines as file and number."""
    data = folder / "coverage"
    run = [sys.executable, "-m", "coverage", "run", "-m", "pytest", "-n", "2", "-q"]
    env = {**os.environ, "COVERAGE_FILE": str(data)}
    subprocess.run([*run, "--dist", "worksteal", "-m", marks], cwd=ROOT, env=env, check=False)
    lines = set()
    for part in folder.glob("coverage.*"):
        one = CoverageData(str(part))
        try:
            one.read()
        except DataError as error:  # of a process that a test killed while it wrote
            print(f"Left out: {error}")
            continue
        for file in one.measured_files():
            lines |= {(file, line) for line in one.lines(file) or ()}
    return lines


def main() -> None:
    """Print the share of the whole suite's statements that the quick tests cover."""
    with tempfile.TemporaryDirectory() as quick, tempfile.TemporaryDirectory() as slow:
        by_quick = covered("not slow", Path(quick))
        by_all = by_quick | covered("slow", Path(slow))
    print(f"all tests: {len(by_all):,} statements of robolearn and robolearn_envs")
    print(f"quick tests: {len(by_quick):,} ({len(by_quick) / len(by_all):.1%})")
    missed = by_all - by_quick
    files = sorted({file for file, _ in missed}, key=lambda f: -sum(m[0] == f for m in missed))
    for file in files[:20]:
        count = sum(one[0] == file for one in missed)
        print(f"  {count:4} covered by slow tests alone in {os.path.relpath(file, ROOT)}")


if __name__ == "__main__":
    main()
