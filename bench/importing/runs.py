"""From logs to a run: which logs are of one, its header, its rows.

A node is what logs call it; nothing identifies its hardware, so that an imported run certifies
nobody by certificate and is held against no node's own past. Cases of our own benchmarks have the
axes, titles and expectations that a measured run has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, NamedTuple

import numpy as np

from ..configs import Chip
from ..records import PROVENANCES, Header
from ..results import Columns, beyond
from .cases import Cases
from .found import INVALID, Ints, Log, Rows, What
from .layout import Layout

_IMPORTED = PROVENANCES.index("imported")


class Made(NamedTuple):
    """A run that has not been written: ``samples`` are (case, group, repeat, calls, seconds)."""

    header: Header
    columns: Columns
    samples: list[tuple[int, int, int, int, list[float]]]


def together(logs: Sequence[Log], times: Mapping[str, datetime], each: bool) -> list[list[Log]]:
    """Logs that become one run: those of one day (UTC), the oldest first; or each by itself.

    Args:
        logs: All of one format.
        times: By file: when it was measured.
        each: A run a file.
    """
    ordered = sorted(logs, key=lambda log: times[log.name])
    if each:
        return [[log] for log in ordered]
    days: dict[object, list[Log]] = {}
    for log in ordered:
        moment = times[log.name].astimezone(timezone.utc)
        days.setdefault(moment.date(), []).append(log)
    return list(days.values())


def assemble(
    logs: Sequence[Log],
    *,
    tool: str,
    suite: str,
    times: Mapping[str, datetime],
    chips: Mapping[str, Chip],
    command: list[str],
    environment: dict[str, Any],
) -> Made:
    """The run that these logs are of.

    Args:
        logs: With a figure at least.
        tool: The format; what defines its figures is the tool that printed them.
        suite: What the run is called after.
        times: By file: when it was measured.
        chips: Datasheets by name.
        command: The command line, for the record.
        environment: For the record: files, versions.
    """
    layout = Layout(logs, chips)
    began = min(times[log.name] for log in logs)
    ended = max(times[log.name] for log in logs)
    which: dict[What, int] = {}
    parts = []
    for log in logs:
        numbers = np.array(
            [which.setdefault(what, len(which)) for what in log.whats], dtype=np.int64
        )
        parts += [(log, numbers, layout.groups(log, rows), rows) for rows in log.rows]
    whats = list(which)
    cases = Cases(layout, whats, tool, chips)
    for _, numbers, groups, rows in parts:
        cases.meet(numbers[rows.what], groups)
    cases.settle()
    case, group, first = [], [], 0
    reasons: dict[int, str] = {}
    for _, numbers, groups, rows in parts:
        of, ids = cases.of(numbers[rows.what], groups)
        case.append(of)
        group.append(ids)
        reasons.update((first + place, why) for place, why in rows.reasons.items())
        first += rows.value.size
    made = cases.made()
    of, ids = np.concatenate(case), np.concatenate(group)
    repeat = _repeats(of, ids)
    since = [(times[log.name] - began).total_seconds() for log, *_ in parts]
    sizes = [rows.value.size for *_, rows in parts]
    header = Header(
        id=f"{began.astimezone(timezone.utc):%Y%m%d-%H%M%S}-{suite}",
        suite=suite,
        started=began.astimezone(timezone.utc).isoformat(timespec="seconds"),
        finished=ended.astimezone(timezone.utc).isoformat(timespec="seconds"),
        state="complete",
        executor="import",
        command=command,
        provenance="imported",
        environment=environment,
        nodes=layout.inventory.nodes,
        cases=made,
        schedules=cases.specs,
        stages=[
            {"name": stage, "began": 0.0, "seconds": (ended - began).total_seconds()}
            for stage in dict.fromkeys(one.stage for one in made)
        ],
        events=[
            {"time": 0.0, "kind": "warning", "text": note, "node": ""} for note in _notes(logs)
        ],
    )
    columns = _columns([rows for *_, rows in parts], of, ids, repeat, np.repeat(since, sizes))
    columns.reasons = reasons
    _refuse_beyond(columns)
    return Made(header, columns, _samples(parts, of, ids, repeat))


def _refuse_beyond(columns: Columns) -> None:
    """Figures that nobody can have measured are none: readers take the file for damaged."""
    for name in ("value", "low", "high"):
        figures = getattr(columns, name)
        for row in np.flatnonzero(beyond(figures)).tolist():
            columns.reasons[row] = f"{figures[row]:g} is beyond all that can be measured"
            columns.status[row] = INVALID
            columns.value[row] = columns.low[row] = columns.high[row] = np.nan


def _notes(logs: Sequence[Log]) -> list[str]:
    """What whoever reads the run must know."""
    found = [note for log in logs for note in log.notes]
    if undated := [log.name for log in logs if not log.dated]:
        files = undated[0] if len(undated) == 1 else f"{len(undated)} files"
        found.append(f"{files}: when it was measured is the file's own time; --time says another")
    return found


def _columns(parts: list[Rows], case: Ints, group: Ints, repeat: Ints, time: Any) -> Columns:
    def joined(name: str, dtype: type) -> Any:
        return np.concatenate([getattr(part, name) for part in parts]).astype(dtype, copy=False)

    return Columns(
        case=case.astype(np.int32),
        group=group,
        repeat=repeat.astype(np.int32),
        time=time,
        value=joined("value", np.float64),
        low=joined("low", np.float64),
        high=joined("high", np.float64),
        n=joined("n", np.int32),
        status=joined("status", np.int8),
        conditions=np.full(case.size, -1, dtype=np.int32),
        provenance=np.full(case.size, _IMPORTED, dtype=np.int8),
    )


def _repeats(case: Ints, group: Ints) -> Ints:
    """int64[rows]: how often the same case was there on the same group before."""
    key = case * (int(group.max(initial=0)) + 1) + group
    order = np.argsort(key, kind="stable")
    starts = np.flatnonzero(np.diff(key[order], prepend=-1))
    lengths = np.diff(starts, append=key.size)
    repeat = np.empty(key.size, dtype=np.int64)
    repeat[order] = np.arange(key.size) - np.repeat(starts, lengths)
    return repeat


def _samples(
    parts: Sequence[tuple[Log, Ints, Ints, Rows]], case: Ints, group: Ints, repeat: Ints
) -> list[tuple[int, int, int, int, list[float]]]:
    """What tools kept; only those keep something whose figures are one part."""
    found, first = [], 0
    for log, _, _, rows in parts:
        for place, calls, seconds in log.samples:
            row = first + place
            found.append((int(case[row]), int(group[row]), int(repeat[row]), calls, seconds))
        first += rows.value.size
    return found
