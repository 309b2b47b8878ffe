"""The section of a comparison's page on what was judged twice."""

from __future__ import annotations

from collections.abc import Sequence

from ...analysis.judgements import Change, Changes, Standing
from ..html.page import Block, Cell, Column, Row, Section, Table, Text, Tone
from ..judgements import KINDS, called, parted, summary, told
from ..language import Language, speaker

_TONES: dict[Standing, Tone] = {"worse": "bad", "only after": "warn", "better": "good"}


def judgements_section(
    found: Sequence[Changes], notes: Sequence[str], language: Language = "en"
) -> Section | None:
    """Who stands otherwise, and what became of findings; None where nothing was judged."""
    if not found and not notes:
        return None
    blocks: list[Block] = [Text([note], "warn") for note in notes]
    for one in found:
        blocks += [Text([summary(one)]), _table(one, language)]
    lead = "What was judged twice: whose verdict changed; which findings are new, gone, or stay."
    return Section("judgements", "Verdicts", blocks, lead)


def _table(one: Changes, language: Language) -> Table:
    say = speaker(language)
    columns = [Column(one.of), Column(""), Column("before"), Column("after")]
    columns += [Column(kind, number=True) for kind in KINDS]
    rows = [
        Row(
            [
                Cell(called(change), node=change.name if one.of == "node" else ""),
                Cell(say(change.standing), tone=_TONES.get(change.standing, "")),
                Cell(say(change.before or "not judged")),
                Cell(say(change.after or "not judged")),
                *(Cell(str(len(those) or ""), len(those)) for those in parted(change).values()),
            ],
            _more(change, language),
            group=say(change.standing),
        )
        for change in one.changes
    ]
    return Table(columns, rows, empty="Nothing changed, and there are no findings.")


def _more(change: Change, language: Language) -> list[str]:
    say = speaker(language)
    return [
        f"{say(kind)}: {say(told(item))}"
        for kind, those in parted(change).items()
        for item in those
    ]
