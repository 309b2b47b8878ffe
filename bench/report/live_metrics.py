"""A run that goes on, as metrics: how far it is, what came of its rows, and its telemetry now."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from prometheus_client.metrics_core import Metric

from ..headers import absent
from ..records import Header, Status
from ..telemetry import DEVICE, NODE, Quantity, TelemetryRow, Values
from .openmetrics import MOST, gauge, label, left_out, places

_UNITS = {
    "MHz": ("hertz", 1e6),
    "°C": ("celsius", 1.0),
    "W": ("watts", 1.0),
    "B": ("bytes", 1.0),
    "B/s": ("bytes_per_second", 1.0),
    "ratio": ("ratio", 1.0),
}
"""Units of telemetry as metrics name them, and what one of ours is of theirs."""


STALE = 300.0
"""Seconds after which a look at a node is not of now: as long as Prometheus takes a value for it.
What was lost looks at itself no more."""


class Live:
    """What is known of a run while it goes on. Threads may ask while another tells.

    Args:
        now: A clock in seconds that never goes back.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._run: tuple[str, ...] | None = None
        self._nodes: list[str] = []
        self._stage, self._jobs, self._done = "", 0, 0
        self._rows: Counter[Status] = Counter()
        self._lost = 0
        self._running = False
        self._latest: dict[int, tuple[float, TelemetryRow]] = {}

    def begin(self, header: Header) -> None:
        """Measuring begins."""
        with self._lock:
            self._run = (label(header.suite), header.provenance)
            self._nodes = places(node.name for node in header.nodes)
            self._running = True
            self._lost = len(absent(header))

    def stage(self, name: str, jobs: int) -> None:
        """A stage of so many jobs begins."""
        with self._lock:
            self._stage, self._jobs, self._done = name, jobs, 0

    def page(
        self,
        rows: Mapping[Status, int],
        done: int | None,
        lost: int,
        telemetry: Sequence[TelemetryRow],
    ) -> None:
        """Rows that came in by status, jobs that are done of the stage, what was lost, looks."""
        with self._lock:
            self._rows.update(rows)
            self._done = self._done if done is None else done
            self._lost += lost
            came = self._now()
            self._latest.update((row.node, (came, row)) for row in telemetry)

    def end(self) -> None:
        """Nothing is measured any more: telemetry is not of now."""
        with self._lock:
            self._running = False
            self._latest.clear()

    def families(self, most: int = MOST) -> list[Metric]:
        """Everything, with at most ``most`` series of each quantity of devices."""
        with self._lock:
            if self._run is None:
                return []
            suite, provenance = self._run
            found: list[Metric] = []
            running = gauge("running", "1 while it measures, then 0.", ("suite", "provenance"))
            running.add_metric([suite, provenance], float(self._running))
            stage = gauge("stage_jobs", "Jobs of the stage that runs.", ("stage",))
            stage.add_metric([label(self._stage)], self._jobs)
            done = gauge("stage_jobs_done", "Jobs of it that are done.", ("stage",))
            done.add_metric([label(self._stage)], self._done)
            rows = gauge("live_rows", "Measurements so far, by status.", ("status",))
            for status, count in sorted(self._rows.items()):
                rows.add_metric([status], count)
            lost = gauge("lost", "Nodes and ranks that were lost so far.")
            lost.add_metric([], self._lost)
            found += [running, stage, done, rows, lost]
            since = self._now() - STALE
            looks = [row for came, row in self._latest.values() if came >= since]
            ended = not self._running
        # Once it has ended, its results say how many of theirs are not told.
        return found if ended else [*found, *self._telemetry(looks, most)]

    def _telemetry(self, looks: Sequence[TelemetryRow], most: int) -> list[Metric]:
        found: list[Metric] = []
        left = 0
        for place, one in enumerate(NODE):
            unit, factor = _UNITS[one.unit]
            family = gauge(f"node_{one.name}", f"{_said(one)} of a node, now.", ("node",), unit)
            for row in looks:
                value = _at(row.values, place)
                if value is not None and len(family.samples) < most:
                    family.add_metric([self._name(row.node)], value * factor)
                else:
                    left += value is not None
            found.append(family)
        for place, one in enumerate(DEVICE):
            unit, factor = _UNITS[one.unit]
            family = gauge(
                f"device_{one.name}", f"{_said(one)} of a device, now.", ("node", "device"), unit
            )
            for row in looks:
                for device, values in enumerate(row.devices):
                    value = _at(values, place)
                    if value is not None and len(family.samples) < most:
                        family.add_metric([self._name(row.node), str(device)], value * factor)
                    else:
                        left += value is not None
            found.append(family)
        return [*found, left_out(left)]

    def _name(self, node: int) -> str:
        return self._nodes[node] if node < len(self._nodes) else str(node)


def _said(one: Quantity) -> str:
    return one.name.replace("_", " ").capitalize()


def _at(values: Values, place: int) -> float | None:
    return values[place] if place < len(values) else None
