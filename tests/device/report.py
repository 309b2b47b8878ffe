"""What is made of ``kernels.json``: lines while it grows, ``kernels.md``, the last table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from book import Report
from cases import Task
from figures import NOT_MEASURED, ratio, rows
from records import CEILING, OURS, Cell, Record

from bench.kernels.costs import SPECS
from bench.units import format_value

STATED = "NVIDIA H200"
"""The device for which bounds were stated."""
AGAIN = "to be measured again"


def line(record: Record) -> str:
    """A record in one line."""
    if record.status != "right":
        return f"{record.name}: {record.status.upper()}: {record.reason}"
    worst = max(record.errors.values(), default=0.0)
    text = f"{record.name}: right, error {worst:.2g}"
    ours = record.cells.get(OURS)
    if ours is None or not ours.seconds:
        return text
    text += f", {_rate(record, ours)} {_spread(ours)}"
    found = record.best()
    if found is not None:
        text += f", {(found[1].seconds or 0) / ours.seconds:.3f} of {found[0]}"
    compared = ratio(record, (CEILING,))
    if compared is not None:
        text += f", {compared.value:.3f} of a copy"
    if wrong := [name for name, one in record.cells.items() if one.status in ("wrong", "failed")]:
        text += f"; does not count: {', '.join(wrong)}"
    if slow := throttled(record):
        text += f"; throttled: {slow}"
    if record.places > 1:
        text += f"; timed at {record.places} places in memory"
    return text


def throttled(record: Record) -> str:
    """Why the device ran slower than it could, before or after the task; empty if it did not."""
    said = [str(one.get("throttled") or "") for one in (record.before, record.after)]
    return ", ".join(dict.fromkeys(one for one in said if one))


def _rate(record: Record, cell: Cell) -> str:
    seconds = cell.seconds or 0.0
    if cell.family == "ceiling" or SPECS[record.op].kind == "memory":
        return format_value((cell.bytes or record.bytes) / seconds, "B/s")
    return format_value(record.flops / seconds, "FLOP/s")


def _spread(cell: Cell) -> str:
    half = ((cell.high or 0.0) - (cell.low or 0.0)) / 2 / (cell.seconds or 1.0)
    return f"±{100 * half:.1f}%"


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table whose columns line up as text, too."""
    cells = [[one.replace("|", "/") for one in row] for row in (head, *body)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    lines = [
        "| " + " | ".join(one.ljust(w) for one, w in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]
    return [lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]]


def bounds(report: Report, planned: Sequence[Task]) -> list[str]:
    """The table of figures, their bounds and verdicts.

    A figure of which nothing holds any more says what it was, and has no verdict.
    """
    found = []
    before = rows([*report.records, *report.former], planned)
    for one, former in zip(rows(report.records, planned), before, strict=True):
        measured, verdict = one.measured, one.verdict
        if one.verdict == NOT_MEASURED != former.verdict:
            measured, verdict = f"{former.measured}, with earlier kernels", AGAIN
        found.append((one.figure, measured, one.bound, verdict))
    return table(("figure", "measured", "bound", ""), found)


def markdown(report: Report, planned: Sequence[Task]) -> str:
    """``kernels.md``."""
    told = report.environment
    lines = [
        f"# Kernels on {told['device']}",
        "",
        "Written by `python tests/device/check.py` from `kernels.json` beside it. Speeds are "
        "ratios of medians of single calls on a cold cache, all contenders of a task in random "
        "order.",
        "",
        *(f"- {key}: {_said(told[key])}" for key in told if key != "device" and told[key]),
        *_runs(report),
        "",
        "## Bounds",
        "",
        *stated(told["device"]),
        *bounds(report, planned),
        "",
        "## Verified",
        "",
        *_verified(report.records),
        "",
        "## Timed",
        "",
        *_timed(report.records, len(report.runs) > 1),
    ]
    aside = _aside(report.records)
    if aside:
        lines += ["", "## Rivals that do not count", "", *aside]
    if report.former:
        lines += ["", "## Measured with kernels that have changed since", "", *_former(report)]
    if report.missing:
        lines += ["", "## Not measured", "", *(f"- {name}" for name in report.missing)]
    return "\n".join(lines) + "\n"


def stated(device: str) -> list[str]:
    """Of another device than that for which bounds were stated: what they are there."""
    if device == STATED:
        return []
    said = f"Bounds were stated for one {STATED}. They are ratios within a run, asked here as well."
    return [said, ""]


def _runs(report: Report) -> list[str]:
    """A line a run: when it was, how much of it stands here, and with what it was measured."""
    lines = []
    for number, run in enumerate(report.runs):
        mine = sum(one.run == number for one in report.records)
        told = [f"{key}: {_said(run[key])}" for key in ("versions", "tables") if run.get(key)]
        said = f"- run {number + 1}, {run['started']}, of which {mine} records stand below"
        lines.append("; ".join((said, *told)))
    return lines


def _former(report: Report) -> list[str]:
    """How much of each operation is out of date; of what has a bound, the figure that it was."""
    groups: dict[str, list[Record]] = {}
    for one in report.former:
        groups.setdefault(one.op, []).append(one)
    lines = []
    for op, group in sorted(groups.items()):
        lines.append(f"- {op}: {len(group)} tasks, which are listed as not measured")
        lines += [f"  - {line(one)}" for one in group if one.figure]
    return lines


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {one}" for key, one in value.items())
    return str(value)


def _verified(records: Sequence[Record]) -> list[str]:
    head = ("operation", "dtype", "right", "wrong", "failed", "skipped", "largest error")
    groups: dict[tuple[str, str], list[Record]] = {}
    for one in records:
        groups.setdefault((one.op, one.dtype), []).append(one)
    body = []
    for (op, dtype), group in sorted(groups.items()):
        states = [one.status for one in group]
        counts = [str(states.count(one)) for one in ("right", "wrong", "failed", "skipped")]
        worst = [max(one.errors.values()) for one in group if one.errors]
        body.append((op, dtype, *counts, f"{max(worst):.2g}" if worst else "–"))
    lines = table(head, body)
    bad = [one for one in records if one.status in ("wrong", "failed")]
    return [*lines, *([""] if bad else []), *(f"- {line(one)}" for one in bad)]


def _timed(records: Sequence[Record], several: bool) -> list[str]:
    head = ("task", "contender", "time", "95 %", "n", "rate", "over triton", "run")
    body = []
    for record in records:
        ours = record.cells.get(OURS)
        for name, cell in record.cells.items():
            if record.kind != "time" or not cell.seconds:
                continue
            over = "–"
            if ours is not None and ours.seconds and cell.family != "ceiling":
                over = f"{ours.seconds / cell.seconds:.3f}"
            body.append(
                (
                    record.what if cell is next(iter(record.cells.values())) else "",
                    name,
                    format_value(cell.seconds, "s"),
                    _spread(cell),
                    str(cell.samples),
                    _rate(record, cell),
                    over,
                    str(record.run + 1),
                )
            )
    if not several:
        head, body = head[:-1], [row[:-1] for row in body]
    slow = [f"- throttled: {one.what}: {why}" for one in records if (why := throttled(one))]
    return [*table(head, body), *([""] if slow else []), *slow]


def _aside(records: Sequence[Record]) -> list[str]:
    """Rivals that were wrong, failed or absent, each reason once with the tasks that it was for."""
    found: dict[str, list[str]] = {}
    for record in records:
        for name, cell in record.cells.items():
            if name != OURS and cell.reason:
                text = f"{name} {cell.status}: {cell.reason}"
                found.setdefault(text, []).append(record.what)
    return [f"- {text} ({len(tasks)} tasks, {tasks[0]} the first)" for text, tasks in found.items()]
