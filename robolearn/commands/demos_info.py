"""``robolearn demos info SET``."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text

from robolearn.commands.common import parse, print_json
from robolearn.imitation.demos.metadata import METADATA, read_metadata
from robolearn.imitation.demos.storage import find_set


@dataclass(frozen=True, kw_only=True)
class DemosInfoOptions:
    """Everything on the card of a set; of one without a card, what Minari knows."""

    set: Annotated[Path, tyro.conf.Positional]
    """Folder of the set."""
    json: bool = False
    """Print one JSON object instead of words."""


def main(arguments: Sequence[str]) -> int:
    """Tell."""
    options = parse(DemosInfoOptions, arguments, "demos info")
    place = find_set(options.set)
    card = place.card
    facts = read_metadata(place.data / METADATA).facts if card is None else {}
    if options.json:
        print_json({"set": str(place.folder), **(json.loads(card.text()) if card else facts)})
        return 0
    rows = card.table() if card else [(name, str(fact)) for name, fact in facts.items()]
    table = Table(box=None, show_header=False)
    for name, figure in [("set", str(place.folder)), *rows]:
        table.add_row(Text(name), Text(figure))
    Console().print(table)
    return 0
