"""``robolearn demos lint SET``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from robolearn.commands.common import parse, print_json
from robolearn.imitation.demos.probe import probe
from robolearn.imitation.demos.raw import lint_file


@dataclass(frozen=True, kw_only=True)
class LintOptions:
    """Look at demonstrations for what would spoil learning from them."""

    demos: Annotated[Path, tyro.conf.Positional]
    """Folder of the set."""
    probe: bool = True
    """Clone them for a short while and try the clone in 10 episodes; half a minute."""
    episodes: int | None = None
    """Look at the first so many only."""
    json: bool = False
    """Print one JSON object instead of words."""


def main(arguments: Sequence[str]) -> int:
    """Lint; the exit code is 2 where there are errors."""
    options = parse(LintOptions, arguments, "demos lint")
    linted = lint_file(options.demos, episodes=options.episodes)
    findings = linted.findings
    if options.probe and linted.sound:
        findings = findings + probe(linted.demos)
    if options.json:
        print_json(
            {
                "demos": str(options.demos),
                "episodes": len(linted.demos.episodes),
                "sound": linted.sound,
                "findings": [finding._asdict() for finding in findings],
            }
        )
    else:
        for finding in findings:
            print(finding)
        errors, warnings = (
            sum(finding.severity == kind for finding in findings) for kind in ("error", "warning")
        )
        count = len(linted.demos.episodes)
        print(f"{options.demos}: episodes {count}, errors {errors}, warnings {warnings}.")
    return 0 if linted.sound else 2
