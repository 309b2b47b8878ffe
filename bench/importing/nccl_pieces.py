"""Lines of a table that something else was printed into.

The tool prints sizes, then the times out of place, then those in place, each when it has it. What
the library says meanwhile into the same stream (``NCCL_DEBUG=INFO``) stands between: at the end of
the line that was begun, or on lines of its own. A begun line is kept until its rest comes.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_USUAL = (52, 32)
"""Characters before the first time, and of one form, where the head of the table is missing."""
_LEAD = re.compile(r"\s*\d+\s+\d+\s+[a-z]\w*(?:\s+[a-z]\w*)?(?:\s+-?\d+)?\s*$")
_BODY = re.compile(r"(?:\s+(?:\d[\d.]*(?:e[+-]?\d+)?|nan|inf|N/A)\*?)+\s*$")


class Begun(NamedTuple):
    """A line that was begun: where, its text, and its words so far."""

    number: int
    text: str
    words: list[str]


class Pieces:
    """The line that is begun, if any. Texts are cut where the head of the table says that columns
    end, for what follows a piece may begin with a digit."""

    def __init__(self) -> None:
        self.begun: Begun | None = None
        self._lead, self._form = _USUAL
        self._words = 4

    def head(self, text: str, words: int) -> None:
        """A table begins: its head, and how many words a form has."""
        ends = [found.end() for found in re.finditer(r"\b(?:cpu)?time\b", text)]
        self._words = words
        # A time is printed seven wide, two columns behind what stands before it.
        self._lead = ends[0] - 9 if ends else _USUAL[0]
        self._form = ends[1] - ends[0] if len(ends) > 1 else _USUAL[1]

    def begins(self, text: str) -> bool:
        """Whether a line of the table begins here."""
        return bool(_LEAD.match(text[: self._lead]))

    def take(self, text: str, number: int) -> Begun | None:
        """A line that is no whole one of the table; what was begun, where that goes on here.

        None where it is no piece. A line whose rest does not come stays in ``begun``.
        """
        rest = text
        if fresh := self.begins(text):
            self.begun = Begun(number, text, text[: self._lead].split())
            rest = text[self._lead :]
        if self.begun is None:
            return None
        while piece := self._piece(rest):
            self.begun.words.extend(piece.split())
            rest, fresh = rest[len(piece) :], True
        return self.begun if fresh else None

    def _piece(self, text: str) -> str:
        """The figures of one form that a text begins with; empty where it does not."""
        blind = text.find("N/A", 0, self._form) + 3
        # Some versions print a count of wrong elements one wider than its head.
        for end in (blind,) if blind >= 3 else (self._form, self._form + 1):
            if len(text[:end].split()) == self._words and _BODY.match(text[:end]):
                return text[:end]
        return ""

    def dropped(self) -> Begun | None:
        """What was begun and does not go on."""
        begun, self.begun = self.begun, None
        return begun
