"""Measurements beside what was to be expected of them, in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from ..analysis.expectation import Expectation
from ..units import format_value
from .score import merged
from .terminal import print_table

_COLUMNS = (
    "case",
    "metric",
    "measured",
    "expected",
    "of it",
    "other models",
    "fleet p5 – p95",
    "worst",
    "outside",
    "assumption",
)


def print_expectations(made: Console, found: Sequence[Expectation]) -> None:
    """A table of what has a value; then what has a value and no prediction, with the reason."""
    rows = [_row(one) for one in found if one.measured is not None]
    if rows:
        print_table(made, _COLUMNS, rows, right=(2, 3, 4, 7, 8))
        _say(made, "of it: how near the median comes to what datasheet and topology allow")
        _say(made, "outside: groups further from the median than chance lets a healthy fleet lie")
    for one in found:
        if one.beyond:
            _say(
                made,
                f"beyond: {one.name} {one.metric}: {one.ratio:.1%} of what is expected: the "
                "datasheet, the model or the measurement is wrong",
            )
    absent = [("absent", f"{one.name} {one.metric}", one.absent) for one in found if one.absent]
    for line in merged(absent, "en"):
        _say(made, line)


def _row(one: Expectation) -> tuple[str, ...]:
    fleet = one.fleet
    assert fleet is not None
    models = ", ".join(
        f"{model.name} {format_value(model.value, one.unit)}" for model in one.models
    )
    outside = "–" if fleet.outside is None else f"{fleet.outside} of {fleet.groups}"
    return (
        one.name,
        one.metric,
        format_value(one.measured, one.unit),
        format_value(one.expected, one.unit),
        "–" if one.ratio is None else f"{one.ratio:.1%}",
        models,
        f"{format_value(fleet.quantiles[5], one.unit)} – "
        f"{format_value(fleet.quantiles[95], one.unit)}",
        format_value(fleet.worst, one.unit),
        outside,
        one.assumption,
    )


def _say(made: Console, text: str) -> None:
    made.print(Text(text), soft_wrap=True)
