"""Examples, files and what to see of every verb; purpose and exit codes stand in its docstring.

A test parses every example, and asks every verb for one.
"""

from __future__ import annotations

from .judging import PAGES as _JUDGING
from .measuring import PAGES as _MEASURING
from .pages import Page
from .reading import PAGES as _READING

__all__ = ["PAGES", "Page"]

PAGES: dict[str, Page] = {**_MEASURING, **_READING, **_JUDGING}
"""By the words of the command without ``hengsuan``: ``results show``."""
