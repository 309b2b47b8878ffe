"""Scores in the terminal: categories and metrics with intervals, the chain, what is absent and why.

In English or Chinese (`language`). What is absent is listed, never left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.text import Text

from ..analysis.scores import Category, MetricScore, Scorecard
from ..records import labelled
from ..units import format_value
from .language import Language, Say, speaker
from .plain import FIGURE, plain
from .terminal import print_table, verdict

GAINS = 3
"""Metrics that are named as worth most."""
SHOWN = 8
"""Metrics alike that have a row each; of more, the lowest has one, and JSON has all."""


def print_score(made: Console, card: Scorecard, language: Language = "en") -> None:
    """One system's scores."""
    say = speaker(language)
    verdict(made, headline(card, language))
    if note := (card.note_zh if language == "zh" and card.note_zh else card.note):
        _line(made, say(f"note: {note}"))
    columns: tuple[str, ...] = ("category", "score", "95 % interval", "coverage", "weight")
    rows = [tuple(map(plain, _category(one, language))) for one in card.categories]
    print_table(made, [say(name) for name in columns], rows, right=(1, 2, 3, 4))
    _metrics(made, card, language)
    _made_of(made, card, language)
    _worth(made, card, language)
    if card.chain:
        columns = ("factor", "value", "95 % interval", "confidence", "provenance")
        columns += ("what it is made of",)
        chain = [[plain(cell) for cell in _factor(one, say)] for one in card.chain]
        print_table(made, [say(name) for name in columns], chain, right=(1, 2))
    absent = _absent(card, language)
    told = [(one.kind, one.name, one.text) for one in card.findings]
    # What is skipped stands among what is absent already.
    reasons = tuple(text.removeprefix("skipped: ") for _, _, text in absent)
    told = [one for one in told if one[0] != "skipped" or not one[2].endswith(reasons)]
    for line in merged([*absent, *told], language):
        _line(made, line, "dim" if line.startswith(say("absent")) else "yellow")


def merged(told: Sequence[tuple[str, str, str]], language: Language) -> list[str]:
    """From (kind, name, text): a line for all that say the same, or the same but for figures."""
    say = speaker(language)
    alike: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for kind, name, text in told:
        alike.setdefault((kind, FIGURE.sub("#", text)), []).append((name, text))
    lines = []
    for (kind, _), group in alike.items():
        name, text = group[0]
        names = len({one for one, _ in group})
        same = all(other == text for _, other in group)
        if language == "zh":
            more = f" 等 {names} 项" if names > 1 else ""
            lines.append(f"{say(kind)}：{name}{more}：{'' if same else '例如 '}{say(text)}")
        else:
            more = f" and {names - 1} more" if names > 1 else ""
            lines.append(f"{kind}: {name}{more}: {'' if same else 'for example, '}{text}")
    return lines


def headline(card: Scorecard, language: Language) -> str:
    """The whole in a line: score, interval, coverage, provenance, of what and by what."""
    label = labelled(card.provenance, card.stands_for)
    kinds = ", ".join(card.kinds)
    whole = "none" if card.overall is None else f"{card.overall:.0f}/100"
    between = "" if card.low is None else f" ({card.low:.1f} to {card.high:.1f}, 95 %)"
    single = f" ({card.single} metric(s) have a single value, taken as exact)"
    return speaker(language)(
        f"overall score {whole}{between}, coverage {card.coverage:.0%}"
        f"{single if card.single else ''}; {label}; {kinds}; profile {card.profile}; "
        f"run {card.run}"
    )


def _category(one: Category, language: Language) -> tuple[str, ...]:
    return (
        title_of(one, language),
        "–" if one.score is None else f"{one.score:.1f}",
        "–" if one.low is None else f"{one.low:.1f} – {one.high:.1f}",
        f"{one.coverage:.0%}",
        "" if one.weight is None else f"{one.weight:g} %",
    )


def title_of(one: Category, language: Language) -> str:
    """What a category is called."""
    return one.title_zh if language == "zh" and one.title_zh else one.name


def named(one: MetricScore, language: Language) -> str:
    """What a metric is called: as its line says, else as its case."""
    if language == "zh" and one.title_zh:
        return one.title_zh
    if one.title:
        return speaker(language)(one.title)
    return plain(f"{one.name} {one.metric}")


