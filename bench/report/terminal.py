"""The terminal: a live picture of a run, the scorecard, and how the run ended.

Colour never carries meaning alone, and nothing is lost without it. Without a terminal the live
picture becomes one plain line a stage and one an event.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..analysis.scorecard import Finding, MetricScore, Scorecard
from ..records import Header, Status
from ..units import format_duration, format_value

STYLES: dict[str, str] = {
    "ok": "green",
    "failed": "red",
    "invalid": "red",
    "missing": "red",
    "contended": "yellow",
    "skipped": "dim",
}
WORST = 10
"""Lines of losses that the live picture shows; rendering stays constant in the number of nodes."""


def console(*, stderr: bool = False) -> Console:
    """A console that respects ``NO_COLOR`` and draws plain lines where UTF-8 is missing."""
    stream = sys.stderr if stderr else sys.stdout
    made = Console(stderr=stderr, highlight=False, soft_wrap=False, markup=False, emoji=False)
    if not stream.isatty() and "COLUMNS" not in os.environ:
        # A file or a pipe has no width: tables may be as wide as they need.
        made.width = 120
    return made


def _box(made: Console) -> box.Box:
    return box.SIMPLE_HEAD if made.encoding.lower().startswith("utf") else box.ASCII2


class Picture:
    """What the live display shows: small, whatever the size of the fleet."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.name = ""
        self.done = 0
        self.total = 0
        self.share = 0.0
        self.current = ""
        self.worst: list[str] = []
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
        self._picture = None

    def _finish_line(self) -> None:
        name, began = self._stage
        if name and self._picture is not None and self._live is None:
            spent = format_duration(time.monotonic() - began)
            self._say(f"stage {name} ended after {spent}: {_counts(self._picture.counts)}")
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
        lines: list[Any] = [
            stages,
            ProgressBar(total=1.0, completed=picture.share, width=min(60, self._console.width)),
            head,
            Text(_counts(picture.counts)),
        ]
        lines.extend(
            Text(text, style="red", overflow="ellipsis", no_wrap=True)
            for text in picture.worst[-WORST:]
        )
        return Group(*lines)


def _counts(counts: Mapping[Any, int]) -> str:
    return ", ".join(f"{number} {status}" for status, number in counts.items()) or "no rows yet"


def print_scorecard(made: Console, card: Scorecard) -> None:
    """The scorecard: what has a value as a table by category, what has none with its reason."""
    unit = "–" if made.encoding.lower().startswith("utf") else "-"
    table = Table(box=_box(made), pad_edge=False)
    table.add_column("case", overflow="fold")
    table.add_column("metric", overflow="fold")
    for name in ("achieved", "reference", "efficiency"):
        table.add_column(name, justify="right", overflow="fold")
    for category in card.categories:
        score = f"{category.score:.0f}" if category.score is not None else unit
        head = f"{category.name}: score {score}, coverage {category.coverage:.0%}"
        table.add_row(Text(head, style="bold"))
        for metric in category.metrics:
            if metric.achieved is not None:
                table.add_row(*(Text(cell) for cell in _cells(metric, unit)))
    made.print(table)
    overall = f"{card.overall:.0f}/100" if card.overall is not None else "none"
    made.print(
        Text(
            f"overall score {overall}, coverage {card.coverage:.0%} "
            f"({card.provenance}; profile {card.profile})",
            style="bold",
        )
    )
    absent = _absent(card)
    for (kind, reason), names in absent.items():
        _line(made, f"{kind}: {_some(names)}: {reason}", "dim")
    said = tuple(reason for _, reason in absent)
    for finding in _merged(card.findings):
        if finding.kind != "skipped" or not finding.text.endswith(said):
            _line(made, f"{finding.kind}: {finding.name}: {finding.text}", _style(finding.kind))


