"""``robolearn demos WHAT ...``."""

import importlib
from collections.abc import Sequence

from robolearn.errors import RobolearnError
from robolearn_envs.names import did_you_mean

_HUMAN = "--human"

SUBCOMMANDS = {
    "record": ("demos_record", f"have an expert or an agent act, or act yourself ({_HUMAN})"),
    "list": ("demos_list", "what sets there are in a folder"),
    "info": ("demos_info", "everything on the card of a set"),
    "lint": ("demos_lint", "look for what learners would stumble over"),
    "replay": ("demos_replay", "act as recorded and see whether the same comes of it"),
    "merge": ("demos_merge", "make one set of several"),
}
"""Module of ``robolearn.commands`` and a line of help, by name."""


def usage() -> str:
    """Return the help of all subcommands."""
    lines = [f"  {name:<10}{text}" for name, (_, text) in SUBCOMMANDS.items()]
    return "\n".join(
        [
            "usage: robolearn demos WHAT [OPTIONS]",
            "",
            "Demonstrations to learn from: Minari datasets with a card beside them.",
            "",
            *lines,
            "",
            "robolearn demos WHAT --help tells its options.",
        ]
    )


def main(arguments: Sequence[str]) -> int:
    """Run the subcommand."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0 if arguments else 2
    name, *rest = arguments
    if name not in SUBCOMMANDS:
        raise RobolearnError(did_you_mean("subcommand of demos", name, SUBCOMMANDS))
    module = SUBCOMMANDS[name][0]
    if name == "record" and _HUMAN in rest:
        module = "demos_human"
        rest = [argument for argument in rest if argument != _HUMAN]
    return importlib.import_module(f"robolearn.commands.{module}").main(rest)
