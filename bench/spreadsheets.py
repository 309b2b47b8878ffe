"""Text in files that people open as a table: no spreadsheet computes what strangers wrote.

A cell that begins like a formula is one, whatever quotes are around it (OWASP, *CSV Injection*): an
apostrophe before it makes it text.
"""

from __future__ import annotations

_FORMULA = frozenset("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
"""With what a cell begins that may be computed; the last four are the first as East Asian
spreadsheets take them, of full width."""


def inert(text: str) -> str:
    """A cell's text as a spreadsheet shows it. Numbers are no text: a minus is theirs."""
    return f"'{text}" if text[:1] in _FORMULA else text
