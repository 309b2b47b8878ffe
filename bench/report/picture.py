"""The live picture of a run.

What it shows is small and drawing it takes the same time for one node as for ten thousand.
Without a terminal the picture becomes one plain line a stage and one an event.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.text import Text

from ..records import Status
from ..units import format_duration
from .terminal import WORST, said_counts


class Picture:
    """What the live display shows: small, whatever the size of the fleet."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.name = ""
        self.done = 0
        self.total = 0
        self.share = 0.0
        self.current = ""
        self.lost: list[str] = []
        self.worst: dict[str, int] = {}
        self._bad: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.began = time.monotonic()

    def begin(self, name: str, total: int) -> None:
        """A new stage of ``total`` jobs."""
        self.name, self.total, self.done, self.share, self.current = name, total, 0, 0.0, ""
        self.began = time.monotonic()

    def count(self, status: Status, number: int = 1) -> None:
        """Rows of a status have come in."""
        if number:
            self.counts[status] += number

    def blame(self, node: str) -> None:
        """A value of a node is missing or wrong; `worst` keeps the nodes with most of them."""
        self._bad[node] += 1
        self.worst[node] = self._bad[node]
        if len(self.worst) > WORST:
            del self.worst[min(self.worst, key=self.worst.__getitem__)]

    @property
    def left(self) -> float | None:
        """Estimated seconds until the stage ends, from its pace so far."""
        spent = time.monotonic() - self.began
        return spent / self.share * (1 - self.share) if 0.05 < self.share < 1 else None


class Screen:
    """Draws a picture: live on a terminal, as lines elsewhere."""

    def __init__(self, made: Console) -> None:
        self._console = made
        self._live: Live | None = None
        self._picture: Picture | None = None
        self._stage = ("", 0.0)
        self._said: Counter[str] = Counter()

    def __enter__(self) -> Screen:
        if self._console.is_terminal:
            self._live = Live(
                console=self._console,
                refresh_per_second=3,
                transient=True,
                get_renderable=self._draw,
            )
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def begin(self, text: str) -> None:
        """What is about to be measured."""
        self._say(text)

    def stage(self, picture: Picture) -> None:
        """A stage begins."""
        self._finish_line()
        self._picture = picture
        self._stage = (picture.name, time.monotonic())
        if self._live is None:
            place = picture.stages.index(picture.name) + 1
            total = len(picture.stages)
            self._say(f"stage {place}/{total} {picture.name}: {picture.total} jobs")

    def update(self, picture: Picture) -> None:
        """The picture has changed; it is drawn at the next refresh."""
        self._picture = picture

    def event(self, kind: str, text: str) -> None:
        """Something that must not be missed."""
        self._say(f"{kind}: {text}", style="yellow")

    def end(self, picture: Picture) -> None:
        """The run has ended."""
        self._finish_line()

    def _finish_line(self) -> None:
        name, began = self._stage
        if name and self._picture is not None and self._live is None:
            spent = format_duration(time.monotonic() - began)
            counts = self._picture.counts
            self._say(f"stage {name} ended after {spent}: {said_counts(counts - self._said)}")
            self._said = counts.copy()
        self._stage = ("", 0.0)

    def _say(self, text: str, style: str = "") -> None:
        self._console.print(Text(text, style=style), soft_wrap=True)

    def _draw(self) -> Group:
        picture = self._picture
        if picture is None or not picture.name:
            return Group(Text("starting ..."))
        left = picture.left
        stages = Text()
        for name in picture.stages:
            stages.append(f" {name} ", style="reverse" if name == picture.name else "dim")
        head = Text(f"{picture.current or '...'}  ")
        head.append(f"{format_duration(left)} left" if left is not None else "", style="dim")
        width = min(60, self._console.width)
        # Copied at once: the picture may change while another thread draws it.
        counts = dict(picture.counts)
        lines: list[Any] = [
            stages,
            # A bar ends without a newline; padding gives it a line of its own.
            Padding(ProgressBar(total=1.0, completed=picture.share, width=width), 0),
            head,
            Text(said_counts(counts)),
        ]
        ranked = sorted(picture.worst.items(), key=lambda one: -one[1])
        worst = [f"{node}: values missing or wrong: {number}" for node, number in ranked]
        lines.extend(
            Text(text, style="red", overflow="ellipsis", no_wrap=True)
            for text in [*picture.lost[-WORST:], *worst][:WORST]
        )
        return Group(*lines)
