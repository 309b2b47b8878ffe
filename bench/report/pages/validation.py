"""The page of a validation: how near projections come to published training runs."""

from __future__ import annotations

import msgspec

from ...analysis.projection.fitting import Constant
from ...analysis.projection.validate import BOUNDS, SMALL
from ...errors import Exit
from ..html.intervals import Line, Mark, changes
from ..html.page import Block, Cell, Column, Page, Row, Section, Table, Text, Verdict
from ..html.words import Voice
from ..language import Language, Say
from .projection import PROJECTED


class Compared(msgspec.Struct, frozen=True):
    """A published step beside the projected one, in seconds; errors are relative."""

    table: str
    name: str
    chips: int
    layout: str
    assumed: list[str]
    seconds: float
    projected: float
    error: float
    fitted: bool
    memory_error: float | None = None


class Errors(msgspec.Struct, frozen=True):
    """Of one table: absolute errors of held-out steps, and (mean, largest) of memory."""

    mean: float | None = None
    largest: float | None = None
    memory: tuple[float, float] | None = None


class Validated(msgspec.Struct, frozen=True):
    """What ``hengsuan project --validate --json`` printed; ``errors`` of all are under ``""``."""

    exit: int
    rows: list[Compared]
    errors: dict[str, Errors]
    constants: list[Constant]
    notes: list[str] = []
    missed: list[str] = []


def validation_page(found: Validated, language: Language = "en") -> Page:
    """Bounds, errors by table, every run, the constants that were fitted."""
    voice = Voice(language)
    runs = [*_drawn(found, voice), _rows(found, voice)]
    return Page(
        title="projections beside published training runs",
        kicker="validation",
        badge=PROJECTED,
        lines=[f"constants are fitted on runs of at most {SMALL} chips, the others are predicted"],
        sections=[
            Section("verdict", "Verdict", _verdict(found)),
            Section(
                "errors", "Errors", [_errors(found, voice.say)], "Of held-out steps, by table."
            ),
            Section("runs", "Runs", runs, "Above zero: too slow."),
            Section("constants", "Constants", [_constants(found, voice.say)]),
        ],
        language=language,
    )


def _verdict(found: Validated) -> list[Block]:
    whole = found.errors.get("", Errors())
    memory = whole.memory[0] if whole.memory else None
    figures = [
        ("mean error", _percent(whole.mean), f"bound {BOUNDS['mean']:.0%}"),
        ("largest error", _percent(whole.largest), f"bound {BOUNDS['largest']:.0%}"),
        ("memory, mean error", _percent(memory), f"bound {BOUNDS['memory']:.0%}"),
    ]
    good = found.exit == Exit.OK
    text = "every bound is met" if good else "a bound is missed"
    blocks: list[Block] = [Verdict(text, "good" if good else "bad", found.missed, figures)]
    if found.notes:
        blocks.append(Text(found.notes, "warn"))
    return blocks


def _errors(found: Validated, say: Say) -> Block:
    columns = [Column("table"), Column("mean error", number=True)]
    columns += [Column("largest error", number=True), Column("memory, mean and largest")]
    rows = []
    for name, one in found.errors.items():
        memory = ", ".join(map(_percent, one.memory)) if one.memory else "–"
        cells = [Cell(name or say("all")), Cell(_percent(one.mean), one.mean)]
        rows.append(Row([*cells, Cell(_percent(one.largest), one.largest), Cell(memory)]))
    return Table(columns, rows)


def _drawn(found: Validated, voice: Voice) -> list[Block]:
    lines = [
        Line(
            one.name,
            [Mark(one.error, tone="dim" if one.fitted else "")],
            f"{one.error:+.1%}",
            about=voice.say(_role(one)),
        )
        for one in found.rows
        if one.error > -1
    ]
    return [changes(lines, "errors of projected steps")] if lines else []


def _rows(found: Validated, voice: Voice) -> Block:
    columns = [Column("table"), Column("run"), Column("chips", number=True), Column("layout")]
    columns += [Column(head, number=True) for head in ("published", "projected", "error", "memory")]
    columns.append(Column("role"))
    rows = [
        Row(
            [
                Cell(one.table),
                Cell(one.name),
                Cell(str(one.chips), float(one.chips)),
                Cell(one.layout),
                Cell(f"{one.seconds:.2f} s", one.seconds),
                Cell(f"{one.projected:.2f} s", one.projected),
                Cell(f"{one.error:+.1%}", one.error),
                Cell(_percent(one.memory_error), one.memory_error),
                Cell(voice.say(_role(one))),
            ],
            more=[f"assumed: {', '.join(one.assumed)}"] if one.assumed else [],
            group=voice.say(_role(one)),
        )
        for one in found.rows
    ]
    return Table(columns, rows)


def _role(one: Compared) -> str:
    return "fitted" if one.fitted else "held out"


def _constants(found: Validated, say: Say) -> Block:
    columns = [Column("constant"), Column("of")]
    columns += [Column(head, number=True) for head in ("value", "standard deviation", "typical")]
    rows = [
        Row(
            [
                Cell(say(one.name)),
                Cell(one.chip or say("all")),
                Cell(f"{one.value:.4g}", one.value),
                Cell(f"{one.deviation:.2g}", one.deviation),
                Cell(f"{one.typical:.4g}", one.typical),
            ]
        )
        for one in found.constants
    ]
    return Table(columns, rows)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
