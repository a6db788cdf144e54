"""The data sheet of navigation's arenas, sensors and layouts."""

import json
from types import ModuleType

from benchmarks.docstrings import about, attributes, plain, table, told
from robolearn_envs import sensors
from robolearn_envs.arenas import bank, custom, grid, layouts

EXAMPLE = {
    "goal": [3.0, 0.0],
    "start": [-3.0, 0.0, 0.0],
    "cylinders": [[-1.0, 0.5, 0.5], [0.5, -2.0, 0.3]],
    "movers": [[1.5, 0.0, 0.3, 0.0, 1.0, 0.4, 0.0]],
    "boxes": [[0.0, 2.5, 0.1, 1.5]],
}
"""A layout of one's own."""


def arenas() -> str:
    """Return what arenas and sensors are made of."""
    levels = [
        (str(k), str(one.cylinders - one.movers), str(one.movers), str(one.boxes))
        for k, one in enumerate(layouts.LEVELS)
    ]
    splits = [
        (f"`'{name}'`", str(size), ", ".join(map(str, layouts.SPLITS[name])))
        for name, size in bank.SIZES.items()
    ]
    numbers = [row for module in (grid, layouts, sensors) for row in constants(module)]
    return "\n\n".join(
        (
            about(layouts.Level),
            table(("level", "cylinders that stand", "that move", "walls at most"), levels),
            attributes(layouts)["SPLITS"],
            table(("split", "layouts of each level", "colors"), splits),
            about(sensors),
            table(("constant", "number", "meaning"), numbers),
        )
    )


def constants(module: ModuleType) -> list[tuple[str, str, str]]:
    """Return name, number and meaning of a module's public numbers."""
    rows = []
    for names, said in attributes(module).items():
        numbers = [getattr(module, name) for name in names.split(", ")]
        if not names.startswith("_") and all(isinstance(n, int | float) for n in numbers):
            rows.append((f"`{names}`", ", ".join(map(plain, numbers)), said))
    return rows


def own_layouts() -> str:
    """Return how to write a layout of one's own."""
    rows = []
    for key, columns in custom.COLUMNS.items():
        numbers = ", ".join(f"{name} ({custom.UNITS.get(name, 'm')})" for name in columns)
        rows.append((f"`{key}`", f"[{numbers}]", told(custom.RULES[key], custom)))
    lines = ",\n".join(f' "{key}": {json.dumps(given)}' for key, given in EXAMPLE.items())
    return (
        '`env.reset(options={"layout": layout})` takes a mapping, or its JSON text, with these '
        f"keys:\n\n{table(('key', 'numbers', 'meaning and limits'), rows)}\n\n"
        f"For example:\n\n```json\n{{\n{lines}\n}}\n```"
    )
