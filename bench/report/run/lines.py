"""A run as comma-separated values: a line a row, in full words, as it was measured."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

from ...inventory import Inventory
from ...records import Case, Conditions, Header
from ...results import RunReader
from ...rounds import schedule_for
from ...spreadsheets import inert
from ..plain import plain

COLUMNS = (
    "run",
    "suite",
    "stage",
    "benchmark",
    "case",
    "metric",
    "unit",
    "better",
    "scope",
    "on",
    "ranks",
    "repeat",
    "time_s",
    "value",
    "low",
    "high",
    "samples",
    "status",
    "provenance",
    "temperature_C",
    "power_W",
    "clock_MHz",
    "throttled",
    "library",
    "reason",
)
NAMED = 8
"""Devices of a group that are named; the number of all stands beside them."""
BLOCK = 4_096
"""Lines that are given at once."""


def run_lines(reader: RunReader) -> Iterator[str]:
    """The file in pieces, the header line first; lines end as RFC 4180 says.

    Raises:
        InfraError: a row is damaged; before the first piece.
        UsageError: the header has a schedule that its nodes cannot give.
    """
    reader.columns(("case", "group"))  # says which row refers to what there is not
    header = reader.header
    inventory = Inventory(header.nodes, header.fleet)
    schedules = [schedule_for(spec, inventory) for spec in header.schedules]
    names: dict[tuple[int, int], tuple[str, int]] = {}
    heads = [_case(header, case) for case in header.cases]
    met = [_conditions(one) for one in header.conditions]
    nothing = [""] * 5
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(COLUMNS)
    for number, row in enumerate(reader.rows(), 1):
        key = header.cases[row.case].schedule, row.group
        if key not in names:
            ranks = schedules[key[0]].members(row.group)
            told = " ".join(inventory.rank_name(rank) for rank in ranks[:NAMED])
            names[key] = _text(told), len(ranks)
        known = met[row.conditions] if 0 <= row.conditions < len(met) else nothing
        figures = (row.repeat, row.time, row.value, row.low, row.high, row.n)
        stated = (row.status, row.provenance, *known, _text(row.reason))
        writer.writerow((*heads[row.case], *names[key], *figures, *stated))
        if number % BLOCK == 0:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def _case(header: Header, case: Case) -> list[str]:
    texts = (header.id, header.suite, case.stage, case.benchmark, case.label(), case.metric)
    return [*map(_text, texts), _text(case.unit), case.better, case.scope]


def _conditions(one: Conditions) -> list[Any]:
    after = (one.temperature[1], one.power[1], one.frequency[1])
    throttled = "unknown" if one.throttled is None else _text(one.throttled)
    return [*after, throttled, _text(one.library)]


def _text(text: str) -> str:
    """One line that no spreadsheet computes."""
    return inert(plain(text))
