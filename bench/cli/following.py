"""Follows a run that another process writes, through its files, into a picture."""

from __future__ import annotations

import time
from itertools import groupby

from ..errors import InfraError, UsageError
from ..growing import Growing
from ..records import Row
from ..report.watched import Watched
from ..results import ROWS

_PAUSE = 0.5
"""Seconds between two looks."""
_SILENCE = 5.0
"""Seconds without a change after which it is asked whether anybody still measures."""


def follow(growing: Growing, watched: Watched) -> bool:
    """Show a run until it has ended; whether it did, or its driver died."""
    stages = Stages(growing, watched)
    # Who looks at a run that died long ago is told at once.
    changed = time.monotonic() - growing.age()
    began = True
    while True:
        # In this order: what was written before the end has been seen when the end is.
        renewed = growing.renewed()
        state = growing.header.state
        fresh = stages.look()
        if (fresh or renewed) and not began:
            changed = time.monotonic()
        if fresh:
            continue
        began = False  # what was there has been read
        watched.show()
        if state != "running":
            watched.screen.end(watched.picture)
            return True
        if time.monotonic() - changed > _SILENCE and not growing.held():
            return False
        time.sleep(_PAUSE)


class Stages:
    """Takes what is new in a run's files into its picture, stage by stage."""

    def __init__(self, growing: Growing, watched: Watched) -> None:
        self._growing, self._watched = growing, watched
        self._events = 0
        self._repeats = _repeats(growing)
        self._first = self._last = 0.0
        self._early: list[Row] = []
        watched.picture.stages = list(self._repeats)
        if growing.header.cases:  # a certification has none before its first stage
            self._begin(growing.header.cases[0].stage)

    def look(self) -> bool:
        """Whether there was something new."""
        growing, watched = self._growing, self._watched
        rows, self._early = [*self._early, *growing.rows()], []
        if rows and max(row.case for row in rows) >= len(growing.header.cases):
            growing.renewed()
        watched.header = header = growing.header
        if rows and max(row.case for row in rows) >= len(header.cases):
            # A file system that hosts share may show rows before the header that declares them.
            rows, self._early = [], rows
        events, self._events = header.events[self._events :], len(header.events)
        for event in events:
            watched.event(event["kind"], event["node"], event["text"], event.get("changes", {}))
        try:
            for stage, part in groupby(rows, key=lambda row: header.cases[row.case].stage):
                self._stage(stage, list(part))
        except (IndexError, OverflowError):  # which line it is, `RunReader` says
            raise InfraError(
                "rows are of groups or cases that there are not: the file is damaged",
                where=str(growing.path / ROWS),
                hint=f"hengsuan results show {growing.path} names the line",
            ) from None
        return bool(rows or events)

    def _stage(self, name: str, rows: list[Row]) -> None:
        picture = self._watched.picture
        if name != picture.name:
            self._begin(name)
            # It began where the one before ended: its first row says when that was over.
            self._first = self._last
        picture.done += len(rows)
        picture.share = min(1.0, picture.done / max(picture.total, 1))
        # Who looks on from the middle knows from the rows how long it has taken.
        picture.began = time.monotonic() - (rows[-1].time - self._first)
        picture.current = self._watched.header.cases[rows[-1].case].short()
        self._last = rows[-1].time
        self._watched.rows(rows)

    def _begin(self, name: str) -> None:
        self._watched.stage(name, self._expected(name))

    def _expected(self, name: str) -> int:
        """Rows that a stage gives, as far as its schedules were counted."""
        header = self._watched.header
        cases = [case for case in header.cases if case.stage == name]
        groups = sum(header.schedules[case.schedule].groups or 0 for case in cases)
        return groups * self._repeats.get(name, 1)


def _repeats(growing: Growing) -> dict[str, int]:
    """Stages of the run's suite, and how often each measures; empty where it cannot be read."""
    from ..configs import suite_from_text

    try:
        suite = suite_from_text(growing.header.suite_text, f"{growing.path}/run.json (its suite)")
    except UsageError:
        return {}
    return {stage.name: stage.repeats for stage in suite.stages}
