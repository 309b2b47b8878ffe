"""What an agent holds for the driver, and hands over in pages when it is asked.

The driver asks each agent for one page at a time. When it falls behind it asks later, and what it
has no time for waits here: its own memory does not grow with what is measured.
"""

from __future__ import annotations

from collections import deque

import msgspec

from ..ledger import Ledger
from ..records import Conditions, Row, Samples
from .executor import PAGE_BYTES, Event, Page, Progress

ROW_BYTES, CONDITIONS_BYTES = 130, 350
"""What a row without its reason, and conditions, take at most as text."""
LOOKS = 3600
"""Rows of telemetry that wait at most: of a driver that is away for longer, the oldest go."""
SAMPLES_PART = 2000
"""Samples that stand in one line: a page takes no part of a line."""


class Outbox:
    """What waits for the driver, handed over in pages of at most `PAGE_BYTES`.

    Attributes:
        events: What happened.
        telemetry: Rows of it; another thread may append some.
    """

    def __init__(self, mode: str) -> None:
        self._mode = mode
        self._items: list[tuple[list[Row], list[Conditions], int]] = []
        self._ledger: list[msgspec.Raw] = []
        self._samples: list[msgspec.Raw] = []
        self._held: list[msgspec.Raw] = []
        self.events: list[Event] = []
        self.telemetry: deque[msgspec.Raw] = deque(maxlen=LOOKS)
        self._progress = Progress()
        self._changed = False

    def begin(self, node: str, total: int) -> None:
        """A new stage of ``total`` jobs."""
        self._progress = Progress(node=node, total=total)
        self._changed = True

    def add(
        self,
        rows: list[Row],
        conditions: list[Conditions],
        samples: Samples | None,
        ledger: Ledger | None = None,
    ) -> None:
        """Queue the rows of one job, which index its conditions (-1: none), and its ledger.

        Its samples wait for the end of the stage.
        """
        if ledger is not None:
            self._ledger.append(msgspec.Raw(msgspec.json.encode(ledger)))
        weight = sum(ROW_BYTES + len(row.reason) for row in rows)
        self._items.append((rows, conditions, weight))
        if samples is not None and self._wants(rows):
            for start in range(0, len(samples.seconds), SAMPLES_PART):
                part = samples.seconds[start : start + SAMPLES_PART]
                some = msgspec.structs.replace(samples, seconds=part)
                self._held.append(msgspec.Raw(msgspec.json.encode(some)))

    def _wants(self, rows: list[Row]) -> bool:
        if self._mode != "suspects":
            return self._mode == "all"
        return any(row.status != "ok" or _wide(row) for row in rows)

    def progress(self, done: int, current: str) -> None:
        """Note finished jobs and what runs now."""
        old = self._progress
        self._progress = msgspec.structs.replace(old, done=old.done + done, current=current)
        self._changed = True

    def finish(self) -> None:
        """The stage has ended: its samples may travel now, where they disturb nothing."""
        self._samples.extend(self._held)
        self._held.clear()

    @property
    def waiting(self) -> bool:
        """Whether a page would carry what is worth one: telemetry goes with those that come."""
        return bool(self._items or self._ledger or self._samples or self.events)

    @property
    def empty(self) -> bool:
        """Whether nothing is left but progress."""
        return not self.waiting and not self.telemetry

    def take(self) -> Page:
        """The next page: events, rows with their conditions, ledgers, and at last samples."""
        page = Page()
        room = PAGE_BYTES
        known: dict[Conditions, int] = {}
        while self.events:
            room -= _size(self.events[0])
            if room < 0 and page.events:
                break
            page.events.append(self.events.pop(0))
        while self._items and room > 0:
            rows, conditions, weight = self._items[0]
            room -= weight + CONDITIONS_BYTES * len(set(conditions) - known.keys())
            if room < 0 and (page.rows or page.events):
                break
            self._items.pop(0)
            places = [known.setdefault(one, len(known)) for one in conditions]
            page.rows.extend(
                msgspec.structs.replace(row, conditions=places[row.conditions])
                if row.conditions >= 0
                else row
                for row in rows
            )
        page.conditions = list(known)
        while self._ledger and room > 0:
            room -= memoryview(self._ledger[0]).nbytes
            if room < 0 and (page.rows or page.events or page.ledger):
                break
            page.ledger.append(self._ledger.pop(0))
        while self._samples and not self._items and room > 0:
            room -= memoryview(self._samples[0]).nbytes
            if room < 0 and (page.rows or page.events or page.ledger or page.samples):
                break
            page.samples.append(self._samples.pop(0))
        while self.telemetry and room > 0:
            room -= memoryview(self.telemetry[0]).nbytes
            if room < 0 and page != Page():
                break
            page.telemetry.append(self.telemetry.popleft())
        if self._changed:
            page.progress = [self._progress]
            self._changed = False
        return page


def _size(event: Event) -> int:
    """Bytes that an event takes at most as text, but for letters beyond ASCII."""
    return 200 + len(event.text) + sum(len(name) + 24 for name in event.changes)


def _wide(row: Row) -> bool:
    """Whether the interval is wider than ±5 % of the value."""
    if row.value is None or row.low is None or row.high is None or not row.value:
        return False
    return (row.high - row.low) / 2 > 0.05 * abs(row.value)
