"""Looks at a node and its devices at a steady pace while a run goes on there.

It has a thread of the agent, never one of a rank: what is timed runs in other processes. A driver
that hangs holds this thread and nobody else. Looking is cheap or rare: where it would take more
than `SHARE` of a core, it is done less often than was asked for, and every row says what it took.
"""

from __future__ import annotations

import contextlib
import resource
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable

import msgspec

from ..backends.base import Backend
from ..backends.registry import get
from ..backends.remote import Remote
from ..errors import HengsuanError
from ..host.load import Load
from ..records import Device, Node
from ..telemetry import DEVICE, NODE, TelemetryRow, Values

SHARE = 0.01
"""Of one core, that looking may take."""
_KNOWN = 5
"""Looks whose median is what one takes: a rank that ends meanwhile counts in one of them."""


class Sampler:
    """Gives a row of telemetry about every ``period`` seconds, from `start` to `stop`.

    Args:
        node: As it described itself; its backend is asked about the devices.
        place: The node's among those of the run.
        period: Seconds between two looks.
        now: Seconds since the run began.
        give: Takes each row, as the text that will stand in the file. Called in the thread.
    """

    def __init__(
        self,
        node: Node,
        place: int,
        period: float,
        now: Callable[[], float],
        give: Callable[[msgspec.Raw], None],
    ) -> None:
        self._node, self._place, self._period = node, place, period
        self._now, self._give = now, give
        self._backend: Backend | None = None
        if node.backend:
            with contextlib.suppress(HengsuanError):  # it described the node and is gone since
                self._backend = get(node.backend)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="telemetry", daemon=True)
        self._took: deque[float] = deque(maxlen=_KNOWN)
        self._elsewhere = 0.0

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; a look that hangs is left alone."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(1.0)

    def _work(self) -> None:
        load = Load()
        began, spent = time.monotonic(), self._spent()
        cost: float | None = None
        due = began + self._period
        while not self._stop.wait(due - time.monotonic()):
            at, look, before = self._now(), time.monotonic(), self._spent()
            cost = (before - spent) / (look - began)
            began, spent = look, before
            self._give(msgspec.Raw(msgspec.json.encode(self._row(at, load, cost))))
            self._took.append(self._spent() - before)
            # Nothing is made up for: a host that was stopped has missed some looks.
            due = max(due + self._pause(), time.monotonic())

    def _pause(self) -> float:
        return max(self._period, statistics.median(self._took) / SHARE)

    def _row(self, at: float, load: Load, cost: float) -> TelemetryRow:
        said = load.look()
        said["cost"] = cost
        devices = [self._device(device, load) for device in self._node.devices]
        values = [_short(said.get(one.name)) for one in NODE]
        return TelemetryRow(self._place, at, values, devices)

    def _device(self, device: Device, load: Load) -> Values:
        found: dict[str, float | None] = {}
        if self._backend is not None:
            began, children = time.monotonic(), _children()
            with contextlib.suppress(Exception):  # a vendor's library may raise anything
                told = self._backend.telemetry(device.index)
                found = {name: getattr(told, name, None) for name in _ASKED}
                if told.throttled is not None:
                    found["throttled"] = float(bool(told.throttled))
            # A plugin answers in a process of its own: it takes no longer than we wait.
            waited = time.monotonic() - began if isinstance(self._backend, Remote) else 0.0
            self._elsewhere += max(_children() - children, waited)
        if found.get("utilisation") is None and device.stand_in:
            found["utilisation"] = load.busy(device.facts.get("cpus", ()))
        return [_short(found.get(one.name)) for one in DEVICE]

    def _spent(self) -> float:
        """Processor seconds of this thread, and of the programs that it has run."""
        return time.thread_time() + self._elsewhere


_ASKED = ("clock", "temperature", "power", "memory_used", "utilisation", "capped")


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _short(value: float | None) -> float | None:
    """Whole numbers as they are, others in the four digits that a sensor knows at most."""
    if value is None or value != value:
        return None
    return int(value) if float(value).is_integer() else float(f"{value:.4g}")
