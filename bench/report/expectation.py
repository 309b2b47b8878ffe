"""Measurements beside what was to be expected of them, in the terminal, in English or Chinese."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from ..analysis.expectation import Expectation
from ..units import format_value
from .language import Language, Say, speaker
from .plain import plain
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
_OF_IT = "of it: how near the median comes to what datasheet and topology allow"
_OUTSIDE = "outside: groups further from the median than chance lets a healthy fleet lie"
_WRONG = "of what is expected: the datasheet, the model or the measurement is wrong"


def print_expectations(
    made: Console, found: Sequence[Expectation], language: Language = "en"
) -> None:
    """A table of what has a value; then what has a value and no prediction, with the reason."""
    say = speaker(language)
    rows = [tuple(map(plain, _row(one, say))) for one in found if one.measured is not None]
    if rows:
        print_table(made, [say(name) for name in _COLUMNS], rows, right=(2, 3, 4, 7, 8))
        _say(made, say(_OF_IT))
        _say(made, say(_OUTSIDE))
    told = [
        ("beyond", f"{one.name} {one.metric}", f"{one.ratio:.1%} {_WRONG}")
        for one in found
        if one.beyond
    ]
    told += [("absent", f"{one.name} {one.metric}", one.absent) for one in found if one.absent]
    for line in merged(told, language):
        _say(made, line)


def _row(one: Expectation, say: Say) -> tuple[str, ...]:
    fleet = one.fleet
    assert fleet is not None
    models = ", ".join(
        f"{say(model.name)} {format_value(model.value, one.unit)}" for model in one.models
    )
    outside = "–" if fleet.outside is None else say(f"{fleet.outside} of {fleet.groups}")
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
        say(one.assumption),
    )


def _say(made: Console, text: str) -> None:
    made.print(Text(plain(text)), soft_wrap=True)
