"""A small plot in the terminal: one value a moment, and lines where something changed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.text import Text

from ..units import format_value

_ROWS = 9
_WIDEST = 72
"""Columns of a plot at most: more say nothing more of a few hundred runs."""
_PLAIN = str.maketrans("●│─┤└", "*|-|+")
"""What stands for the characters of a plot where UTF-8 is missing."""


def print_plot(
    made: Console,
    times: Sequence[float],
    values: Sequence[float],
    unit: str,
    ends: tuple[str, str],
    changes: Sequence[int] = (),
) -> None:
    """Draw values over time, as wide as the screen allows.

    Args:
        made: Where.
        times: Of each value, rising, in any unit.
        values: One or more, in ``unit``.
        unit: Of the values.
        ends: What is written below the first and the last of the times.
        changes: Places in ``values`` before which a line is drawn.
    """
    low, high = min(values), max(values)
    labels = [format_value(one, unit) for one in (high, (low + high) / 2, low)]
    if labels[0] == labels[2]:  # one level: its scale says nothing
        labels = ["", labels[1], ""]
    margin = max(map(len, labels))
    width = max(min(made.width - margin - 2, _WIDEST), 10)
    x = _places(np.asarray(times, dtype=np.float64), width)
    y = (_ROWS - 1) - _places(np.asarray(values, dtype=np.float64), _ROWS)
    canvas = [[" "] * width for _ in range(_ROWS)]
    for place in changes:
        for row in canvas:
            row[x[place]] = "│"
    for column, line in zip(x.tolist(), y.tolist(), strict=True):
        canvas[line][column] = "●"
    for number, row in enumerate(canvas):
        label = {0: labels[0], _ROWS // 2: labels[1], _ROWS - 1: labels[2]}.get(number, "")
        _line(made, f"{label:>{margin}} ┤{''.join(row)}")
    _line(made, f"{'':{margin}} └{'─' * width}")
    between = max(width - len(ends[0]) - len(ends[1]), 1)
    _line(made, f"{'':{margin}}  {ends[0]}{'':{between}}{ends[1]}")


def _places(values: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.int64]:
    """int64[values]: 0 for the least to ``count`` - 1 for the largest; the middle where all are
    equal."""
    span = float(values.max() - values.min())
    if span <= 0:
        return np.full(values.size, count // 2, dtype=np.int64)
    places: npt.NDArray[np.int64] = np.rint((values - values.min()) / span * (count - 1)).astype(
        np.int64
    )
    return places


def _line(made: Console, text: str) -> None:
    if not made.encoding.lower().startswith("utf"):
        text = text.translate(_PLAIN)
    made.print(Text(text.rstrip()), soft_wrap=True)
