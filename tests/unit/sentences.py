"""Sentences that stand in the source, as texts are put together: {} for what is filled in."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from bench.report.chinese import TABLES
from bench.report.language import chinese

SLOT = re.compile(r"\{[=#]?\}")
WORD = re.compile(r"(?<![\w`./{-])[a-z]{2,}(?![\w`./}-])")
UNSAID = ("formula", "source", "about", "hint", "help")
"""Arguments that go into the reference and into errors, and not into a report."""
FEWEST = 3
"""Words that make a sentence; what is shorter is a name mostly, and pages are tested for it."""


def sentences(file: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of every text of a module that is no docstring, no error's and no code."""
    yield from _in(ast.parse(file.read_text(encoding="utf-8")))


def _in(node: ast.AST) -> Iterator[tuple[int, str]]:
    if isinstance(node, ast.Expr) and _text(node.value):
        return
    if isinstance(node, ast.Raise) and not _is_reason(node.exc):
        return
    if isinstance(node, ast.keyword) and node.arg in UNSAID:
        return
    if isinstance(node, ast.Call) and _name(node.func).endswith(("Error", "error", "compile")):
        return
    text = _text(node) if isinstance(node, ast.expr) else None
    if text is not None:
        if len(WORD.findall(text)) >= FEWEST:
            yield node.lineno, text
        return
    for child in ast.iter_child_nodes(node):
        yield from _in(child)


def _is_reason(raised: ast.expr | None) -> bool:
    """Whether it is why something is not measured, which reports say."""
    return isinstance(raised, ast.Call) and _name(raised.func) == "Unmeasurable"


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _text(node: ast.expr) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(
            part.value if isinstance(part, ast.Constant) else "{}" for part in node.values
        )
    return None


def untold(text: str) -> list[str]:
    """The parts of a text that no entry of the table says, in whole or within its own."""
    if not WORD.search(chinese(text.replace("{}", "7"))):
        return []
    text = re.sub(r"\{\}(?: \{\})+", "{}", re.sub(r"%\{[^}]*\}", "{}", text))
    parts = (part.strip(" \n,;:.()<>-") for part in re.split(r"; |<br>|\n", text))
    return [part for part in parts if len(WORD.findall(part)) >= FEWEST and not _within(part)]


def _within(part: str) -> bool:
    """Whether it stands in a key, with what is filled in or without."""
    pattern = re.compile(re.escape(part).replace(r"\{\}", ".*?"))
    return any(pattern.search(key) for key in KEYS)


KEYS = frozenset(SLOT.sub("{}", key) for table in TABLES for key in table)
