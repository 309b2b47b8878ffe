"""Every measurement beside what was to be expected of it."""

from __future__ import annotations

from ...analysis.expectation import Expectation
from ...analysis.summary import CaseSummary, lacking
from ...records import DIGEST
from ...units import format_value
from .page import Cell, Column, Row, Section, Table
from .source import Source

COLUMNS = (
    Column("case"),
    Column("metric"),
    Column("median", number=True, about="over groups, each by the median over its repeats"),
    Column("95 % interval", number=True),
    Column("expected", number=True, about="what datasheet and topology predict"),
    Column("of it", number=True, about="how near the median comes to what is expected"),
    Column("p5 – p95", number=True, about="over groups"),
    Column("worst", number=True),
    Column("worst is"),
    Column("outside", number=True, about="groups further out than chance lets a healthy fleet lie"),
    Column("rows"),
)


def measurements(source: Source) -> Section:
    """The section: a line a case."""
    rows = [_row(source, one, source.expectations.get(one.case.id)) for one in source.run.summaries]
    table = Table(COLUMNS, rows, empty="no case was measured")
    return Section(
        "measurements",
        "Measurements",
        [table],
        lead="Every metric beside what was to be expected of it. A line opens: what the "
        "expectation rests on, what other models say, and why values are missing.",
    )


def _row(source: Source, one: CaseSummary, near: Expectation | None) -> Row:
    unit, case = one.case.unit, one.case
    worst = "" if one.worst_group is None else source.who(case, one.worst_group)
    home = "" if one.worst_group is None else source.home(case, one.worst_group)
    fleet = near.fleet if near is not None else None
    ratio = near.ratio if near is not None else None
    outside = fleet.outside if fleet is not None else None
    rows = ", ".join(f"{number} {source.say(status)}" for status, number in one.statuses.items())
    of_it = "–" if ratio is None else f"{ratio:.1%}"
    beyond = near is not None and near.beyond
    outlying = "–" if outside is None else f"{outside} / {one.groups}"
    cells = [
        Cell(one.name),
        Cell(case.metric),
        Cell(format_value(one.median, unit), one.median),
        Cell(_span(one.low, one.high, unit)),
        Cell(format_value(case.expected, unit), case.expected),
        Cell(of_it, ratio, "bad" if beyond else ""),
        Cell(_span(one.p5, one.p95, unit)),
        Cell(format_value(one.worst, unit), one.worst),
        Cell(worst, None, "", home),
        Cell(outlying, outside, "warn" if outside else ""),
        Cell(rows),
    ]
    return Row(cells, _more(source, one, near), group=case.stage)


def _span(low: float | None, high: float | None, unit: str) -> str:
    if low is None or high is None:
        return "–"
    return f"{format_value(low, unit)} – {format_value(high, unit)}"


def _more(source: Source, one: CaseSummary, near: Expectation | None) -> list[str]:
    say = source.say
    lines = [f"{say('stage')}: {one.case.stage}"]
    if near is not None and near.assumption:
        lines.append(f"{say('assumption')}: {say(near.assumption)}")
    if near is not None and near.models:
        models = (
            f"{say(model.name)} {format_value(model.value, near.unit)}" for model in near.models
        )
        lines.append(f"{say('other models')}: {', '.join(models)}")
    if near is not None and near.fleet is not None:
        lines.append(f"{say('spread over groups')}: {near.fleet.spread:.2%}")
    if near is not None and near.absent:
        lines.append(f"{say('absent')}: {say(near.absent)}")
    elif near is None and one.case.unit != DIGEST and one.median is None:
        lines.append(f"{say('absent')}: {say(lacking(one))}")
    lines += [f"{say(status)}: {say(reason)}" for status, reason in one.reasons.items()]
    return lines
