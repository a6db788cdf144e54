"""How benchmarks print and keep their results."""

import json
from pathlib import Path
from typing import Any

from robolearn.runs.meta import meta


class Table:
    """Rows of text under a header, written as markdown."""

    def __init__(self, *header: str) -> None:
        """Begin with the column names."""
        self._rows = [header]

    def add(self, *cells: str) -> None:
        """Append a row."""
        if len(cells) != len(self._rows[0]):
            raise ValueError(f"A row needs {len(self._rows[0])} cells, got {len(cells)}.")
        self._rows.append(cells)

    def __str__(self) -> str:
        """Return the table as markdown."""
        header, *body = (f"| {' | '.join(row)} |" for row in self._rows)
        return "\n".join([header, "|" + " --- |" * len(self._rows[0]), *body])


def made_by() -> str:
    """Return a sentence about command, machine and versions."""
    facts = meta()
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return f"Made by `{facts['command']}` on {facts['hardware']}, {facts['started']}, {versions}."


def write_results(out: Path | None, table: Table | str, data: dict[str, Any]) -> None:
    """Print a table; with ``out`` also keep it as ``.md`` and the data as ``.json``."""
    print(table)
    keep_results(out, table, data)


def keep_results(out: Path | None, table: Table | str, data: dict[str, Any]) -> None:
    """Keep a table as ``.md`` and its data as ``.json``, unless ``out`` is None."""
    if out is None:
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".md").write_text(f"{table}\n\n{made_by()}\n")
    out.with_suffix(".json").write_text(json.dumps({"meta": meta(), **data}, indent=1) + "\n")
