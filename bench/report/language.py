"""The language of reports: English as everything is written, or Chinese by a table of sentences.

The table (`bench.report.chinese`) is held against whole texts. One that it does not have is taken
apart where sentences are put together (lines, semicolons, colons, commas, brackets), and its parts
are said. What is still unknown, such as a reason that a host gave, stays in the language that it
was written in: nothing is dropped because nobody translated it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import cache, lru_cache
from typing import Literal, NamedTuple, TypeAlias

Language: TypeAlias = Literal["en", "zh"]
Say: TypeAlias = Callable[[str], str]

SPOKEN: ContextVar[Language] = ContextVar("spoken", default="en")
"""Of what this command prints on the terminal (``--lang``); pages are told theirs."""

_HAN = re.compile("[\u4e00-\u9fff]")
_SLOT = re.compile(r"\{([=#]?)\}")
_JOINTS = (
    ("<extra></extra>", "<extra></extra>"),
    ("<br>", "<br>"),
    ("\n", "\n"),
    ("; ", "；"),
    (" · ", " · "),
    (": ", "："),
    (", ", "，"),
    (" → ", " → "),
)
"""Between sentences that were put together, and what stands there in Chinese."""
_APART = ("; ", "<br>", "\n")
_LABELS = ("note: ", "warning: ", "stays: ", "new: ", "gone: ", "waived: ")
"""What stands before a sentence, and is said by itself."""
_OPEN, _CLOSED = "([{", ")]}"
_LONGEST = 4_000
"""Characters of a text that is looked at: what is longer was not written by us."""


class Template(NamedTuple):
    """A sentence with slots: the literal pieces around them, their kinds, the same in Chinese."""

    pieces: tuple[str, ...]
    kinds: tuple[str, ...]
    told: str

    def parts(self, text: str) -> list[str] | None:
        """What stands in the slots; None where the text is another one.

        Each piece is looked for once, from left to right: time is linear in the text, whatever a
        stranger wrote.
        """
        first, *middle, last = self.pieces
        end = len(text) - len(last)
        at = len(first)
        if end <= at or not text.startswith(first) or not text.endswith(last):
            return None
        found = []
        for piece in middle:
            place = text.find(piece, at + 1, end)
            if place < 0:
                return None
            found.append(text[at:place])
            at = place + len(piece)
        if at >= end:
            return None
        found.append(text[at:end])
        # One sentence: none reaches over a semicolon, a line or a label.
        over = found[0].startswith(_LABELS) or any(
            joint in part for joint in _APART for part in found
        )
        words = (part for kind, part in zip(self.kinds, found, strict=True) if kind == "#")
        return None if over or any(" " in part for part in words) else found


def english(text: str) -> str:
    """The text itself."""
    return text


@lru_cache(1 << 16)
def chinese(text: str) -> str:
    """The text in Chinese where it is known, in whole or in parts, else itself."""
    if len(text) > _LONGEST or not text:
        return text
    try:
        whole = _whole(text)
        return _apart(text) if whole is None else whole
    except RecursionError:  # a stranger's text may nest as deep as it is long
        return text


def prose(text: str) -> str:
    """The same where a name may stand as well: one word by itself is taken for a name."""
    return chinese(text) if " " in text else text


def speaker(language: Language) -> Say:
    """What says a text in a language."""
    return chinese if language == "zh" else english


def narrator(language: Language) -> Say:
    """What says a text in a language where a name may stand as well."""
    return prose if language == "zh" else english


def spoken(text: str) -> str:
    """A text in the language of this command."""
    return speaker(SPOKEN.get())(text)


def narrated(text: str) -> str:
    """The same where a name may stand as well, and blanks before it."""
    said = text.lstrip(" ")
    return f"{text[: len(text) - len(said)]}{narrator(SPOKEN.get())(said)}"


@cache
def _table() -> tuple[dict[str, str], list[Template]]:
    """Whole texts, and sentences with slots: those first of which most is literal."""
    from .chinese import TABLES  # read by who needs it only

    whole: dict[str, str] = {}
    templates = []
    for key, told in (item for table in TABLES for item in table.items()):
        pieces = _SLOT.split(key)
        if len(pieces) == 1:
            whole[key] = told
        else:
            templates.append(Template(tuple(pieces[::2]), tuple(pieces[1::2]), told))
    templates.sort(key=lambda one: -sum(map(len, one.pieces)))
    return whole, templates


def _whole(text: str) -> str | None:
    whole, templates = _table()
    if (told := whole.get(text)) is not None:
        return told
    for one in templates:
        if (parts := one.parts(text)) is not None:
            said = (
                part if kind else _part(part) for kind, part in zip(one.kinds, parts, strict=True)
            )
            return one.told.format(*said)
    return None


def _part(text: str) -> str:
    """What a sentence names: a sentence of its own, words, or a list of them."""
    told = chinese(text.strip())
    if told == text and text.count(" ") == 2:  # two names
        return text.replace(" and ", "、")
    return told


def _apart(text: str) -> str:
    """The text with those of its parts in Chinese that are known."""
    for joint, told in _JOINTS:
        if joint in text:
            # What stands before a colon is what the rest is about, colons and all.
            parts = list(_split(text, joint, 1 if joint == ": " else len(text)))
            said = [chinese(part) for part in parts] if len(parts) > 1 else parts
            if joint == ", " and all(part in _table()[0] for part in parts):
                told = "、"  # words, not sentences
            if said != parts or (len(parts) > 1 and _HAN.match(parts[0][-1:])):
                return told.join(said)
    if text.endswith(")") and (place := _bracket(text)) > 0:
        head, inside = text[:place].rstrip(" "), text[place + 1 : -1]
        told, within = chinese(head), chinese(inside)
        if (told, within) != (head, inside):
            return f"{told}（{within}）"
    if text.endswith(".") and (told := chinese(text[:-1])) != text[:-1]:
        return f"{told}。"
    return text


def _split(text: str, joint: str, most: int) -> Iterator[str]:
    """The parts of a text between its first joints that stand in no brackets."""
    depth = start = at = 0
    while at < len(text) and most:
        depth += (text[at] in _OPEN) - (text[at] in _CLOSED)
        if depth <= 0 and text.startswith(joint, at):
            yield text[start:at]
            start = at = at + len(joint)
            most -= 1
        else:
            at += 1
    yield text[start:]


def _bracket(text: str) -> int:
    """Where the bracket opens that the end of the text closes; -1 where none does."""
    depth = 0
    for place in range(len(text) - 1, -1, -1):
        depth += (text[place] in _CLOSED) - (text[place] in _OPEN)
        if depth == 0:
            return place
    return -1
