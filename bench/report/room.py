"""Text of at most so many bytes: what does not fit is left out whole, and said."""

from __future__ import annotations

from collections.abc import Iterable

from .language import Say, english

MOST_BYTES = 900_000
"""A summary of more than 1 MiB is dropped as a whole by the services that show them."""
RESERVE = 4096
"""Bytes that are kept for what says that something is left out, and for what closes a part."""


class Room:
    """Markdown of at most ``most`` bytes in UTF-8, `RESERVE` of which are for what is left out.

    ``whole`` names the file that has everything; ``say`` says what is left out in a language.
    """

    def __init__(self, most: int, whole: str, say: Say = english) -> None:
        self._say = say
        self._left = most - RESERVE
        self._whole = whole
        self._parts: list[str] = []
        self._lost = False

    def add(self, text: str) -> bool:
        """Whether it fits; then it is in."""
        size = len(text.encode("utf-8", "replace"))
        if size > self._left:
            self._lost = True
            return False
        self._left -= size
        self._parts.append(text)
        return True

    def add_all(self, texts: Iterable[str], rest: str) -> None:
        """As many as fit, then ``rest`` with the number of the others."""
        left = 0
        for text in texts:
            if left or not self.add(text):
                left += 1
        if left:
            self._parts.append(rest.format(left))

    def fold(self, title: str, head: str, texts: Iterable[str], rest: str) -> None:
        """A part that opens, with as many of ``texts`` as fit: once begun, it is always closed."""
        if self.add(f"\n<details><summary>{title}</summary>\n\n{head}"):
            self.add_all(texts, rest)
            self._parts.append("\n</details>\n")

    def text(self) -> str:
        """All that had room, and whether that is everything."""
        said = self._say(f"\nNot everything has room here; all of it is in {self._whole}.\n")
        return "".join(self._parts) + (said if self._lost else "")
