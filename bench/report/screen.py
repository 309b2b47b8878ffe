"""Draws the live picture of a run: on a terminal in place, elsewhere as plain lines.

Drawing takes the same time for one node as for ten thousand. Where there is no terminal, or one
that cannot move its cursor, a stage and an event are a line each, and so is half a minute.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from contextvars import copy_context
from typing import Any

from rich.cells import cell_len
from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.text import Text

from ..files import silence
from ..units import format_duration
from .amount import verbose
from .language import narrated, spoken
from .picture import Picture
from .plain import plain
from .terminal import WORST, said_counts

_REFRESHES = 2
"""A second: what people can follow, and what costs next to nothing."""
_SILENT, _VERBOSE = 30.0, 10.0
"""Seconds after which a line says how far it is, where nothing is drawn."""


class Screen:
    """Draws a picture; whoever measures goes on where nobody can be shown anything any more."""

    def __init__(self, made: Console) -> None:
        self._console = made
        # It is drawn by a thread, which knows nothing of this command's language.
        self._context = copy_context()
        self._live: Live | None = None
        self._picture: Picture | None = None
        self._stage = ""
        self._said: Counter[str] = Counter()
        self._last = time.monotonic()
        self._every = _VERBOSE if verbose() else _SILENT

    def __enter__(self) -> Screen:
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            self._live = Live(
                console=self._console,
                refresh_per_second=_REFRESHES,
                transient=True,
                get_renderable=lambda: self._context.copy().run(self._draw),
            )
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            with contextlib.suppress(OSError):  # the terminal may be gone
                self._live.stop()
            self._live = None

    def begin(self, text: str) -> None:
        """What is about to be measured."""
        self._say(text)

    def stage(self, picture: Picture) -> None:
        """A stage begins."""
        self._finish_line()
        self._picture = picture
        self._stage = picture.name
        if self._live is None:
            self._say(f"stage {_place(picture)} {picture.name}: {picture.total} {picture.unit}")

    def update(self, picture: Picture) -> None:
        """The picture has changed; it is drawn at the next refresh."""
        self._picture = picture
        if self._live is None and time.monotonic() - self._last > self._every:
            parts = [
                f"stage {picture.name}: {picture.share:.0%}, {picture.done} of {picture.total} "
                f"{picture.unit}",
                picture.said_left(),
                said_counts(picture.counts),
            ]
            self._say("; ".join(filter(None, parts)))

    def event(self, kind: str, text: str) -> None:
        """Something that must not be missed."""
        self._say(f"{kind}: {text}", style="yellow")

    def end(self, picture: Picture) -> None:
        """The stage has ended, and with the last one the run."""
        self._finish_line()

    def _finish_line(self) -> None:
        name = self._stage
        if name and self._picture is not None and self._live is None:
            spent = format_duration(time.monotonic() - self._picture.began)
            counts = self._picture.counts
            self._say(f"stage {name} ended after {spent}: {said_counts(counts - self._said)}")
            self._said = counts.copy()
        self._stage = ""

    def _say(self, text: str, style: str = "") -> None:
        self._last = time.monotonic()
        try:
            self._console.print(Text(plain(narrated(text)), style=style), soft_wrap=True)
        except OSError:  # a full disk behind stderr
            silence(self._console.file)

    def _draw(self) -> Group:
        picture = self._picture
        if picture is None or not picture.name:
            return Group(Text(spoken("starting ...")))
        width = self._console.width
        # Copied at once: the picture may change while another thread draws it.
        counts = dict(picture.counts)
        rate = picture.rate()
        head = ", ".join(filter(None, (f"{rate:,.0f} rows/s" if rate else "", picture.said_left())))
        lines: list[Any] = [
            _stages(picture, width),
            # A bar ends without a newline; padding gives it a line of its own.
            Padding(ProgressBar(total=1.0, completed=picture.share, width=min(60, width)), 0),
            _line(f"{picture.share:.0%}, {picture.done:,} of {picture.total:,} {picture.unit}"),
            _line(picture.current or "..."),
            *map(_line, picture.rates),
            *([_line(head)] if head else []),
            _line(said_counts(counts)),
        ]
        ranked = sorted(picture.worst.items(), key=lambda one: -one[1])
        worst = [f"{node}: values missing or wrong: {number}" for node, number in ranked]
        told = [*picture.lost[-WORST:], *worst, *picture.slow]
        lines.extend(_line(text, "red") for text in told[:WORST])
        return Group(*lines)


def _place(picture: Picture) -> str:
    return f"{picture.stages.index(picture.name) + 1}/{len(picture.stages)}"


def _stages(picture: Picture, width: int) -> Text:
    """All stages with the present one marked; where they do not fit, that one and its number."""
    if sum(cell_len(name) + 2 for name in picture.stages) > width:
        return Text(plain(f" {_place(picture)} {picture.name} "), "reverse", no_wrap=True)
    made = Text(no_wrap=True)
    for name in picture.stages:
        made.append(f" {name} ", style="reverse" if name == picture.name else "dim")
    return made


def _line(text: str, style: str = "") -> Text:
    """One line, whatever the width: a terminal that becomes narrower folds nothing of it."""
    return Text(plain(narrated(text)), style=style, overflow="ellipsis", no_wrap=True)
