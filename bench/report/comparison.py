"""Systems side by side in the terminal, in English or Chinese."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from ..analysis.comparison import Compared, Comparison, Entry
from ..units import format_value
from .language import Language, speaker
from .plain import plain
from .terminal import print_table, verdict


def print_comparison(made: Console, found: Comparison, language: Language = "en") -> None:
    """Who each system is, the whole, categories and metrics; ranks only where there are any."""
    say = speaker(language)
    letters = [letter(index) for index in range(len(found.systems))]
    for name, run, kinds, coverage in zip(
        letters, found.systems, found.kinds, found.coverages, strict=True
    ):
        said = say(f"coverage {coverage:.0%}")
        made.print(Text(f"{name}: {plain(run)}, {plain(', '.join(kinds))}, {said}"), soft_wrap=True)
    # What no system has a value of is no comparison; JSON has it.
    known = [one for one in found.metrics if any(e.value is not None for e in one.entries)]
    rows = [_row(one, language) for one in (found.overall, *found.categories, *known)]
    right = tuple(range(2, 2 + len(letters)))
    print_table(made, ("", say("metric"), *letters, say("ranking")), rows, right=right)
    made.print(Text(rule(found, language)), soft_wrap=True)
    verdict(made, f"{say(found.overall.name)}: {ranking(found.overall, language)}")


def rule(found: Comparison, language: Language = "en") -> str:
    """On what the whole is compared, and when somebody is ahead."""
    return speaker(language)(
        f"the whole and its categories are compared on the {found.common} metric(s) that every "
        "system has with an interval; where intervals overlap nobody is ahead"
    )


def _row(one: Compared, language: Language) -> tuple[str, ...]:
    say = speaker(language)
    cells = [cell(entry, one.unit) for entry in one.entries]
    return (
        named(one, language),
        plain(say(one.metric)),
        *map(plain, cells),
        ranking(one, language),
    )


def named(one: Compared, language: Language) -> str:
    """What is compared, by name."""
    title = one.title_zh if language == "zh" and one.title_zh else speaker(language)(one.name)
    return plain(title)


def cell(entry: Entry, unit: str) -> str:
    """A system's value with its interval."""
    if entry.value is None:
        return "–"
    if not unit:
        between = "" if entry.low is None else f" ({entry.low:.1f} – {entry.high:.1f})"
        return f"{entry.value:.1f}{between}"
    if entry.low is None or entry.high is None:
        return format_value(entry.value, unit)
    low, high = format_value(entry.low, unit), format_value(entry.high, unit)
    return f"{format_value(entry.value, unit)} ({low} – {high})"


def ranking(one: Compared, language: Language) -> str:
    """``A > B = C``, or why nobody is ahead."""
    say = speaker(language)
    if one.unranked:
        return say(f"none: {one.unranked}")
    by_rank: dict[int, list[str]] = {}
    for index, entry in enumerate(one.entries):
        by_rank.setdefault(entry.rank or 0, []).append(letter(index))
    if len(by_rank) == 1:
        return say("intervals overlap")
    return " > ".join(" = ".join(by_rank[rank]) for rank in sorted(by_rank))


def letter(index: int) -> str:
    """A, B, ..., Z, A1, ..."""
    turn, place = divmod(index, 26)
    return chr(ord("A") + place) + (str(turn) if turn else "")
