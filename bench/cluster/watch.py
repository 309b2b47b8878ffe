"""What happened to a node while a stage ran there: counters that grew, and the kernel's new lines.

The agent looks before its ranks start and after the last of its visits, never beside one.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable

from ..backends.base import Health
from ..backends.registry import get
from ..errors import HengsuanError
from ..host import counters, pcie
from ..host.kernel_log import KEPT, KernelLog
from ..records import Node
from .executor import Event

_FIGURE = re.compile(r"0x[0-9a-f]+|\d+", re.IGNORECASE)


class Watch:
    """The counters, the kernel's log and the accelerators' links of one node.

    Args:
        node: As it described itself; its backend contributes patterns and the devices' counters.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        try:
            self._backend = get(node.backend) if node.backend else None
        except HengsuanError:  # it described the node and is gone since: the host's part remains
            self._backend = None
        patterns = self._backend.kernel_patterns if self._backend is not None else {}
        self._log = KernelLog(patterns)
        self._before: counters.Snapshot = {}
        self._told: set[str] = set()
        self._ailing: dict[int, str] = {}

    def begin(self) -> None:
        """Note how things stand; older lines of the kernel's log are nobody's fault here."""
        self._before = self._counters()
        self._log.take()

    def end(self, stage: str, places: Iterable[int]) -> list[Event]:
        """Events of everything that changed since `begin`; their time is for the caller to set.

        Args:
            stage: Its name.
            places: Which of the node's devices it measured: their links are judged.
        """
        events = []
        grown = counters.grown(self._before, self._counters())
        if grown:
            text = ", ".join(f"{name} +{change}" for name, change in sorted(grown.items()))
            events.append(self._event("counters", text, stage, grown))
        events.extend(self._problems(stage))
        events.extend(self._lines(stage))
        events.extend(self._links(stage, places))
        return events

    def close(self) -> None:
        """Close the kernel's log."""
        self._log.close()

    def _counters(self) -> counters.Snapshot:
        found = counters.snapshot()
        for place, device in enumerate(self._node.devices):
            health = Health()
            if self._backend is not None:
                with contextlib.suppress(Exception):  # a vendor's library may raise anything
                    health = self._backend.health(device.index)
            found.update({f"device{place} {name}": n for name, n in health.errors.items()})
            self._ailing[place] = health.problem
        return found

    def _problems(self, stage: str) -> list[Event]:
        """What a device says of itself, once a run: it lasts until somebody repairs it."""
        events = []
        for place, problem in self._ailing.items():
            text = f"device{place}: {problem}"
            if problem and text not in self._told:
                self._told.add(text)
                events.append(self._event("device", text, stage, {}))
        return events

    def _lines(self, stage: str) -> list[Event]:
        """One event for all lines that are the same but for figures."""
        alike: dict[tuple[str, str], list[str]] = {}
        for about, text in self._log.take():
            alike.setdefault((about, _FIGURE.sub("#", text)), []).append(text)
        events = []
        for (about, _), texts in list(alike.items())[:KEPT]:
            more = f" (and {len(texts) - 1} more like it)" if len(texts) > 1 else ""
            text = f"{about}: {texts[0][:300]}{more}"
            events.append(self._event("kernel-log", text, stage, {about: len(texts)}))
        if len(alike) > KEPT:
            rest = sum(map(len, list(alike.values())[KEPT:]))
            events.append(self._event("kernel-log", f"{rest} more lines of other kinds", stage, {}))
        return events

    def _links(self, stage: str, places: Iterable[int]) -> list[Event]:
        wanted = {
            str(self._node.devices[place].facts["pci"]).lower()
            for place in places
            if "pci" in self._node.devices[place].facts
        }
        events = []
        for address, link in pcie.links().items() if wanted else ():
            why = pcie.degraded(link, ("generation",)) if address in wanted else ""
            text = f"the link of accelerator {address} ran at {why} when the stage ended"
            if why and text not in self._told:
                self._told.add(text)
                events.append(self._event("link", text, stage, {}))
        return events

    def _event(self, kind: str, text: str, stage: str, changes: dict[str, int]) -> Event:
        return Event(
            time=0.0, kind=kind, text=text, node=self._node.name, stage=stage, changes=changes
        )
