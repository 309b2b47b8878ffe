"""Glue between the engine's observer and the terminal: pages in, a small picture out."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..analysis.durations import durations
from ..cluster.executor import Page
from ..cluster.plan import Plan, Stage
from ..inventory import Inventory
from ..records import Header, Status
from ..report.amount import quiet
from ..report.picture import Picture
from ..report.screen import Screen
from ..report.terminal import console
from ..report.watched import Watched
from ..units import format_duration
from .planned import longest, outline

_PAUSE = 0.4
"""Seconds between two looks at pages that came in: a thousand agents send some every second."""


class Watching:
    """An observer that shows what comes in."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._pages: list[Page] = []
        self._looked = 0.0
        self._done: dict[str, int] = {}

    def begin(self, header: Header, made: Plan, inventory: Inventory, folder: Path) -> None:
        """Say what is about to be measured, and know how long its stages take."""
        self.watched = Watched(self._screen, header, inventory)
        picture = self.watched.picture
        picture.stages = [stage.name for stage in made.stages]
        stages = outline(made, inventory)
        most = longest(stages)
        timing = f", at most {format_duration(most)} of timing" if most else ""
        self._screen.begin(
            f"{header.suite} on {inventory.node_count} node(s), {inventory.size} device(s) "
            f"({', '.join(inventory.backends())}; {header.label}){timing} → {folder}"
        )
        expect(picture, folder.parent, header)
        if most and not picture.usual and header.fleet is None:  # a simulated one's is not ours
            picture.usual = {stage["name"]: longest([stage]) for stage in stages}
            picture.basis, picture.bound = ", by the plan", True
        for note in made.notes:
            self._screen.event("warning", note)

    def stage(self, stage: Stage, jobs: int) -> None:
        """A new stage: its jobs are counted from zero."""
        self.look()
        self._done.clear()
        self.watched.stage(stage.name, jobs)

    def page(self, page: Page) -> None:
        """Keep a page for the next look; an event is said at once."""
        self._pages.append(page)
        if page.events or time.monotonic() - self._looked > _PAUSE:
            self.look()

    def look(self) -> None:
        """Take what came in since the last look into the picture."""
        pages, self._pages = self._pages, []
        self._looked = time.monotonic()
        self.watched.rows([row for page in pages for row in page.rows])
        for page in pages:
            if page.columns is not None:
                self.watched.columns(page.columns)
            self._progress(page)
            for event in page.events:
                self.watched.event(event.kind, event.node, event.text, event.changes)
        picture = self.watched.picture
        if self._done:
            picture.done = min(picture.total, max(self._done.values()))
        self.watched.show()

    def _progress(self, page: Page) -> None:
        picture = self.watched.picture
        for progress in page.progress:
            if progress.node:
                # A node counts each group that it takes part in; groups over nodes count once.
                self._done[progress.node] = progress.done
                if progress.total:
                    picture.share = max(picture.share, progress.done / progress.total)
            else:
                picture.done += progress.done
                picture.share = picture.done / picture.total if picture.total else 1.0
            picture.current = progress.current or picture.current

    def end(self, state: str, counts: Mapping[Status, int]) -> None:
        """Take the picture down."""
        self.look()
        self._screen.end(self.watched.picture)


def expect(picture: Picture, folder: Path, header: Header) -> None:
    """Let a picture know how long this suite's stages took in earlier runs of a folder."""
    earlier = durations(folder, header)
    picture.usual = earlier.seconds
    runs = "the run before" if earlier.runs == 1 else f"{earlier.runs} earlier runs"
    picture.basis = f", as in {runs}" if earlier.runs else ""


@contextlib.contextmanager
def watching(unseen: bool) -> Iterator[Watching | None]:
    """An observer for this terminal, or None if nobody wants to watch.

    Meanwhile stdout leads to stderr: Ray prints there what befalls its processes, and stdout is for
    the result.
    """
    with contextlib.redirect_stdout(sys.stderr):
        if unseen or quiet():
            yield None
            return
        with Screen(console(stderr=True)) as screen:
            yield Watching(screen)