def _absent(card: Scorecard) -> dict[tuple[str, str], list[str]]:
    """(what is missing, why) → which metrics, for those that the profile wants to score or show."""
    found: dict[tuple[str, str], list[str]] = {}
    for category in card.categories:
        for metric in category.metrics:
            if metric.absent and (metric.scored or metric.achieved is None):
                kind = "no value" if metric.achieved is None else "no score"
                reason = metric.absent.removeprefix("skipped: ")
                found.setdefault((kind, reason), []).append(f"{metric.name} {metric.metric}")
    return found


def _some(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _line(made: Console, text: str, style: str = "") -> None:
    made.print(Text(text, style=style), soft_wrap=True)


def _style(kind: str) -> str:
    return STYLES.get(kind, "yellow")


def _merged(findings: Sequence[Finding]) -> list[Finding]:
    """Findings that say the same of several cases, said once."""
    names: dict[tuple[str, str], list[str]] = {}
    for finding in findings:
        names.setdefault((finding.kind, finding.text), []).append(finding.name)
    merged = []
    for (kind, text), cases in names.items():
        merged.append(Finding(kind=kind, name=_some(cases), text=text))
    return merged


def _cells(metric: MetricScore, unit: str) -> list[str]:
    def value(number: float | None) -> str:
        return format_value(number, metric.unit) if number is not None else unit

    efficiency = f"{metric.efficiency:.1%}" if metric.efficiency is not None else unit
    part = "" if metric.coverage == 1 else f" ({metric.coverage:.0%} of groups)"
    return [
        f"  {metric.name}{part}",
        metric.metric,
        value(metric.achieved),
        value(metric.reference),
        efficiency,
    ]


def print_outcome(
    made: Console, header: Header, folder: str, counts: Mapping[Status, int], lost: Sequence[str]
) -> None:
    """How the run ended and where it lies."""
    made.print()
    noisy = counts.get("contended", 0)
    if noisy:
        made.print(
            Text(
                f"warning: {noisy} of {sum(counts.values())} values were measured while other "
                "work ran on their cores; they do not count",
                style="yellow",
            ),
            soft_wrap=True,
        )
    unique = list(dict.fromkeys(lost))
    for text in unique[:WORST]:
        _line(made, f"lost: {text}", "red")
    if len(unique) > WORST:
        _line(made, f"lost: {len(unique) - WORST} more; see `hengsuan results show`", "red")
    made.print(Text(f"run {header.id} {header.state}: {_counts(counts)}"), soft_wrap=True)
    made.print(Text(f"results in {folder}"), soft_wrap=True)


def print_plan(
    made: Console,
    suite: str,
    nodes: int,
    devices: int,
    stages: list[dict[str, Any]],
    notes: list[str],
) -> None:
    """A plan: stages, their blocks, and how long they take at most."""
    total = sum(block["seconds"] for stage in stages for block in stage["blocks"])
    made.print(
        f"suite {suite} on {nodes} node(s), {devices} device(s): "
        f"at most {format_duration(total)} of timing"
    )
    for stage in stages:
        after = f" after {', '.join(stage['needs'])}" if stage["needs"] else ""
        made.print(
            Text(f"\nstage {stage['name']}{after}, {stage['repeats']} repeat(s)", style="bold")
        )
        for block in stage["blocks"]:
            made.print(
                f"  {block['scope']} x {block['schedule']}: {block['groups']} group(s) in "
                f"{block['rounds']} round(s), at most {format_duration(block['seconds'])}"
            )
            for job in block["jobs"]:
                made.print(Text(f"    {job}"), soft_wrap=True)
    for note in notes:
        made.print(Text(f"note: {note}", style="yellow"), soft_wrap=True)


def print_table(
    made: Console,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[int] = (),
) -> None:
    """A plain table; columns whose index is in ``right`` are right-aligned."""
    table = Table(box=_box(made), pad_edge=False)
    for index, name in enumerate(columns):
        table.add_column(name, justify="right" if index in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    made.print(table)
