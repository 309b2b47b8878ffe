"""Docstrings, values and types as Markdown."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import msgspec

from ..units import format_size
from ..workloads.axes import Bytes, Seconds, Shape

_CODE = re.compile(r"``(.+?)``|`([^`]+)`", re.DOTALL)
_WORDS = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    Bytes: "size, as 64MiB",
    Seconds: "duration, as 500ms",
    Shape: "extents, as 1024x512",
    Any: "anything",
    type(None): "none",
}


def prose(text: str) -> str:
    """A docstring: paragraphs, lists, and blocks behind ``::``, which become code."""
    return "\n\n".join(filter(None, map(_paragraph, _blocks(text))))


def _blocks(text: str) -> list[str]:
    made: list[str] = []
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        # What is indented behind `::` is one block, empty lines included.
        if made and block.startswith("    ") and _opens(made):
            made[-1] += "\n\n" + block
        else:
            made.append(block)
    return made


def _opens(made: Sequence[str]) -> bool:
    return made[-1].rstrip().endswith("::") or "::\n\n    " in made[-1]


def _paragraph(block: str) -> str:
    before, opens, code = block.partition("::\n\n")
    if opens:
        said = inline(before.strip())
        fence = f"```yaml\n{textwrap.dedent(code).rstrip()}\n```"
        return f"{said}:\n\n{fence}" if said else fence
    return inline(block)


def inline(text: str) -> str:
    """Text of a docstring: code stays code, all else means nothing in Markdown."""
    parts, end = [], 0
    for found in _CODE.finditer(text):
        parts += [_plain(text[end : found.start()]), code(found[1] or found[2])]
        end = found.end()
    return "".join((*parts, _plain(text[end:])))


def _plain(text: str) -> str:
    return re.sub(r"(?<!^)(?<!\n)[*<]", r"\\\g<0>", text)


def code(text: str) -> str:
    """A span of code, on one line."""
    return f"`{' '.join(text.split())}`"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; without rows it is empty. Cells are Markdown."""
    lines = [_row(head), "|" + "---|" * len(head), *map(_row, rows)]
    return "\n".join(lines) if len(lines) > 2 else ""


def _row(cells: Sequence[str]) -> str:
    inside = (" ".join(cell.split()).replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(inside)} |"


def sections(*parts: str) -> str:
    """Parts of a page with a line between them; empty ones are left out."""
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def value(given: Any) -> str:
    """A default as a file would have it."""
    if given is None or given is msgspec.NODEFAULT:
        return "" if given is msgspec.NODEFAULT else "none"
    if isinstance(given, Bytes):
        return code(format_size(given))
    if isinstance(given, bool):
        return code(str(given).lower())
    if isinstance(given, (list, tuple)) and not isinstance(given, Shape):
        return code(f"[{', '.join(str(getattr(one, 'name', one)) for one in given)}]")
    return code(str(given)) if str(given) else "empty"


def kind(given: Any, of: str = "") -> str:
    """A type in words; structs are links to their section. ``of``: what stands before a choice."""
    origin, inside = get_origin(given), get_args(given)
    if origin is Literal:
        return f"{of}{', '.join(value(one) for one in inside)}"
    if origin in (Union, UnionType):
        return " or ".join(kind(one) for one in inside)
    if origin in (list, tuple):
        inner = [one for one in inside if one is not ...] or [Any]
        if origin is tuple and ... not in inside and len(inner) > 1:
            return " and ".join(kind(one) for one in inner)
        return f"list of {kind(inner[0])}"
    if origin is dict:
        return f"{kind(inside[0])} → {kind(inside[1])}"
    if isinstance(given, type) and issubclass(given, msgspec.Struct):
        return f"[{given.__name__}](#{given.__name__.lower().strip('_')})"
    return _WORDS.get(given, getattr(given, "__name__", str(given)))
