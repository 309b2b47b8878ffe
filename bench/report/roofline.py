"""The roofline in the terminal: roofs, a drawing on logarithmic axes, and a table of the cases."""

from __future__ import annotations

import math

from rich.console import Console
from rich.text import Text

from ..analysis.roofline import ChipRoofline, Point, Roofs, Standing
from ..units import format_value
from .language import spoken
from .terminal import line, print_findings, print_table

WIDTH, HEIGHT = 64, 14
"""Columns and rows of the drawing, without its labels: it fits a terminal of 80 columns."""


def print_roofline(made: Console, one: ChipRoofline) -> None:
    """One chip: its roofs, the drawing, every case, the compiler's maturity, findings."""
    devices = f"{one.devices} device{'s' if one.devices > 1 else ''}"
    line(made, f"{one.chip}: {devices}, {one.provenance}", "bold")
    _roofs(made, one)
    for drawn in drawing(one):
        made.print(Text(f"  {drawn}"), no_wrap=True, crop=True)
    columns = ("case", "FLOP/B", "achieved", "datasheet", "measured", "limit")
    print_table(made, columns, [_cells(point) for point in one.points], right=(1, 2, 3, 4))
    line(made, "datasheet, measured: achieved over the lower of these roofs; limit: which that is")
    if any(_nearer(point).limit and not _nearer(point).certain for point in one.points):
        line(made, "?: the other roof is unknown, and may be the lower one")
    if one.maturity is not None:
        ops = ", ".join(f"{op} {ratio:.2f}" for op, ratio in one.maturity.ops.items())
        line(
            made,
            f"compiler maturity {one.maturity.ratio:.2f}: speed of the Triton kernels over that of "
            f"the best library, geometric mean over operations ({ops})",
        )
    print_findings(made, one.findings)
    made.print()


def drawing(one: ChipRoofline) -> list[str]:
    """Roofs and points on logarithmic axes, as lines of text; empty where there is no bandwidth.

    ``/`` is what memory lets through, ``-`` a peak, ``o`` a case. The datasheet's roofs are drawn
    if it has any, else the measured ones. What computes nothing has no place on the axes.
    """
    name, roofs = "datasheet", one.datasheet
    if roofs.bandwidth is None or not roofs.peaks:
        name, roofs = "measured", one.measured
    points = [(point.intensity, point.flops) for point in one.points if point.intensity > 0]
    if roofs.bandwidth is None or not roofs.peaks or not points:
        return []
    wide, peaks = roofs.bandwidth.value, [peak.value for peak in roofs.peaks.values()]
    left = math.log10(min([x for x, _ in points] + list(roofs.ridges.values()))) - 0.2
    right = math.log10(max([x for x, _ in points] + list(roofs.ridges.values()))) + 0.4
    top = math.log10(max([y for _, y in points] + peaks)) + 0.1
    bottom = min(math.log10(min(y for _, y in points)), math.log10(wide) + left) - 0.1
    grid = [[" "] * WIDTH for _ in range(HEIGHT)]

    def mark(x: float, y: float, sign: str) -> None:
        column = round((math.log10(x) - left) / (right - left) * (WIDTH - 1))
        row = round((top - math.log10(y)) / (top - bottom) * (HEIGHT - 1))
        if 0 <= row < HEIGHT and 0 <= column < WIDTH:
            grid[row][column] = sign

    for column in range(WIDTH):
        x = 10 ** (left + (right - left) * column / (WIDTH - 1))
        for peak in peaks:
            if x * wide >= peak:
                mark(x, peak, "-")
        if x * wide <= max(peaks):
            mark(x, x * wide, "/")
    for x, y in points:
        mark(x, y, "o")
    labels = {0: format_value(10**top, ""), HEIGHT - 1: format_value(10**bottom, "")}
    lines = [spoken(f"FLOP/s under the roofs of the {name}")]
    lines += [f"{labels.get(i, ''):>9} |{''.join(row).rstrip()}" for i, row in enumerate(grid)]
    lines.append(f"{'':>9} +{'-' * WIDTH}")
    first, last = f"{10**left:.2g}", f"{10**right:.2g}"
    lines.append(f"{'':>11}{first}{'FLOP/B':^{WIDTH - len(first) - len(last)}}{last}")
    return lines


def _roofs(made: Console, one: ChipRoofline) -> None:
    """A row a dtype: peak and ridge, of the datasheet and measured."""
    both = (one.datasheet, one.measured)
    dtypes = dict.fromkeys(dtype for roofs in both for dtype in roofs.peaks)
    rows = [(dtype, *(cell for roofs in both for cell in _roof(roofs, dtype))) for dtype in dtypes]
    memory = [
        format_value(roofs.bandwidth.value if roofs.bandwidth else None, "B/s") for roofs in both
    ]
    rows.append((spoken("memory"), memory[0], "", memory[1], ""))
    columns = ("roof", "datasheet", "ridge FLOP/B", "measured", "ridge FLOP/B")
    print_table(made, columns, rows, right=(1, 2, 3, 4))


def _roof(roofs: Roofs, dtype: str) -> tuple[str, str]:
    peak, ridge = roofs.peaks.get(dtype), roofs.ridges.get(dtype)
    return (
        format_value(peak.value if peak else None, "FLOP/s"),
        f"{ridge:.3g}" if ridge is not None else "–",
    )


def _cells(point: Point) -> tuple[str, ...]:
    nearer = _nearer(point)
    if nearer.limit == "memory" or (not nearer.limit and point.metric == "bandwidth"):
        achieved = format_value(point.bandwidth, "B/s")
    else:
        achieved = format_value(point.flops, "FLOP/s")
    return (
        point.name,
        f"{point.intensity:.3g}",
        achieved,
        _percent(point.datasheet),
        _percent(point.measured),
        spoken(nearer.limit) + ("" if nearer.certain or not nearer.limit else "?"),
    )


def _nearer(point: Point) -> Standing:
    """The standing that says what limits: under the datasheet's roofs if both are known."""
    return point.datasheet if point.datasheet.certain else point.measured


def _percent(standing: Standing) -> str:
    return "–" if standing.fraction is None else f"{standing.fraction:.1%}"
