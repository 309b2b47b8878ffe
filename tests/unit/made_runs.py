"""Headers, cases and rows of runs that never were, for tests of what is made of them."""

from __future__ import annotations

import numpy as np

from bench.records import PROVENANCES, STATUSES, Case, DeviceGroup, Header, ScheduleSpec
from bench.results import Columns


def case(number, benchmark="gemm", axes=None, metric="flops", unit="FLOP/s", **changes) -> Case:
    values = {
        "id": number,
        "stage": "device",
        "benchmark": benchmark,
        "axes": axes or {},
        "scope": "device",
        "metric": metric,
        "unit": unit,
        "better": "higher",
        "source": "0",
        "schedule": 0,
    }
    return Case(**{**values, **changes})


def header(*cases, groups: int | None = 2, **changes) -> Header:
    values = {
        "id": "run",
        "suite": "quick",
        "started": "2025-03-01T10:15:00+00:00",
        "executor": "local",
        "provenance": "measured",
        "state": "complete",
        "fleet": DeviceGroup(count=1, devices=2, chip="acme-1"),
        "cases": list(cases),
        "schedules": [ScheduleSpec(kind="devices", scope="device", groups=groups)],
    }
    return Header(**{**values, **changes})


def columns(*rows: tuple) -> Columns:
    """From (case, group, value[, status[, reason[, provenance]]])."""
    full = [(*row, *("ok", "", "measured")[len(row) - 3 :]) for row in rows]
    case, group, value, status, reason, provenance = zip(*full, strict=True) if full else [()] * 6
    values = np.array(value, dtype=np.float64)
    return Columns(
        case=np.array(case, dtype=np.int32),
        group=np.array(group, dtype=np.int64),
        repeat=np.zeros(len(full), dtype=np.int32),
        time=np.zeros(len(full)),
        value=values,
        low=values,
        high=values,
        n=np.ones(len(full), dtype=np.int32),
        status=np.array([STATUSES.index(one) for one in status], dtype=np.int8),
        conditions=np.zeros(len(full), dtype=np.int32),
        provenance=np.array([PROVENANCES.index(one) for one in provenance], dtype=np.int8),
        reasons={index: one for index, one in enumerate(reason) if one},
    )
