"""Where the figures come from: the command, the versions, how the run went, what states mean."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

from ...records import STATUS_MEANING
from ...units import format_duration
from .page import Column, Facts, Fold, Row, Section, Table, Text, cells
from .source import Source

SHOWN = 1000
"""Events that are listed; the rest is counted."""


def provenance(source: Source) -> Section:
    """The section."""
    header, say = source.header, source.say
    facts = [
        ("run", header.id),
        ("suite", header.suite),
        ("state", say(header.state)),
        ("provenance", say(source.run.label)),
        ("started", header.started),
        ("finished", header.finished or "–"),
        ("executor", say(header.executor)),
        ("command", shlex.join(header.command)),
        ("rows", f"{len(source.columns):,}"),
        ("cases", f"{len(header.cases):,}"),
        *flattened(header.environment),
        *((f"SHA-256 {name}", digest) for name, digest in source.digests.items()),
    ]
    blocks: list[Any] = [Facts([(key, value) for key, value in facts if value])]
    if header.stages:
        columns = [Column("stage"), Column("begun", number=True), Column("took", number=True)]
        rows = [
            Row(
                cells(
                    str(one.get("name", "")),
                    format_duration(float(one.get("began") or 0.0)),
                    format_duration(float(one.get("seconds") or 0.0)),
                )
            )
            for one in header.stages
        ]
        blocks.append(Table(columns, rows, caption="stages"))
    if header.events:
        rows = [
            Row(cells(say(one["kind"]), one["node"], str(one.get("stage", "")), one["text"]))
            for one in header.events[:SHOWN]
        ]
        columns = [Column("event"), Column("node"), Column("stage"), Column("text")]
        blocks.append(Fold("events", [Table(columns, rows)]))
    if header.suite_text:
        blocks.append(Fold("the suite as it was", [Text(header.suite_text.split("\n"), own=False)]))
    meaning = [(state, text) for state, text in STATUS_MEANING.items()]
    blocks.append(Fold("what the states of a value mean", [Facts(meaning)]))
    return Section("provenance", "Provenance", blocks)


def flattened(found: dict[str, Any], start: str = "") -> Iterator[tuple[str, str]]:
    """(path, value) of all that an environment says, in words."""
    for key, value in found.items():
        if isinstance(value, dict):
            yield from flattened(value, f"{start}{key}.")
        elif value not in (None, "", [], ()):
            said = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
            yield f"{start}{key}", said
