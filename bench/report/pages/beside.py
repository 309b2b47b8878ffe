"""What the pages of several systems' runs show, beside each other, and in what the runs differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..comparison import letter
from ..html.page import Block, Cell, Column, Columns, Row, Section, Table, Text
from ..html.provenance import flattened
from ..html.run import SECTIONS
from ..html.source import Source

ABOVE = ("standing", "measurements")
"""Sections of a run's page that say what the tables above say of all runs."""
MOST = 4
"""Systems that have room beside each other; the table of differences has all."""


def beside(systems: Sequence[Sequence[Source]]) -> list[Section]:
    """What differs between the systems' runs, then each section that two of them have."""
    sections = [_differences(systems)]
    found: dict[str, Section] = {}
    columns: dict[str, list[tuple[str, Sequence[Block]]]] = {}
    for index, sources in enumerate(systems[:MOST]):
        for source in sources:
            for section in _shown(source):
                found.setdefault(section.id, section)
                title = f"{letter(index)}: {source.header.id}"
                columns.setdefault(section.id, []).append((title, section.blocks))
    for identity, section in found.items():
        blocks: list[Block] = [Columns(columns[identity])]
        if len(systems) > MOST:
            blocks.append(
                Text([f"the first {MOST} systems; each run has a page of its own"], "dim")
            )
        sections.append(Section(identity, section.title, blocks, section.lead))
    return sections


def _shown(source: Source) -> Iterator[Section]:
    for made in SECTIONS:
        if made.__name__ not in ABOVE and (section := made(source)) is not None:
            yield section


def _differences(systems: Sequence[Sequence[Source]]) -> Section:
    told = [_told(sources) for sources in systems]
    keys = dict.fromkeys(key for one in told for key in one)
    apart = [key for key in keys if len({one.get(key, "–") for one in told}) > 1]
    columns = [Column("fact"), *(Column(letter(index)) for index in range(len(told)))]
    rows = [Row([Cell(key), *(Cell(one.get(key, "–")) for one in told)]) for key in apart]
    table = Table(columns, rows, empty="The runs say the same of themselves in everything.")
    lead = "What the runs say of themselves, where it is not the same."
    return Section("differences", "What differs", [table], lead)


def _told(sources: Sequence[Source]) -> dict[str, str]:
    """What a system's runs say of themselves; of several, all that they say."""
    told: dict[str, dict[str, None]] = {}
    for source in sources:
        header, inventory, say = source.header, source.run.inventory, source.say
        said = [
            (say("suite"), header.suite),
            (say("started"), header.started),
            (say("executor"), say(header.executor)),
            (say("state"), say(header.state)),
            (say("chips"), ", ".join(source.run.kinds)),
            (say("nodes"), f"{inventory.node_count:,}"),
            (say("devices"), f"{inventory.size:,}"),
            *flattened(header.environment),
        ]
        for key, value in said:
            told.setdefault(key, {})[value] = None
    return {key: ", ".join(values) for key, values in told.items()}
