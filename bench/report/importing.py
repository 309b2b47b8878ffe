"""What was imported: a line a run, and what of its files was not understood."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np
from rich.console import Console
from rich.text import Text

from ..inventory import Inventory
from ..records import STATUSES, Header
from ..results import Columns
from .amount import most
from .plain import plain
from .terminal import verdict

SHOWN = 5
_INVALID = STATUSES.index("invalid")


class Read(Protocol):
    """What was read of a file: lines that were understood, how many were not, the first of those as
    ``file:line: text``."""

    lines: int
    strange: int

    def shown(self) -> Sequence[str]:
        """Lines that were not understood."""
        ...


class Imported(msgspec.Struct, kw_only=True, frozen=True):
    """One run: where it lies, what it has, and how much of its files was understood.

    ``rows`` counts all, ``invalid`` those that do not count, ``why`` their most frequent reason.
    ``lines`` and ``strange`` count lines of the files that were understood and that were not;
    ``unread`` shows the first of those, ``file:line`` and text. ``notes`` are sentences.
    """

    run: str
    path: str
    started: str
    nodes: int
    devices: int
    cases: int
    rows: int
    invalid: int
    why: str
    files: int
    lines: int
    strange: int
    unread: list[str]
    notes: list[str]


def imported(folder: Path, header: Header, columns: Columns, files: Sequence[Read]) -> Imported:
    """What one run is of."""
    inventory = Inventory(header.nodes)
    bad = set(np.flatnonzero(columns.status == _INVALID).tolist())
    reasons = Counter(why for row, why in columns.reasons.items() if row in bad)
    unread = [text for file in files for text in file.shown()]
    return Imported(
        run=header.id,
        path=str(folder),
        started=header.started,
        nodes=inventory.node_count,
        devices=inventory.size,
        cases=len(header.cases),
        rows=len(columns),
        invalid=len(bad),
        why=reasons.most_common(1)[0][0] if reasons else "",
        files=len(files),
        lines=sum(file.lines for file in files),
        strange=sum(file.strange for file in files),
        unread=unread,
        notes=[event["text"] for event in header.events],
    )


def print_imported(made: Console, runs: Sequence[Imported]) -> None:
    """Each run, what is wrong with it, and what to do with it."""
    for one in runs:
        what = (
            f"{one.nodes:,} node(s), {one.devices:,} device(s), {one.cases:,} cases, "
            f"{one.rows:,} values of {one.files:,} file(s), imported"
        )
        verdict(made, f"run {one.run}: {what}", "")
        if one.invalid:
            said = f"{one.invalid:,} of them are invalid, most of all: {one.why}"
            _say(made, said, "yellow")
        notes = one.notes[: most(SHOWN)]
        for note in notes:
            _say(made, note, "dim")
        if rest := len(one.notes) - len(notes):
            _say(made, f"and {rest:,} notes more", "dim")
        if one.strange:
            _say(
                made,
                f"{one.strange:,} of {one.strange + one.lines:,} lines are not understood:",
                "yellow",
            )
            unread = one.unread[: most(SHOWN)]
            for text in unread:
                _say(made, f"  {text}", "dim")
            if rest := one.strange - len(unread):
                _say(made, f"  and {rest:,} more", "dim")
    if runs:
        last = runs[-1].path
        for text in (f"results show {last}", f"score {last}", f"certify --from {last}"):
            made.print(Text(f"next: hengsuan {text}", style="dim"), soft_wrap=True)


def _say(made: Console, text: str, style: str) -> None:
    made.print(Text(plain(f"  {text}"), style=style), soft_wrap=True)
