"""What a page is made of: sections of blocks, and nothing about how they look.

A section is a list of blocks. Texts are plain text: whatever they hold, it is shown and never
obeyed. All is written in English and said in the page's language by the template: titles,
columns and keys whatever they are, cells, reasons and lines where they are sentences. A word alone
in those may be somebody's name and stays; who puts one of ours there says it (``source.say``).

>>> page = Page(
...     title="gate nightly", badge="measured",
...     sections=[Section("verdict", "Verdict", [Verdict("passed", tone="good")])],
... )
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, TypeAlias

import msgspec

from ..language import Language

Tone: TypeAlias = Literal["", "good", "warn", "bad", "dim"]
"""How something stands; colour never says it alone, so texts say it too."""


class Verdict(msgspec.Struct, frozen=True):
    """The first thing that a reader sees: one sentence, how it stands, lines below it.

    ``figures`` are the few numbers beside it: (label, value, what it means).
    """

    kind: ClassVar[str] = "verdict"

    text: str
    tone: Tone = ""
    lines: Sequence[str] = ()
    figures: Sequence[tuple[str, str, str]] = ()


class Text(msgspec.Struct, frozen=True):
    """Paragraphs; ``tone`` marks a remark that must not be overlooked.

    ``own``: ours; what somebody else wrote, such as a file, is shown as it is.
    """

    kind: ClassVar[str] = "text"

    lines: Sequence[str]
    tone: Tone = ""
    own: bool = True


class Facts(msgspec.Struct, frozen=True):
    """Keys with values, a line each."""

    kind: ClassVar[str] = "facts"

    facts: Sequence[tuple[str, str]]


class Commands(msgspec.Struct, frozen=True):
    """Lines of shell that can be copied."""

    kind: ClassVar[str] = "commands"

    lines: Sequence[str]
    title: str = ""


class Column(msgspec.Struct, frozen=True):
    """A column; a ``number`` is aligned to the right and sorted by its value.

    ``about`` says what stands in it, where the title does not.
    """

    title: str
    number: bool = False
    about: str = ""


class Cell(msgspec.Struct, array_like=True, frozen=True):
    """A cell: ``sort`` is the number behind a text such as ``1.2 GB/s``.

    ``node``: the node that it speaks of, which a click then shows in the section of nodes.
    """

    text: str
    sort: float | None = None
    tone: Tone = ""
    node: str = ""


class Row(msgspec.Struct, array_like=True, frozen=True):
    """A row; ``more`` are the lines that it opens, ``command`` repeats what it is about.

    ``group`` is what the table can be filtered by with one click, such as a state.
    """

    cells: Sequence[Cell]
    more: Sequence[str] = ()
    command: str = ""
    group: str = ""


class Table(msgspec.Struct, frozen=True):
    """Rows that can be sorted and filtered; the first `STATIC` of them stand without scripts.

    ``empty`` is said where there are no rows. ``nodes``: each row is a node, found by what it says;
    who asks for a node is shown its row.
    """

    kind: ClassVar[str] = "table"

    columns: Sequence[Column]
    rows: Sequence[Row]
    caption: str = ""
    empty: str = ""
    nodes: bool = False


class Figure(msgspec.Struct, frozen=True):
    """What plotly.js draws: its ``data`` (traces) and ``layout``; ``name`` is what it is chosen by.

    Colours that must fit a light and a dark page are names of the page's own: ``$good``, ``$bad``,
    ``$warn``, ``$ink``, ``$dim``, ``$line``, ``$accent``, ``$s0`` to ``$s7``.
    """

    data: Sequence[Mapping[str, Any]]
    layout: Mapping[str, Any] = {}
    name: str = ""
    caption: str = ""


class Chart(msgspec.Struct, frozen=True):
    """One figure, or one of several that is chosen from a list.

    ``says`` describes it in a sentence, for who cannot see it. ``height`` in CSS pixels. A click
    on a point whose ``customdata`` begins with ``node:`` shows that node.
    """

    kind: ClassVar[str] = "chart"

    figures: Sequence[Figure]
    says: str
    height: int = 420
    title: str = ""


class Fold(msgspec.Struct, frozen=True):
    """Blocks that open."""

    kind: ClassVar[str] = "fold"

    title: str
    blocks: Sequence[Block]
    open: bool = False
    tone: Tone = ""


class Columns(msgspec.Struct, frozen=True):
    """Blocks beside each other, each column under its title; below each other where narrow."""

    kind: ClassVar[str] = "columns"

    columns: Sequence[tuple[str, Sequence[Block]]]


class Custom(msgspec.Struct, frozen=True):
    """A template of this room with what it shows, for what no other block can."""

    kind: ClassVar[str] = "custom"

    template: str
    data: Mapping[str, Any]


Block: TypeAlias = "Verdict | Text | Facts | Commands | Table | Chart | Fold | Columns | Custom"


class Section(msgspec.Struct, frozen=True):
    """``id`` is its anchor: lower-case letters, digits and dashes. ``lead`` says what it shows."""

    id: str
    title: str
    blocks: Sequence[Block]
    lead: str = ""


class Page(msgspec.Struct, kw_only=True, frozen=True):
    """One file.

    ``badge`` is the provenance (measured, stand-in for ..., simulated, imported), which stands
    beside the title wherever one scrolls. ``kicker`` says what kind of page it is, ``foot`` who
    wrote it and when.
    """

    title: str
    badge: str
    sections: Sequence[Section]
    kicker: str = ""
    lines: Sequence[str] = ()
    foot: str = ""
    language: Language = "en"


def cells(*texts: str | float | Cell | None) -> list[Cell]:
    """A row's cells from texts, numbers and cells; None is a dash."""
    return [
        one
        if isinstance(one, Cell)
        else Cell("–")
        if one is None
        else Cell(one)
        if isinstance(one, str)
        else Cell(f"{one:g}", float(one))
        for one in texts
    ]
