"""The page of metrics: what each is, how it is computed, who defined it so."""

from __future__ import annotations

from collections.abc import Iterator

from ..records import DIGEST, Measure
from .benchmarks import built_in
from .markdown import inline, sections

_UNITS = {"": "none (a number)", DIGEST: "none: equal or not"}


def page() -> str:
    """All metrics, by benchmark."""
    return sections(
        "# Metrics",
        "A value is the median of its samples with the 95 % order-statistic interval of the median "
        "(over repeats spaced in time, where there are several); a percentile, a count or a "
        "maximum is a single value. Units are SI, bytes are B, bandwidths unidirectional. Metrics "
        "that are made of several cases, or declared, are in [scores.md](scores.md).",
        *(part for name, cls in built_in().items() for part in _of(name, cls.measures)),
    )


def _of(benchmark: str, measures: tuple[Measure, ...]) -> Iterator[str]:
    yield f"## [{benchmark}](benchmarks.md#{benchmark})"
    for one in measures:
        yield f"### {benchmark} {one.name}"
        lines = [
            f"- definition: {inline(one.about)}",
            f"- unit: {_UNITS.get(one.unit, one.unit)}; {one.better} is better",
        ]
        if one.formula:
            lines.append(f"- formula: {inline(one.formula)}")
        if one.each:
            waits = f"; what it waits for is in `{one.slack}` of the others" if one.slack else ""
            lines.append(f"- every rank of the group has a value of its own{waits}")
        if one.exact:
            lines.append("- a count: compared exactly, without statistics")
        if one.absent:
            lines.append(f"- may have no value: {inline(one.absent)}")
        lines.append(f"- source: {inline(one.source) or 'the benchmark itself'}")
        yield "\n".join(lines)
