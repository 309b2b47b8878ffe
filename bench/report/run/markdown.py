"""A run as Markdown, for tickets and summaries: verdict and score first, then what is worst.

Names and reasons come from elsewhere: they are shown as they are, whatever they mean in Markdown or
HTML.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from ...analysis.expectation import Expectation
from ...analysis.scores import Scorecard
from ...analysis.summary import CaseSummary
from ...records import Status
from ...units import format_value
from ..html.source import Source
from ..html.standing import OTHERS
from ..markdown import certification_markdown, escape
from ..room import MOST_BYTES, Room
from ..score import merged, title_of

_CASES = ("case", "metric", "median", "expected", "of it", "worst", "worst is", "rows")
_SCORES = ("category", "score", "95 % interval", "coverage")


def run_markdown(source: Source, most: int = MOST_BYTES) -> str:
    """The run as a Markdown document of at most ``most`` bytes in UTF-8.

    What has no room is counted in its place.
    """
    say, header = source.say, source.header
    room = Room(most, f"`hengsuan results show {escape(header.id)}`", say)
    kinds = ", ".join(source.run.kinds)
    about = [say(source.run.label), header.suite, kinds, header.started, say(header.state)]
    room.add(f"# {escape(header.id)}\n\n{escape(' · '.join(filter(None, about)))}\n\n")
    for note in (*source.notes, *([OTHERS] if source.outdated else [])):
        room.add(f"**{escape(say(note))}**\n\n")
    if source.verdict is not None:
        room.add(certification_markdown(source.verdict, most // 2, source.language) + "\n")
    for card in source.cards:
        _score(room, source, card)
    counts: Counter[Status] = Counter()
    for one in source.run.summaries:
        counts.update(one.statuses)
    said = ", ".join(f"{count} {say(status)}" for status, count in counts.items())
    room.add(f"\n## {say('Measurements')}\n\n{escape(said or say('nothing was measured'))}\n\n")
    if source.run.summaries:
        room.add(_head([say(name) for name in _CASES], (2, 3, 4, 5)))
        lines = (
            _row(_case(source, one, source.expectations.get(one.case.id)))
            for one in source.run.summaries
        )
        room.add_all(lines, say("\nand {} more cases\n"))
    return room.text()


def _score(room: Room, source: Source, card: Scorecard) -> None:
    say = source.say
    whole = say("none") if card.overall is None else f"{card.overall:.0f}/100"
    between = "" if card.low is None else f" ({card.low:.1f} – {card.high:.1f}, 95 %)"
    room.add(
        f"## {say('score')} {escape(whole + between)}, {say('coverage')} {card.coverage:.0%}\n\n"
    )
    room.add(_head([say(name) for name in _SCORES], (1, 2, 3)))
    for one in card.categories:
        score = "–" if one.score is None else f"{one.score:.1f}"
        interval = "–" if one.low is None else f"{one.low:.1f} – {one.high:.1f}"
        room.add(_row([title_of(one, source.language), score, interval, f"{one.coverage:.0%}"]))
    told = [(one.kind, one.name, one.text) for one in card.findings]
    room.add("\n")
    room.add_all([f"- {escape(line)}\n" for line in merged(told, source.language)], "- … {}\n")


def _case(source: Source, one: CaseSummary, near: Expectation | None) -> Iterator[str]:
    unit = one.case.unit
    yield one.name
    yield one.case.metric
    yield format_value(one.median, unit)
    yield format_value(one.case.expected, unit)
    yield "–" if near is None or near.ratio is None else f"{near.ratio:.1%}"
    yield format_value(one.worst, unit)
    yield "" if one.worst_group is None else source.who(one.case, one.worst_group)
    yield ", ".join(f"{count} {source.say(status)}" for status, count in one.statuses.items())


def _head(names: Sequence[str], right: Sequence[int]) -> str:
    rule = "|".join("--:" if place in right else "---" for place in range(len(names)))
    return f"| {' | '.join(names)} |\n|{rule}|\n"


def _row(texts: Sequence[str] | Iterator[str]) -> str:
    return f"| {' | '.join(map(escape, texts))} |\n"
