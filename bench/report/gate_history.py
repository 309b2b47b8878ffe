"""Many runs in the terminal: what is slower now and since which run, what changed before it."""

from __future__ import annotations

from collections import Counter

from rich.console import Console

from ..analysis.gate.change_points import LASTING
from ..analysis.gate.history import VERDICTS, History, MetricHistory
from ..units import format_value
from .language import spoken
from .terminal import NARROW, WORST, line, print_table, verdict

_COLUMNS = ("metric", "on", "verdict", "worse by", "95 %", "before", "now", "since run", "runs")
_FEWER, _WIDE = 7, 110
"""Columns of the table below so many of the screen: the rest stands in the sentences below it."""
_STYLES = {"regressed": "red", "improved": "green"}


def print_history(made: Console, found: History) -> None:
    """What changed as a table, worst first; a sentence for each regression; the rest is counted."""
    told = [one for one in found.metrics if one.now is not None]
    if told:
        kept = len(_COLUMNS) if made.width < NARROW or made.width >= _WIDE else _FEWER
        rows = [_row(one)[:kept] for one in told]
        print_table(made, _COLUMNS[:kept], rows, right=(3, 4, 5, 6, 8))
    for one in told:
        for text in _sentences(one):
            line(made, text, _STYLES[one.verdict])
    for text in _notes(found):
        line(made, f"note: {text}")
    for text in found.notes:
        line(made, f"note: {text}", "yellow")
    if text := _caught(found):
        line(made, text)
    verdict(made, _summary(found))


def _summary(found: History) -> str:
    counts = Counter(one.verdict for one in found.metrics)
    said = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict])
    return (
        f"{len(found.runs)} run(s) in {found.folder}: {said or 'no metric'}; "
        f"changes below {found.least:.1%} are not told"
    )


def _notes(found: History) -> list[str]:
    """Those of metrics: what several of them say is one line."""
    said: dict[str, list[str]] = {}
    for one in found.metrics:
        for note in one.notes:
            said.setdefault(note, []).append(_name(one))
    return [
        f"{names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}: {note}"
        for note, names in said.items()
    ]


def _caught(found: History) -> str:
    """What steadiness is worth: with few or noisy runs a metric is steady whatever happens."""
    known = sorted(
        ((one.caught, _name(one)) for one in found.metrics if one.caught is not None), reverse=True
    )
    if not known:
        return ""
    worst, name = known[0]
    middle = known[len(known) // 2][0]
    return (
        f"a slowdown that lasts for {LASTING} runs is found from {middle:.1%} on (in the middle of "
        f"the metrics), at worst from {worst:.1%} on ({name})"
    )


def _name(one: MetricHistory) -> str:
    return f"{one.metric}{spoken(' on ')}{_where(one)}"


def _where(one: MetricHistory) -> str:
    return f"{one.where}{spoken(', ')}{spoken(one.provenance)}"


def _row(one: MetricHistory) -> tuple[str, ...]:
    now = one.now
    assert now is not None
    return (
        one.metric,
        _where(one),
        spoken(one.verdict),
        _signed(now.change),
        f"{now.low * 100:+.1f} {spoken('to')} {_signed(now.high)}",
        format_value(now.before, one.unit),
        format_value(one.level, one.unit),
        now.first,
        str(len(one.runs)),
    )


def _signed(change: float) -> str:
    return f"{change * 100:+.1f} %"


def _sentences(one: MetricHistory) -> list[str]:
    now = one.now
    assert now is not None
    if one.verdict != "regressed":
        return [f"{_name(one)}: improved since run {now.first}, {abs(now.change):.1%}"]
    lines = [
        f"{_name(one)}: regressed since run {now.first} (first bad run), {now.change:.1%} worse; "
        f"last good run {now.last}"
    ]
    changed = "; ".join(one.differs[:WORST]) or "nothing that their headers tell"
    if len(one.differs) > WORST:
        changed += f"; and {len(one.differs) - WORST} more"
    return [*lines, f"  changed between the two: {changed}"]
