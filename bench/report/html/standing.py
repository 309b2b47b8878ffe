"""What comes first: the verdict on the nodes and the score, with the few figures beside them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...analysis.scores import Category, MetricScore, Scorecard
from ...records import STATUSES, Status
from ...units import format_value
from ...verdicts import Certification
from ..evidence import circumstances, verdict_line
from ..score import named, title_of
from .intervals import Line, Mark, shares
from .page import Cell, Column, Custom, Fold, Row, Section, Table, Text, Tone, Verdict, cells
from .source import Source
from .words import Speaks

WORTH = 5
"""Metrics that are named as worth most."""
BAD: tuple[Status, ...] = ("failed", "invalid", "missing")
STATES = {
    "running": "The run is under way, or its driver died: what is here was measured until now.",
    "interrupted": "The run was interrupted: what is here was measured until then.",
    "failed": "The run failed: what is here was measured until then.",
}

OTHERS = "The verdict was given before more was measured: certify the run again."


def standing(source: Source) -> Section:
    """The section: a verdict, figures, then categories and what each metric is worth."""
    blocks: list[Any] = [_verdict(source)]
    if source.header.state != "complete":
        blocks.append(Text([STATES[source.header.state]], tone="warn"))
    if source.notes:
        blocks.append(Text(source.notes, tone="warn"))
    if source.outdated:
        blocks.append(Text([OTHERS], tone="warn"))
    for card in source.cards:
        blocks += card_blocks(source, card)
    return Section("verdict", "Verdict and score", blocks)


def _verdict(source: Source) -> Verdict:
    found, figures = source.verdict, list(_figures(source))
    if found is not None and found.nodes:
        bad, unsure = found.count("reject"), found.count("inconclusive")
        tone: Tone = "bad" if bad else "warn" if unsure or source.outdated else "good"
        return Verdict(verdict_line(found), tone, list(circumstances(found)), figures)
    counts = _counts(source)
    wrong = sum(counts.get(status, 0) for status in BAD)
    total = sum(counts.values())
    if not total:
        return Verdict(source.say("nothing was measured"), "warn", (), figures)
    text = f"{wrong} / {total} {source.say('values failed, are invalid or are missing')}"
    if not wrong:
        text = source.say("no value failed, is invalid or is missing")
    lines = [source.say("no verdict: nobody has certified these nodes by this run")]
    return Verdict(text, "bad" if wrong else "", lines, figures)


def _counts(source: Source) -> dict[Status, int]:
    counts = np.bincount(source.columns.status, minlength=len(STATUSES)).tolist()
    return {status: count for status, count in zip(STATUSES, counts, strict=True) if count}


def _figures(source: Source) -> Iterator[tuple[str, str, str]]:
    say = source.say
    for card in source.cards:
        value = say("none") if card.overall is None else f"{card.overall:.0f} / 100"
        between = "" if card.low is None else f"{card.low:.1f} – {card.high:.1f} (95 %), "
        yield (
            "score",
            value,
            f"{between}{say('coverage')} {card.coverage:.0%}, {say('profile')} {card.profile}",
        )
    inventory = source.run.inventory
    yield "nodes", f"{inventory.node_count:,}", ""
    yield "devices", f"{inventory.size:,}", ", ".join(source.run.kinds)
    counts = _counts(source)
    said = ", ".join(f"{count:,} {say(status)}" for status, count in counts.items())
    yield "values", f"{sum(counts.values()):,}", said


def card_blocks(source: Speaks, card: Scorecard) -> Iterator[Any]:
    """Categories with their scores, what is worth most, every metric, and the chain."""
    language, say = source.language, source.say
    if note := (card.note_zh if language == "zh" and card.note_zh else card.note):
        yield Text([note], tone="dim")
    scored = [one for one in card.categories if one.score is not None]
    if scored:
        yield _bars(source, scored)
    columns = [
        Column("category"),
        Column("score", number=True),
        Column("95 % interval", number=True),
        Column("coverage", number=True, about="share of what is asked for that has a value"),
        Column("weight", number=True),
    ]
    rows = [
        Row(
            [
                Cell(title_of(one, language)),
                Cell("–" if one.score is None else f"{one.score:.1f}", one.score),
                Cell("–" if one.low is None else f"{one.low:.1f} – {one.high:.1f}", one.low),
                Cell(f"{one.coverage:.0%}", one.coverage, "warn" if one.coverage < 1 else ""),
                Cell("" if one.weight is None else f"{one.weight:g} %", one.weight),
            ]
        )
        for one in card.categories
    ]
    yield Table(columns, rows)
    every = [(each, one) for each in card.categories for one in each.metrics]
    best = sorted((one for _, one in every if one.gain), key=lambda one: -(one.gain or 0.0))
    if best:
        told = "; ".join(f"{named(one, language)} {one.gain:+.3f}" for one in best[:WORTH])
        lead = say("worth most, in points of the score for one point of efficiency")
        yield Text([f"{lead}: {told}"])
    yield Fold("every metric of the score", [_metrics(source, every)])
    if card.chain:
        yield Fold("the chain of efficiencies", [_chain(source, card.chain)])


def _bars(source: Speaks, scored: list[Category]) -> Custom:
    lines = [
        Line(
            title_of(one, source.language),
            [Mark(one.score, one.low, one.high)],
            f"{one.score:.0f}",
        )
        for one in scored
        if one.score is not None
    ]
    says = "The score of each category out of 100, with its 95 % interval."
    return shares(lines, says, whole=100.0, unit="")


def _metrics(source: Speaks, every: list[tuple[Category, MetricScore]]) -> Table:
    say, language = source.say, source.language
    columns = [
        Column("metric"),
        Column("category"),
        Column("achieved", number=True),
        Column("95 % interval", number=True),
        Column("reference", number=True),
        Column("efficiency", number=True),
        Column("confidence"),
        Column("one point is worth", number=True),
        Column("absent"),
    ]
    rows = []
    for category, one in every:
        interval = "–"
        if one.low is not None and one.high is not None:
            interval = f"{format_value(one.low, one.unit)} – {format_value(one.high, one.unit)}"
        found = [
            Cell(named(one, language)),
            Cell(title_of(category, language)),
            Cell(format_value(one.achieved, one.unit), one.achieved),
            Cell(interval),
            Cell(format_value(one.reference, one.unit), one.reference),
            Cell("–" if one.efficiency is None else f"{one.efficiency:.1%}", one.efficiency),
            Cell(say(one.confidence)),
            Cell("–" if one.gain is None else f"{one.gain:+.3f}", one.gain),
            Cell(say(one.absent), None, "dim"),
        ]
        more = [f"{say('reference')}: {say(one.reference_from)}"] if one.reference_from else []
        more += [say(one.detail)] if one.detail else []
        more += [f"{say('clause')}: {one.clause} {one.quote}"] if one.clause else []
        rows.append(Row(found, more, group=title_of(category, language)))
    return Table(columns, rows, empty="the profile asks for nothing that was measured")


def _chain(source: Speaks, chain: list[MetricScore]) -> Table:
    say = source.say
    columns = [Column("factor"), Column("value", number=True), Column("confidence")]
    columns += [Column("provenance"), Column("what it is made of")]
    rows = [
        Row(
            cells(
                say(one.title),
                say("absent") if one.achieved is None else format_value(one.achieved, one.unit),
                say(one.confidence),
                say(one.provenance),
                say(one.absent or one.detail),
            )
        )
        for one in chain
    ]
    return Table(columns, rows)


def judged(found: Certification | None) -> bool:
    """Whether somebody gave a verdict on any node."""
    return found is not None and bool(found.nodes)
