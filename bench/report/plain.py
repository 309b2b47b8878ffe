"""Text from elsewhere, made safe to print: names of nodes and reasons may hold anything.

GitHub obeys what programs print as a terminal obeys escape sequences: a line that begins with
``::``, whatever blanks are before it, and ``##[`` anywhere (actions/runner, `ActionCommand.cs`).
"""

from __future__ import annotations

import re

FIGURE = re.compile(r"\d+(?:\.\d+)?")
"""What differs between sentences that say the same."""
AFTER = "| "
"""Before each line but the first of text that has several."""


def plain(text: str) -> str:
    """One line without characters that a terminal obeys: these are written out (``\\x1b``)."""
    inert = text.replace("##[", "## [")
    return "".join(one if one.isprintable() else _written(one) for one in inert)


def plain_lines(text: str) -> str:
    """The same of text of several lines, as a program's last words."""
    return f"\n{AFTER}".join(map(plain, text.splitlines()))


def _written(character: str) -> str:
    if character in "\n\r\t\u2028\u2029":
        return " "
    return character.encode("unicode_escape", "surrogatepass").decode()