def _metrics(made: Console, card: Scorecard, language: Language) -> None:
    say = speaker(language)
    clauses = any(one.clause for each in card.categories for one in each.metrics)
    columns = ["category", "metric", "achieved", "95 % interval", "reference", "efficiency"]
    columns += ["confidence", "provenance", "one point is worth"]
    rows = []
    for category in card.categories:
        for one, more in _lowest(category.metrics):
            name = named(one, language)
            if more:
                name += (
                    f"（最低，另有 {more} 项）" if language == "zh" else f" (lowest; {more} more)"
                )
            row = [title_of(category, language), name, *_figures(one, say)]
            rows.append([plain(cell) for cell in ([*row, one.clause] if clauses else row)])
    if clauses:
        columns.append("clause")
    if rows:
        print_table(made, [say(name) for name in columns], rows, right=(2, 3, 4, 5, 8))


def _lowest(metrics: Sequence[MetricScore]) -> Iterator[tuple[MetricScore, int]]:
    """What has a value, and how many more it stands for: of many alike, the lowest efficiency."""
    alike: dict[tuple[str, ...], list[MetricScore]] = {}
    for one in metrics:
        if one.achieved is not None:
            benchmark = one.name.partition(" ")[0]
            key = benchmark, one.metric, one.title, one.reference_from, str(one.scored)
            alike.setdefault(key, []).append(one)
    for those in alike.values():
        if len(those) > SHOWN:
            yield min(those, key=lambda one: one.efficiency or 0.0), len(those) - 1
        else:
            yield from ((one, 0) for one in those)


def _figures(one: MetricScore, say: Say) -> list[str]:
    reference = "–"
    if one.reference is not None:
        reference = f"{format_value(one.reference, one.unit)} ({say(one.reference_from)})"
    return [
        format_value(one.achieved, one.unit),
        _interval(one),
        reference,
        "–" if one.efficiency is None else f"{one.efficiency:.1%}",
        say(one.confidence),
        say(one.provenance),
        "–" if one.gain is None else f"{one.gain:+.3f}",
    ]


def _interval(one: MetricScore) -> str:
    if one.low is None or one.high is None:
        return "–"
    return f"{format_value(one.low, one.unit)} – {format_value(one.high, one.unit)}"


def _factor(one: MetricScore, say: Say) -> list[str]:
    return [
        say(one.title),
        say("absent") if one.achieved is None else format_value(one.achieved, one.unit),
        _interval(one),
        say(one.confidence),
        say(one.provenance),
        say(one.absent or one.detail),
    ]


def _made_of(made: Console, card: Scorecard, language: Language) -> None:
    """What values are made of that no single case holds: counts, scale classes, whose they are."""
    say = speaker(language)
    every = (one for each in card.categories for one in each.metrics)
    told = [(named(one, language), say(one.detail)) for one in every if one.detail]
    by_text: dict[str, list[str]] = {}
    for name, text in dict.fromkeys(told):
        by_text.setdefault(text, []).append(name)
    for text, names in by_text.items():
        _line(made, f"{'; '.join(names)}: {text}", "dim")


def _worth(made: Console, card: Scorecard, language: Language) -> None:
    """The metrics of which one point more lifts the overall score most."""
    every = [one for each in card.categories for one in each.metrics if one.gain]
    best = sorted(every, key=lambda one: -(one.gain or 0.0))[:GAINS]
    if not best:
        return
    said = "; ".join(f"{named(one, language)} {one.gain:+.3f}" for one in best)
    lead = "worth most, in points of the overall score for one point of efficiency"
    _line(made, f"{speaker(language)(lead)}: {said}")


def _absent(card: Scorecard, language: Language) -> list[tuple[str, str, str]]:
    """(``absent``, name, reason) of what has no value or no score."""
    return [
        ("absent", f"{title_of(category, language)}: {named(one, language)}", one.absent)
        for category in card.categories
        for one in category.metrics
        if one.absent and (one.scored or one.achieved is None)
    ]


def _line(made: Console, text: str, style: str = "") -> None:
    made.print(Text(plain(text), style=style), soft_wrap=True)
