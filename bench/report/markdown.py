"""What ``hengsuan certify`` says as Markdown, for tickets and summaries of continuous integration.

Names and reasons come from elsewhere: what has a meaning in Markdown or HTML is written so that it
has none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from ..verdicts import Certification, NodeVerdict
from .evidence import (
    UNEXPLAINED,
    about,
    circumstances,
    details,
    figures,
    inconclusive,
    named,
    rejected,
    verdict_line,
    waived,
)
from .language import Language, Say, narrator, speaker
from .plain import plain
from .room import MOST_BYTES, Room

_MEANS = re.compile(r"[\\`*_\[\]~|#$]")
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "&#64;"}
_TICKS = re.compile(r"`+")
_ENTRIES = 50
"""Rejected nodes that are shown open; the others are in a part that opens."""


def escape(text: str) -> str:
    """Text that Markdown shows as it is, on one line: also in a cell of a table."""
    inert = "".join(_HTML.get(one, one) for one in plain(text))
    return _MEANS.sub(r"\\\g<0>", inert.replace("&#64;", "\0")).replace("\0", "&#64;")


def fenced(lines: Iterable[str]) -> str:
    """Lines of code in a block that none of them can end."""
    text = "\n".join(plain(line) for line in lines)
    longest = max((len(run) for run in _TICKS.findall(text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}sh\n{text}\n{fence}"


def certification_markdown(
    found: Certification, most: int = MOST_BYTES, language: Language = "en"
) -> str:
    """The verdict as a Markdown document of at most ``most`` bytes in UTF-8, worst first.

    What has no room is counted in its place.
    """
    say, tell = speaker(language), narrator(language)
    room = Room(most, "verdict.json", say)
    room.add(f"## {say(verdict_line(found))}\n\n")
    room.add("".join(f"{escape(say(line))}  \n" for line in circumstances(found)))
    titles = " | ".join(map(say, ("rejected", "found", "value", "expected", "worse by")))
    head = f"| {titles} |\n|---|---|--:|--:|--:|\n"
    worst = rejected(found)
    if worst:
        room.add(f"\n{head}")
        rows = (_row(one, tell) for one in worst[:_ENTRIES])
        room.add_all(rows, say("\nand {} more rejected nodes\n"))
        again = [
            f"{one.evidence[0].command}  # {one.node}"
            for one in worst[:_ENTRIES]
            if one.evidence and one.evidence[0].command
        ]
        if again:
            room.add(f"\n{say('Check again:')}\n\n{fenced(again)}\n")
        if rest := worst[_ENTRIES:]:
            who = named([one.node for one in rest])
            room.add(f"\n{escape(say(f'And {len(rest)} more rejected: {who}'))}\n")
    unsure = [f"- {escape(say(one.line()))}\n" for one in inconclusive(found)]
    if unsure:
        room.add(f"\n### {say('Inconclusive')}\n\n")
        room.add_all(unsure, say("- and {} more reasons\n"))
    answered = [f"- {escape(say(one.line()))}\n" for one in waived(found)]
    if answered:
        room.add(f"\n### {say('Waived')}\n\n")
        room.add_all(answered, say("- and {} more\n"))
    for kind, commands in (("Drain", found.drain), ("Bring back", found.undrain)):
        for scheduler, lines in commands.items():
            room.add(_folded(f"{say(kind)}: {escape(scheduler)}", fenced(lines)))
    if found.notes:
        room.add(f"\n### {say('Notes')}\n\n")
        notes = [f"- {escape(say(note))}\n" for note in found.notes]
        room.add_all(notes, say("- and {} more\n"))
    if rest := worst[_ENTRIES:]:
        room.fold(
            say(f"The other {len(rest)} rejected nodes"),
            head,
            (_row(one, tell) for one in rest),
            say("\nand {} more, in verdict.json\n"),
        )
    return room.text()


def _row(node: NodeVerdict, tell: Say) -> str:
    return f"| {' | '.join(_cells(node, tell))} |\n"


def _cells(node: NodeVerdict, tell: Say) -> Iterator[str]:
    yield escape(node.node)
    if not node.evidence:
        yield from (tell(UNEXPLAINED), "", "", "")
        return
    one, *rest = node.evidence
    lines = [about(one), *details(one)]
    if rest:
        lines.append(f"and {len(rest)} more finding(s)")
    yield "<br>".join(escape(tell(line)) for line in lines)
    yield from map(escape, figures(one))


def _folded(title: str, body: str) -> str:
    return f"\n<details><summary>{title}</summary>\n\n{body}\n\n</details>\n"
