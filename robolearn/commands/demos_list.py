"""``robolearn demos list [FOLDER]``."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from robolearn.commands.common import parse, print_json
from robolearn.errors import RobolearnError, RobolearnWarning
from robolearn.imitation.demos.metadata import METADATA, read_metadata
from robolearn.imitation.demos.storage import Place, find_sets

_COLUMNS = ("env", "engine", "expert", "noise", "episodes", "steps", "return", "success")


@dataclass(frozen=True, kw_only=True)
class DemosListOptions:
    """What sets there are in a folder."""

    folder: Annotated[Path, tyro.conf.Positional] = Path("demos")
    """Where to look; folders in it are looked through too."""
    json: bool = False
    """Print one JSON object instead of words."""


def main(arguments: Sequence[str]) -> int:
    """List."""
    options = parse(DemosListOptions, arguments, "demos list")
    rows = list(_rows(options.folder))
    if options.json:
        print_json({"sets": rows})
        return 0
    if not rows:
        print(f"{options.folder} holds no demonstrations yet: see robolearn demos record --help")
        return 0
    columns = (Column(name, overflow="fold") for name in ("set", *_COLUMNS))
    table = Table(*columns, box=None)
    for row in rows:
        figures = (_words(name, row[name]) for name in _COLUMNS)
        table.add_row(Text(row["set"]), *(Text(figure) for figure in figures))
    Console().print(table)
    return 0


def _rows(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the figures of each set; one that is damaged is passed over, and that is said."""
    for place in find_sets(folder):
        try:
            yield {"set": str(place.folder), **_figures(place)}
        except RobolearnError as error:
            warnings.warn(str(error), RobolearnWarning, stacklevel=2)


def _figures(place: Place) -> dict[str, Any]:
    card = place.card
    if card is None:  # made by others, who tell less
        told = read_metadata(place.data / METADATA)
        own = told.env
        figures: dict[str, Any] = dict.fromkeys(_COLUMNS)
        known = {"env": own and own.id, "engine": own and own.engine}
        expert = {"expert": told.facts.get("algorithm_name")}
        return figures | known | expert | {"episodes": told.episodes, "steps": told.steps}
    env = card.env or {}
    return {
        "env": env.get("id"),
        "engine": env.get("engine"),
        "expert": card.expert,
        "noise": card.noise,
        "episodes": card.episodes,
        "steps": card.steps,
        "return": card.mean_return,
        "success": card.success_rate,
    }


def _words(name: str, figure: Any) -> str:
    if figure is None:
        return "-"
    if name == "success":
        return f"{figure:.0%}"
    if name == "return":
        return f"{figure:.1f}"
    return f"{figure:,}" if isinstance(figure, int) else str(figure).removeprefix("robolearn/")
