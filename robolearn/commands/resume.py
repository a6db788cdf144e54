"""``robolearn resume RUN``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from robolearn.commands.common import parse, print_json
from robolearn.commands.train import print_result
from robolearn.train import resume


@dataclass(frozen=True, kw_only=True)
class ResumeOptions:
    """Go on with a run that was stopped or killed, from its newest checkpoint, bit for bit."""

    run: Annotated[Path, tyro.conf.Positional]
    """Run folder."""
    json: bool = False
    """Print one JSON object instead of words."""


def main(arguments: Sequence[str]) -> int:
    """Resume."""
    options = parse(ResumeOptions, arguments, "resume")
    result = resume(options.run)
    if result is not None:
        print_result(result, as_json=options.json)
    elif options.json:
        print_json({"run": str(options.run), "finished": True})
    else:
        print(f"{options.run} has come to its end already: nothing to do.")
    return 0
