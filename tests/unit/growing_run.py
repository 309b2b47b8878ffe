"""A run that is being measured, by whoever holds this: its journal, and rows for it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from made_runs import case, header

from bench.cluster.executor import Event, Page
from bench.cluster.journal import Journal
from bench.records import DeviceGroup, Row, ScheduleSpec

NODES, DEVICES = 16, 8
SUITE = """name: quick
stages:
  - name: device
    benchmarks:
      - gemm: {shape: 64x64x64}
  - name: fabric
    benchmarks:
      - pairs: {of: device}
"""


def going(folder, name="20260101-000000-quick", **changes) -> Journal:
    """A new run of two stages on 16 nodes of 8 devices; it is held until it is closed."""
    size = NODES * DEVICES
    made = header(
        case(0, title="gemm 64x64x64"),
        case(1, benchmark="pairs", stage="fabric", scope="pair", schedule=1, unit="B/s"),
        id=name,
        suite_text=SUITE,
        state="running",
        fleet=DeviceGroup(count=NODES, devices=DEVICES, chip="sim-a"),
        schedules=[
            ScheduleSpec(kind="devices", scope="device", groups=size),
            ScheduleSpec(kind="pairs", scope="pair", groups=size // 2, arguments={"of": "device"}),
        ],
        command=["hengsuan", "run", "quick", "--cluster", "small"],
        **changes,
    )
    return Journal.create(Path(folder), made, rows=size)


def row(number, group, value=1e12, status="ok", reason="", time=1.0) -> Row:
    found = value if status == "ok" else None
    return Row(number, group, 0, time, found, found, found, 3, status, -1, "simulated", reason)


def write(journal, *rows, events=()):
    journal.write(Page(rows=list(rows), events=list(events)))


def lost(node, text="its agent was lost"):
    return Event(time=1.0, kind="agent-lost", node=node, text=text)


def complete(journal, state="complete"):
    journal.header.state = state
    journal.header.finished = "2025-03-01T10:16:00+00:00"
    journal.close()
