"""The data sheet of navigation's arenas, sensors and layouts."""

import json
from dataclasses import fields
from types import ModuleType

from benchmarks.docstrings import about, as_code, attributes, plain, table, with_numbers
from robolearn_envs.maps import custom, dataset, generate, grid, obstacles
from robolearn_envs.sensors import IMU, DepthCamera, Lidar, Odometry, Sensor

SENSORS: tuple[type[Sensor], ...] = (Lidar, DepthCamera, Odometry, IMU)
EXAMPLE = {
    "goal": [3.0, 0.0],
    "start": [-3.0, 0.0, 0.0],
    "cylinders": [[-1.0, 0.5, 0.5], [0.5, -2.0, 0.3]],
    "dynamic_obstacles": [[1.5, 0.0, 0.3, 0.0, 1.0, 0.4, 0.0]],
    "boxes": [[0.0, 2.5, 0.1, 1.5]],
}
"""A layout of one's own."""


def levels() -> str:
    """Return the obstacles of each level."""
    rows = [
        (str(k), str(level.cylinders - level.movers), str(level.movers), str(level.boxes))
        for k, level in enumerate(generate.LEVELS)
    ]
    header = ("level", "static cylinders", "dynamic obstacles", "walls at most")
    return f"{about(generate.Level)}\n\n{table(header, rows)}"


def splits() -> str:
    """Return the splits of layouts, and the numbers of the arena."""
    rows = [
        (f"`'{name}'`", str(size), ", ".join(map(str, generate.SPLITS[name])))
        for name, size in dataset.SPLIT_SIZES.items()
    ]
    return table(("split", "layouts of each level", "colors of its goal cells"), rows)


def constants() -> str:
    """Return name, number and meaning of the arena's public numbers."""
    modules = (grid, generate, obstacles)
    rows = [row for module in modules for row in _constants(module)]
    return table(("constant", "number", "meaning"), rows)


def _constants(module: ModuleType) -> list[tuple[str, str, str]]:
    rows = []
    for names, said in attributes(module).items():
        numbers = [getattr(module, name) for name in names.split(", ")]
        if not names.startswith("_") and all(isinstance(n, int | float) for n in numbers):
            meaning = with_numbers(said, module)
            rows.append((f"`{names}`", ", ".join(map(plain, numbers)), meaning))
    return rows


def sensors() -> str:
    """Return the fields of all sensors."""
    parts = [f"Fields of every sensor:\n\n{_fields(Sensor)}"]
    common = {field.name for field in fields(Sensor)}
    for cls in SENSORS:
        own = [field.name for field in fields(cls) if field.name not in common]
        rows = f"\n\n{_fields(cls, own)}" if own else ""
        parts.append(f"### {cls.__name__}\n\n{about(cls, Sensor)}{rows}")
    return "\n\n".join(parts)


def _fields(cls: type[Sensor], names: list[str] | None = None) -> str:
    said = attributes(cls)
    rows = [
        (
            f"`{field.name}`",
            f"`{field.default!r}`" if isinstance(field.default, str | int | float) else "required",
            as_code(said[field.name]),
        )
        for field in fields(cls)
        if names is None or field.name in names
    ]
    return table(("field", "default", "meaning"), rows)


def own_layouts() -> str:
    """Return how to write a layout of one's own."""
    rows = []
    for key, columns in custom.COLUMNS.items():
        numbers = ", ".join(f"{name} ({custom.UNITS.get(name, 'm')})" for name in columns)
        rows.append((f"`{key}`", f"[{numbers}]", with_numbers(custom.RULES[key], custom)))
    lines = ",\n".join(f' "{key}": {json.dumps(given)}' for key, given in EXAMPLE.items())
    keys = table(("key", "numbers", "meaning and limits"), rows)
    return f"{keys}\n\nFor example:\n\n```json\n{{\n{lines}\n}}\n```"
