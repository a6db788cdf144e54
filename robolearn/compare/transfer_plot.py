"""A transfer matrix as a heatmap."""

import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from robolearn.compare.statistics import Estimate
from robolearn.compare.transfer import MEASURES, Matrix, Physics

_FORMS = {"success": "{:.0%}", "return": "{:.1f}", "spl": "{:.2f}"}
_COLORS = colormaps["Blues"]
_DARKEST = 0.88  # of the colors: black on it would be all there is
_FRAME = "#e07b00"
_GAP = 0.14  # between kinds of physics, in widths of a cell
_CELL = (1.12, 0.74)  # inches
_LABELS = 2.0  # inches to the left of the cells
_HEAD = 0.85  # inches above them
_LINE = 25  # letters of a row's label


def in_figure(measure: str, figure: Estimate) -> tuple[str, str]:
    """Return a mean and its interval as people read them; no interval is an empty text."""
    form = _FORMS[measure]
    if figure.low is None or figure.high is None:
        return form.format(figure.mean), ""
    return form.format(figure.mean), f"[{form.format(figure.low)}, {form.format(figure.high)}]"


def shown_measures(matrix: Matrix) -> tuple[str, str]:
    """Return the two measures that say most: success, and how well it was reached."""
    return "success", "spl" if "spl" in matrix.measures else "return"


def heatmap(matrix: Matrix) -> Figure:
    """Return a panel for each of the measures that say most, trained on by tested on."""
    shown = shown_measures(matrix)
    lefts = _lefts(matrix.tested)
    rows = len(matrix.trained)
    width = (lefts[-1] + 1) * _CELL[0]
    height = rows * _CELL[1]
    size = _LABELS + width + 0.15, len(shown) * (_HEAD + height) + 0.1
    figure = Figure(figsize=size)
    for k, measure in enumerate(shown):
        bottom = size[1] - (k + 1) * (_HEAD + height)
        place = (_LABELS / size[0], bottom / size[1], width / size[0], height / size[1])
        axes = figure.add_axes(place)
        _panel(axes, matrix, measure, lefts)
    return figure


def _lefts(tested: Sequence[Physics]) -> list[float]:
    """Return where each column begins, in widths of a cell; kinds stand apart."""
    lefts, at = [], 0.0
    for k, physics in enumerate(tested):
        if k and physics.kind != tested[k - 1].kind:
            at += _GAP
        lefts.append(at)
        at += 1
    return lefts


def _panel(axes: Axes, matrix: Matrix, measure: str, lefts: Sequence[float]) -> None:
    rows = len(matrix.trained)
    axes.set_xlim(0, lefts[-1] + 1)
    axes.set_ylim(rows, 0)
    axes.axis("off")
    scale = _scale(matrix, measure)
    for row, trained in enumerate(matrix.trained):
        label = "\n".join(textwrap.wrap(trained.label, _LINE, max_lines=3, placeholder=" ..."))
        _write(axes, -0.08, row + 0.5, label, ha="right", va="center", size=9)
        for column, left in enumerate(lefts):
            cell = matrix.cell(row, column)
            _cell(axes, (left, row), measure, cell.figures[measure], scale)
    for row in range(rows):
        for column, left in enumerate(lefts):
            if matrix.cell(row, column).at_home:
                axes.add_patch(_frame(left, row))
    _head(axes, matrix.tested, lefts, MEASURES[measure])


def _scale(matrix: Matrix, measure: str) -> Normalize:
    if measure != "return":
        return Normalize(0, 1)
    means = [cell.figures[measure].mean for cell in matrix.cells]
    return Normalize(min(0.0, *means), max(*means, 1e-9))


def _cell(
    axes: Axes, corner: tuple[float, float], measure: str, figure: Estimate, scale: Normalize
) -> None:
    color = _COLORS(_DARKEST * float(scale(figure.mean)))
    axes.add_patch(Rectangle(corner, 1, 1, facecolor=color, edgecolor="white", linewidth=1.5))
    ink = "black" if _brightness(color) > 0.5 else "white"
    mean, interval = in_figure(measure, figure)
    x, y = corner[0] + 0.5, corner[1]
    _write(
        axes, x, y + (0.4 if interval else 0.5), mean, ha="center", va="center", size=12, color=ink
    )
    _write(axes, x, y + 0.72, interval, ha="center", va="center", size=7.5, color=ink)


def _brightness(color: tuple[float, ...]) -> float:
    """Return how bright a color is to the eye, in [0, 1] (Rec. 709)."""
    return 0.2126 * color[0] + 0.7152 * color[1] + 0.0722 * color[2]


def _frame(left: float, row: int) -> Rectangle:
    """Return what marks a cell tested on what it was trained on."""
    return Rectangle(
        (left + 0.03, row + 0.045), 0.94, 0.91, fill=False, edgecolor=_FRAME, linewidth=2.2
    )


def _head(axes: Axes, tested: Sequence[Physics], lefts: Sequence[float], heading: str) -> None:
    for physics, left in zip(tested, lefts, strict=True):
        _write(axes, left + 0.5, -0.1, physics.engine, ha="center", va="bottom", size=9)
    for kind in dict.fromkeys(physics.kind for physics in tested):
        own = [left for physics, left in zip(tested, lefts, strict=True) if physics.kind == kind]
        text = kind or "tested on: matched physics"
        axes.plot(
            [own[0] + 0.04, own[-1] + 0.96], [-0.42, -0.42], color="0.6", lw=0.8, clip_on=False
        )
        _write(axes, (own[0] + own[-1] + 1) / 2, -0.5, text, ha="center", va="bottom", size=9)
    _write(axes, -0.08, -0.1, "trained on", ha="right", va="bottom", size=9, color="0.4")
    _write(axes, -0.08, -0.5, heading, ha="right", va="bottom", size=12, weight="bold")


def _write(axes: Axes, x: float, y: float, text: str, **style: Any) -> None:
    axes.text(x, y, text, parse_math=False, **style)
