"""Whether anybody else works on this machine, its cores or its accelerators.

What this process and its descendants do is not somebody else's work. A schedule that measures only
where nobody works looks here before a round, and all through it.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable

from .. import host
from ..backends.base import Backend
from ..backends.probe import discover
from ..backends.registry import get
from ..errors import BackendError
from ..records import Device

CORES, CORE_SHARE = 0.5, 0.02
"""Cores that others may use while the machine still counts as idle: so many, or of a large machine
this share of all."""
WORKING = 0.05
"""Utilisation of a device above which somebody works there."""
SETTLED = 10.0
"""Seconds that nobody must have worked for."""
LOOK = 1.0
"""Seconds between two looks."""
LOOKS = 2
"""Looks in a row that find others on the cores: a moment's work is no reason to give way."""
_PROCESS = re.compile(r"\((\d+)\)")


class Idle:
    """Watches this machine.

    Args:
        backend: Whose devices; None: the first backend's that has some, as when measuring.

    Raises:
        BackendError: two backends both have devices here.
    """

    def __init__(self, backend: str | None) -> None:
        chosen = next((probe for probe in discover(backend) if probe.devices), None)
        self._devices: list[Device] = list(chosen.devices) if chosen is not None else []
        self._backend: Backend | None = get(chosen.name) if chosen is not None else None
        allowed = len(os.sched_getaffinity(0))
        self._most = max(CORES, CORE_SHARE * allowed)
        self._looks = 0
        self.begin()

    def begin(self) -> None:
        """Account for the cores from now on."""
        self._cores = host.Contention.begin()
        self._looks = 0

    def work(self, *, measuring: bool) -> str:
        """Who else has worked here since the last look, in words; empty if nobody has.

        ``measuring``: devices that work may do so for us.
        """
        return self._on_devices(measuring) or self._on_cores()

    def settle(self, stop: Callable[[float], bool], say: Callable[[str], None]) -> bool:
        """Wait until nobody has worked here for `SETTLED` seconds.

        Args:
            stop: Waits so many seconds; True if waiting is to end.
            say: Told who works, once each time it changes.

        Returns False if ``stop`` has ended it.
        """
        since, said = time.monotonic(), ""
        self.begin()
        while not stop(LOOK):
            self._looks = LOOKS  # here any work counts at once
            if why := self.work(measuring=False):
                since = time.monotonic()
                kind = re.sub(r"[\d.]+", "#", why)
                if kind != said:
                    say(f"waiting until this machine is idle: {why}")
                said = kind
            elif time.monotonic() - since >= SETTLED:
                return True
        return False

    def _on_cores(self) -> str:
        usage, self._cores = self._cores.end(), host.Contention.begin()
        cores = usage.foreign / max(usage.interval, 1e-9)
        if cores <= self._most:
            self._looks = 0
            return ""
        self._looks += 1
        return f"other processes use {cores:.1f} cores" if self._looks >= LOOKS else ""

    def _on_devices(self, measuring: bool) -> str:
        if self._backend is None:
            return ""
        for device in self._devices:
            try:
                user = self._backend.busy(device.index)
                if user and not _ours(user):
                    return f"device {device.index} is in use by {user}"
                # The load of a stand-in is that of its cores.
                if measuring or self._backend.stand_in:
                    continue
                share = self._backend.telemetry(device.index).utilisation
            except BackendError:  # it does not say
                continue
            if share is not None and share > WORKING:
                return f"device {device.index} is at work ({share:.0%})"
        return ""


def _ours(user: str) -> bool:
    """Whether all processes that a backend names are ours: a plugin cannot know whose they are."""
    named = {int(pid) for pid in _PROCESS.findall(user)}
    return bool(named) and named <= set(host.process_tree(os.getpid()))
