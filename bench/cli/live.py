"""Glue between the engine's observer and the terminal: pages in, a small picture out."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..cluster.executor import Page
from ..cluster.plan import Plan, Stage
from ..groups import Schedule
from ..host.counters import is_error
from ..inventory import Inventory
from ..records import STATUSES, Header, Row, Status
from ..report.picture import Picture, Screen
from ..report.terminal import console
from ..rounds import schedule_for
from ..units import format_duration
from .planned import longest, outline


class Watching:
    """An observer that keeps a `Picture` of the run and lets a `Screen` draw it."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._picture = Picture()
        self._done: dict[str, int] = {}
        self._schedules: dict[int, Schedule] = {}

    def begin(self, header: Header, made: Plan, inventory: Inventory, folder: Path) -> None:
        """Say what is about to be measured."""
        self._header, self._inventory = header, inventory
        self._picture.stages = [stage.name for stage in made.stages]
        self._screen.begin(
            f"{header.suite} on {inventory.node_count} node(s), {inventory.size} device(s) "
            f"({', '.join(inventory.backends())}; {header.label}), at most "
            f"{format_duration(longest(outline(made, inventory)))} of timing → {folder}"
        )
        for note in made.notes:
            self._screen.event("warning", note)

    def stage(self, stage: Stage, jobs: int) -> None:
        """A new stage: its jobs are counted from zero."""
        self._done.clear()
        if stage.name not in self._picture.stages:
            self._picture.stages.append(stage.name)
        self._picture.begin(stage.name, jobs)
        self._screen.stage(self._picture)

    def page(self, page: Page) -> None:
        """Update counts and what runs now; events are printed at once."""
        picture = self._picture
        for row in page.rows:
            picture.count(row.status)
            if row.status in ("failed", "invalid", "missing"):
                self._blame(row)
        if page.columns is not None:
            for index, status in enumerate(STATUSES):
                picture.count(status, int((page.columns.status == index).sum()))
        for progress in page.progress:
            if progress.node:
                # A node counts each group that it takes part in; groups over nodes count once.
                self._done[progress.node] = progress.done
                picture.done = min(picture.total, max(self._done.values(), default=0))
                if progress.total:
                    picture.share = max(picture.share, progress.done / progress.total)
            else:
                picture.done += progress.done
                picture.share = picture.done / picture.total if picture.total else 1.0
            picture.current = progress.current or picture.current
        for event in page.events:
            if event.kind == "counters" and not any(map(is_error, event.changes)):
                continue  # a busy network has them: the record is enough
            text = f"{event.node}: {event.text}" if event.node else event.text
            self._screen.event(event.kind, text)
            if event.kind.endswith("-lost"):
                picture.lost.append(text)
        self._screen.update(picture)

    def _blame(self, row: Row) -> None:
        """Count a bad value against its node; of a group over several, nobody knows whose it is."""
        case = self._header.cases[row.case]
        if case.scope == "rank" and row.status != "contended":
            return  # it shares the fate of its group
        number = case.schedule
        if number not in self._schedules:
            spec = self._header.schedules[number]
            self._schedules[number] = schedule_for(spec, self._inventory)
        ranks = self._schedules[number].members(row.group)
        nodes = set(self._inventory.node_of(ranks).tolist())
        if len(nodes) == 1:
            self._picture.blame(self._inventory.name(nodes.pop()))

    def end(self, state: str, counts: Mapping[Status, int]) -> None:
        """Take the picture down."""
        self._screen.end(self._picture)


@contextlib.contextmanager
def watching(quiet: bool) -> Iterator[Watching | None]:
    """An observer for this terminal, or None if nobody wants to watch.

    Meanwhile stdout leads to stderr: Ray prints there what befalls its processes, and stdout is for
    the result.
    """
    with contextlib.redirect_stdout(sys.stderr):
        if quiet:
            yield None
            return
        with Screen(console(stderr=True)) as screen:
            yield Watching(screen)
