"""Text from elsewhere, made safe to print: names of nodes and reasons may hold anything."""

from __future__ import annotations


def plain(text: str) -> str:
    """One line without characters that a terminal obeys: these are written out (``\\x1b``)."""
    return "".join(one if one.isprintable() else _written(one) for one in text)


def _written(character: str) -> str:
    if character in "\n\r\t\u2028\u2029":
        return " "
    return character.encode("unicode_escape", "surrogatepass").decode()
