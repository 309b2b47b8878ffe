"""The page of a projection: the step and its parts, memory, the training, what it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import msgspec

from ...analysis.projection.measured import FromOne
from ...analysis.projection.project import Projection
from ...analysis.projection.search import NAMES
from ...units import format_duration
from ..html.page import Block, Cell, Column, Facts, Page, Row, Section, Table, Text, Verdict
from ..html.parts import Part, parts
from ..language import Language, Say, speaker
from ..projection import (
    days_of,
    headline,
    layout_line,
    searched_lines,
    step_line,
    training_lines,
)

PROJECTED = "projected"
"""Stands where others say their provenance: nothing of it was measured as a whole."""


def projection_page(found: Projection, language: Language = "en") -> Page:
    """What ``hengsuan project MODEL --cluster CLUSTER --json`` printed."""
    say = speaker(language)
    sections = [
        Section("verdict", "Projection", _verdict(found)),
        Section("step", "A step", [_step(found)], "Where its time goes."),
        Section("memory", "Memory of a device", _memory(found)),
        Section("training", "The training", _training(found)),
    ]
    if found.gains:
        lead = "How much shorter a step is with a tenth more of each."
        sections.append(Section("bottleneck", "What limits it", [_gains(found, say)], lead))
    if found.found is not None:
        blocks: list[Block] = [Text(searched_lines(found))]
        sections.append(Section("search", "Other layouts", blocks))
    sections.append(Section("sources", "What it rests on", _sources(found, say)))
    return Page(
        title=f"{found.model} on {found.cluster}",
        kicker="projection",
        badge=PROJECTED,
        lines=[headline(found)],
        sections=sections,
        language=language,
    )


def _verdict(found: Projection) -> list[Block]:
    training = found.training
    figures = [
        ("step", format_duration(found.seconds), f"± {found.doubt:.0%} (one standard deviation)"),
        ("mfu", f"{training.mfu:.1%}", "causal-exact model FLOPs over the datasheet's peak"),
        ("training", f"{days_of(found)} d", _of_training(found)),
    ]
    if training.goodput is not None:
        figures.append(("goodput", f"{training.goodput:.1%}", "productive time, failures counted"))
    text = step_line(found)
    if not found.fits:
        short = (found.memory.total - found.usable) / 1e9
        text = f"does not fit: {short:.1f} GB of memory a device are short"
    lines = [layout_line(found)]
    return [Verdict(text, "good" if found.fits else "bad", lines, figures)]


def _of_training(found: Projection) -> str:
    without = "" if found.training.goodput is not None else ", if nothing ever fails"
    return f"± {found.doubt:.0%}, for {found.training.tokens:.4g} tokens{without}"


def _step(found: Projection) -> Block:
    made = [
        Part(NAMES[name], seconds, format_duration(seconds))
        for name, seconds in asdict(found.step).items()
    ]
    return parts(made, "the parts of a step")


def _memory(found: Projection) -> list[Block]:
    made = [Part(name, size, _size(size)) for name, size in asdict(found.memory).items()]
    says = "what fills the memory of a device"
    blocks: list[Block] = [parts(made, says, of=found.usable, rest="free", said=_size)]
    facts = [("usable", _size(found.usable))]
    if found.harness is not None:
        own = _size(found.harness.total)
        facts.append(("this project's own trainer in this layout", own))
    return [*blocks, Facts(facts)]


def _size(size: float) -> str:
    return f"{size / 1e9:.1f} GB"


def _training(found: Projection) -> list[Block]:
    lines = training_lines(found)
    absent = [line for line in lines if line.startswith("absent: ")]
    blocks: list[Block] = [Text([line for line in lines if line not in absent])]
    return [*blocks, Text(absent, "dim")] if absent else blocks


def _gains(found: Projection, say: Say) -> Block:
    most = max([gain.gain for gain in found.gains] + [1e-9])
    columns = [Column("resource"), Column("shorter step", number=True), Column("layout then")]
    rows = [
        Row(
            [
                Cell(say(gain.resource)),
                Cell(f"{gain.gain:.2%}", gain.gain, "good" if gain.gain == most else ""),
                Cell(gain.plan),
            ]
        )
        for gain in found.gains
    ]
    return Table(columns, rows)


def _sources(found: Projection, say: Say) -> list[Block]:
    rows = []
    for what, source in found.sources.items():
        if what in found.assumed:
            continue  # its figure is told below
        measured = source.startswith("measured")
        rows.append(Row([Cell(say(what)), Cell(say(source), tone="good" if measured else "")]))
    blocks: list[Block] = [Table([Column("figure"), Column("rests on")], rows)]
    if found.assumed:
        taken = [Row([Cell(say(what)), Cell(say(said))]) for what, said in found.assumed.items()]
        blocks.append(Table([Column("assumed"), Column("and why")], taken))
    if found.unmeasured:
        shapes = ", ".join(found.unmeasured)
        lines = [f"worth measuring, for --calibrate: gemm {found.dtype} {shapes}"]
        blocks.append(Text(lines, "dim"))
    return blocks


class Steps(msgspec.Struct, frozen=True):
    """What ``hengsuan project MODEL --ranks N --json`` printed."""

    provenance: str
    steps: list[FromOne]


def steps_page(found: Steps, language: Language = "en") -> Page:
    """Steps of several ranks, from that of one."""
    models = ", ".join(dict.fromkeys(one.model for one in found.steps))
    return Page(
        title=f"{models} from one rank",
        kicker="projection",
        badge=found.provenance,
        lines=["from measured steps and collectives"],
        sections=[Section(f"step-{n}", _of(one), _one(one)) for n, one in enumerate(found.steps)],
        language=language,
    )


def _of(one: FromOne) -> str:
    return f"{one.model}, {one.ranks} ranks"


def _one(one: FromOne) -> Sequence[Block]:
    made = [
        Part("alone", one.alone, format_duration(one.alone)),
        Part("gradients", one.exchange, format_duration(one.exchange)),
        Part("waiting", one.late, format_duration(one.late)),
    ]
    text = f"a step of {one.ranks} ranks takes {format_duration(one.seconds)}"
    return [Verdict(text), parts(made, "the parts of a step")]
