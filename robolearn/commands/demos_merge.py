"""``robolearn demos merge SET SET ... --out SET``."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from robolearn.commands.common import parse, print_json
from robolearn.imitation.demos.merge import merge_demos


@dataclass(frozen=True, kw_only=True)
class DemosMergeOptions:
    """Make one set of several of the same environment."""

    sets: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of the sets."""
    out: Path
    """Folder of the new one."""
    json: bool = False
    """Print one JSON object instead of words."""


def main(arguments: Sequence[str]) -> int:
    """Merge."""
    options = parse(DemosMergeOptions, arguments, "demos merge")
    folder, card = merge_demos(options.sets, options.out)
    if options.json:
        print_json({"set": str(folder), **json.loads(card.text())})
    else:
        print(f"{folder}: {card.episodes} episodes, {card.steps:,} steps, return {card.returns()}")
    return 0
